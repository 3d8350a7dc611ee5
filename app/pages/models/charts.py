"""The chart of all models: place on the index against size, memory, price or time."""

from __future__ import annotations

import altair as alt
import pandas as pd

from app.widgets.chart_theme import GREY, THEME_COLORS, TRACK

HEIGHT_PX = 360
GROUPS = {"open": ("first", "circle"), "closed": ("second", "diamond")}  # as on the frontier page
PRICE, PRICES = "Price", "format(datum.value, '$~g')"
COSTS = {  # the column, the title of its axis, and whether the axis is logarithmic
    "Release": ("released", "Release", False),
    "Parameters": ("n_params", "Parameters", True),
    "GB at 4 bits": ("needed_gb_4", "Memory at 4 bits (GB)", True),
    "GB at 8 bits": ("needed_gb_8", "Memory at 8 bits (GB)", True),
    "GB at 16 bits": ("needed_gb_16", "Memory at 16 bits (GB)", True),
    PRICE: ("price_out", "US dollars per million output tokens", True),
}


def cost_chart(frame: pd.DataFrame, *, cost: str) -> alt.LayerChart:
    """A point per model with that cost, and the best of each group up to it as steps.

    Reads `model access index released href` and the cost's column.
    """
    column, _, is_log = COSTS[cost]
    rows = frame.dropna(subset=[column])
    rows = rows[rows[column] > 0] if is_log else rows.assign(released=pd.to_datetime(rows["released"]))
    shown = rows.assign(
        cost=rows[column],
        color=rows["access"].map({group: color for group, (color, _) in GROUPS.items()}),
        says_index=[f"{value:.1f}" for value in rows["index"]],
    )[["model", "access", "cost", "index", "color", "says_index", "href"]]
    return alt.LayerChart(layer=[_steps(shown, cost), _points(shown, cost)], height=HEIGHT_PX)


def _points(shown: pd.DataFrame, cost: str) -> alt.Chart:
    shapes = alt.Scale(domain=[*GROUPS], range=[shape for _, shape in GROUPS.values()])
    legend = alt.Legend(title=None, orient="top", symbolFillColor=GREY, symbolStrokeColor=GREY)
    points: alt.Chart = (
        alt.Chart(shown)
        .mark_point(filled=True, size=60, opacity=0.75, cursor="pointer")
        .encode(
            x=_x(cost),
            y=_y(),
            color=_color(),
            shape=alt.Shape(field="access", type="nominal", scale=shapes, legend=legend),
            href=alt.Href(field="href", type="nominal"),
            tooltip=[
                alt.Tooltip(field="model", title="model", type="nominal"),
                alt.Tooltip(field="access", title="weights", type="nominal"),
                alt.Tooltip(field="says_index", title="index", type="nominal"),
            ],
        )
    )
    return points


def _steps(shown: pd.DataFrame, cost: str) -> alt.Chart:
    """The best of each group among the models that cost no more; nothing stands between two of them."""
    ordered = shown.sort_values(["cost", "index"], ascending=[True, False])
    best = ordered.groupby("access")["index"].cummax()
    is_record = ordered["index"] > best.groupby(ordered["access"]).shift(fill_value=float("-inf"))
    records = ordered[is_record]
    last = records.groupby("access", as_index=False).last().assign(cost=shown["cost"].max())
    lines = pd.concat([records, last])[["cost", "index", "color"]]
    line: alt.Chart = (
        alt.Chart(lines)
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(x=_x(cost), y=_y(), color=_color())
    )
    return line


def _x(cost: str) -> alt.X:
    _, title, is_log = COSTS[cost]
    axis = alt.Axis(title=title, grid=False, ticks=False, domainColor=TRACK, tickCount=6, labelOverlap=True)
    if not is_log:
        return alt.X(field="cost", type="temporal", axis=axis)
    # billions of parameters, not giga; cents, not milli
    axis.labelExpr = PRICES if cost == PRICE else "replace(format(datum.value, '~s'), 'G', 'B')"
    return alt.X(field="cost", type="quantitative", axis=axis, scale=alt.Scale(type="log"))


def _y() -> alt.Y:
    axis = alt.Axis(title="Capability index", gridColor=TRACK, domain=False, ticks=False, tickCount=6)
    return alt.Y(field="index", type="quantitative", axis=axis, scale=alt.Scale(zero=False, nice=True))


def _color() -> alt.Color:
    scale = alt.Scale(domain=list(THEME_COLORS))
    return alt.Color(field="color", type="nominal", legend=None, scale=scale)


def cost_alt(frame: pd.DataFrame, *, cost: str) -> str:
    """`cost_chart` in words, for screen readers."""
    column, title, _ = COSTS[cost]
    known = frame.dropna(subset=[column])
    return f"Capability index against {title.lower()} of {len(known)} models"
