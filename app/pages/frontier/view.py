"""The parts of the frontier page: headline, chart, definitions and lags."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from app.data import benchmarks, frontier_views, queries
from app.data.frontier_views import Frontier
from app.pages.frontier import charts, columns, measured, model_links
from app.widgets import cached_chart, downloads, safe_text
from tracker.answers.headlines import headline_sentence
from tracker.answers.measured import MeasuredAnswer
from tracker.answers.vintages import DataAge
from tracker.errors import DiskFullError, StoreError, TrackerError
from tracker.frontier import definitions
from tracker.frontier.gap import BEING_DRAWN
from tracker.frontier.outlook import CatchUp
from tracker.frontier.question import Question
from tracker.wording import counted

WHOLE = "All years"
SPANS = {WHOLE: None, "2 years": 2, "1 year": 1}
HOW_TO_USE = "Click a point to open its model. Drag to move, Shift and wheel to zoom, double-click to reset."
AHEAD = (
    " The dashed line leads to the day on which an open model is expected at today's closed level, with its"
    " 90% interval."
)


def answer_or_warn(question: Question, board: str | None) -> Frontier | None:
    """The answer; where the filters leave nothing, a warning and None."""
    try:
        if board:
            return frontier_views.on_board(board, question, queries.snapshot())
        return frontier_views.frontier(question)
    except (StoreError, DiskFullError):
        raise
    except TrackerError as error:
        title = "This series gives no gap" if board else "No models match these filters"
        st.warning(safe_text.escaped(str(error)), title=title)
        if board and error.hint:
            st.caption(safe_text.escaped(error.hint))
        return None


def headline(found: Frontier, definition: str) -> str:
    """The gap as a sentence, for the top of the page."""
    return headline_sentence(found.gap(definition), found.axis, found.unit)


def show_age(found: Frontier, definition: str) -> None:
    """Show the interval, the day of the data and their age; old data and overdue sources are marked."""
    gap, age = found.gap(definition), found.age
    said = [interval_text(gap.ci_low, gap.ci_high, gap.note, gap.unit), f"data of {age.day:%d %b %Y}"]
    if age.confirmed_on is not None:
        said.append(f"Epoch AI had nothing newer on {age.confirmed_on:%d %b %Y}")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption(" · ".join(filter(None, said)), width="content")
        if age.is_old:
            st.badge(age.days_text, color="orange", help="`tracker ingest epoch` fetches the newest data")
        else:
            st.caption(age.days_text, width="content")
        overdue = [row["title"] or row["source"] for row in queries.ingest_health() if row["is_overdue"]]
        if overdue:
            said_overdue = f"{counted(len(overdue), 'source')} overdue"
            st.badge(said_overdue, color="orange", help=", ".join(overdue))


def link_to_benchmark(question: Question) -> None:
    """A link to the benchmark on which the gap is measured, if it is one."""
    name = question.benchmark
    if name is not None and benchmarks.address(name):
        label = f"{safe_text.escaped(name)}: what it asks, who measured, all scores"
        st.page_link("pages/benchmarks/page.py", label=label, query_params={benchmarks.PARAMETER: name})


def choose_span() -> str:
    """The stretch of time that the chart shows, a key of `SPANS`."""
    chosen = st.segmented_control(
        "Period of the chart",
        list(SPANS),
        default=WHOLE,
        required=True,
        key="span_of_chart",
        bind="query-params",
        label_visibility="collapsed",
    )
    return chosen or WHOLE


def show_models(
    found: Frontier, definition: str, here: MeasuredAnswer | None, ahead: CatchUp | None = None
) -> None:
    """Show every model with both frontiers, those measured here, and what the chosen definition asks."""
    st.caption(definitions.definition(definition).question)
    for note in found.notes:
        st.caption(safe_text.with_commands(note))
    years = SPANS[choose_span()]
    ahead = ahead if found.unit == "index" and years != 1 else None  # half a chart of a year would be future
    measured_points = measured.point_rows(here)
    cached_chart.render(
        charts.frontier_chart,
        with_addresses(found.points),
        measured_points,
        unit=found.unit,
        as_of=found.as_of,
        standing=found.gap(definition).value if definition == definitions.STANDING_LAG else None,
        since=None if years is None else found.as_of - timedelta(days=365 * years),
        ahead=ahead,
        caption=cached_chart.ChartCaption(
            headline(found, definition), found.vintage, "" if found.unit == "rating" else cached_chart.EPOCH
        ),
        alt=charts.frontier_alt(found, measured_points),
    )
    st.caption(HOW_TO_USE + (AHEAD if ahead is not None else ""))


def with_addresses(points: pd.DataFrame) -> pd.DataFrame:
    """The points with `href`, the address of the model's page; empty where it has none."""
    known = model_links.names_with_page(points["model"])
    addresses = [
        "model?" + urlencode({"model": known[one]}) if one in known else "" for one in points["model"]
    ]
    return points.assign(href=addresses)


