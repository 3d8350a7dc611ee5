"""From the models of a chart to their pages."""

from __future__ import annotations

from collections.abc import Iterable

import streamlit as st

from app import frontier_data, hub_view, queries, standing_view, text
from app.frontier_data import Frontier
from tracker.frontier.population import small_name

LABELS = {"open": "What is behind it: {model}", "closed": "The best closed one: {model}"}
ESTIMATED = "{model} is an estimate by others (TECI) of a model whose repository is not known; it has no page"
ONLY_THERE = "{model} is known from {axis} alone; it has no page"


def show(found: Frontier) -> None:
    """Links to the best of both groups, and the choice of any other model; it says which has no page."""
    known = pages(found.points["model"])
    for access, label in LABELS.items():
        model = found.best(access)["model"]
        if model in known:
            said = label.format(model=text.escaped(model))
            st.page_link("app_pages/model.py", label=said, query_params={"model": known[model]})
        else:
            why = ESTIMATED if model in _repositories() else ONLY_THERE
            st.caption(text.escaped(why.format(model=model, axis=found.axis)))
    _open_one(known)


def pages(models: Iterable[str]) -> dict[str, str]:
    """Under which name the page of models has each of these; those that it lacks are left out.

    An estimate of a small model is of a repository of the Hub, which has a page of its own.
    """
    listed = {*standing_view.names(queries.model_ids(), queries.agent_models()), *hub_view.known_ids()}
    repositories = _repositories()
    names = {model: repositories.get(model) or model for model in models}
    return {model: name for model, name in names.items() if name in listed}


def _repositories() -> dict[str, str | None]:
    return {small_name(row): row.hub_id for row in frontier_data.tables().small_open_models}


def _open_one(known: dict[str, str]) -> None:
    names = sorted(known, key=str.casefold)
    chosen = st.selectbox(
        "Open a model of this chart", names, index=None, key="open_model", placeholder=f"{len(names)} models"
    )
    if chosen:
        st.switch_page("app_pages/model.py", query_params={"model": known[chosen]})
