"""The gap over time and the outlook for the frontier page: computed once by a thread, then kept.

A history takes one to ten seconds the first time, by the definition; the home keeps it. A page shows it once
it is there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import streamlit as st

from app.data import frontier_views, queries
from app.data.background import Background
from tracker.answers import frontier as answers
from tracker.answers.outlook import GapHistory, Outlook, history_on_tables, outlook_on_tables
from tracker.errors import TrackerError
from tracker.frontier.question import Fitted, Question
from tracker.frontier.tables import Tables
from tracker.settings import load_settings

WAIT_S = 0.3  # reading a history from the home takes less
KEPT_JOBS = 64


@dataclass(frozen=True, slots=True)
class OverTime:
    """The gap at past month ends and what may come; a problem is a sentence for the page."""

    history: GapHistory | None
    outlook: Outlook | None  # None: the question selects benchmarks or sizes, or there is a problem
    problem: str = ""
    hint: str = ""  # what helps against it


def over_time(question: Question, definition: str, *, wait_s: float | None = None) -> OverTime | None:
    """The history by that definition and the outlook; None while they are being computed."""
    known = frontier_views.tables(question, is_fitted=answers.needs_scores(question))
    is_drawn = answers.is_fitted(known, question)
    found = frontier_views.drawn(question, wait_s=0.0) if is_drawn else None
    if is_drawn and found is None:
        return None
    key = f"{known.digest} {queries.now():%Y-%m-%d} {question} {definition}"  # the age changes with the day
    return _background().ready(
        key,
        lambda: _answered(known, question, definition, found),
        wait_s=WAIT_S if wait_s is None else wait_s,
    )


def _answered(known: Tables, question: Question, definition: str, found: Fitted | None) -> OverTime:
    settings = load_settings()
    try:
        history = history_on_tables(known, question, found, settings, name=definition)
    except TrackerError as error:
        return OverTime(None, None, str(error), error.hint)
    if replace(question, benchmark=None, only=None, max_params=None) != question:
        return OverTime(history, None)
    try:
        return OverTime(history, outlook_on_tables(known, question, found, settings))
    except TrackerError as error:
        return OverTime(history, None, str(error), error.hint)


@st.cache_resource(show_spinner=False)
def _background() -> Background[OverTime]:
    return Background(kept=KEPT_JOBS)
