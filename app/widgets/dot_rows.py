"""A chart of one dot per row with its interval, its name above and its score at the right end.

Scores are fractions of 1 in the data; percent stands on the axes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import altair as alt
import pandas as pd

from app.widgets.chart_theme import FONT_PX, GREY, TRACK, themed
from app.widgets.safe_text import interval, percent

SHOWN_MODELS = 15  # rows in one chart: a screen; the table has them all
ROW_PX = 40  # a line of text above a dot
AXIS_PX = 66  # the percent labels below, and the first row's name, which Vega keeps below the title
DOT_PX2 = 95
TEXT_DY = -15
NAME_PX = 22  # where names start: room for a rank of two digits
DIGIT_PX = 9  # of one more digit
SCORE_PX = 58  # room for the score at the right end


def name_px(marks: Iterable[str]) -> int:
    """Where names start beside these marks, so that none lies under a name."""
    longest = max((len(mark) for mark in marks), default=0)
    return NAME_PX + DIGIT_PX * max(longest - 2, 0)


def describe_rows(frame: pd.DataFrame, *, name: pd.Series[str], mark: pd.Series[str] | str) -> pd.DataFrame:
    """`frame` with the texts of its marks, and `place`, the order of the rows."""
    ends = zip(frame["ci_low"], frame["ci_high"], strict=True)
    return frame.assign(
        name=name,
        mark=mark,
        says_score=[percent(score) for score in frame["score"]],
        says_interval=[interval(low, high) for low, high in ends],
        says_chance=[percent(chance) for chance in frame["chance"]],
        place=range(len(frame)),
    )


def draw_dot_rows(
    rows: pd.DataFrame,
    about: dict[str, str],
    *,
    name_px: int,
    tick: Callable[[alt.Chart], alt.Chart] | None = None,
    tick_title: str = "chance",
) -> alt.LayerChart:
    """The chart of rows from `describe_rows`; `tick` draws the mark of `chance`, by default a gray tick."""
    says = {
        "says_score": "score",
        "says_interval": "95% interval",
        "n_items": "items",
        "says_chance": tick_title,
    }
    tooltip = [alt.Tooltip(field=f, title=t, type="nominal") for f, t in (about | says).items()]
    columns = [*about, *says, "mark", "place", "score", "ci_low", "ci_high", "chance"]
    base = alt.Chart(rows[columns]).encode(y=alt.Y(field="place", type="ordinal", axis=None), tooltip=tooltip)
    marks = [_track(base), (tick or _chance)(base), *_score(base), *_texts(base, name_px)]
    return alt.LayerChart(layer=marks, height=ROW_PX * len(rows) + AXIS_PX)


def score_axis(field: str) -> alt.X:
    """The axis of a fraction from 0 to 100%."""
    axis = alt.Axis(
        format="%", title=None, values=[0, 0.25, 0.5, 0.75, 1], domain=False, ticks=False, grid=False
    )
    return alt.X(field=field, type="quantitative", scale=alt.Scale(domain=[0, 1], nice=False), axis=axis)


def _track(base: alt.Chart) -> alt.Chart:
    line: alt.Chart = base.mark_rule(color=TRACK, strokeWidth=1.5).encode(
        x=alt.value(0), x2=alt.value("width")
    )
    return line


def _chance(base: alt.Chart) -> alt.Chart:
    tick: alt.Chart = base.mark_tick(color=GREY, thickness=2, height=11).encode(x=score_axis("chance"))
    return tick


def _score(base: alt.Chart) -> list[alt.Chart]:
    bar = base.mark_rule(strokeWidth=4, opacity=0.4, strokeCap="round")
    dot = base.mark_point(filled=True, size=DOT_PX2, opacity=1)
    return [
        themed(bar.encode(x=score_axis("ci_low"), x2=alt.X2(field="ci_high")), "first"),
        themed(dot.encode(x=score_axis("score")), "first"),
    ]


def _texts(base: alt.Chart, name_px: int) -> list[alt.Chart]:
    left = base.mark_text(align="left", baseline="middle", dy=TEXT_DY, fontSize=FONT_PX)
    right = base.mark_text(align="right", baseline="middle", dy=TEXT_DY, fontSize=FONT_PX)
    name = left.copy()
    # the name ends before the score, however narrow the page is
    name.mark.limit = alt.ExprRef(f"width - {name_px + SCORE_PX}")
    return [
        themed(left.encode(x=alt.value(0), text=alt.Text(field="mark", type="nominal")), "ink"),
        themed(name.encode(x=alt.value(name_px), text=alt.Text(field="name", type="nominal")), "ink"),
        themed(right.encode(x=alt.value("width"), text=alt.Text(field="says_score", type="nominal")), "ink"),
    ]
