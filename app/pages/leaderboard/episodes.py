"""The section for suites of episodes: success against tokens and memory, discovery against documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Literal

import altair as alt
import pandas as pd
import streamlit as st
from streamlit import column_config as cc

from app.widgets import cached_chart, downloads, safe_text
from app.widgets.chart_theme import FONT_PX, GREY, TRACK, themed
from app.widgets.columns import GIB, GIB_FORMAT, SHOWN_DECIMALS, in_gib
from app.widgets.dot_rows import describe_rows, draw_dot_rows
from tracker.answers.episodes import (
    EpisodeBoard,
    EpisodeCost,
    EpisodeRun,
    LevelScore,
    difference_text,
    tokens_text,
    unsafe_text,
)
from tracker.wording import counted

HEIGHT_PX = 320
COSTS: Mapping[str, str] = {  # what a score is set against, with the title of the axis
    "Tokens": "Tokens written in an episode (median)",
    "Memory": "Memory needed (GiB, estimate)",
}
WIDE = 20.0  # largest over smallest cost from which the axis is logarithmic
SHAPES = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down")
SHOWN_SUBJECTS = 5  # models in the chart of levels: a screen; the table has them all
ABOVE_PX = -12
LEGEND_PX, LEGEND_ROW_PX = 24, 20  # above the plot: the title, and each device
COST_COLUMNS: Mapping[str, Any] = {
    "label": cc.TextColumn("Model", width=230, pinned=True),
    "value": cc.NumberColumn("Score", format="percent", width=75),
    "interval": cc.TextColumn("95% interval", width=115),
    "n_episodes": cc.NumberColumn("Episodes", width=80),
    "tokens": cc.TextColumn(
        "Tokens, median (95% interval)",
        width=195,
        help="Written by the model in one episode, thinking included",
    ),
    "mean_output_tokens": cc.NumberColumn("Mean", format="localized", width=75),
    "mean_prompt_tokens": cc.NumberColumn(
        "Read", format="localized", width=75, help="Tokens of all prompts of one episode, mean"
    ),
    "mean_turns": cc.NumberColumn("Answers", format="%.1f", width=75),
    "mean_calls": cc.NumberColumn("Calls", format="%.1f", width=65),
    "needed_gib": cc.NumberColumn("Memory needed", format=GIB_FORMAT, width=120),
    "tools": cc.TextColumn("Tools shown", width=130),
    "device": cc.TextColumn("Device", width=130),
    "unsafe": cc.TextColumn("Unsafe actions", width=265),
}
LEVEL_COLUMNS: Mapping[str, Any] = {
    "label": cc.TextColumn("Model", width=230, pinned=True),
    "level": cc.TextColumn("Level", width=170),
    "value": cc.NumberColumn("Score", format="percent", width=75),
    "interval": cc.TextColumn("95% interval", width=115),
    "difference": cc.TextColumn("Against documented tools", width=200),
    "unsafe": cc.TextColumn("Unsafe actions", width=265),
    "device": cc.TextColumn("Device", width=130),
    "tools": cc.TextColumn("Tools shown", width=130),
}


def show_episodes(board: EpisodeBoard, *, suite: str, task: str) -> None:
    """Show what success costs and, for the suite `home`, the levels; each with its table."""
    st.header("Episodes", anchor=False)
    st.subheader("What success costs", anchor=False)
    axis = st.segmented_control(
        "Against", list(COSTS), default="Tokens", required=True, key="against", bind="query-params"
    )
    rows = cost_frame(board.costs, axis or "Tokens")
    day = max(one.run.measured_at for one in board.costs).date()
    if rows.empty:
        st.caption(f"{axis} not known for these runs")
    else:
        cached_chart.render(
            cost_chart,
            rows,
            title=COSTS[axis or "Tokens"],
            task=task,
            alt=cost_alt(rows, task=task, axis=axis or "Tokens"),
            caption=cached_chart.ChartCaption(f"Success on {task} ({suite}), 95% intervals", day),
        )
        if len(groups := list(dict.fromkeys(rows["group"]))) == 1:
            st.caption(safe_text.escaped(f"Measured on {groups[0]}"))
    table = cost_table(board.costs)
    st.dataframe(
        table, column_config=COST_COLUMNS, hide_index=True, placeholder="–", key="episode_costs",
        alt=f"Score on {task} with the tokens of an episode, memory and unsafe actions, a row per model",
    )  # fmt: skip
    downloads.download_buttons(
        pd.DataFrame([one.document() for one in board.costs]), what="Costs", name=f"episodes-{suite}-{task}"
    )
    if board.levels:
        _show_levels(board.levels, suite=suite, day=day)
    for note in board.notes:
        st.caption(safe_text.escaped(note))


def _show_levels(levels: Sequence[LevelScore], *, suite: str, day: date) -> None:
    st.subheader("Discovery against documentation", anchor=False)
    rows = level_frame(levels)
    cached_chart.render(
        level_chart,
        rows,
        alt=level_alt(rows),
        caption=cached_chart.ChartCaption(f"Success at each level of {suite}, 95% intervals", day),
    )
    n_models = len({one.run.label for one in levels})
    if n_models > SHOWN_SUBJECTS:
        st.caption(f"The chart shows {SHOWN_SUBJECTS} of {counted(n_models, 'model')}; the table has all")
    table = level_table(levels)
    st.dataframe(
        table, column_config=LEVEL_COLUMNS, hide_index=True, placeholder="–", key="episode_levels",
        alt="Score at each level with its difference to documented tools and unsafe actions",
    )  # fmt: skip
    downloads.download_buttons(
        pd.DataFrame([one.document() for one in levels]), what="Levels", name=f"levels-{suite}"
    )


def cost_frame(costs: Sequence[EpisodeCost], axis: str) -> pd.DataFrame:
    """One row per run with a known cost: `label name cost cost_low cost_high score ci_low ci_high` and more.

    `axis` is a key of `COSTS`; costs are tokens or GiB. Texts begin with `says`.
    """
    rows = []
    for one in costs:
        by_tokens = axis == "Tokens"
        cost = one.median_output_tokens if by_tokens else one.needed_bytes
        if cost is None:
            continue
        run, scale = one.run, 1 if by_tokens else GIB
        low = one.median_ci_low if by_tokens and one.median_ci_low is not None else cost
        high = one.median_ci_high if by_tokens and one.median_ci_high is not None else cost
        tools = f", tools {run.tools}" if run.tools else ""
        rows.append(
            {
                "label": safe_text.visible(run.label),
                "cost": cost / scale,
                "cost_low": low / scale,
                "cost_high": high / scale,
                "score": run.value,
                "ci_low": run.value if run.ci_low is None else run.ci_low,
                "ci_high": run.value if run.ci_high is None else run.ci_high,
                "name": safe_text.visible(run.label)
                + (f" · {run.n_unsafe:,} unsafe" if run.n_unsafe else ""),
                "is_front": one.is_token_front if by_tokens else one.is_memory_front,
                "group": safe_text.visible(f"{run.device or 'unknown device'}{tools}"),
                "says_score": safe_text.percent(run.value),
                "says_interval": safe_text.interval(run.ci_low, run.ci_high),
                "says_cost": tokens_text(one) if by_tokens else f"{cost / GIB:,.1f} GiB",
                "says_unsafe": unsafe_text(run) or safe_text.NOTHING,
                "n_episodes": run.n_episodes,
            }
        )
    return pd.DataFrame(rows)


def cost_chart(frame: pd.DataFrame, *, title: str, task: str) -> alt.LayerChart:
    """A point per model with both intervals; those that no other beats in both are named.

    Devices and the ways in which tools were shown have shapes of their own. Reads the rows of `cost_frame`.
    """
    is_wide = frame["cost"].min() > 0 and frame["cost"].max() / frame["cost"].min() >= WIDE
    middle = (frame["cost"].min() + frame["cost"].max()) / 2
    rows = frame.assign(side=["right" if cost > middle else "left" for cost in frame["cost"]])
    says = {
        "label": "model", "says_score": "score", "says_interval": "95% interval", "n_episodes": "episodes",
        "says_cost": title, "says_unsafe": "unsafe", "group": "measured on",
    }  # fmt: skip
    base = alt.Chart(rows).encode(
        tooltip=[alt.Tooltip(field=field, title=name, type="nominal") for field, name in says.items()]
    )
    cost = _Cost(title, is_wide=is_wide)
    groups = list(dict.fromkeys(frame["group"]))
    legend_px = LEGEND_PX + LEGEND_ROW_PX * len(groups) if len(groups) > 1 else 0
    return alt.LayerChart(layer=_cost_marks(base, cost, task, groups), height=HEIGHT_PX + legend_px)


class _Cost:
    """The axis of costs: whole intervals are within it."""

    def __init__(self, title: str, *, is_wide: bool) -> None:
        self._title = title
        self._kind: Literal["log", "linear"] = "log" if is_wide else "linear"

    def axis(self, field: str) -> alt.X:
        axis = alt.Axis(
            title=self._title, grid=False, ticks=False, domainColor=TRACK, tickCount=5, format=",.3~r"
        )
        scale = alt.Scale(type=self._kind, zero=False, nice=True, padding=24)
        return alt.X(field=field, type="quantitative", scale=scale, axis=axis)


def _cost_marks(base: alt.Chart, cost: _Cost, task: str, groups: Sequence[str]) -> list[alt.Chart]:
    def score(field: str) -> alt.Y:
        axis = alt.Axis(
            title=f"Success on {task}", format="%", gridColor=TRACK, domain=False, ticks=False, tickCount=5
        )
        return alt.Y(field=field, type="quantitative", scale=alt.Scale(domain=[0, 1]), axis=axis)

    bar = base.mark_rule(strokeWidth=3, opacity=0.22, strokeCap="round")
    dot = base.mark_point(filled=True, size=80).encode(
        x=cost.axis("cost"),
        y=score("score"),
        opacity=alt.condition("datum.is_front", alt.value(1.0), alt.value(0.45)),
    )
    if len(groups) > 1:
        legend = alt.Legend(
            title="Measured on", orient="top", columns=1, labelLimit=300,
            symbolFillColor=GREY, symbolStrokeColor=GREY,
        )  # fmt: skip
        shapes = alt.Scale(domain=groups, range=[SHAPES[n % len(SHAPES)] for n in range(len(groups))])
        dot = dot.encode(shape=alt.Shape(field="group", type="nominal", scale=shapes, legend=legend))
    name = base.transform_filter("datum.is_front").mark_text(
        align=alt.ExprRef("datum.side"),
        baseline="middle",
        dx=alt.ExprRef("datum.side == 'left' ? 6 : -6"),
        dy=ABOVE_PX,
        fontSize=FONT_PX - 1,
    )
    name.mark.limit = alt.ExprRef("min(200, width / 2 - 10)")  # within the plot, however narrow the page is
    return [
        themed(bar.encode(x=cost.axis("cost"), y=score("ci_low"), y2=alt.Y2(field="ci_high")), "first"),
        themed(bar.encode(x=cost.axis("cost_low"), x2=alt.X2(field="cost_high"), y=score("score")), "first"),
        themed(dot, "first"),
        themed(
            name.encode(x=cost.axis("cost"), y=score("score"), text=alt.Text(field="name", type="nominal")),
            "ink",
        ),
    ]


def cost_alt(frame: pd.DataFrame, *, task: str, axis: str) -> str:
    """`cost_chart` in words, for screen readers."""
    said = "; ".join(
        f"{row['label']} {row['says_score']} at {row['says_cost']}"
        for row in frame[frame["is_front"]].to_dict("records")
    )
    models = counted(len(frame), "model")
    what = f"{models} by success on {task} and {axis.lower()}, with 95% intervals"
    return f"{what}. Beaten by none in both: {said}"


def level_frame(levels: Sequence[LevelScore]) -> pd.DataFrame:
    """For `level_chart`: of each of the first models a row with its name, then one per level."""
    shown = list(dict.fromkeys(one.run.label for one in levels))[:SHOWN_SUBJECTS]
    rows: list[dict[str, Any]] = []
    for label in shown:
        runs = [one for one in levels if one.run.label == label]
        named = {
            "label": safe_text.visible(label),
            "device": safe_text.visible(runs[0].run.device or "unknown"),
        }
        rows.append(named | {"name": named["label"], "is_level": False})
        rows += [named | _level_row(one) for one in runs]
    return pd.DataFrame(rows)


def _level_row(one: LevelScore) -> dict[str, Any]:
    run = one.run
    unsafe = f" · {run.n_unsafe:,} unsafe" if run.n_unsafe else ""
    return {
        "name": one.level,
        "is_level": True,
        "score": run.value,
        "ci_low": run.ci_low,
        "ci_high": run.ci_high,
        "chance": 0.0,
        "n_items": run.n_episodes,
        "says": f"{safe_text.percent(run.value)}{unsafe}",
        "says_unsafe": unsafe_text(run) or safe_text.NOTHING,
        "says_difference": difference_text(one) or safe_text.NOTHING,
    }


def level_chart(frame: pd.DataFrame) -> alt.LayerChart:
    """The levels of each model below its name: dot, interval, unsafe actions beside the score."""
    rows = describe_rows(frame, name=frame["name"], mark="").assign(says_score=frame["says"].fillna(""))
    about = {
        "label": "model", "name": "level", "device": "measured on", "says_unsafe": "unsafe",
        "says_difference": "against documented tools",
    }  # fmt: skip
    return draw_dot_rows(rows, about, name_px=0)


def level_alt(frame: pd.DataFrame) -> str:
    """`level_chart` in words, for screen readers."""
    return "Success with 95% intervals: " + "; ".join(
        f"{row['label']}, {row['name']}, {safe_text.percent(row['score'])}, {row['says_unsafe']}"
        for row in frame[frame["is_level"]].to_dict("records")
    )


def cost_table(costs: Sequence[EpisodeCost]) -> pd.DataFrame:
    """The rows of `COST_COLUMNS`."""
    found = pd.DataFrame([one.document() | _texts(one.run) | {"tokens": tokens_text(one)} for one in costs])
    found["needed_gib"] = in_gib(found["needed_bytes"])
    found["value"] = found["value"].round(SHOWN_DECIMALS)
    for name in ("mean_output_tokens", "mean_prompt_tokens"):
        found[name] = found[name].astype(float).round()
    return found[[*COST_COLUMNS]]


def level_table(levels: Sequence[LevelScore]) -> pd.DataFrame:
    """The rows of `LEVEL_COLUMNS`."""
    rows = [one.document() | _texts(one.run) | {"difference": difference_text(one)} for one in levels]
    found = pd.DataFrame(rows)[[*LEVEL_COLUMNS]]
    return found.assign(value=found["value"].round(SHOWN_DECIMALS))


def _texts(run: EpisodeRun) -> dict[str, str]:
    return {"interval": safe_text.interval(run.ci_low, run.ci_high), "unsafe": unsafe_text(run)}
