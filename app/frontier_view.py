"""The parts of the frontier page: its question, its headline, its table of definitions."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pandas as pd
import streamlit as st

from app import boards, frontier_data, queries, text
from app.frontier_data import ASKS, Frontier
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
POLL_S = 2.0  # while the draws are made
OVERDUE_DAYS = 8  # a week and a day; the store's own rule


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
    rated = boards.names()
    names = [INDEX, *rated, *frontier_data.axes()]
    name = st.selectbox("Measured by", names, key="axis", bind="query-params")
    if name in rated:
        return _choose_on_board(name), name
    return _choose_published(name), None


def _choose_on_board(name: str) -> Question:
    points = frontier_data.on_board(name, Question(), queries.snapshot()).points
    with st.popover("More filters"):
        without = st.multiselect(
            LEFT_OUT, sorted(points["model"], key=str.casefold), key="without", bind="query-params"
        )
    return Question(without=tuple(without))


def _choose_published(name: str) -> Question:
    with st.popover("More filters"):
        days = [NEWEST, *(day.isoformat() for day in reversed(frontier_data.tables().vintages))]
        believed = st.selectbox("As believed on", days, key="vintage", bind="query-params")
        vintage = None if believed == NEWEST else date.fromisoformat(believed)
        is_index = name == INDEX
        only = st.selectbox("Benchmarks", list(ONLY), key="only", bind="query-params", disabled=not is_index)
        size = st.selectbox("Open models", list(SIZES), key="size", bind="query-params")
        without = st.multiselect(
            LEFT_OUT,
            frontier_data.models_on_index(Question(vintage=vintage)),
            key="without",
            bind="query-params",
        )
    memory_gb = SIZES[size]
    return Question(
        vintage=vintage,
        only=ONLY[only] if is_index else None,
        max_params=params_that_fit(memory_gb) if memory_gb else None,
        without=tuple(without),
        benchmark=None if is_index else name,
    )


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


def show_headline(found: Frontier, definition: str) -> None:
    """The gap, the best of both groups and the last ingest, side by side."""
    gap = found.gap(definition)
    with st.grid(4, min_column_width=210):
        with st.container(gap="xxsmall"):
            st.metric(f"Open is behind by ({definition})", _amount(gap.value, gap.unit))
            st.caption(_interval(gap.ci_low, gap.ci_high, gap.note, gap.unit))
        for access in ("open", "closed"):
            best = found.best(access)
            with st.container(gap="xxsmall"):
                st.metric(f"Best {access}", text.escaped(best["model"]))
                st.caption(f"{_value(best['value'], found.unit)} · {best['released']:%d %b %Y}")
        with st.container(gap="xxsmall"):
            _show_ingest()


def _show_ingest() -> None:
    health = queries.ingest_health()
    done = [row["completed_at"] for row in health if row["completed_at"]]
    if not done:
        st.metric("Last ingest", "none yet")
        st.caption("`tracker ingest` asks the sources")
        return
    newest = max(done)
    overdue = [row["title"] or row["source"] for row in health if row["is_overdue"]]
    st.metric("Last ingest", f"{newest:%d %b %Y}")
    age = (datetime.now(UTC) - newest).days
    if age > OVERDUE_DAYS:
        st.badge(f"overdue: {age} days ago", color="orange")
    elif overdue:
        st.badge(
            f"{len(overdue)} source{'s'[: len(overdue) > 1]} overdue", color="orange", help=", ".join(overdue)
        )
    else:
        st.caption("every source in time")


def definitions(found: Frontier) -> pd.DataFrame:
    """The six answers as rows for people."""
    rows = pd.DataFrame(
        {
            "id": [row.id for row in found.gaps],
            "behind": [_amount(row.value, row.unit) for row in found.gaps],
            "interval": [text.ends(*_in_unit(row.ci_low, row.ci_high, row.unit)) for row in found.gaps],
            "asks": [ASKS[row.id] for row in found.gaps],
            "n": [f"{row.n}" if row.n else None for row in found.gaps],
            "n_censored": [f"{row.n_censored}" if row.n else None for row in found.gaps],
            "note": [row.note or None for row in found.gaps],
        }
    )
    return rows.dropna(axis="columns", how="all").fillna("")


def _amount(value: float | None, unit: str) -> str:
    if value is None:
        return text.NOTHING
    if unit == "months":
        return text.months(value)
    return f"{100 * value:.1f} %" if unit == "score" else f"{value:.1f} points"


def _in_unit(low: float | None, high: float | None, unit: str) -> tuple[float | None, float | None]:
    scale = 100.0 if unit == "score" else 1.0
    return (None if low is None else low * scale), (None if high is None else high * scale)


def _interval(low: float | None, high: float | None, note: str, unit: str) -> str:
    if low is None or high is None:
        return f"90 % interval {note}" if note == frontier_data.BEING_DRAWN else note
    return f"90 % interval {text.ends(*_in_unit(low, high, unit))}"


def _value(value: float, unit: str) -> str:
    return f"{100 * value:.1f} % above chance" if unit == "score" else f"{unit} {value:.1f}"


def await_intervals(question: Question) -> None:
    """Show the page anew once the draws behind the intervals are made."""

    @st.fragment(run_every=POLL_S)
    def look() -> None:
        if frontier_data.drawn(question, wait_s=0.0) is not None:
            st.rerun()

    look()
