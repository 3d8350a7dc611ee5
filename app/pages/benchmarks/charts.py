"""The scores on one benchmark over time: open models as dots, closed ones as diamonds."""

from __future__ import annotations

from datetime import date
from typing import Literal

import altair as alt
import pandas as pd

from app.widgets.chart_theme import FONT_PX, GREY, THEME_COLORS, TRACK, themed
from app.widgets.safe_text import interval, percent

HEIGHT_PX = 380
GROUPS = {"open": ("first", "circle"), "closed": ("second", "diamond")}  # as on the frontier page
READS = (
    "model", "organization", "access", "released", "score", "ci_low", "ci_high", "is_record",
    "measured_by", "href",
)  # fmt: skip
CEILING_TEXT, CHANCE_TEXT = "highest possible", "guessing"


def score_chart(frame: pd.DataFrame, *, chance: float, ceiling: float, as_of: date) -> alt.LayerChart:
    """A point per model by release, both running bests as steps, guessing and the ceiling as lines."""
    rows = frame.assign(
        released=pd.to_datetime(frame["released"]),
        color=frame["access"].map({group: color for group, (color, _) in GROUPS.items()}),
        says_score=[percent(score) for score in frame["score"]],
        says_interval=[interval(*ends) for ends in zip(frame["ci_low"], frame["ci_high"], strict=True)],
        says_released=pd.to_datetime(frame["released"]).dt.strftime("%d %b %Y"),
    )
    layers = [_lines(chance, ceiling), *_line_names(chance, ceiling), _steps(rows, as_of), _points(rows)]
    return alt.LayerChart(layer=layers, height=HEIGHT_PX)


def _x() -> alt.X:
    axis = alt.Axis(
        title="Release of the model",
        grid=False,
        ticks=False,
        domainColor=TRACK,
        format="%b %Y",
        labelOverlap=True,
        tickCount=6,
    )
    return alt.X(field="released", type="temporal", axis=axis)


def _y() -> alt.Y:
    axis = alt.Axis(title="Score", format="%", gridColor=TRACK, domain=False, ticks=False, tickCount=5)
    return alt.Y(field="score", type="quantitative", axis=axis, scale=alt.Scale(domain=[0, 1]))


def _color() -> alt.Color:
    scale = alt.Scale(domain=list(THEME_COLORS))
    return alt.Color(field="color", type="nominal", legend=None, scale=scale)


def _lines(chance: float, ceiling: float) -> alt.Chart:
    ends = pd.DataFrame({"score": [chance, ceiling]})
    line: alt.Chart = alt.Chart(ends).mark_rule(color=GREY, strokeDash=[3, 3], strokeWidth=1.2).encode(y=_y())
    return line


def _line_names(chance: float, ceiling: float) -> list[alt.Chart]:
    """The name of the ceiling at the left, that of guessing at the right: no model stands there."""
    marks = [_line_name(CEILING_TEXT, ceiling, "left", dy=11)]
    if chance > 0.0:
        marks.append(_line_name(CHANCE_TEXT, chance, "right", dy=11))
    return marks


def _line_name(says: str, score: float, side: Literal["left", "right"], *, dy: int) -> alt.Chart:
    base = alt.Chart(pd.DataFrame({"score": [score], "says": [says]}))
    text = base.mark_text(
        align=side, baseline="middle", dx=4 if side == "left" else -4, dy=dy, fontSize=FONT_PX
    )
    x = alt.value(0 if side == "left" else "width")
    return themed(text.encode(x=x, y=_y(), text=alt.Text(field="says", type="nominal")), "ink")


def _steps(rows: pd.DataFrame, as_of: date) -> alt.Chart:
    records = rows[rows["is_record"]].sort_values("released")
    last = records.groupby("access", as_index=False).last().assign(released=pd.Timestamp(as_of))
    lines = pd.concat([records, last])[["released", "score", "color"]]
    line: alt.Chart = (
        alt.Chart(lines)
        .mark_line(interpolate="step-after", strokeWidth=2.5)
        .encode(x=_x(), y=_y(), color=_color())
    )
    return line


def _points(rows: pd.DataFrame) -> alt.Chart:
    about = {
        "model": "model",
        "organization": "by",
        "access": "weights",
        "says_released": "released",
        "says_score": "score",
        "says_interval": "90% interval",
        "measured_by": "measured by",
    }
    shapes = alt.Scale(domain=[*GROUPS], range=[shape for _, shape in GROUPS.values()])
    legend = alt.Legend(title=None, orient="top", symbolFillColor=GREY, symbolStrokeColor=GREY)
    points: alt.Chart = (
        alt.Chart(rows[[*about, "released", "score", "color", "is_record", "href"]])
        .mark_point(filled=True, size=52, cursor="pointer")
        .encode(
            x=_x(),
            y=_y(),
            color=_color(),
            href=alt.Href(field="href", type="nominal"),
            opacity=alt.condition("datum.is_record", alt.value(1.0), alt.value(0.4)),
            shape=alt.Shape(field="access", type="nominal", scale=shapes, legend=legend),
            tooltip=[alt.Tooltip(field=f, title=t, type="nominal") for f, t in about.items()],
        )
    )
    return points


def score_alt(name: str, frame: pd.DataFrame) -> str:
    """`score_chart` in words, for screen readers."""
    best = frame.sort_values("score", ascending=False).iloc[0]
    return (
        f"Scores of {len(frame)} models on {name} by release date; the best is {best['model']} with"
        f" {percent(best['score'])}"
    )
