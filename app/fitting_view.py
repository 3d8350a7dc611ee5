"""The parts of the page `Run it`: the card, the score, both charts, the command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from app import choosing, drawing, run_charts, tables
from app.fitting import CONTEXTS, KNOWN
from tracker.sizing import MEMORY_GB

DEFAULT_GB, DEFAULT_CONTEXT = "24 GB", "4,096 tokens"
CARDS = {f"{gigabytes} GB": float(gigabytes) for gigabytes in MEMORY_GB}
LENGTHS = {f"{context:,} tokens": context for context in CONTEXTS}
NOTE = (
    "Memory is an estimate for one sequence: weights, its cache and the engine. For a model measured here it"
    " rests on the headers that the fit check read; for others on the size of the weights, and only for 4,096"
    " tokens."
    " `tracker fit MODEL` says it exactly, before anything is downloaded."
)


def choose_card() -> tuple[float, int]:
    """The memory of the card in gigabytes, and the tokens of context."""
    with st.container(horizontal=True, vertical_alignment="bottom", key="card_filters"):
        card = st.segmented_control(
            "I have a card with",
            list(CARDS),
            default=DEFAULT_GB,
            required=True,
            key="card",
            bind="query-params",
            wrap=True,
        )
        length = st.segmented_control(
            "and want a context of",
            list(LENGTHS),
            default=DEFAULT_CONTEXT,
            required=True,
            key="context",
            bind="query-params",
            wrap=True,
        )
    return CARDS[card or DEFAULT_GB], LENGTHS[length or DEFAULT_CONTEXT]


def choose_score(known: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """The suite and task whose score counts; rows of `queries.board_tasks`."""
    names = {f"{row['task']} ({row['suite']})": (row["suite"], row["task"]) for row in known}
    if not names:
        return "", ""
    name = choosing.one("Judged by", list(names), key="judged_by")
    return names[name]


def say_fits(every: pd.DataFrame, fits: pd.DataFrame, *, memory_gb: float, context: int) -> str:
    """How many models fit, and of how many that cannot be said."""
    unknown = int((every[f"needs {context}"].isna() & (every["basis"] == KNOWN)).sum())
    n_models = every["model_id"].nunique()
    said = f"{len(fits):,} of {n_models:,} models fit {memory_gb:g} GB with {context:,} tokens of context."
    if unknown:
        said += f" Of {unknown:,} that were not measured here only `tracker fit` can say it at this length."
    return said


def show_offers(frame: pd.DataFrame, *, cost: str, title: str, task: str) -> None:
    """Show one chart of score against cost, or say that nothing was measured."""
    if frame.empty:
        st.info("Nothing that fits was measured here: `tracker bench ORG/NAME`")
        return
    drawing.show(
        run_charts.offer_chart,
        frame.nlargest(run_charts.SHOWN_POINTS, "score"),
        cost=cost,
        title=title,
        alt=run_charts.offer_alt(frame, title=title, task=task),
    )


def choose_model(fits: pd.DataFrame) -> str:
    """Show what fits as a table, and under it the model that the command is for: by a row or by its name."""
    shown, config = tables.fits(fits, CONTEXTS)

    def take_clicked() -> None:
        if picked := st.session_state["fit_rows"].selection.rows:
            st.session_state["command_for"] = fits["model_id"].iloc[picked[0]]

    st.dataframe(
        shown,
        column_config=config,
        placeholder="–",
        hide_index=True,
        on_select=take_clicked,
        selection_mode="single-row",
        key="fit_rows",
        alt="One row per model that fits: memory by context length, score, tokens per second",
    )
    return choosing.one("Command for", list(dict.fromkeys(fits["model_id"])), key="command_for")
