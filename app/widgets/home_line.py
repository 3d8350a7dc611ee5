"""The line at the end of every page that names the home it shows."""

from __future__ import annotations

import streamlit as st

from app.data import queries
from app.widgets import safe_text
from tracker.errors import StoreError
from tracker.settings import load_settings

NOTHING = "nothing is stored there yet; if your results are elsewhere, set TRACKER_HOME and start again"


def show_home() -> None:
    """Show the folder of the home, and of when its data are."""
    try:
        published = queries.published()
    except StoreError:
        state = "its data cannot be read"
    else:
        state = NOTHING if published is None else f"published {published:%d %b %Y, %H:%M} UTC"
    st.caption(safe_text.escaped(f"Home {load_settings().home}: {state}"))
