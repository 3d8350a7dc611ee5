"""Rerun a page once the intervals that it shows are computed."""

from __future__ import annotations

import streamlit as st

from app.data import frontier_views
from tracker.frontier.question import Question

POLL_S = 2.0  # while the draws are computed


def await_intervals(question: Question) -> None:
    """Rerun the page once the draws behind the intervals are ready."""

    @st.fragment(run_every=POLL_S)
    def look() -> None:
        if frontier_views.drawn(question, wait_s=0.0) is not None:
            st.rerun()

    look()
