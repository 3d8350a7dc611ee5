"""What the copies of a model lose: one ladder as a chart with whiskers and a table."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st
from streamlit import column_config as cc

from app.data import ladders
from app.widgets import cached_chart, downloads, safe_text
from app.widgets.chart_theme import FONT_PX, TRACK, themed
from tracker.answers.ladder import LadderResult
from tracker.answers.ladder_formats import (
    difference_text,
    divergence_line,
    ladder_markdown,
    ladder_notes,
    ladder_title,
    memory_text,
    months_text,
    speed_text,
)

NO_LADDER = "What fewer bits cost was not measured here: `tracker ladder {model}` measures the copies."
ROW_PX = 34
AXIS_PX = 40
COLUMNS: Mapping[str, Any] = {
    "rung": cc.TextColumn("Weights", width=230, pinned=True),
    "difference": cc.TextColumn("Points (95% interval)", width=170),
    "months": cc.TextColumn("Months behind (90% interval)", width=190),
    "items": cc.NumberColumn("Items", format="localized", width=70),
    "lost": cc.NumberColumn("Right → wrong", width=110),
    "gained": cc.NumberColumn("Wrong → right", width=110),
    "memory": cc.TextColumn("Memory", width=130),
    "speed": cc.TextColumn("Tokens/s", width=140),
    "device": cc.TextColumn("Device", width=140),
    "cut_off": cc.NumberColumn("Cut off", format="percent", width=80),
    "empty": cc.NumberColumn("Empty", format="percent", width=80),
}


def show_ladders(model_id: str) -> None:
    """Show the ladders of this model, the newest first; without one, the command that measures it."""
    found = ladders.ladders_of(model_id)
    if not found:
        st.caption(safe_text.with_commands(NO_LADDER.format(model=model_id)))
        return
    st.header("Quantization", anchor=False)
    for place, ladder in enumerate(found):
        _show(ladder, key=f"ladder_{place}")


def _show(ladder: LadderResult, *, key: str) -> None:
    st.caption(safe_text.escaped(ladder_title(ladder)))
    points = points_frame(ladder)
    if not points.empty:
        caption = cached_chart.ChartCaption(
            f"{safe_text.visible(ladder.model_id)} on {ladder.suite}: loss of its copies", _day(ladder)
        )
        cached_chart.render(loss_chart, points, alt=loss_alt(points), caption=caption)
    rows = rung_frame(ladder)
    st.dataframe(
        rows, column_config=COLUMNS, hide_index=True, placeholder="–", key=f"{key}_rows",
        alt=f"What each copy of {ladder.model_id} loses and saves",
    )  # fmt: skip
    for note in (*ladder_notes(ladder), *filter(None, map(divergence_line, ladder.rungs))):
        st.caption(safe_text.with_commands(note))
    st.download_button(
        "Table for a model card",
        ladder_markdown(ladder).encode(),
        file_name="ladder.md",
        mime="text/markdown",
        key=f"{key}_card",
        on_click="ignore",
    )
    downloads.download_buttons(rows, what=f"Ladder on {ladder.suite}", name=f"ladder-{ladder.ladder_id}")


def _day(ladder: LadderResult) -> date | None:
    """The day on which its last rung was measured."""
    return max((rung.measured_on for rung in ladder.rungs if rung.measured_on), default=None)


def rung_frame(ladder: LadderResult) -> pd.DataFrame:
    """One row per rung, with the columns of `COLUMNS`."""
    return pd.DataFrame(
        [
            {
                "rung": rung.label,
                "difference": "reference" if rung.label == ladder.reference else difference_text(rung.loss),
                "months": months_text(rung),
                "items": rung.n_items,
                "lost": rung.loss.n_lost if rung.loss else None,
                "gained": rung.loss.n_gained if rung.loss else None,
                "memory": memory_text(rung),
                "speed": speed_text(rung),
                "device": rung.cost.device,
                "cut_off": rung.truncated_fraction,
                "empty": rung.empty_fraction,
            }
            for rung in ladder.rungs
        ],
        columns=list(COLUMNS),
    )


def points_frame(ladder: LadderResult) -> pd.DataFrame:
    """One row per rung with a loss: `rung low difference high says`, in percentage points."""
    return pd.DataFrame(
        [
            {
                "rung": safe_text.visible(rung.label),
                "low": 100 * rung.loss.ci_low,
                "difference": 100 * rung.loss.difference,
                "high": 100 * rung.loss.ci_high,
                "says": difference_text(rung.loss),
            }
            for rung in ladder.rungs
            if rung.loss is not None
        ]
    )


def loss_chart(frame: pd.DataFrame) -> alt.LayerChart:
    """One line per rung: the difference to the reference with its interval; a rule at no difference."""
    tooltip = [alt.Tooltip(field="rung", title="weights"), alt.Tooltip(field="says", title="points")]
    base = alt.Chart(frame).encode(
        y=alt.Y(
            field="rung",
            type="nominal",
            sort=list(frame["rung"]),
            axis=alt.Axis(title=None, domain=False, ticks=False, labelLimit=230, labelFontSize=FONT_PX),
        ),
        tooltip=tooltip,
    )
    bar = base.mark_rule(strokeWidth=4, opacity=0.4, strokeCap="round")
    dot = base.mark_point(filled=True, size=85, opacity=1)
    none = alt.Chart(pd.DataFrame({"zero": [0.0]})).mark_rule(color=TRACK, strokeWidth=2)
    return alt.LayerChart(
        layer=[
            none.encode(x=_points("zero")),
            themed(bar.encode(x=_points("low"), x2=alt.X2(field="high")), "first"),
            themed(dot.encode(x=_points("difference")), "first"),
        ],
        height=ROW_PX * len(frame) + AXIS_PX,
    )


def _points(field: str) -> alt.X:
    axis = alt.Axis(title="points", gridColor=TRACK, domain=False, ticks=False, tickCount=5)
    return alt.X(field=field, type="quantitative", axis=axis)


def loss_alt(frame: pd.DataFrame) -> str:
    """`loss_chart` in words, for screen readers."""
    said = ", ".join(f"{rung} {says}" for rung, says in zip(frame["rung"], frame["says"], strict=True))
    return f"Differences to the reference in points with 95% intervals: {said}"
