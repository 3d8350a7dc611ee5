"""The ladders on which a model is a rung, for the pages; months once the index has its draws."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app.data import frontier_views, queries
from tracker.answers.ladder import LadderResult, ladder_result, ladders_with
from tracker.answers.models import known_id
from tracker.files.ladders import read_ladders
from tracker.frontier.question import Question
from tracker.records.ladders import Ladder
from tracker.settings import load_settings

KEPT_LADDERS = 16


def ladders_of(model_id: str) -> list[LadderResult]:
    """The ladders of a model or of its copies, the one that was measured last first."""
    return _results(ladders_with(model_id, load_settings()))


def ladders_named(name: str) -> list[LadderResult]:
    """The ladders of a model measured here, as people name it: an id or the end of one, a folder, `demo`.

    Raises:
        UnknownNameError: nothing measured here is called so.
        TrackerError: nothing is measured here, or the name fits several models.
    """
    return ladders_of(known_id(name, queries.measured_models()))


def newest_ladder() -> list[LadderResult]:
    """The ladder that was measured last, if there is one."""
    return _results(read_ladders(load_settings())[0][:1])


def _results(found: Sequence[Ladder]) -> list[LadderResult]:
    with_months = bool(found) and frontier_views.drawn(Question()) is not None
    return [
        _result(f"{queries.snapshot()} {one.ladder_id} {one.updated_at}", one, with_months) for one in found
    ]


@st.cache_resource(max_entries=KEPT_LADDERS, show_spinner=False)
def _result(key: str, _ladder: Ladder, with_months: bool) -> LadderResult:
    return ladder_result(_ladder, load_settings(), with_months=with_months)
