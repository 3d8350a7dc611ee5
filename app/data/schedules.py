"""The schedule of the weekly run; systemd and cron are asked at most once a minute."""

from __future__ import annotations

import streamlit as st

from app.data import queries
from tracker.answers.weekly_timer import WeeklySchedule, weekly_schedule
from tracker.settings import load_settings

ASK_EVERY_S = 60.0  # two commands of the system


@st.cache_data(ttl=ASK_EVERY_S, max_entries=4, show_spinner=False)
def weekly(snapshot: str) -> WeeklySchedule:
    """The schedule with the sources of this snapshot."""
    del snapshot  # part of the cache's key
    return weekly_schedule(load_settings(), queries.now())
