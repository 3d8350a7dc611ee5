"""The parts of the page “Run it”: the card, the score, both charts, the command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from app.pages.run_it import charts, columns
from app.widgets import cached_chart, card_choice, url_select
from app.widgets.columns import GIB
from tracker.answers.fits import CONTEXTS, KNOWN

DEFAULT_CONTEXT = "4,096 tokens"
LENGTHS = {f"{context:,} tokens": context for context in CONTEXTS}
STREAM_TITLE = "Output tokens per second, one request at a time"
NOTE = (
    "Memory is estimated for one sequence: weights, KV cache and engine overhead. For models measured here"
    " the estimate uses the checkpoint's headers; for others it uses the size of the weights and covers only"
    " 4,096 tokens. `tracker fit MODEL` gives the exact prediction before anything is downloaded."
)


def choose_card() -> tuple[float, int]:
    """The memory of the card in gigabytes, and the tokens of context."""
    with st.container(horizontal=True, vertical_alignment="bottom", key="card_filters"):
        memory_gb = card_choice.choose_memory(is_wide=True)
        length = st.segmented_control(
            "Context length",
            list(LENGTHS),
            default=DEFAULT_CONTEXT,
            required=True,
            key="context",
            bind="query-params",
            wrap=True,
        )
    return memory_gb, LENGTHS[length or DEFAULT_CONTEXT]


def choose_score(known: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """The suite and task to rank by; `known` has rows of `queries.board_tasks`."""
    names = {f"{row['task']} ({row['suite']})": (row["suite"], row["task"]) for row in known}
    if not names:
        return "", ""
    name = url_select.select_one("Rank by", list(names), key="judged_by")
    return names[name]


def count_phrase(every: pd.DataFrame, fits: pd.DataFrame, *, memory_gb: float, context: int) -> str:
    """The number of models that fit, and of those for which that is unknown."""
    unknown = int((every[f"needs {context}"].isna() & (every["basis"] == KNOWN)).sum())
    n_models = every["model_id"].nunique()
    phrase = (
        f"{len(fits):,} of {n_models:,} models fit in {memory_gb:g} GB with {context:,} tokens of context."
    )
    if unknown:
        phrase += (
            f" {unknown:,} models not measured here have no estimate at this context length: check them with"
            " `tracker fit MODEL`."
        )
    return phrase


def with_gib(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with `needed_gib`, its `needed_gb` in binary units."""
    return frame.assign(needed_gib=frame["needed_gb"] * 1e9 / GIB) if "needed_gb" in frame else frame


def show_offers(frame: pd.DataFrame, *, cost: str, title: str, task: str) -> None:
    """Show one chart of score against cost, or that nothing was measured."""
    if frame.empty:
        st.info("No model that fits has been measured yet: run `tracker bench ORG/NAME`")
        return
    cached_chart.render(
        charts.offer_chart,
        frame.nlargest(charts.SHOWN_POINTS, "score"),
        cost=cost,
        title=title,
        task=task,
        caption=cached_chart.ChartCaption(f"Score on {task} against {title[:1].lower()}{title[1:]}"),
        alt=charts.offer_alt(frame, title=title, task=task),
    )


def choose_model(fits: pd.DataFrame) -> str:
    """Show the models that fit; return the one to show commands for, chosen by row or by name."""
    shown, config = columns.fit_table(fits, CONTEXTS)

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
    return url_select.select_one("Commands for", list(dict.fromkeys(fits["model_id"])), key="command_for")
