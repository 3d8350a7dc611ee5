"""Charts of the frontier: open models are dots in the theme's first colour, closed diamonds in its second."""

from __future__ import annotations

from datetime import date
from typing import Any

import altair as alt
import pandas as pd

from app.charts import FONT_PX, GREY, THEME_COLORS, TRACK, themed
from app.text import months

GROUPS = {"open": ("first", "circle"), "closed": ("second", "diamond")}  # colour and shape
HEIGHT_PX = 430
LAG_ROW_PX = 24
SHAPES = alt.Scale(domain=[*GROUPS], range=[shape for _, shape in GROUPS.values()])
LAG_NAMES = alt.Axis(
    title=None, domain=False, ticks=False, labelLimit=210, labelPadding=8, labelFontSize=FONT_PX
)
COLORS = alt.Scale(domain=list(THEME_COLORS))
AXIS_TITLES = {"index": "Capability index", "score": "Score above chance, %", "rating": "Rating"}
SHOWN_LAGS = 40


def frontier_chart(points: pd.DataFrame, *, unit: str, as_of: date, standing: float | None) -> alt.LayerChart:
    """Every model as a point, both frontiers as steps; `standing` months (G3) as a line of that length.

    Reads `model organization access released value ci_low ci_high is_record`.
    """
    scale = 100.0 if unit == "score" else 1.0
    rows = _dated(points, scale)
    # one pass with its own data per layer: the same rows are not sent twice
    marks = [
        _steps(rows, as_of),
        _models(rows, unit),
        *_names(rows, as_of),
        *(_arrow(rows, standing) if standing is not None and standing > 0 else []),
    ]
    return alt.LayerChart(layer=marks, height=HEIGHT_PX)


def _dated(points: pd.DataFrame, scale: float) -> pd.DataFrame:
    rows = points.assign(
        released=pd.to_datetime(points["released"]),
        value=points["value"] * scale,
        color=points["access"].map({group: color for group, (color, _) in GROUPS.items()}),
    )
    for end in ("ci_low", "ci_high"):
        rows[end] = rows[end] * scale
    return rows


def _y(unit: str) -> alt.Y:
    title = AXIS_TITLES[unit]
    axis = alt.Axis(title=title, grid=True, gridColor=TRACK, domain=False, ticks=False, tickCount=6)
    return alt.Y(field="value", type="quantitative", scale=alt.Scale(zero=False, nice=True), axis=axis)


def _x() -> alt.X:
    axis = alt.Axis(title=None, grid=False, ticks=False, domainColor=TRACK, format="%Y", tickCount="year")
    return alt.X(field="released", type="temporal", axis=axis)


def _color() -> alt.Color:
    return alt.Color(field="color", type="nominal", legend=None, scale=COLORS)


def _steps(rows: pd.DataFrame, as_of: date) -> alt.Chart:
    """Both running maxima, each drawn on to the last day."""
    records = rows[rows["is_record"]]
    last = records.groupby("access", as_index=False).last().assign(released=pd.Timestamp(as_of))
    lines = pd.concat([records, last])[["released", "value", "color"]]
    line: alt.Chart = (
        alt.Chart(lines)
        .mark_line(interpolate="step-after", strokeWidth=2.5, clip=True)
        .encode(x=_x(), y=alt.Y(field="value", type="quantitative"), color=_color())
    )
    return line


def _models(rows: pd.DataFrame, unit: str) -> alt.Chart:
    digits = 1
    said = rows.assign(
        says_value=[f"{value:.{digits}f}" for value in rows["value"]],
        says_interval=[_ends(low, high) for low, high in zip(rows["ci_low"], rows["ci_high"], strict=True)],
        says_released=rows["released"].dt.strftime("%d %b %Y"),
    )
    columns = ["model", "organization", "access", "released", "value", "color", "is_record"]
    says = {"model": "model", "organization": "by", "access": "weights", "says_released": "released"}
    says |= {"says_value": "score, %" if unit == "score" else unit, "says_interval": "90 % interval"}
    dots: alt.Chart = (
        alt.Chart(said[[*columns, "says_value", "says_interval", "says_released"]])
        .mark_point(filled=True, size=52)
        .encode(
            x=_x(),
            y=_y(unit),
            color=_color(),
            shape=alt.Shape(field="access", type="nominal", legend=None, scale=SHAPES),
            opacity=alt.condition("datum.is_record", alt.value(1.0), alt.value(0.32)),
            tooltip=[alt.Tooltip(field=f, title=t, type="nominal") for f, t in says.items()],
        )
    )
    return dots


