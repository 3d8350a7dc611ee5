"""Charts: pure functions of a DataFrame, with no colour of their own but grey, so that both themes fit.

Scores are fractions of 1 in the data; percent stands on the axes alone.
"""

from __future__ import annotations

import altair as alt
import pandas as pd

from app.text import interval, percent

SHOWN_MODELS = 30  # rows in one chart: about two screens
ROW_PX = 38  # a line of text above a dot
GREY = "#8492A0"  # 3:1 on both backgrounds
DOT_PX2 = 90
LABEL_DY = -11


def task_chart(frame: pd.DataFrame) -> alt.LayerChart:
    """The models of one task, best first: a dot for the score, a bar for the interval, a line for chance.

    Reads `label`, `rank`, `score`, `ci_low`, `ci_high`, `chance`, `n_items`, `engine`.
    """
    rows = frame.head(SHOWN_MODELS)
    title = [f"{rank}  {label}" for rank, label in zip(rows["rank"], rows["label"], strict=True)]
    return _dots(_described(rows, title), [("label", "model"), ("rank", "rank"), ("engine", "engine")])


def run_chart(frame: pd.DataFrame) -> alt.LayerChart:
    """The tasks of one run, in the suite's order: a dot for the score, a bar for the interval, chance per task.

    Reads `task`, `metric`, `score`, `ci_low`, `ci_high`, `chance`, `n_items`.
    """
    return _dots(_described(frame, list(frame["task"])), [("task", "task"), ("metric", "metric")])


def _described(frame: pd.DataFrame, title: list[str]) -> pd.DataFrame:
    """`frame` with what the marks say: `title`, `value`, `range`, and `place` to sort by."""
    return frame.assign(
        title=title,
        value=[percent(v) for v in frame["score"]],
        range=[interval(a, b) for a, b in zip(frame["ci_low"], frame["ci_high"], strict=True)],
        place=range(len(frame)),
    )


def _dots(rows: pd.DataFrame, about: list[tuple[str, str]]) -> alt.LayerChart:
    about = [*about, ("value", "score"), ("range", "95 % interval"), ("n_items", "items"), ("chance", "chance")]
    tooltip = [alt.Tooltip(field=name, title=title, type="nominal") for name, title in about]
    y = alt.Y(field="place", type="ordinal", axis=None)
    kept = rows[[*dict.fromkeys(["title", "place", "score", "ci_low", "ci_high", *(name for name, _ in about)])]]
    base = alt.Chart(kept).encode(y=y, tooltip=tooltip)
    axis = alt.Axis(format="%", title=None, tickCount=5, domain=False, ticks=False)
    scale = alt.Scale(domain=[0, 1], nice=False)
    x = alt.X(field="score", type="quantitative", scale=scale, axis=axis)
    # one constant category: the theme's first colour, which differs between light and dark
    color = alt.Color(field="series", type="nominal", legend=None)
    marked = base.transform_calculate(series="'score'")
    chance = base.mark_tick(color=GREY, thickness=2, height=16).encode(x=alt.X(field="chance", type="quantitative"))
    bar = marked.mark_rule(strokeWidth=3, opacity=0.45, strokeCap="round").encode(
        x=alt.X(field="ci_low", type="quantitative"), x2=alt.X2(field="ci_high"), color=color
    )
    dot = marked.mark_point(filled=True, size=DOT_PX2, opacity=1).encode(x=x, color=color)
    name = base.mark_text(align="left", baseline="middle", dy=LABEL_DY, limit=330, fontSize=13).encode(
        x=alt.value(0), text=alt.Text(field="title", type="nominal")
    )
    number = base.mark_text(align="right", baseline="middle", dy=LABEL_DY, fontSize=13).encode(
        x=alt.value("width"), text=alt.Text(field="value", type="nominal")
    )
    return alt.layer(chance, bar, dot, name, number).properties(height=alt.Step(ROW_PX))


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
