"""The filters of the frontier page, and the line that names the active ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import NamedTuple

import streamlit as st

from app.data import frontier_views, queries, rating_boards
from app.widgets import safe_text, url_select
from tracker.frontier import definitions
from tracker.frontier.question import Only, Question
from tracker.memory_estimate import BITS, MEMORY_GB, params_that_fit

INDEX = "Capability index"
NEWEST = "Newest"
LEFT_OUT = "Exclude models"
EVERY = "All benchmarks"
ANY_SIZE = "Any size"
REDISTRIBUTABLE = "Redistributable only"
LICENSES = ("Any license", REDISTRIBUTABLE)
ONLY = {EVERY: None, "Private only": Only.PRIVATE, "Public only": Only.PUBLIC}
WEIGHTS = {"16 bits": 16.0, "8 bits": 8.0, "4 bits": 4.0}
SIZES = {ANY_SIZE: None} | {f"fits {gigabytes} GB": gigabytes for gigabytes in MEMORY_GB}


def choose_definition() -> str:
    """The ID of the definition that the headline shows."""
    titles = {each.id: f"{each.title} ({each.id})" for each in definitions.DEFINITIONS}
    return url_select.select_titled(
        "How the gap is measured",
        titles,
        key="definition",
        first=definitions.HEADLINE,
        hint="The table below has the exact question and the gap by every definition",
    )


class Asked(NamedTuple):
    """What the filters ask."""

    question: Question
    board: str | None = None  # the rating board, where one is the measure
    bits: float = BITS  # of a weight, where the size is limited


def choose_question() -> Asked:
    """What the filters ask."""
    place, filters = st.empty(), st.popover("More filters")
    with filters:
        vintage = _choose_vintage()
    rated = rating_boards.names()
    names = [INDEX, *rated, *frontier_views.axes(vintage)]
    # its place is before the filters, but which benchmarks there are depends on one of them
    name = place.selectbox("Measure", names, key="axis", bind="query-params")
    with filters:
        if name in rated:
            left_out = _choose_without(frontier_views.models_on_board(name, queries.snapshot()))
            return Asked(Question(without=left_out), name)
        return _choose_published(name, vintage)


def _choose_vintage() -> date | None:
    days = [NEWEST, *(day.isoformat() for day in reversed(frontier_views.vintages()))]
    believed = st.selectbox(
        "Data as of",
        days,
        key="vintage",
        bind="query-params",
        help="Rating boards only have their latest day",
    )
    return None if believed == NEWEST else date.fromisoformat(believed)


def _choose_published(name: str, vintage: date | None) -> Asked:
    is_index = name == INDEX
    only = st.selectbox("Benchmarks", list(ONLY), key="only", bind="query-params", disabled=not is_index)
    license_ = st.selectbox(
        "Licenses of the scores",
        LICENSES,
        key="terms",
        bind="query-params",
        help="“Sources” lists who measured the scores, and under which terms",
    )
    memory_gb = SIZES[st.selectbox("Open models", list(SIZES), key="size", bind="query-params")]
    bits = WEIGHTS[
        st.selectbox(
            "Weights",
            list(WEIGHTS),
            key="weight_bits",
            bind="query-params",
            disabled=memory_gb is None,
            help="For the size of models that fit; scores are those of the published weights",
        )
    ]
    whole = Question(
        vintage=vintage,
        only=ONLY[only] if is_index else None,
        redistributable=license_ == REDISTRIBUTABLE,
        max_params=params_that_fit(memory_gb, bits) if memory_gb else None,
        benchmark=None if is_index else name,
    )
    left_out = _choose_without(frontier_views.models_to_leave_out(whole))
    return Asked(replace(whole, without=left_out), bits=bits)


def _choose_without(models: Sequence[str]) -> tuple[str, ...]:
    return tuple(st.multiselect(LEFT_OUT, models, key="without", bind="query-params"))


def show_active_filters(question: Question, bits: float) -> None:
    """Name the active filters, since they are hidden behind a button."""
    parts = []
    if question.vintage:
        parts.append(f"data as of {question.vintage}")
    if question.only:
        parts.append(f"{question.only} benchmarks only")
    if question.redistributable:
        parts.append("only scores whose license allows redistribution")
    if question.max_params:
        parts.append(
            f"open models up to {safe_text.count(question.max_params)} parameters ({bits:g}-bit weights"
            f"{', scores of the published ones' if bits < BITS else ''}), closed models of any size"
        )
    if question.without:
        parts.append("without " + ", ".join(question.without))
    if parts:
        st.caption(safe_text.escaped("Filters: " + "; ".join(parts)))