def _ends(low: float, high: float) -> str:
    return "–" if pd.isna(low) or pd.isna(high) else f"{low:.1f} – {high:.1f}"


def _names(rows: pd.DataFrame, as_of: date) -> list[alt.Chart]:
    """The name of each line at its end: of the higher one above, of the lower one below."""
    ends = rows[rows["is_record"]].groupby("access", as_index=False).last()
    names = ends.assign(released=pd.Timestamp(as_of)).sort_values("value", ascending=False)
    marks = []
    for place, dy in enumerate((-14, 16)):
        base = alt.Chart(names.iloc[[place]][["released", "value", "access", "color"]])
        text = base.mark_text(align="right", baseline="middle", dy=dy, fontSize=FONT_PX, fontWeight=600)
        marks.append(
            text.encode(
                x=_x(),
                y=alt.Y(field="value", type="quantitative"),
                text=alt.Text(field="access", type="nominal"),
                color=_color(),
            )
        )
    return marks


def _arrow(rows: pd.DataFrame, standing: float) -> list[alt.Chart]:
    """The months between the day on which closed reached the level of the best open model and that model."""
    best = rows[rows["access"] == "open"].sort_values(["value", "released"], ascending=[False, True]).iloc[0]
    reached = best["released"] - pd.Timedelta(days=standing * 30.4375)
    data = pd.DataFrame(
        {"from": [reached], "to": [best["released"]], "value": [best["value"]], "says": [months(standing)]}
    )
    base = alt.Chart(data).encode(y=alt.Y(field="value", type="quantitative"))
    rule = base.mark_rule(strokeWidth=2, strokeDash=[4, 3])
    text = base.mark_text(align="right", baseline="middle", dx=-7, fontSize=FONT_PX, fontWeight=600)
    ends = alt.X(field="from", type="temporal")
    return [
        themed(rule.encode(x=ends, x2=alt.X2(field="to")), "ink"),
        themed(text.encode(x=ends, text=alt.Text(field="says", type="nominal")), "ink"),
    ]


def lag_chart(frame: pd.DataFrame) -> alt.LayerChart:
    """One row per benchmark: months behind (G3) as a dot, hollow where the items are public.

    Reads `benchmark months is_private best_open best_closed newest_open`.
    """
    rows = frame.head(SHOWN_LAGS).assign(
        place=range(min(len(frame), SHOWN_LAGS)),
        kind=frame["is_private"].map({True: "private", False: "public"}),
        says=[months(value) for value in frame["months"]],
        zero=0.0,
    )
    about = {
        "benchmark": "benchmark",
        "says": "behind by (G3)",
        "kind": "items",
        "best_open": "best open",
        "best_closed": "best closed",
        "newest_open": "newest open model scored",
    }
    base = alt.Chart(rows[[*about, "months", "zero", "place"]]).encode(
        y=alt.Y(field="benchmark", type="nominal", sort=alt.SortField("place"), axis=LAG_NAMES),
        tooltip=[alt.Tooltip(field=f, title=t, type="nominal") for f, t in about.items()],
    )
    axis = alt.Axis(title="months behind (G3)", gridColor=TRACK, domain=False, ticks=False, tickCount=6)
    x = alt.X(field="months", type="quantitative", axis=axis)
    line = base.mark_rule(color=GREY, opacity=0.5, strokeWidth=1.5).encode(x=x, x2=alt.X2(field="zero"))
    ring = base.mark_point(size=80, strokeWidth=2, opacity=1).encode(x=x)
    dot = (
        base.transform_filter("datum.kind == 'private'")
        .mark_point(filled=True, size=80, opacity=1)
        .encode(x=x)
    )
    layers = [line, themed(ring, "first"), themed(dot, "first")]
    return alt.LayerChart(layer=layers, height=LAG_ROW_PX * len(rows) + 46)


def frontier_alt(found: Any) -> str:
    """What `frontier_chart` shows, in words for those who do not see it."""
    open_best, closed_best = found.best("open"), found.best("closed")
    return (
        f"{len(found.points)} models by release date and {found.axis}, with the best open and the best closed"
        f" level over time. Best open: {open_best['model']}, {open_best['released']:%B %Y}."
        f" Best closed: {closed_best['model']}, {closed_best['released']:%B %Y}."
    )


def lag_alt(frame: pd.DataFrame) -> str:
    """What `lag_chart` shows, in words for those who do not see it."""
    first, last = frame.iloc[0], frame.iloc[-1]
    return (
        f"Months that open models are behind (G3) on {len(frame)} benchmarks, from {first['benchmark']} with"
        f" {months(first['months'])} to {last['benchmark']} with {months(last['months'])}"
    )
