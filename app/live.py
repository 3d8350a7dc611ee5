"""Notice while a page is open that new results were published."""

from __future__ import annotations

import streamlit as st

from app import queries

CHECK_EVERY_S = 5  # one small file is read; nobody waits longer for a run's first scores
SEEN = "seen_snapshot"
ANNOUNCE = "announce_snapshot"


@st.fragment(run_every=CHECK_EVERY_S)
def watch_snapshot() -> None:
    """Show the page anew when the snapshot is another than the one that it was drawn from."""
    if st.session_state.pop(ANNOUNCE, False):  # after the rerun, which drops what was said before it
        st.toast("New results were published")
    newest = queries.snapshot()
    seen = st.session_state.setdefault(SEEN, newest)
    if seen != newest:
        st.session_state.update({SEEN: newest, ANNOUNCE: True})
        st.rerun()
