"""Charts of what a model costs: score against memory and against speed, with the line that nothing beats."""

from __future__ import annotations

import altair as alt
import pandas as pd

from app.charts import FONT_PX, TRACK, themed
from app.text import interval, percent

HEIGHT_PX = 300
ABOVE_PX, BELOW_PX = -14, 16  # of a name from its point
SHOWN_POINTS = 300  # the best; more cannot be told apart


def offer_chart(frame: pd.DataFrame, *, cost: str, title: str) -> alt.LayerChart:
    """Measured models by score and `cost`, a column of `frame`; those that nothing beats are joined.

    Reads `label name score ci_low ci_high on_frontier` and the column.
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
    )
    about = {"label": "model", "says_score": "score", "says_interval": "95 % interval", "says_cost": title}
    columns = [*about, "cost", "score", "ci_low", "ci_high", "on_frontier", "name", "side", "lift"]
    base = alt.Chart(points[columns]).encode(
        x=_cost(title),
        tooltip=[alt.Tooltip(field=f, title=t, type="nominal") for f, t in about.items()],
    )
    return alt.LayerChart(layer=_offers(base), height=HEIGHT_PX)


def _offers(base: alt.Chart) -> list[alt.Chart]:
    """The line that nothing beats, then of each model its interval, its dot and, on the line, its name."""
    line = base.transform_filter("datum.on_frontier").mark_line(strokeWidth=1.5, opacity=0.6)
    bar = base.mark_rule(strokeWidth=3, opacity=0.22, strokeCap="round")
    dot = base.mark_point(filled=True, size=70)
    text = base.transform_filter("datum.on_frontier").mark_text(
        align=alt.ExprRef("datum.side"),
        baseline="middle",
        dy=alt.ExprRef("datum.lift"),
        fontSize=FONT_PX - 1,
        limit=150,
    )
    return [
        themed(line.encode(y=_score("score")), "first"),
        themed(bar.encode(y=_score("ci_low"), y2=alt.Y2(field="ci_high")), "first"),
        themed(
            dot.encode(
                y=_score("score"),
                opacity=alt.condition("datum.on_frontier", alt.value(1.0), alt.value(0.4)),
            ),
            "first",
        ),
        themed(text.encode(y=_score("score"), text=alt.Text(field="name", type="nominal")), "ink"),
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


def _score(field: str) -> alt.Y:
    axis = alt.Axis(title=None, format="%", gridColor=TRACK, domain=False, ticks=False, tickCount=5)
    return alt.Y(
        field=field, type="quantitative", scale=alt.Scale(zero=False, nice=True, padding=14), axis=axis
    )


def offer_alt(frame: pd.DataFrame, *, title: str, task: str) -> str:
    """What `offer_chart` shows, in words for those who do not see it."""
    names = ", ".join(frame.loc[frame["on_frontier"], "label"])
    return f"{len(frame)} models by score on {task} and {title}. Nothing beats: {names}"
