"""Charts of the frontier: open models are dots in the theme's first color, closed diamonds in its second.

Models measured here are triangles in the third, with their interval and a link to their page.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, Literal

import altair as alt
import pandas as pd

from app.pages.frontier.record_names import OFFSETS, named_records
from app.widgets.chart_theme import FONT_PX, GREY, THEME_COLORS, TRACK, themed
from app.widgets.safe_text import ends, months
from tracker.frontier.outlook import CatchUp

MEASURED, MEASURED_COLOR, MEASURED_SIZE = "measured here", "third", 110
GROUPS = {"open": ("first", "circle"), "closed": ("second", "diamond")}  # color and shape
HEIGHT_PX = 430
AXIS_PX = 60  # of it, below the plot
LAG_ROW_PX = 24
LEGEND_PX, LEGEND_ROW_PX = 12, 18  # from the upper left corner
NAME_PX = 12
NARROW_PX = 600  # of the plot: below, the names for a phone
AHEAD_DAYS = 365  # of the outlook beyond its expected day; more would squeeze the past
# the wheel alone scrolls the page, as does a finger
ZOOM = "wheel![event.shiftKey]"
PAN = "[pointerdown[event.pointerType == 'mouse'], window:pointerup] > window:pointermove!"
SHAPES = alt.Scale(domain=[*GROUPS], range=[shape for _, shape in GROUPS.values()])
LAG_NAMES = alt.Axis(
    title=None,
    domain=False,
    ticks=False,
    labelLimit=210,
    labelPadding=8,
    labelFontSize=FONT_PX,
    labelOverlap=False,
)
COLORS = alt.Scale(domain=list(THEME_COLORS))
AXIS_TITLES = {"index": "Capability index", "score": "Score above chance (%)", "rating": "Rating"}
SHOWN_LAGS = 40


def frontier_chart(  # noqa: PLR0913 - the parts of one picture
    points: pd.DataFrame,
    measured: pd.DataFrame | None = None,
    *,
    unit: str,
    as_of: date,
    standing: float | None,
    since: date | None = None,
    ahead: CatchUp | None = None,
) -> alt.LayerChart:
    """Every model as a point, both frontiers as steps; `standing` months (G3) as a line of that length.

    Reads `model organization access released value ci_low ci_high is_record href`. `measured` has the rows
    of `measured.point_rows`, or none. From `since` on; `ahead` is drawn as a dashed line into the future.
    """
    scale = 100.0 if unit == "score" else 1.0
    every = _dated(points, scale)
    start = every["released"].min() if since is None else pd.Timestamp(since)
    rows = every[every["released"] >= start]
    here = None if measured is None or measured.empty else _since(measured, start)
    # one pass with its own data per layer: the same rows are not sent twice
    marks = [
        _steps(every, start, as_of),
        _models(rows, unit),
        *_names(rows, pd.Timestamp(as_of) if ahead is None else _last_day(ahead, as_of), here),
        *(_arrow(rows, standing) if standing is not None and standing > 0 else []),
        *(_ahead(rows, ahead) if ahead is not None else []),
        *(_measured(here) if here is not None and not here.empty else []),
        *_legend(has_measured=here is not None and not here.empty),
    ]
    return alt.LayerChart(layer=marks, height=HEIGHT_PX)


def _since(measured: pd.DataFrame, start: pd.Timestamp) -> pd.DataFrame:
    return measured[pd.to_datetime(measured["released"]) >= start]


def _dated(points: pd.DataFrame, scale: float) -> pd.DataFrame:
    rows = points.assign(
        released=pd.to_datetime(points["released"]),
        value=points["value"] * scale,
        color=points["access"].map({group: color for group, (color, _) in GROUPS.items()}),
    )
    for end in ("ci_low", "ci_high"):
        rows[end] = rows[end] * scale
    return rows if "href" in rows else rows.assign(href="")


def _y(unit: str) -> alt.Y:
    title = AXIS_TITLES[unit]
    axis = alt.Axis(title=title, grid=True, gridColor=TRACK, domain=False, ticks=False, tickCount=6)
    return alt.Y(field="value", type="quantitative", scale=alt.Scale(zero=False, nice=True), axis=axis)


def _x() -> alt.X:
    axis = alt.Axis(title=None, grid=False, ticks=False, domainColor=TRACK, format="%Y", tickCount="year")
    return alt.X(field="released", type="temporal", axis=axis)


def _color() -> alt.Color:
    return alt.Color(field="color", type="nominal", legend=None, scale=COLORS)


def _steps(rows: pd.DataFrame, start: pd.Timestamp, as_of: date) -> alt.Chart:
    """Both running maxima, from the record that stood at the start to the last day."""
    records = rows[rows["is_record"]]
    before = records[records["released"] < start].groupby("access", as_index=False).last()
    last = records.groupby("access", as_index=False).last().assign(released=pd.Timestamp(as_of))
    parts = [before.assign(released=start), records[records["released"] >= start], last]
    lines = pd.concat([part for part in parts if not part.empty])[["released", "value", "color"]]
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
        says_interval=[ends(low, high) for low, high in zip(rows["ci_low"], rows["ci_high"], strict=True)],
        says_released=rows["released"].dt.strftime("%d %b %Y"),
    )
    columns = ["model", "organization", "access", "released", "value", "color", "is_record", "href"]
    says = {"model": "model", "organization": "by", "access": "weights", "says_released": "released"}
    says |= {"says_value": "score (%)" if unit == "score" else unit, "says_interval": "90% interval"}
    dots: alt.Chart = (
        alt.Chart(said[[*columns, "says_value", "says_interval", "says_released"]])
        .mark_point(filled=True, size=52, clip=True, cursor="pointer")
        .encode(
            x=_x(),
            href=alt.Href(field="href", type="nominal"),
            y=_y(unit),
            color=_color(),
            shape=alt.Shape(field="access", type="nominal", legend=None, scale=SHAPES),
            opacity=alt.condition("datum.is_record", alt.value(1.0), alt.value(0.32)),
            tooltip=_tooltips(says),
        )
        .add_params(alt.selection_interval(name="zoom", bind="scales", zoom=ZOOM, translate=PAN))
    )
    return dots


def _names(rows: pd.DataFrame, until: pd.Timestamp, here: pd.DataFrame | None) -> list[alt.Chart]:
    """The names of the record holders that have room, fewer on a phone."""
    if here is not None:
        here = here.assign(released=pd.to_datetime(here["released"]))
    named = named_records(rows, until=until, height_px=HEIGHT_PX - AXIS_PX, here=here)
    named = named[named["on_desk"] | named["on_phone"]]
    columns = ["model", "released", "value", "label", "href", "on_desk", "on_phone"]
    marks = []
    aligned: dict[str, Literal["left", "right"]] = {"closed": "right", "open": "left"}
    for access, align in aligned.items():
        if access not in set(named["access"]):
            continue
        dx, dy = OFFSETS[access]
        base = alt.Chart(named.loc[named["access"] == access, columns])
        text = base.mark_text(
            align=align, baseline="middle", dx=dx, dy=dy, fontSize=NAME_PX, cursor="pointer"
        )
        has_room = f"width > {NARROW_PX} ? datum.on_desk : datum.on_phone"
        label = alt.Text(
            condition=alt.ConditionalPredicateValueDefTextExprRef(
                test=has_room, value=alt.ExprRef("datum.label")
            ),
            value="",
        )
        marks.append(
            themed(
                text.encode(
                    x=_x(),
                    y=alt.Y(field="value", type="quantitative"),
                    href=alt.Href(field="href", type="nominal"),
                    text=label,
                    tooltip=_tooltips({"model": "model"}),  # without one Vega-Lite takes no click on a layer
                ),
                "ink",
            )
        )
    return marks


def _last_day(ahead: CatchUp, as_of: date) -> pd.Timestamp:
    """The last day of the time axis: the end of the outlook's interval, if it is not too far off."""
    if ahead.expected is None:
        return pd.Timestamp(as_of)
    latest = pd.Timestamp(ahead.expected) + pd.Timedelta(days=AHEAD_DAYS)
    return latest if ahead.ci_high is None else min(pd.Timestamp(ahead.ci_high), latest)


