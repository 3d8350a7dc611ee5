"""The board of agents on the page of auto-research: gains, best so far, what the gains came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from app import choosing, downloads, drawing, queries, research_charts, research_tables, researching
from tracker.research_board import Group

EMPTY = (
    "No study yet: `tracker research run --agent demo --tier cpu` lets the embedded model try,"
    " `tracker research baseline` random search and TPE beside it"
)
NONE_COMPLETE = (
    "No study of this group is complete yet; `tracker research baseline` runs what an agent is compared with"
)
ONE_SEED = (
    "An agent with one seed: its interval is over the study's own pairs of seeds, not over agent seeds."
    " A few studies under other seeds say more."
)
BOARD_NOTE = (
    "The dot is the gain confirmed on `test`, which nobody had seen; the diamond is what a loop without a"
    " gate would claim. Agents share a rank unless a paired test over shared seeds tells them apart."
)
BESIDE = (
    "Random search and TPE know nothing of a script: they are those of the track `params` at the same"
    " tier and number of trials. A gain on `test` is the same thing on each track."
)
CURVES_NOTE = (
    "A line per study: the sum of the gains that held under fresh seeds. A band spans all seeds of random"
    " search or of TPE. Placebos are not counted as trials."
)
PROFILE_NOTE = "By what was changed; a change that touches several counts in equal parts."


def choose_group(studies: Sequence[Mapping[str, Any]]) -> tuple[Any, ...]:
    """The group that the reader picks: nothing is compared across two of them."""
    names = researching.group_names(studies)
    return names[choosing.one("Compared with each other", list(names), key="group")]


def show_board(key: tuple[Any, ...]) -> None:
    """Show the agents of one group: gains, the table, who is better than whom, curves, categories."""
    group = researching.compared(queries.complete_studies(), key)
    if group is None:
        st.info(NONE_COMPLETE)
    else:
        _show_gains(group)
    _show_curves(key)
    if group is not None:
        _show_profile(group)


def show_attacks() -> None:
    """Say in one quiet line how the scripted cheats fared last; nothing if they never ran here."""
    suite = queries.attack_suite()
    if suite is not None:
        st.caption(researching.attacks_line(suite))


def _show_gains(group: Group) -> None:
    frame = researching.board_frame(group)
    drawing.show(research_charts.gain_chart, frame, alt=research_charts.gain_alt(frame))
    st.caption(BOARD_NOTE)
    table = research_tables.with_interval(frame).assign(
        share_of_tpe=frame["share_of_tpe"].astype(float).round(2),
        falsely_kept=[researching.false_accepts(row) for row in group.rows],
    )
    st.dataframe(
        research_tables.shown(table, research_tables.BOARD),
        column_config=research_tables.BOARD,
        placeholder="–",
        hide_index=True,
        alt="One row per agent, best first: confirmed and claimed gain, validity, cost, placebos kept",
    )
    if any(researching.is_of_one_seed(row) for row in group.rows):
        st.caption(ONE_SEED)
    if frame["track"].notna().any():
        st.caption(BESIDE)
    downloads.buttons(frame, what="Board", name="research-board")
    if group.comparisons:
        with st.expander("Who is told apart from whom"):
            comparisons = pd.DataFrame(group.comparisons)
            st.dataframe(
                comparisons,
                column_config=research_tables.COMPARISONS,
                hide_index=True,
                alt="One row per pair of agents with shared seeds: difference, p, and p after Holm",
            )
            downloads.buttons(comparisons, what="Comparisons", name="research-comparisons")


def _show_curves(key: tuple[Any, ...]) -> None:
    curves = researching.curves(queries.study_curves(), key)
    if curves.empty:
        return
    st.subheader("Best so far", anchor=False)
    agents = researching.agents_of(curves, most=research_charts.SHOWN_AGENTS)
    shown = curves[curves["agent"].isin(agents)]
    drawing.show(research_charts.legend_chart, agents, alt="The lines: " + ", ".join(agents))
    drawing.show(
        research_charts.progress_chart,
        shown,
        researching.bands(shown),
        agents,
        alt=research_charts.progress_alt(shown, agents),
    )
    st.caption(CURVES_NOTE + _left_out(curves, agents))
    downloads.buttons(curves, what="Curves", name="research-curves")


def _left_out(curves: pd.DataFrame, agents: Sequence[str]) -> str:
    n = curves["agent"].nunique() - len(agents)
    return f" The {n} agents that gained least are in the download alone." if n else ""


def _show_profile(group: Group) -> None:
    frame = researching.profile(group.rows)
    if not frame["gain_bpb"].any():
        return
    st.subheader("What the gains came from", anchor=False)
    agents = [row.agent for row in group.rows if any(row.gains_by_category.values())]
    agents = agents[: research_charts.SHOWN_AGENTS]
    drawing.show(research_charts.legend_chart, agents, alt="The marks: " + ", ".join(agents))
    drawing.show(research_charts.profile_chart, frame, agents, alt=research_charts.profile_alt(frame, agents))
    st.caption(PROFILE_NOTE)