def offer_models(found: Frontier) -> None:
    """Offer every model of the chart as a file."""
    downloads.download_buttons(dated(found.points, found.age), what="Models", name="frontier-models")


def show_definitions(found: Frontier) -> None:
    """Show the gap by every definition as a table."""
    st.dataframe(
        definition_table(found),
        column_config=columns.DEFINITION_COLUMNS,
        hide_index=True,
        alt="The gap by each definition, with 90% intervals",
    )
    answers = pd.DataFrame([asdict(row) for row in found.gaps])
    downloads.download_buttons(dated(answers, found.age), what="Definitions", name="frontier-definitions")


def show_lags(question: Question, *, is_of_board: bool) -> None:
    """Show the lag on each benchmark, filtered unless the measure is a rating board."""
    try:
        all_lags = frontier_views.benchmark_lags(Question() if is_of_board else question)
    except TrackerError as error:
        st.info(safe_text.escaped(str(error)))
        return
    shown = all_lags[~all_lags["is_stale"]]
    if is_of_board:
        st.caption("From published benchmark scores, not from the rating board; filters do not apply.")
    st.caption(
        "Filled dots: benchmarks with private items. Hollow dots: public items. Not shown: "
        f"{len(all_lags) - len(shown)} benchmarks without a score for an open model of the last 14 months."
    )
    if len(shown) > charts.SHOWN_LAGS:
        st.caption(f"The {charts.SHOWN_LAGS} largest lags of {len(shown)}; the download has all.")
    if not shown.empty:
        linked = shown.assign(href=benchmarks.addresses(shown["benchmark"]))
        age = frontier_views.lags_age(Question() if is_of_board else question)
        caption = cached_chart.ChartCaption(
            "Lag of open models by benchmark (G3)", age.day, cached_chart.EPOCH
        )
        cached_chart.render(charts.lag_chart, linked, alt=charts.lag_alt(shown), caption=caption)
        st.caption("Click a dot to open its benchmark.")
    age = frontier_views.lags_age(Question() if is_of_board else question)
    downloads.download_buttons(dated(all_lags, age), what="Lags", name="frontier-lags")


def dated(rows: pd.DataFrame, age: DataAge) -> pd.DataFrame:
    """The rows of an export with the day and the age of the data they rest on."""
    return rows.assign(data_of=age.day.isoformat(), age_days=age.age_days)


def definition_table(found: Frontier) -> pd.DataFrame:
    """The gap by every definition as the columns of `DEFINITION_COLUMNS`."""
    rows = pd.DataFrame(
        {
            "id": [row.id for row in found.gaps],
            "behind": [amount(row.value, row.unit) for row in found.gaps],
            "interval": [safe_text.ends(*_in_unit(row.ci_low, row.ci_high, row.unit)) for row in found.gaps],
            "asks": [definitions.definition(row.id).question for row in found.gaps],
            "n": [f"{row.n}" if row.n else None for row in found.gaps],
            "n_censored": [f"{row.n_censored}" if row.n else None for row in found.gaps],
            "note": [row.note or None for row in found.gaps],
        }
    )
    return rows.dropna(axis="columns", how="all").fillna("")


def amount(value: float | None, unit: str) -> str:
    """A gap in its unit: `5.6 months`, `12.3%`, `7.8 points`."""
    if value is None:
        return safe_text.NOTHING
    if unit == "months":
        return safe_text.months(value)
    return f"{100 * value:.1f}%" if unit == "score" else f"{value:.1f} points"


def _in_unit(low: float | None, high: float | None, unit: str) -> tuple[float | None, float | None]:
    scale = 100.0 if unit == "score" else 1.0
    return (None if low is None else low * scale), (None if high is None else high * scale)


def interval_text(low: float | None, high: float | None, note: str, unit: str) -> str:
    """The interval of a gap in its unit, or why there is none."""
    if low is None or high is None:
        return f"90% interval: {note}" if note == BEING_DRAWN else note
    return f"90% interval: {safe_text.ends(*_in_unit(low, high, unit))}"


def value_text(value: float, unit: str) -> str:
    """A value on the axis with its unit."""
    return f"{100 * value:.1f}% above chance" if unit == "score" else f"{unit} {value:.1f}"