def _ahead(rows: pd.DataFrame, ahead: CatchUp) -> list[alt.Chart]:
    """From the best open model to the day on which one is expected at today's closed level."""
    if ahead.expected is None:
        return []
    best = rows[rows["access"] == "open"].sort_values(["value", "released"], ascending=[False, True]).iloc[0]
    day = pd.Timestamp(ahead.expected)
    low = day if ahead.ci_low is None else pd.Timestamp(ahead.ci_low)
    high = _last_day(ahead, ahead.expected)
    path = pd.DataFrame({"released": [best["released"], day], "value": [best["value"], ahead.level]})
    words = {"says": [f"expected {day:%b %Y}"], "short": [f"{day:%b %Y}"]}
    ends = pd.DataFrame({"from": [low], "to": [high], "value": [ahead.level]} | words)
    y = alt.Y(field="value", type="quantitative")
    line = alt.Chart(path).mark_line(strokeWidth=2, strokeDash=[2, 4], clip=True).encode(x=_x(), y=y)
    base = alt.Chart(ends).encode(y=y)
    bar = base.mark_rule(strokeWidth=4, opacity=0.35, clip=True)
    text = base.mark_text(align="right", baseline="middle", fontSize=NAME_PX)
    text.mark.dy = alt.ExprRef(f"width > {NARROW_PX} ? 16 : -14")  # on a phone, names of models stand below
    said = alt.Text(
        condition=alt.ConditionalPredicateValueDefTextExprRef(
            test=f"width > {NARROW_PX}", value=alt.ExprRef("datum.says")
        ),
        value=alt.ExprRef("datum.short"),
    )
    start, end = alt.X(field="from", type="temporal"), alt.X(field="to", type="temporal")
    return [
        themed(line, "first"),
        themed(bar.encode(x=start, x2=alt.X2(field="to")), "first"),
        themed(text.encode(x=end, text=said), "ink"),
    ]


