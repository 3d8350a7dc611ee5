"""A model that has not been measured here: its facts on the Hub, estimates and claims by others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from app.data import frontier_views, model_names, queries
from app.pages.model import columns
from app.widgets import benchmark_links, downloads, safe_text
from app.widgets.columns import SHOWN_DECIMALS
from app.widgets.facts import show_facts
from tracker.frontier.facts import SmallOpenModel

HOW_TO_LIST = "`tracker bench ORG/NAME` measures a model, `tracker ingest` fetches what sources say of others"
ESTIMATED = "Index estimated by a third party (TECI), {variant}"


def requested_repositories(names: Sequence[str], *, key: str) -> list[str]:
    """The repository that the link or the reader asks for, if it is known and not one of `names`.

    `key` is the parameter of the link. Listing every repository would make the box thousands of names long.
    """
    asked = dict.fromkeys([st.query_params.get(key), st.session_state.get(key)])
    unlisted = [name for name in asked if name and name not in names]
    return [name for name in unlisted if name in model_names.hub_model_ids() or model_names.index_facts(name)]


def _estimates(model_id: str) -> list[SmallOpenModel]:
    """The shipped estimates of a repository's index."""
    return [row for row in frontier_views.tables().small_open_models if row.hub_id == model_id]


def show_hub_facts(model_id: str) -> None:
    """Show a model's facts on the Hub, third-party estimates of its index, and the scores claimed for it."""
    listed = queries.hub_sizes()
    for row in listed[listed["model_id"] == model_id].to_dict("records"):
        show_facts(_facts({str(name): value for name, value in row.items()}))
    for estimate in _estimates(model_id):
        st.caption(safe_text.escaped(ESTIMATED.format(variant=estimate.variant)))
        ends = safe_text.ends(estimate.index_ci_low, estimate.index_ci_high)
        show_facts({"Index": f"{estimate.index:.1f}", "90% interval": ends})
    _show_claims(model_id)


def _facts(row: dict[str, Any]) -> dict[str, str]:
    facts = {
        "Parameters": _parameters(row),
        "Weights": safe_text.size(row["weights_bytes"]),
        "License": row["license"] if isinstance(row["license"], str) else "not stated",
        "Maximum context": safe_text.count(row["max_context"]),
        "Downloads": safe_text.count(row["downloads"]),
    }
    return facts | ({} if pd.isna(row["released_at"]) else {"Released": f"{row['released_at']:%d %b %Y}"})


def _parameters(row: dict[str, Any]) -> str:
    if pd.isna(row["n_params"]) and not pd.isna(row["n_params_at_least"]):
        return f"at least {safe_text.count(row['n_params_at_least'])} stored (packed)"
    return safe_text.count(row["n_params"])


def _show_claims(model_id: str) -> None:
    claims = queries.claims_of(model_id)
    if claims.empty:
        return
    st.header("Claimed scores", anchor=False)
    shown = claims.assign(
        score=claims["value"].round(SHOWN_DECIMALS),
        by=claims["reporter"].fillna(claims["reported_by"].str.replace("_", " ")),
    )
    chosen = st.dataframe(
        shown[list(columns.CLAIM_COLUMNS)],
        column_config=columns.CLAIM_COLUMNS,
        placeholder="–",
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key="claimed_scores",
        alt=f"Scores claimed for {model_id}, one row per benchmark and source",
    )
    benchmark_links.open_selected(chosen, shown["benchmark"])
    downloads.download_buttons(claims, what="Claimed scores", name="claimed-scores")
