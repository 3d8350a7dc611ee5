"""Charts of score against memory and speed with Pareto frontiers, and of the best that fits over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import altair as alt
import pandas as pd

from app.widgets.chart_theme import FONT_PX, GREY, TRACK, themed
from app.widgets.index_columns import months_phrase
from app.widgets.safe_text import count, ends, interval, percent
from tracker.answers.best_that_fits import BestThatFits
from tracker.wording import counted

HEIGHT_PX = 300
ABOVE_PX, BELOW_PX = -14, 16  # of a name from its point
LEGEND_PX, LEGEND_ROW_PX = 10, 18
SHAPES = {
    "third": "triangle-up",
    "fourth": "circle",
}  # of the points by color; lines are squares in the legend
RUN_SPEED, SERVER_SPEED = "tokens_per_s", "speed_tokens_per_s"
SPEEDS = (RUN_SPEED, SERVER_SPEED)  # columns of a frame that depend on the device; more is better
UNKNOWN_DEVICE = "unknown device"
DEVICE_SHAPES = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down")
SHOWN_POINTS = 300  # the best; more would overlap


def offer_chart(frame: pd.DataFrame, *, cost: str, title: str, task: str = "") -> alt.LayerChart:
    """Measured models by score and `cost`, a column of `frame`; steps lead along the undominated ones.

    Speeds are marked by device; those of several devices are not joined. Reads `label name score ci_low
    ci_high on_frontier device` and the column.
    """
    best = frame.nlargest(SHOWN_POINTS, "score")
    middle = (best[cost].astype(float).min() + best[cost].astype(float).max()) / 2
    ends = zip(best["ci_low"], best["ci_high"], strict=True)
    points = best.assign(
        cost=best[cost].astype(float),
        # a name grows towards the middle, so that it does not push the frame in, and stands in turn above and
        # below its point, so that two of them do not meet
        side=["right" if value > middle else "left" for value in best[cost].astype(float)],
        lift=_lifts(best, cost),
        says_score=[percent(score) for score in best["score"]],
        says_interval=[interval(low, high) for low, high in ends],
        says_cost=[f"{value:,.1f}" for value in best[cost].astype(float)],
        device=best["device"].fillna(UNKNOWN_DEVICE) if "device" in best else UNKNOWN_DEVICE,
    )
    about = {"label": "model", "says_score": "score", "says_interval": "95% interval", "says_cost": title}
    if cost in SPEEDS:
        about["device"] = "measured on"
    columns = [*about, "cost", "score", "ci_low", "ci_high", "on_frontier", "name", "side", "lift"]
    base = alt.Chart(points[columns]).encode(
        x=_cost(title),
        tooltip=[alt.Tooltip(field=f, title=t, type="nominal") for f, t in about.items()],
    )
    known = points[["score", "ci_low", "ci_high"]].astype(float)
    scores = _Scores(task, low=float(known.min().min()), high=float(known.max().max()))
    devices = sorted(points["device"].unique()) if cost in SPEEDS else []
    return alt.LayerChart(layer=_offers(base, scores, cost=cost, devices=devices), height=HEIGHT_PX)


@dataclass(frozen=True, slots=True)
class _Scores:
    """The axis of scores: whole intervals are within it."""

    task: str
    low: float
    high: float

    def axis(self, field: str) -> alt.Y:
        title = f"Score on {self.task}" if self.task else "Score"
        axis = alt.Axis(title=title, format="%", gridColor=TRACK, domain=False, ticks=False, tickCount=5)
        scale = alt.Scale(domain=[self.low, self.high], zero=False, nice=True)
        return alt.Y(field=field, type="quantitative", scale=scale, axis=axis)


def _offers(base: alt.Chart, scores: _Scores, *, cost: str, devices: Sequence[str]) -> list[alt.Chart]:
    """The Pareto frontier, then each model's interval, dot and, on the frontier, name."""
    # nothing stands between two models: what costs less than the next one scores as the one before, and what
    # should be faster than one scores as the next
    line = base.transform_filter("datum.on_frontier").mark_line(
        strokeWidth=1.5, opacity=0.6, interpolate="step-before" if cost in SPEEDS else "step-after"
    )
    bar = base.mark_rule(strokeWidth=3, opacity=0.22, strokeCap="round")
    dot = base.mark_point(filled=True, size=70)
    text = base.transform_filter("datum.on_frontier").mark_text(
        align=alt.ExprRef("datum.side"),
        baseline="middle",
        dy=alt.ExprRef("datum.lift"),
        fontSize=FONT_PX - 1,
        limit=150,
    )
    dot = dot.encode(
        y=scores.axis("score"), opacity=alt.condition("datum.on_frontier", alt.value(1.0), alt.value(0.4))
    )
    if devices:
        legend = alt.Legend(title="Measured on", orient="top", symbolFillColor=GREY, symbolStrokeColor=GREY)
        shapes = alt.Scale(domain=list(devices), range=list(DEVICE_SHAPES[: len(devices)]))
        dot = dot.encode(shape=alt.Shape(field="device", type="nominal", scale=shapes, legend=legend))
    named = text.encode(y=scores.axis("score"), text=alt.Text(field="name", type="nominal"))
    return [
        *([themed(line.encode(y=scores.axis("score")), "first")] if len(devices) < 2 else []),
        themed(bar.encode(y=scores.axis("ci_low"), y2=alt.Y2(field="ci_high")), "first"),
        themed(dot, "first"),
        themed(named, "ink"),
    ]


