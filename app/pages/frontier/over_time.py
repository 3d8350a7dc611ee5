"""The gap over time with its interval, and the outlook in words."""

from __future__ import annotations

from dataclasses import asdict

import altair as alt
import pandas as pd
import streamlit as st

from app.data import gap_histories
from app.data.gap_histories import OverTime
from app.pages.frontier import view
from app.widgets import cached_chart, downloads, safe_text
from app.widgets.chart_theme import TRACK, themed
from tracker.answers.outlook import GapHistory
from tracker.frontier.definitions import MONTHS
from tracker.frontier.outlook import CatchUp
from tracker.frontier.question import Question

HEIGHT_PX = 240
POLL_S = 2.0  # while the history is computed


def catch_up(found: OverTime | None) -> CatchUp | None:
    """When open models are expected at today's closed level; None while it is unknown."""
    return None if found is None or found.outlook is None else found.outlook.catch_up


def show_over_time(question: Question, definition: str, found: OverTime | None) -> None:
    """Show the gap at past month ends, and when open models are expected at today's closed level."""
    if found is None:
        st.caption("The gap at past month ends is being computed")
        _await(question, definition)
        return
    if found.history is not None:
        history = found.history
        frame = pd.DataFrame([asdict(row) for row in history.months])
        st.caption(
            f"{definition} at each month end, with 90% intervals; computed from the {history.age.text}, with"
            " the models released by then"
        )
        cached_chart.render(
            history_chart,
            frame,
            definition=definition,
            unit=history.unit,
            alt=_alt(history),
            caption=cached_chart.ChartCaption(
                f"The gap by {definition} at each month end", history.age.day, cached_chart.EPOCH
            ),
        )
        rows = view.dated(frame, history.age)
        downloads.download_buttons(rows, what="Gap over time", name="frontier-gap-over-time")
    if found.outlook is not None:
        for sentence in found.outlook.sentences:
            st.markdown(safe_text.escaped(sentence))
        for note in found.outlook.notes:
            st.caption(safe_text.with_commands(note))
    if found.problem:
        st.info(safe_text.escaped(found.problem))


def _await(question: Question, definition: str) -> None:
    @st.fragment(run_every=POLL_S)
    def look() -> None:
        if gap_histories.over_time(question, definition, wait_s=0.0) is not None:
            st.rerun()

    look()


def history_chart(frame: pd.DataFrame, *, definition: str, unit: str) -> alt.LayerChart:
    """The gap as a line through month ends, its interval as a band. Reads `as_of value ci_low ci_high`."""
    scale = 100.0 if unit == "score" else 1.0
    rows = frame.assign(
        as_of=pd.to_datetime(frame["as_of"]),
        **{name: frame[name].astype(float) * scale for name in ("value", "ci_low", "ci_high")},
    )
    rows = rows.assign(
        says_day=rows["as_of"].dt.strftime("%d %b %Y"),
        says_value=[f"{value:.1f}" for value in rows["value"]],
        says_interval=[
            safe_text.ends(low, high) for low, high in zip(rows["ci_low"], rows["ci_high"], strict=True)
        ],
    )
    title = f"{'Months' if unit == MONTHS else 'Points'} behind ({definition})"
    grid = alt.Axis(title=title, gridColor=TRACK, domain=False, ticks=False, tickCount=5)
    x = alt.X(
        field="as_of",
        type="temporal",
        axis=alt.Axis(title=None, grid=False, ticks=False, domainColor=TRACK, format="%b %Y", tickCount=6),
    )
    y = alt.Y(field="value", type="quantitative", axis=grid)
    says = {"says_day": "as of", "says_value": "behind", "says_interval": "90% interval"}
    tooltip = [alt.Tooltip(field=field, title=name, type="nominal") for field, name in says.items()]
    known = alt.Chart(rows.dropna(subset=["ci_low", "ci_high"])[["as_of", "ci_low", "ci_high"]])
    low = alt.Y(field="ci_low", type="quantitative", axis=grid)
    band = known.mark_area(opacity=0.22, interpolate="monotone").encode(
        x=x, y=low, y2=alt.Y2(field="ci_high")
    )
    base = alt.Chart(rows[["as_of", "value", *says]]).encode(x=x, y=y)
    line = base.mark_line(strokeWidth=2.5)
    dots = base.mark_point(filled=True, size=40).encode(tooltip=tooltip)
    layers = [themed(band, "first"), themed(line, "first"), themed(dots, "first")]
    return alt.LayerChart(layer=layers, height=HEIGHT_PX)


def _alt(history: GapHistory) -> str:
    """`history_chart` in words, for screen readers."""
    first, last = history.months[0], history.months[-1]
    return (
        f"The gap ({history.definition}) at {len(history.months)} month ends, from {first.value:.1f}"
        f" {history.unit} in {first.as_of:%B %Y} to {last.value:.1f} in {last.as_of:%B %Y}"
    )
