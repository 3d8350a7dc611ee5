"""What changed: models, scores, records, claims that a measurement contradicts, sources with trouble."""

import streamlit as st

from app import changes_view, digests

st.title("What changed", anchor=False)
days = changes_view.choose_span()
found = digests.changed(days)
st.markdown(
    f"{found.since:%d %b %Y} to {found.until:%d %b %Y}. The same as a [feed for readers](/feed.atom)."
)

if found.is_empty:
    st.info(changes_view.EMPTY)
else:
    changes_view.show(found)
    changes_view.hand_over(days)