def _arrow(rows: pd.DataFrame, standing: float) -> list[alt.Chart]:
    """A line from the day on which closed reached the level of the best open model to that model's
    release.
    """
    best = rows[rows["access"] == "open"].sort_values(["value", "released"], ascending=[False, True]).iloc[0]
    reached = best["released"] - pd.Timedelta(days=standing * 30.4375)
    data = pd.DataFrame(
        {"from": [reached], "to": [best["released"]], "value": [best["value"]], "says": [months(standing)]}
    )
    base = alt.Chart(data).encode(y=alt.Y(field="value", type="quantitative"))
    rule = base.mark_rule(strokeWidth=2, strokeDash=[4, 3])
    text = base.mark_text(align="left", baseline="middle", dx=8, dy=-10, fontSize=FONT_PX, fontWeight=600)
    start = alt.X(field="from", type="temporal")
    return [
        themed(rule.encode(x=start, x2=alt.X2(field="to")), "ink"),
        themed(text.encode(x=start, text=alt.Text(field="says", type="nominal")), "ink"),
    ]


def _measured(measured: pd.DataFrame) -> list[alt.Chart]:
    """Models measured here: the interval as a bar, a triangle that links to the model, some names."""
    about = {
        "model": "measured here",
        "says_measured": "suite",
        "says_day": "date",
        "says_value": "index",
        "says_interval": "90% interval",
        "says_months": "behind closed models",
        "says_calibrated": "calibrated",
        "says_published": "published index",
    }
    rows = measured.assign(
        released=pd.to_datetime(measured["released"]),
        says_value=[f"{value:.1f}" for value in measured["value"]],
        says_interval=[
            ends(low, high) for low, high in zip(measured["ci_low"], measured["ci_high"], strict=True)
        ],
        color=MEASURED_COLOR,
    )
    columns = [*about, "label", "href", "released", "value", "ci_low", "ci_high", "color"]
    base = alt.Chart(rows[columns]).encode(x=_x(), tooltip=_tooltips(about))
    bar = base.transform_filter("isValid(datum.ci_low)").mark_rule(strokeWidth=3, opacity=0.35)
    dot = base.mark_point(filled=True, shape="triangle-up", size=MEASURED_SIZE, opacity=1, cursor="pointer")
    text = base.transform_filter("datum.label != ''").mark_text(
        align="right", baseline="middle", dx=-9, fontSize=FONT_PX - 1, limit=170, cursor="pointer"
    )
    y, link = alt.Y(field="value", type="quantitative"), alt.Href(field="href", type="nominal")
    return [
        bar.encode(y=alt.Y(field="ci_low", type="quantitative"), y2=alt.Y2(field="ci_high"), color=_color()),
        dot.encode(y=y, color=_color(), href=link),
        themed(text.encode(y=y, href=link, text=alt.Text(field="label", type="nominal")), "ink"),
    ]


