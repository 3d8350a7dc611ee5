"""The parts of the frontier page: its answer, its headline, its table of definitions."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

import pandas as pd
import streamlit as st

from app import downloads, drawing, frontier_charts, frontier_data, queries, tables, text
from app.frontier_data import ASKS, Frontier
from tracker.errors import DiskFullError, StoreError, TrackerError
from tracker.frontier.question import Question

POLL_S = 2.0  # while the draws are made
OVERDUE_DAYS = 8  # a week and a day; the store's own rule


def answer(question: Question, board: str | None) -> Frontier | None:
    """The answer; where the filters leave nothing, it says so and nothing comes back."""
    try:
        if board:
            return frontier_data.on_board(board, question, queries.snapshot())
        return frontier_data.frontier(question)
    except (StoreError, DiskFullError):
        raise
    except TrackerError as error:
        st.warning(text.escaped(str(error)), title="These filters leave nothing to compare")
        return None


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
                if not pd.isna(best["ci_low"]):
                    st.caption(_interval(best["ci_low"], best["ci_high"], "", found.unit))
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


def show_models(found: Frontier, definition: str) -> None:
    """Show every model with both frontiers, and what is behind the best of them."""
    st.caption(ASKS[definition])
    for note in found.notes:
        st.caption(text.escaped(note))
    drawing.show(
        frontier_charts.frontier_chart,
        found.points,
        unit=found.unit,
        as_of=found.as_of,
        standing=found.gap("G3").value if definition == "G3" else None,
        alt=frontier_charts.frontier_alt(found),
    )
    downloads.buttons(found.points, what="Models", name="frontier-models")


def show_definitions(found: Frontier) -> None:
    """Show the six answers as a table."""
    st.dataframe(
        definitions(found),
        column_config=tables.DEFINITIONS,
        hide_index=True,
        alt="The gap by each of the six definitions, with 90 % intervals",
    )
    answers = pd.DataFrame([asdict(row) for row in found.gaps])
    downloads.buttons(answers, what="Definitions", name="frontier-definitions")


def show_lags(question: Question, *, is_of_board: bool) -> None:
    """Show how far behind open is on each benchmark by itself, behind the filters where they are of it."""
    try:
        all_lags = frontier_data.benchmark_lags(Question() if is_of_board else question)
    except TrackerError as error:
        st.info(text.escaped(str(error)))
        return
    shown = all_lags[~all_lags["is_stale"]]
    if is_of_board:
        st.caption("Of the published scores, not of the board; not filtered.")
    st.caption(
        "A filled dot: the items are private. Left out: "
        f"{len(all_lags) - len(shown)} benchmarks on which no open model of the last 14 months has a score."
    )
    if not shown.empty:
        drawing.show(frontier_charts.lag_chart, shown, alt=frontier_charts.lag_alt(shown))
    downloads.buttons(all_lags, what="Lags", name="frontier-lags")


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
