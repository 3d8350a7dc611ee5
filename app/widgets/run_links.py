"""Choose a run; links from a run to its items and its model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from app.widgets import safe_text, url_select

SCORED = ("complete", "partial")


def choose_run(runs: Sequence[Mapping[str, Any]], *, key: str = "run") -> Mapping[str, Any]:
    """The run that the reader picks; at first the newest with scores. `key` is its name in the link.

    Raises:
        TrackerError: the link names a run that this model does not have.
    """
    by_id = {run["run_id"]: run for run in runs}
    first = next((run["run_id"] for run in runs if run["status"] in SCORED), None)
    hint = "`tracker query` lists all runs; the folders in items/ of the home hold their answers"
    chosen = url_select.select_one(
        "Run", list(by_id), key=key, first=first, kind="run of this model", hint=hint
    )
    return by_id[chosen]


def link_to_items(run: Mapping[str, Any]) -> None:
    """A link to every item of a run, with the answers."""
    st.page_link(
        "pages/items/page.py",
        label="View all items of this run: prompts, answers, targets",
        query_params={"items_of": run["model_id"], "of_run": run["run_id"]},
    )


def link_to_model(run: Mapping[str, Any]) -> None:
    """A link back to the model of a run."""
    st.page_link(
        "pages/model/page.py",
        label=f"View {safe_text.escaped(run['model_id'])}",
        query_params={"model": run["model_id"], "run": run["run_id"]},
    )
