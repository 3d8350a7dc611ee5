"""The chart of all models: place on the index against size, memory, price or time."""

from __future__ import annotations

import altair as alt
import pandas as pd

from app.widgets.chart_theme import GREY, THEME_COLORS, TRACK

HEIGHT_PX = 360
GROUPS = {"open": ("first", "circle"), "closed": ("second", "diamond")}  # as on the frontier page
COSTS = {  # the column, the title of its axis, and whether the axis is logarithmic
    "Release": ("released", "", False),
    "Parameters": ("n_params", "Parameters", True),
    "GB at 4 bits": ("needed_gb_4", "Memory at 4 bits (GB)", True),
    "GB at 8 bits": ("needed_gb_8", "Memory at 8 bits (GB)", True),
    "GB at 16 bits": ("needed_gb_16", "Memory at 16 bits (GB)", True),
    "Price": ("price_out", "US dollars per million output tokens", True),
}


def cost_chart(frame: pd.DataFrame, *, cost: str) -> alt.Chart:
    """A point per model with that cost. Reads `model access index released href` and the cost's column."""
    column, title, is_log = COSTS[cost]
    rows = frame.dropna(subset=[column])
    rows = rows[rows[column] > 0] if is_log else rows.assign(released=pd.to_datetime(rows["released"]))
    shown = rows.assign(
        cost=rows[column],
        color=rows["access"].map({group: color for group, (color, _) in GROUPS.items()}),
        says_index=[f"{value:.1f}" for value in rows["index"]],
    )[["model", "access", "cost", "index", "color", "says_index", "href"]]
    grid = alt.Axis(title="Capability index", gridColor=TRACK, domain=False, ticks=False, tickCount=6)
    axis = alt.Axis(title=title or None, grid=False, ticks=False, domainColor=TRACK, tickCount=6)
    if is_log:
        axis.labelExpr = "replace(format(datum.value, '~s'), 'G', 'B')"  # billions of parameters, not giga
        x = alt.X(field="cost", type="quantitative", axis=axis, scale=alt.Scale(type="log"))
    else:
        x = alt.X(field="cost", type="temporal", axis=axis)
    shapes = alt.Scale(domain=[*GROUPS], range=[shape for _, shape in GROUPS.values()])
    colors = alt.Color(field="color", type="nominal", legend=None, scale=alt.Scale(domain=list(THEME_COLORS)))
    chart: alt.Chart = (
        alt.Chart(shown, height=HEIGHT_PX)
        .mark_point(filled=True, size=60, opacity=0.75, cursor="pointer")
        .encode(
            x=x,
            y=alt.Y(field="index", type="quantitative", axis=grid, scale=alt.Scale(zero=False, nice=True)),
            color=colors,
            shape=alt.Shape(
                field="access",
                type="nominal",
                scale=shapes,
                legend=alt.Legend(title=None, orient="top", symbolFillColor=GREY, symbolStrokeColor=GREY),
            ),
            href=alt.Href(field="href", type="nominal"),
            tooltip=[
                alt.Tooltip(field="model", title="model", type="nominal"),
                alt.Tooltip(field="access", title="weights", type="nominal"),
                alt.Tooltip(field="says_index", title="index", type="nominal"),
            ],
        )
    )
    return chart


def cost_alt(frame: pd.DataFrame, *, cost: str) -> str:
    """`cost_chart` in words, for screen readers."""
    column, title, _ = COSTS[cost]
    known = frame.dropna(subset=[column])
    return f"Capability index against {(title or 'release').lower()} of {len(known)} models"
