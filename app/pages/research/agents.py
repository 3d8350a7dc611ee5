"""The agent leaderboard: gains, best so far, and gain by category of change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from app.data import queries
from app.pages.research import charts, columns, rows
from app.widgets import cached_chart, downloads, safe_text, url_select
from app.widgets.columns import filled_columns, with_gain_interval
from tracker.answers.agent_board import Group

EMPTY = (
    "No studies yet: run `tracker research run --agent demo --tier cpu` for the embedded model, and"
    " `tracker research baseline` for random search and TPE"
)
NONE_COMPLETE = "No study in this group is complete yet; run `tracker research baseline` for the baselines"
ONE_SEED = (
    "An agent with only one study has an interval over that study's pairs of seeds, which ignores the"
    " variation between studies; with several studies of one seed it ignores the variation between seeds."
    " Run a few more studies with other seeds."
)
CAUGHT = (
    "**{agents}: caught faking a score.** A study with a caught trial counts as a gain of at most 0, and its"
    " agent ranks below all agents without one."
)
PUBLIC_SEEDS = "Some of these studies are of an earlier version, whose seeds an agent could compute."
GAIN_NOTE = (
    "Dot: the gain confirmed on the held-out `test` split. Diamond: the gain that a loop without a gate would"
    " claim. Agents share a rank unless a paired test over shared seeds shows a significant difference."
)
BASELINE_NOTE = (
    "Random search and TPE cannot edit code, so their studies come from the `params` track with the same tier"
    " and number of trials. Gains on `test` are comparable across tracks."
)
CURVES_NOTE = (
    "One line per study: the cumulative gain confirmed with fresh seeds. Bands: the range over all seeds of"
    " random search or TPE. Placebos do not count as trials."
)
TASKS_NOTE = (
    "Bits of one task are not those of another, so agents are ranked by their mean share of the gain that TPE"
    " has with as many trials. An agent on other tasks than another one is neither better nor worse."
)
MINUTE_S = 60
PROFILE_NOTE = "A change in several categories is split evenly between them."


def choose_group(studies: Sequence[Mapping[str, Any]]) -> tuple[Any, ...]:
    """The group that the reader picks; agents are compared only within a group."""
    names = rows.group_names(studies)
    return names[url_select.select_one("Comparison group", list(names), key="group")]


def show_agents(key: tuple[Any, ...]) -> None:
    """Show the agents of one group: gains, table, pairwise comparisons, curves, categories."""
    group = rows.agent_group(queries.complete_studies(), key)
    if group is None:
        st.info(NONE_COMPLETE)
    else:
        _show_gains(group)
    _show_curves(key)
    if group is not None:
        _show_profile(group)


def show_over_tasks() -> None:
    """Show the ranking over tasks; nothing if no agent has results on two."""
    frame = rows.task_frame(queries.complete_studies())
    if frame.empty:
        return
    st.subheader("Over several tasks", anchor=False)
    st.caption(TASKS_NOTE)
    st.dataframe(
        frame,
        column_config=columns.TASK_COLUMNS,
        hide_index=True,
        alt="One row per agent, best first: mean share of TPE's gain over its tasks",
    )
    downloads.download_buttons(frame, what="Over tasks", name="research-over-tasks")


def show_attacks() -> None:
    """Show the last result of the scripted attacks in one line; nothing if they never ran here."""
    suite = queries.attack_suite()
    if suite is not None:
        st.caption(rows.attacks_line(suite))


def _show_gains(group: Group) -> None:
    frame = rows.agent_frame(group)
    caption = cached_chart.ChartCaption(
        "Gain of each agent: confirmed and claimed", queries.newest_study_day()
    )
    cached_chart.render(charts.gain_chart, frame, alt=charts.gain_alt(frame), caption=caption)
    st.caption(GAIN_NOTE)
    if line := rows.ngram_line(group):
        st.caption(line)
    table = with_gain_interval(frame).assign(
        share_of_tpe=frame["share_of_tpe"].astype(float).round(2),
        falsely_kept=[rows.false_accepts(row) for row in group.rows],
        minutes_per_unit=frame["wall_s_per_unit"].astype(float) / MINUTE_S,
    )
    st.dataframe(
        filled_columns(table, columns.AGENT_COLUMNS),
        column_config=columns.AGENT_COLUMNS,
        placeholder="–",
        hide_index=True,
        alt="One row per agent, best first: confirmed and claimed gain, valid proposals, cost, placebos kept",
    )
    if caught := [row.agent for row in group.rows if row.is_caught]:
        st.warning(CAUGHT.format(agents=safe_text.escaped(", ".join(caught))))
    if any(row.n_public_seeds for row in group.rows):
        st.caption(PUBLIC_SEEDS)
    if any(rows.has_one_seed(row) for row in group.rows):
        st.caption(ONE_SEED)
    if frame["track"].notna().any():
        st.caption(BASELINE_NOTE)
    downloads.download_buttons(frame, what="Agents", name="research-board")
    if group.comparisons:
        with st.expander("Pairwise comparisons"):
            comparisons = pd.DataFrame(group.comparisons)
            st.dataframe(
                comparisons,
                column_config=columns.COMPARISON_COLUMNS,
                hide_index=True,
                alt="One row per pair of agents with shared seeds: difference, p, and Holm-adjusted p",
            )
            downloads.download_buttons(comparisons, what="Comparisons", name="research-comparisons")


def _show_curves(key: tuple[Any, ...]) -> None:
    curves = rows.gain_curves(queries.study_curves(), key)
    if curves.empty:
        return
    st.subheader("Best so far", anchor=False)
    agents = rows.shown_agents(curves, most=charts.SHOWN_AGENTS)
    shown = curves[curves["agent"].isin(agents)]
    cached_chart.render(charts.agent_legend, agents, alt="Legend: " + ", ".join(agents))
    cached_chart.render(
        charts.progress_chart,
        shown,
        rows.gain_bands(shown),
        agents,
        alt=charts.progress_alt(shown, agents),
        caption=cached_chart.ChartCaption("Gain so far, by trial", queries.newest_study_day()),
    )
    st.caption(CURVES_NOTE + _left_out(curves, agents))
    downloads.download_buttons(curves, what="Curves", name="research-curves")


def _left_out(curves: pd.DataFrame, agents: Sequence[str]) -> str:
    n = curves["agent"].nunique() - len(agents)
    return f" The {n} agents with the smallest gains are only in the download." if n else ""


def _show_profile(group: Group) -> None:
    frame = rows.gain_profile(group.rows)
    if not frame["gain_bpb"].any():
        return
    st.subheader("Gain by category", anchor=False)
    agents = [row.agent for row in group.rows if any(row.gains_by_category.values())]
    agents = agents[: charts.SHOWN_AGENTS]
    cached_chart.render(charts.agent_legend, agents, alt="Legend: " + ", ".join(agents))
    cached_chart.render(
        charts.profile_chart,
        frame,
        agents,
        alt=charts.profile_alt(frame, agents),
        caption=cached_chart.ChartCaption("Gain by category of change", queries.newest_study_day()),
    )
    st.caption(PROFILE_NOTE)
