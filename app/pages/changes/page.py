"""Recent changes: models, scores, records, contradicted claims, failing sources."""

import streamlit as st

from app.data import digests
from app.data.own_addresses import own_address
from app.pages.changes import view

st.title("What changed", anchor=False)
days = view.choose_span()
found = digests.recent_digest(days)
st.markdown(
    f"{found.since:%d %b %Y} to {found.until:%d %b %Y}."
    f" Also available as an [Atom feed]({own_address('/feed.atom')})."
)

if found.is_empty:
    st.info(view.EMPTY)
else:
    view.show_digest(found)
    view.show_downloads(days)
