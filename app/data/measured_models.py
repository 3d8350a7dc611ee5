"""The models measured here on the index, for the pages: placed in a thread, kept per snapshot and vintage.

A place takes a fraction of a second for each run the first time. A page shows what is ready and asks again.
"""

from __future__ import annotations

import streamlit as st

from app.data import frontier_views, queries
from app.data.background import Background
from tracker.answers import measured as measured_answers
from tracker.answers.frontier import undrawn
from tracker.answers.index_place import IndexPlaces
from tracker.answers.index_places import places_on
from tracker.answers.measured import MeasuredAnswer, measured_on_index
from tracker.frontier.index import fit_index
from tracker.frontier.question import Fitted, Question, selection
from tracker.frontier.tables import Tables
from tracker.settings import load_settings

KEPT_ANSWERS = 32  # questions of the frontier page
KEPT_PLACES = 4  # with and without intervals, of the newest snapshot and the one before
WAIT_S = 0.5  # reading places from the home takes less


def measured(question: Question, *, wait_s: float | None = None) -> MeasuredAnswer | None:
    """The models measured here on the axis of the question, without intervals until those are computed.

    None if the axis is not the whole index, or while no place has been computed yet.

    Raises:
        TrackerError: no index can be fitted to the selected scores, or the store cannot be read.
    """
    if not has_scale(question):
        return None
    wait_s = WAIT_S if wait_s is None else wait_s
    known, found = frontier_views.tables(question), frontier_views.drawn(question)
    if found is not None:
        drawn = _background().ready(
            _key(known, question, is_drawn=True), lambda: _placed(known, question, found), wait_s=wait_s
        )
        return drawn or _background().finished(_key(known, question, is_drawn=False))
    return _background().ready(
        _key(known, question, is_drawn=False),
        lambda: _placed(known, question, _central(known, question)),
        wait_s=wait_s,
    )


def has_scale(question: Question) -> bool:
    """Whether measured models stand on the axis of the question."""
    return measured_answers.has_scale(question, load_settings())


def index_places(*, wait_s: float | None = None) -> IndexPlaces:
    """The place of every model of the newest index, published or measured here, for tables.

    Raises:
        TrackerError: no index can be fitted to the published scores, or the store cannot be read.
    """
    question = Question()
    here = measured(question, wait_s=wait_s)
    known, found = frontier_views.tables(), frontier_views.drawn(question)
    is_drawn = found is not None
    state = "none" if here is None else "drawn" if here.has_intervals else "central"
    return _places(f"{_key(known, question, is_drawn=is_drawn)} {state}", here, known, found)


@st.cache_resource(max_entries=KEPT_PLACES, show_spinner=False)
def _places(key: str, _here: MeasuredAnswer | None, _tables: Tables, _found: Fitted | None) -> IndexPlaces:
    found = _found or _central(_tables, Question())
    if _here is None:
        days = found.fit.data.vintage
        _here = MeasuredAnswer(days, days, has_intervals=False, placed=(), not_placed=())
    return places_on(_tables, found, _here)


def _key(known: Tables, question: Question, *, is_drawn: bool) -> str:
    return f"{queries.snapshot()} {known.digest} {question} {is_drawn}"


def _placed(known: Tables, question: Question, found: Fitted) -> MeasuredAnswer:
    return measured_on_index(known, question, found, load_settings())


def _central(known: Tables, question: Question) -> Fitted:
    """The index without draws."""
    return undrawn(fit_index(selection(known, question), question.options))


@st.cache_resource(show_spinner=False)
def _background() -> Background[MeasuredAnswer]:
    return Background(kept=KEPT_ANSWERS)
