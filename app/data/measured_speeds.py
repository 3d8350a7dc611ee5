"""The speeds that a load generator measured, for the pages."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app.data import queries
from tracker.answers.speed import speeds_in
from tracker.settings import load_settings
from tracker.store import open_snapshot, snapshot_id

KEPT_SPEEDS = 16


def model_speeds(model_id: str) -> list[dict[str, Any]]:
    """The measurements of a model, the newest first; each has `levels`."""
    return _speeds(queries.snapshot(), model_id)


@st.cache_resource(max_entries=KEPT_SPEEDS, show_spinner=False)
def _speeds(snapshot: str, model_id: str) -> list[dict[str, Any]]:
    settings = load_settings()
    if snapshot_id(settings) is None:
        return []
    with open_snapshot(settings) as store:
        return speeds_in(store, model_id)