def _legend(*, has_measured: bool) -> list[alt.Chart]:
    """The kinds of points at the upper left, below each other."""
    entries = [(group, *look) for group, look in GROUPS.items()]
    if has_measured:
        entries.append((MEASURED, MEASURED_COLOR, "triangle-up"))
    marks = []
    for place, (says, color, shape) in enumerate(entries):
        base = alt.Chart(pd.DataFrame({"says": [says]}))
        x, y = alt.value(LEGEND_PX), alt.value(LEGEND_PX + place * LEGEND_ROW_PX)
        dot = base.mark_point(filled=True, shape=shape, size=90, opacity=1).encode(x=x, y=y)
        text = base.mark_text(align="left", baseline="middle", dx=9, fontSize=FONT_PX)
        marks += [
            themed(dot, color),
            themed(text.encode(x=x, y=y, text=alt.Text(field="says", type="nominal")), "ink"),
        ]
    return marks


def _tooltips(about: Mapping[str, str]) -> list[alt.Tooltip]:
    return [alt.Tooltip(field=f, title=t, type="nominal") for f, t in about.items()]


def lag_chart(frame: pd.DataFrame) -> alt.LayerChart:
    """One row per benchmark: the lag in months (G3) as a dot, hollow where the items are public.

    At most the first `SHOWN_LAGS`. Reads `benchmark months is_private best_open best_closed newest_open`,
    and `href`, the address of the benchmark's page.
    """
    first = frame.head(SHOWN_LAGS)
    first = first if "href" in first else first.assign(href="")
    rows = first.assign(
        place=range(len(first)),
        kind=first["is_private"].map({True: "private", False: "public"}),
        says=[months(value) for value in first["months"]],
        zero=0.0,
    )
    about = {
        "benchmark": "benchmark",
        "says": "lag (G3)",
        "kind": "items",
        "best_open": "best open",
        "best_closed": "best closed",
        "newest_open": "newest open model scored",
    }
    base = alt.Chart(rows[[*about, "months", "zero", "place", "href"]]).encode(
        y=alt.Y(field="benchmark", type="nominal", sort=alt.SortField("place"), axis=LAG_NAMES),
        tooltip=_tooltips(about),
    )
    axis = alt.Axis(title="Lag in months (G3)", gridColor=TRACK, domain=False, ticks=False, tickCount=6)
    x = alt.X(field="months", type="quantitative", axis=axis)
    line = base.mark_rule(color=GREY, opacity=0.5, strokeWidth=1.5).encode(x=x, x2=alt.X2(field="zero"))
    link = alt.Href(field="href", type="nominal")
    # the fill of the ring is what a click meets
    ring = base.mark_point(size=80, strokeWidth=2, opacity=1, fill="transparent", cursor="pointer")
    dot = base.transform_filter("datum.kind == 'private'").mark_point(
        filled=True, size=80, opacity=1, cursor="pointer"
    )
    ring, dot = ring.encode(x=x, href=link), dot.encode(x=x, href=link)
    layers = [line, themed(ring, "first"), themed(dot, "first")]
    return alt.LayerChart(layer=layers, height=LAG_ROW_PX * len(rows) + 46)


def frontier_alt(found: Any, measured: pd.DataFrame) -> str:
    """`frontier_chart` in words, for screen readers."""
    open_best, closed_best = found.best("open"), found.best("closed")
    return (
        f"{len(found.points)} models by release date and {found.axis}, with the open and the closed frontier"
        f" over time. Best open: {open_best['model']}, {open_best['released']:%B %Y}."
        f" Best closed: {closed_best['model']}, {closed_best['released']:%B %Y}."
        f"{_measured_alt(measured)}"
    )


def _measured_alt(measured: pd.DataFrame) -> str:
    if measured.empty:
        return ""
    best = measured.iloc[0]
    return f" Measured here: {len(measured)}, the best {best['model']} at {best['value']:.1f}."


def lag_alt(frame: pd.DataFrame) -> str:
    """`lag_chart` in words, for screen readers."""
    first, last = frame.iloc[0], frame.iloc[-1]
    return (
        f"Lag of open models (G3) on {len(frame)} benchmarks, from {months(first['months'])} on"
        f" {first['benchmark']} to {months(last['months'])} on {last['benchmark']}"
    )
