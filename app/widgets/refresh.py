"""Rerun an open page when new results are published; show errors of a fragment in place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from app.data import queries
from app.widgets import safe_text
from tracker.errors import TrackerError

CHECK_EVERY_S = 5  # one small file is read; nobody waits longer for a run's first scores
SEEN = "seen_snapshot"
ANNOUNCE = "announce_snapshot"


@contextmanager
def errors_shown() -> Iterator[None]:
    """For the body of a fragment, where Streamlit shows a traceback before `main` can catch anything."""
    try:
        yield
    except TrackerError as error:
        st.error(safe_text.escaped(str(error)), title="Cannot show this part right now")
        if error.hint:
            st.caption(safe_text.escaped(error.hint))


def watch_snapshot() -> None:
    """Rerun the page when a newer snapshot than the one it shows is published.

    Raises:
        StoreError: the pointer to the newest snapshot cannot be read.
    """
    queries.snapshot()
    _watch()


@st.fragment(run_every=CHECK_EVERY_S)
def _watch() -> None:
    if st.session_state.pop(ANNOUNCE, False):  # after the rerun, which drops what was shown before it
        st.toast("New results were published")
    with errors_shown():
        newest = queries.snapshot()
        seen = st.session_state.setdefault(SEEN, newest)
        if seen != newest:
            st.session_state.update({SEEN: newest, ANNOUNCE: True})
            st.rerun()
