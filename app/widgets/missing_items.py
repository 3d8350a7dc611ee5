"""A short notice where items of the shown runs can no longer be read from the disk."""

from __future__ import annotations

from collections.abc import Iterable

import streamlit as st

from app.data import queries
from app.widgets import safe_text

WHAT_HELPS = (
    "`tracker store check` lists what is missing; `tracker bench` with the same settings measures it again."
)


def show_missing(run_ids: Iterable[str]) -> None:
    """One notice per run that lacks items."""
    for run_id in sorted(set(run_ids)):
        if sentence := queries.missing_items(run_id):
            shown = sentence[:1].upper() + sentence[1:]
            st.warning(f"{safe_text.escaped(shown)}. {WHAT_HELPS}")
