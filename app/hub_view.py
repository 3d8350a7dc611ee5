"""A model that was not measured here: what the Hub and others say of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from app import downloads, frontier_data, queries, tables, text
from app.model_view import show_facts
from app.tables import SHOWN_DECIMALS
from tracker.frontier.facts import SmallOpenModel

ESTIMATED = "A place on the index that is estimated by others (TECI), {variant}"


def known_ids() -> set[str]:
    """The repositories of the Hub of which anything can be shown."""
    return queries.hub_ids() | {row.hub_id for row in frontier_data.tables().small_open_models if row.hub_id}


def asked_for(names: Sequence[str], *, key: str) -> list[str]:
    """The repository that the link or the reader asks for, if it is known and none of `names`.

    `key` is the parameter of the link. All of the Hub would be thousands of names, for a list to scroll in.
    """
    asked = dict.fromkeys([st.query_params.get(key), st.session_state.get(key)])
    return [name for name in asked if name and name not in names and name in known_ids()]


def estimates(model_id: str) -> list[SmallOpenModel]:
    """The estimates of a repository's place on the index that the program ships."""
    return [row for row in frontier_data.tables().small_open_models if row.hub_id == model_id]


def show(model_id: str) -> None:
    """Show what the Hub says of a model, where others estimate it on the index, and what is claimed of it."""
    listed = queries.hub_sizes()
    for row in listed[listed["model_id"] == model_id].to_dict("records"):
        show_facts(_facts({str(name): value for name, value in row.items()}))
    for estimate in estimates(model_id):
        st.caption(text.escaped(ESTIMATED.format(variant=estimate.variant)))
        ends = text.ends(estimate.index_ci_low, estimate.index_ci_high)
        show_facts({"Index": f"{estimate.index:.1f}", "90 % interval": ends})
    _show_claims(model_id)


def _facts(row: dict[str, Any]) -> dict[str, str]:
    said = {
        "Parameters": text.count(row["n_params"]),
        "Weights": text.size(row["weights_bytes"]),
        "Licence": row["license"] if isinstance(row["license"], str) else "not stated",
        "Longest context": text.count(row["max_context"]),
        "Downloads": text.count(row["downloads"]),
    }
    return said | ({} if pd.isna(row["released_at"]) else {"Released": f"{row['released_at']:%d %b %Y}"})


def _show_claims(model_id: str) -> None:
    claims = queries.claims_of(model_id)
    if claims.empty:
        return
    st.header("Claimed", anchor=False)
    shown = claims.assign(
        score=claims["value"].round(SHOWN_DECIMALS), by=claims["reporter"].fillna(claims["reported_by"])
    )
    st.dataframe(
        shown[list(tables.CLAIMED)],
        column_config=tables.CLAIMED,
        placeholder="–",
        hide_index=True,
        alt=f"Scores that are claimed of {model_id}, one row per benchmark and source",
    )
    downloads.buttons(claims, what="Claimed scores", name="claimed-scores")
