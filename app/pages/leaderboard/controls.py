"""The controls of the leaderboard."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from app.widgets import url_select
from tracker.answers.leaderboard import Narrowing

ANY = "Any GPU"
TIERS = {ANY: None} | {f"{gigabytes} GB": gigabytes for gigabytes in (8, 12, 16, 24, 48, 80)}
ANY_SIZE = "Any size"
SIZES = {
    ANY_SIZE: None,
    "up to 4B": 4e9,
    "up to 8B": 8.99e9,
    "up to 15B": 15e9,
    "up to 35B": 35e9,
    "up to 80B": 80e9,
}
NOT_STATED = "not stated"
OTHER_COLUMNS = 2  # further tasks shown by default
SIZE_HELP = "Number of parameters; models of unknown size are excluded"


def choose_task(known: Sequence[dict[str, object]]) -> tuple[str, str, list[str]]:
    """The suite, the task to rank by, and every task of that suite; rows of `queries.board_tasks`."""
    suites = list(dict.fromkeys(str(row["suite"]) for row in known))
    suite = url_select.select_one("Suite", suites, key="suite")
    tasks = [str(row["task"]) for row in known if row["suite"] == suite]
    task = st.selectbox("Rank by", tasks, key="task", bind="query-params")
    return suite, task, tasks


def choose_columns(tasks: Sequence[str], task: str) -> tuple[list[str], bool, bool]:
    """The other tasks to show, whether every one must have a score, and whether claims are listed too."""
    others = [name for name in tasks if name != task]
    columns = st.multiselect(
        "Additional task columns", others, default=others[:OTHER_COLUMNS], key="columns", bind="query-params"
    )
    with st.container(horizontal=True):
        is_whole = st.toggle(
            "Complete rows only",
            key="complete",
            bind="query-params",
            help="Only models scored on every task shown",
        )
        has_claims = st.toggle(
            "Include claimed scores",
            key="claimed",
            bind="query-params",
            help="Unranked: no confidence interval available",
        )
    return columns, is_whole, has_claims


def choose_narrowing(facts: pd.DataFrame) -> Narrowing:
    """The filters on rows; `facts` has `license` and `organization` of every row."""
    size = st.selectbox("Size", list(SIZES), key="params", bind="query-params", help=SIZE_HELP)
    licenses = sorted({str(value) for value in facts["license"].fillna(NOT_STATED)})
    organizations = sorted({str(value) for value in facts["organization"]}, key=str.casefold)
    return Narrowing(
        max_params=SIZES[size],
        licenses=tuple(st.multiselect("License", licenses, key="license", bind="query-params")),
        organizations=tuple(st.multiselect("Organization", organizations, key="by", bind="query-params")),
    )


def choose_tier() -> int | None:
    """The memory of the card that a model must fit, in gigabytes; None for any."""
    tier = st.segmented_control(
        "Fits on a GPU with",
        list(TIERS),
        default=ANY,
        required=True,
        key="fits",
        bind="query-params",
        wrap=True,
        help="Estimated memory for weights, 4,096 tokens of context and engine overhead",
    )
    return TIERS[tier or ANY]


def shown_phrase(shown: pd.DataFrame, table: pd.DataFrame) -> str:
    """The number of rows that the filters keep, and the meaning of the marks."""
    left = f"{len(shown):,} of {len(table):,} rows. " if len(shown) < len(table) else ""
    marks = "Dots: scores. Bars: 95% intervals. Gray ticks: chance level."
    return f"{left}{marks} Click a row to open the model."


def link_to_failures(failed: pd.DataFrame) -> None:
    """Link to the models that could not be run, if any."""
    if not failed.empty:
        n = failed["model_id"].nunique()
        st.page_link(
            "pages/runs/page.py",
            label=f"{n:,} model{'s' * (n > 1)} could not be run: see reasons and fixes",
        )
