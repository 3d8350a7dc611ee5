"""Notice while a page is open that new results were published; say in place what went wrong meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from app import queries, text
from tracker.errors import TrackerError

CHECK_EVERY_S = 5  # one small file is read; nobody waits longer for a run's first scores
SEEN = "seen_snapshot"
ANNOUNCE = "announce_snapshot"


@contextmanager
def problems_said() -> Iterator[None]:
    """For the inside of a fragment, where Streamlit shows a traceback before `main` can catch anything."""
    try:
        yield
    except TrackerError as error:
        st.error(text.escaped(str(error)), title="This part cannot be shown now")
        if error.hint:
            st.caption(text.escaped(error.hint))


def watch_snapshot() -> None:
    """Show the page anew when the snapshot is another than the one that it was drawn from.

    Raises:
        StoreError: it cannot even be told which snapshot is the newest.
    """
    queries.snapshot()
    _watch()


@st.fragment(run_every=CHECK_EVERY_S)
def _watch() -> None:
    if st.session_state.pop(ANNOUNCE, False):  # after the rerun, which drops what was said before it
        st.toast("New results were published")
    with problems_said():
        newest = queries.snapshot()
        seen = st.session_state.setdefault(SEEN, newest)
        if seen != newest:
            st.session_state.update({SEEN: newest, ANNOUNCE: True})
            st.rerun()
