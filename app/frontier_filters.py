"""The filters of the frontier page: what is asked, and in which words that is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import streamlit as st

from app import boards, frontier_data, queries, text
from app.frontier_data import ASKS
from tracker.frontier.population import params_that_fit
from tracker.frontier.question import Only, Question
from tracker.sizing import MEMORY_GB

INDEX = "Capability index"
NEWEST = "Newest"
LEFT_OUT = "What if these did not exist"
EVERY = "All benchmarks"
ANY_SIZE = "Any size"
ONLY = {EVERY: None, "Private only": Only.PRIVATE, "Public only": Only.PUBLIC}
SIZES = {ANY_SIZE: None} | {f"fits {gigabytes} GB": gigabytes for gigabytes in MEMORY_GB}


def choose_definition() -> str:
    """The id of the definition that the headline goes by."""
    return st.selectbox(
        "Definition",
        list(ASKS),
        index=2,
        key="definition",
        bind="query-params",
        help="Six ways to say how far behind; the table below has them all",
    )


def choose_question() -> tuple[Question, str | None]:
    """What is asked, from the widgets of the page; and the Elo board, where that is the measure."""
    place, filters = st.empty(), st.popover("More filters")
    with filters:
        vintage = _choose_vintage()
    rated = boards.names()
    names = [INDEX, *rated, *frontier_data.axes(vintage)]
    # its place is before the filters, but which benchmarks there are depends on one of them
    name = place.selectbox("Measured by", names, key="axis", bind="query-params")
    with filters:
        if name in rated:
            return Question(
                without=_choose_without(frontier_data.models_on_board(name, queries.snapshot()))
            ), name
        return _choose_published(name, vintage), None


def _choose_vintage() -> date | None:
    days = [NEWEST, *(day.isoformat() for day in reversed(frontier_data.tables().vintages))]
    believed = st.selectbox(
        "As believed on", days, key="vintage", bind="query-params", help="An Elo board has its last day alone"
    )
    return None if believed == NEWEST else date.fromisoformat(believed)


def _choose_published(name: str, vintage: date | None) -> Question:
    is_index = name == INDEX
    only = st.selectbox("Benchmarks", list(ONLY), key="only", bind="query-params", disabled=not is_index)
    memory_gb = SIZES[st.selectbox("Open models", list(SIZES), key="size", bind="query-params")]
    whole = Question(
        vintage=vintage,
        only=ONLY[only] if is_index else None,
        max_params=params_that_fit(memory_gb) if memory_gb else None,
        benchmark=None if is_index else name,
    )
    return replace(whole, without=_choose_without(frontier_data.models_to_leave_out(whole)))


def _choose_without(models: Sequence[str]) -> tuple[str, ...]:
    return tuple(st.multiselect(LEFT_OUT, models, key="without", bind="query-params"))


def say_filters(question: Question) -> None:
    """Name the filters that are not as they come, since they hide behind a button."""
    parts = []
    if question.vintage:
        parts.append(f"as believed on {question.vintage}")
    if question.only:
        parts.append(f"{question.only} benchmarks only")
    if question.max_params:
        parts.append(
            f"open models up to {text.count(question.max_params)} parameters, closed models of any size"
        )
    if question.without:
        parts.append("without " + ", ".join(question.without))
    if parts:
        st.caption(text.escaped("Filtered: " + "; ".join(parts)))
