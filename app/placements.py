"""Where a run measured here puts its model on the index."""

from __future__ import annotations

import streamlit as st

from app import frontier_data
from tracker.errors import TrackerError
from tracker.frontier.placement import Placement, Unplaced
from tracker.frontier.question import Question
from tracker.items import read_run
from tracker.placing import place_run
from tracker.settings import load_settings

KEPT_PLACEMENTS = 64


def placement(snapshot: str, run_id: str) -> Placement | Unplaced | None:
    """The placement of a run, or why there is none; None while the draws that it needs are being made."""
    if frontier_data.drawn(Question()) is None:
        return None
    return _placement(snapshot, run_id)


@st.cache_resource(max_entries=KEPT_PLACEMENTS, show_spinner=False)
def _placement(snapshot: str, run_id: str) -> Placement | Unplaced:
    """`snapshot` stands in the cache's key alone: later runs may be bridges."""
    settings = load_settings()
    try:
        return place_run(read_run(settings.items_path / run_id), settings)
    except TrackerError as error:
        return Unplaced(f"no placement: {error}")
