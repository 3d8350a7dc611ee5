"""Cached placements: where runs measured here put their models on the index."""

from __future__ import annotations

import streamlit as st

from app.data import frontier_views
from tracker.answers.placement import place_run
from tracker.errors import TrackerError
from tracker.files.items import read_run
from tracker.frontier.placement import Placement, Unplaced
from tracker.frontier.question import Question
from tracker.settings import load_settings

KEPT_PLACEMENTS = 64


def run_placement(snapshot: str, run_id: str) -> Placement | Unplaced | None:
    """The placement of a run, or the reason why it has none; None while its draws are being computed."""
    if frontier_views.drawn(Question()) is None:
        return None
    return _placement(snapshot, run_id)


@st.cache_resource(max_entries=KEPT_PLACEMENTS, show_spinner=False)
def _placement(snapshot: str, run_id: str) -> Placement | Unplaced:
    """Place a run; `snapshot` is part of the cache's key, because later runs may be bridges."""
    settings = load_settings()
    try:
        return place_run(read_run(settings.items_path / run_id), settings)
    except TrackerError as error:
        return Unplaced(f"no placement: {error}")
