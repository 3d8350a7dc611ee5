"""Charts of a comparison: scores per task, and a grid of the items that each model solved."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from app.pages.compare.rows import SHOWN_ITEMS
from app.widgets.chart_theme import FONT_PX, GREY, THEME_COLORS, TRACK, themed
from app.widgets.safe_text import interval, percent

COLORS = ("first", "third", "fourth", "ink")  # by place; the second stands for closed models
SHAPES = ("circle", "square", "triangle-up", "cross")
LINE_PX = 15  # between two models of one task
TASK_PX = 18  # between two tasks
CELL_PX = 30
ORDER = ("Items, most often", "solved on the left")  # two lines: a phone has no room for one


def score_chart(frame: pd.DataFrame, models: Sequence[str], *, level: int = 95) -> alt.LayerChart:
    """Per task one line per model: dot and interval of that level in percent.

    Reads `task model score ci_low ci_high n_items`.
    """
    tasks = list(dict.fromkeys(frame["task"]))
    rows = frame.assign(
        color=frame["model"].map(dict(zip(models, COLORS, strict=False))),
        says_score=[percent(score) for score in frame["score"]],
        says_interval=[
            interval(low, high) for low, high in zip(frame["ci_low"], frame["ci_high"], strict=True)
        ],
    )
    about = {"task": "task", "model": "model", "says_score": "score", "says_interval": f"{level}% interval"}
    about |= {"n_items": "shared items" if level == 95 else "items"}
    base = alt.Chart(rows[[*about, "score", "ci_low", "ci_high", "color"]]).encode(
        y=alt.Y(
            field="task",
            type="nominal",
            sort=tasks,
            axis=alt.Axis(title=None, domain=False, ticks=False, labelLimit=150, labelFontSize=FONT_PX),
            scale=alt.Scale(paddingInner=0.35),
        ),
        yOffset=alt.YOffset(field="model", type="nominal", sort=list(models)),
        color=alt.Color(
            field="color", type="nominal", legend=None, scale=alt.Scale(domain=list(THEME_COLORS))
        ),
        tooltip=[alt.Tooltip(field=f, title=t, type="nominal") for f, t in about.items()],
    )
    bar = base.mark_rule(strokeWidth=4, opacity=0.4, strokeCap="round")
    dot = base.mark_point(filled=True, size=85, opacity=1)
    layers = [
        bar.encode(x=_x("ci_low"), x2=alt.X2(field="ci_high")),
        dot.encode(
            x=_x("score"),
            shape=_shape(models),
        ),
    ]
    return alt.LayerChart(layer=layers, height=len(tasks) * (LINE_PX * len(models) + TASK_PX) + 40)


def _color() -> alt.Color:
    return alt.Color(field="color", type="nominal", legend=None, scale=alt.Scale(domain=list(THEME_COLORS)))


def _shape(models: Sequence[str]) -> alt.Shape:
    scale = alt.Scale(domain=list(models), range=list(SHAPES[: len(models)]))
    return alt.Shape(field="model", type="nominal", legend=None, scale=scale)


def _x(field: str) -> alt.X:
    axis = alt.Axis(format="%", title=None, gridColor=TRACK, domain=False, ticks=False, tickCount=5)
    return alt.X(field=field, type="quantitative", scale=alt.Scale(domain=[0, 1]), axis=axis)


def model_legend(models: Sequence[str]) -> alt.LayerChart:
    """The mark of each model, as a chart so that it follows the theme."""
    rows = pd.DataFrame({"model": list(models), "color": COLORS[: len(models)], "zero": 0})
    base = alt.Chart(rows).encode(y=alt.Y(field="model", type="nominal", sort=list(models), axis=None))
    dot = base.mark_point(filled=True, size=85, opacity=1).encode(
        x=alt.value(8),
        color=alt.Color(
            field="color", type="nominal", legend=None, scale=alt.Scale(domain=list(THEME_COLORS))
        ),
        shape=_shape(models),
    )
    text = base.mark_text(align="left", baseline="middle", fontSize=FONT_PX).encode(
        x=alt.value(22), text=alt.Text(field="model", type="nominal")
    )
    text.mark.limit = alt.ExprRef("width - 22")
    return alt.LayerChart(layer=[dot, themed(text, "ink")], height=24 * len(models) + 12)


def solved_chart(frame: pd.DataFrame, models: Sequence[str]) -> alt.Chart:
    """One row per model, one column per item, filled where solved. Reads `doc_id place` and the models."""
    kept = frame.head(SHOWN_ITEMS)
    long = kept.melt(
        id_vars=["doc_id", "place"], value_vars=list(models), var_name="model", value_name="score"
    )
    long = long[long["score"] >= 1.0].assign(color="first")
    domain = [-0.5, len(kept) - 0.5]
    chart: alt.Chart = (
        alt.Chart(long.assign(end=long["place"] + 0.5, place=long["place"] - 0.5, says="solved"))
        .mark_bar(height=CELL_PX - 14)
        .encode(
            x=alt.X(
                field="place",
                type="quantitative",
                scale=alt.Scale(domain=domain, nice=False),
                axis=alt.Axis(title=list(ORDER), labels=False, ticks=False, grid=False, domainColor=GREY),
            ),
            x2=alt.X2(field="end"),
            y=alt.Y(
                field="model",
                type="nominal",
                sort=list(models),
                scale=alt.Scale(domain=list(models)),
                axis=alt.Axis(title=None, domain=False, ticks=False, labelLimit=170, labelFontSize=FONT_PX),
            ),
            color=_color(),
            tooltip=[
                alt.Tooltip(field="doc_id", title="item", type="nominal"),
                alt.Tooltip(field="model", title="solved by", type="nominal"),
            ],
        )
        .properties(height=CELL_PX * len(models) + 58)
    )
    return chart


def score_alt(frame: pd.DataFrame, *, level: int = 95) -> str:
    """`score_chart` in words, for screen readers."""
    said = [f"{row.model} {percent(row.score)} on {row.task}" for row in frame.itertuples()]
    on = "on the shared items" if level == 95 else "as published"
    return f"Scores {on} with {level}% intervals: " + ", ".join(said)


def solved_alt(frame: pd.DataFrame, models: Sequence[str], task: str) -> str:
    """`solved_chart` in words, for screen readers."""
    counts = ", ".join(f"{model} {int((frame[model] >= 1.0).sum())}" for model in models)
    return f"Items of {task} solved by each model, out of {len(frame)}: {counts}"