def _lifts(frame: pd.DataFrame, cost: str) -> pd.Series[int]:
    """How far below its point a name stands, in pixels: in turn above and below along the line."""
    on_line = frame[frame["on_frontier"]].sort_values(cost).index
    lifts = pd.Series(ABOVE_PX, index=frame.index)
    lifts[on_line[1::2]] = BELOW_PX
    return lifts


def _cost(title: str) -> alt.X:
    axis = alt.Axis(title=title, grid=False, ticks=False, domainColor=TRACK, tickCount=5)
    scale = alt.Scale(zero=False, nice=True, padding=24)
    return alt.X(field="cost", type="quantitative", scale=scale, axis=axis)


def offer_alt(frame: pd.DataFrame, *, title: str, task: str) -> str:
    """`offer_chart` in words, for screen readers."""
    names = ", ".join(frame.loc[frame["on_frontier"], "label"])
    models = counted(len(frame), "model")
    return f"{models} by score on {task} and {title[:1].lower()}{title[1:]}. Pareto-optimal: {names}"


def curve_rows(curve: BestThatFits) -> pd.DataFrame:
    """The steps of a curve as the rows of `curve_chart`."""
    return pd.DataFrame(
        {
            "model": [row.model for row in curve.steps],
            "released": [row.released for row in curve.steps],
            "value": [row.value for row in curve.steps],
            "says_interval": [ends(row.ci_low, row.ci_high) for row in curve.steps],
            "says_params": [count(row.n_params) for row in curve.steps],
            "says_months": [
                months_phrase(row.months_behind, row.months_bound, curve.definition) for row in curve.steps
            ],
        }
    )


def curve_chart(
    steps: pd.DataFrame, records: pd.DataFrame, here: pd.DataFrame, *, as_of: date
) -> alt.LayerChart:
    """The best that fits as dots on a line, under the open and the closed frontier of any size.

    `steps` are `curve_rows`; `records` has `access released value`; `here`, the models measured here that
    fit, has `model released value says`, or nothing.
    """
    names = {"second": "closed", "first": "open, any size", "fourth": "best that fits"}
    marks = [
        _frontier_line(records[records["access"] == "closed"], "second", as_of),
        _frontier_line(records[records["access"] == "open"], "first", as_of),
        _frontier_line(steps, "fourth", as_of, width=3.0),
    ]
    about = {"model": "model", "says_params": "parameters", "says_value": "index"}
    about |= {"says_interval": "90% interval", "says_months": "behind closed models"}
    marks.append(_curve_points(steps, about, "fourth"))
    if not here.empty:
        measured = {"model": "measured here", "says": "suite", "says_value": "index"}
        marks.append(_curve_points(here, measured, "third"))
        names["third"] = "measured here"
    for place, (color, name) in enumerate(names.items()):
        marks += _entry(name, color, place)
    return alt.LayerChart(layer=marks, height=HEIGHT_PX + 60)


def _frontier_line(rows: pd.DataFrame, color: str, as_of: date, *, width: float = 1.5) -> alt.Chart:
    """A running maximum that goes on to the last day."""
    line = pd.concat([rows, rows.tail(1).assign(released=as_of)])[["released", "value"]]
    line = line.assign(released=pd.to_datetime(line["released"]))
    base = alt.Chart(line).mark_line(interpolate="step-after", strokeWidth=width)
    return themed(base.encode(x=_day(), y=_index()), color)


def _entry(name: str, color: str, place: int) -> list[alt.Chart]:
    """One line of the legend at the upper left, where the chart is empty."""
    base = alt.Chart(pd.DataFrame({"says": [name]}))
    dot = base.mark_point(filled=True, size=70, opacity=1, shape=SHAPES.get(color, "square"))
    text = base.mark_text(align="left", baseline="middle", dx=9, fontSize=FONT_PX)
    x, y = alt.value(LEGEND_PX), alt.value(LEGEND_PX + place * LEGEND_ROW_PX)
    named = text.encode(x=x, y=y, text=alt.Text(field="says", type="nominal"))
    return [themed(dot.encode(x=x, y=y), color), themed(named, "ink")]


def _curve_points(rows: pd.DataFrame, about: dict[str, str], color: str) -> alt.Chart:
    points = rows.assign(
        released=pd.to_datetime(rows["released"]), says_value=[f"{value:.1f}" for value in rows["value"]]
    )
    base = alt.Chart(points[[*about, "released", "value"]]).mark_point(
        filled=True, size=70, opacity=1, shape=SHAPES[color]
    )
    tooltip = [alt.Tooltip(field=f, title=t, type="nominal") for f, t in about.items()]
    return themed(base.encode(x=_day(), y=_index(), tooltip=tooltip), color)


def _day() -> alt.X:
    axis = alt.Axis(title=None, grid=False, ticks=False, domainColor=TRACK, format="%Y", tickCount="year")
    return alt.X(field="released", type="temporal", axis=axis)


def _index() -> alt.Y:
    axis = alt.Axis(title="Capability index", gridColor=TRACK, domain=False, ticks=False, tickCount=6)
    return alt.Y(field="value", type="quantitative", scale=alt.Scale(zero=False, nice=True), axis=axis)


def curve_alt(curve: BestThatFits) -> str:
    """`curve_chart` in words, for screen readers."""
    last = curve.steps[-1]
    behind = months_phrase(last.months_behind, last.months_bound, curve.definition)
    return (
        f"The best open model that fits {curve.budget.phrase} over time, with the open and closed frontiers."
        f" {counted(len(curve.steps), 'model')} held that place;"
        f" now {last.model}, {behind} behind closed models."
    )
