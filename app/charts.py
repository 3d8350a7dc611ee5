"""Charts: pure functions of a DataFrame, in the theme's colours and one grey that suits light and dark.

Scores are fractions of 1 in the data; percent stands on the axes alone.
"""

from __future__ import annotations

from collections.abc import Callable

import altair as alt
import pandas as pd

from app.text import interval, percent

SHOWN_MODELS = 15  # rows in one chart: a screen; the table has them all
ROW_PX = 40  # a line of text above a dot
AXIS_PX = 26  # the percent labels below
MIN_PX = 86  # less cuts the name in a chart of one row
TRACK = "#8492A040"  # the grey of ticks at a quarter: visible on white and on near-black
GREY = "#8492A0"  # 3:1 on both backgrounds
DOT_PX2 = 95
TEXT_DY = -15
NAME_PX = 22  # where names start: room for a rank of two digits
SCORE_PX = 58  # room for the score at the right end
FONT_PX = 13
# the places of `chartCategoricalColors` in .streamlit/config.toml; the last one is the colour of text
THEME_COLORS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "ink")


def task_chart(frame: pd.DataFrame) -> alt.LayerChart:
    """The models of one task, best first: a dot for the score, a bar for the interval, a tick for chance.

    Reads `label`, `rank`, `score`, `ci_low`, `ci_high`, `chance`, `n_items`, `engine`.
    """
    rows = frame.head(SHOWN_MODELS)
    rows = _described(rows, name=rows["label"], mark=rows["rank"].astype(str))
    return _dots(rows, {"name": "model", "engine": "engine"}, name_px=NAME_PX)


def run_chart(frame: pd.DataFrame) -> alt.LayerChart:
    """The tasks of one run, in the suite's order: dot, interval and tick of chance.

    Reads `task`, `metric`, `score`, `ci_low`, `ci_high`, `chance`, `n_items`.
    """
    return _dots(
        _described(frame, name=frame["task"], mark=""), {"name": "task", "metric": "metric"}, name_px=0
    )


def claim_chart(frame: pd.DataFrame) -> alt.LayerChart:
    """One row per claim: what was measured as dot and interval, what is claimed as a diamond.

    Reads `task measured ci_low ci_high claimed n_items reporter`.
    """
    rows = _described(
        frame.assign(score=frame["measured"], chance=frame["claimed"]), name=frame["task"], mark=""
    )
    rows = rows.assign(says_chance=[f"claimed {said}" for said in rows["says_chance"]])
    return _dots(rows, {"name": "task"}, name_px=0, tick=_claim)


def _described(frame: pd.DataFrame, *, name: pd.Series[str], mark: pd.Series[str] | str) -> pd.DataFrame:
    """`frame` with what the marks say in words, and `place`, the order of the rows."""
    ends = zip(frame["ci_low"], frame["ci_high"], strict=True)
    return frame.assign(
        name=name,
        mark=mark,
        says_score=[percent(score) for score in frame["score"]],
        says_interval=[interval(low, high) for low, high in ends],
        says_chance=[percent(chance) for chance in frame["chance"]],
        place=range(len(frame)),
    )


def _dots(
    rows: pd.DataFrame,
    about: dict[str, str],
    *,
    name_px: int,
    tick: Callable[[alt.Chart], alt.Chart] | None = None,
) -> alt.LayerChart:
    says = {
        "says_score": "score",
        "says_interval": "95 % interval",
        "n_items": "items",
        "says_chance": "beside it" if tick else "chance",
    }
    tooltip = [alt.Tooltip(field=f, title=t, type="nominal") for f, t in (about | says).items()]
    columns = [*about, *says, "mark", "place", "score", "ci_low", "ci_high", "chance"]
    base = alt.Chart(rows[columns]).encode(y=alt.Y(field="place", type="ordinal", axis=None), tooltip=tooltip)
    marks = [_track(base), (tick or _chance)(base), *_score(base), *_texts(base, name_px)]
    return alt.LayerChart(layer=marks, height=max(MIN_PX, ROW_PX * len(rows) + AXIS_PX))


def _x(field: str) -> alt.X:
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
    tick: alt.Chart = base.mark_tick(color=GREY, thickness=2, height=11).encode(x=_x("chance"))
    return tick


def _claim(base: alt.Chart) -> alt.Chart:
    diamond = base.mark_point(shape="diamond", size=120, strokeWidth=2, opacity=1, filled=False)
    return themed(diamond.encode(x=_x("chance")), "ink")


def _score(base: alt.Chart) -> list[alt.Chart]:
    bar = base.mark_rule(strokeWidth=4, opacity=0.4, strokeCap="round")
    dot = base.mark_point(filled=True, size=DOT_PX2, opacity=1)
    return [
        themed(bar.encode(x=_x("ci_low"), x2=alt.X2(field="ci_high")), "first"),
        themed(dot.encode(x=_x("score")), "first"),
    ]


def _texts(base: alt.Chart, name_px: int) -> list[alt.Chart]:
    left = base.mark_text(align="left", baseline="middle", dy=TEXT_DY, fontSize=FONT_PX)
    right = base.mark_text(align="right", baseline="middle", dy=TEXT_DY, fontSize=FONT_PX)
    name = left.copy()
    # the name ends before the score, however narrow the page is
    name.mark.limit = alt.ExprRef(f"width - {name_px + SCORE_PX}")
    return [
        left.encode(x=alt.value(0), text=alt.Text(field="mark", type="nominal"), color=alt.value(GREY)),
        themed(name.encode(x=alt.value(name_px), text=alt.Text(field="name", type="nominal")), "ink"),
        themed(right.encode(x=alt.value("width"), text=alt.Text(field="says_score", type="nominal")), "ink"),
    ]


def themed(chart: alt.Chart, color: str) -> alt.Chart:
    """`chart` in one of the theme's categorical colours, by its place, so that it follows light and dark."""
    scale = alt.Scale(domain=list(THEME_COLORS))
    return chart.transform_calculate(color=f"'{color}'").encode(
        color=alt.Color(field="color", type="nominal", legend=None, scale=scale)
    )


def task_alt(task: str, frame: pd.DataFrame) -> str:
    """What `task_chart` shows, in words for those who do not see it."""
    best, last = frame.iloc[0], frame.iloc[-1]
    return (
        f"{task}: {len(frame)} models ranked by score with 95 % intervals, from {best['label']} with"
        f" {percent(best['score'])} to {last['label']} with {percent(last['score'])};"
        f" guessing scores {percent(best['chance'])}"
    )


def run_alt(frame: pd.DataFrame) -> str:
    """What `run_chart` shows, in words for those who do not see it."""
    scores = ", ".join(f"{t} {percent(s)}" for t, s in zip(frame["task"], frame["score"], strict=True))
    return f"Scores of one run with 95 % intervals: {scores}"


def claim_alt(frame: pd.DataFrame) -> str:
    """What `claim_chart` shows, in words for those who do not see it."""
    rows = zip(frame["task"], frame["claimed"], frame["measured"], strict=True)
    said = ", ".join(
        f"{task} claimed {percent(claimed)}, measured {percent(here)}" for task, claimed, here in rows
    )
    return f"Claims beside what was measured here with 95 % intervals: {said}"
