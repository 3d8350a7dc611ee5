"""Links from the models of the chart to their pages."""

from __future__ import annotations

from collections.abc import Iterable

import streamlit as st

from app.data import frontier_views, model_names, queries
from app.data.frontier_views import Frontier
from app.widgets import safe_text
from tracker.frontier.population import small_name

LABELS = {"open": "View {model}, the best open model", "closed": "View {model}, the best closed model"}
ESTIMATED = (
    "{model} is a third-party estimate (TECI) of a model whose repository is unknown, so it has no page"
)
ONLY_THERE = "{model} appears only on {axis}, so it has no page"


def show_model_links(found: Frontier) -> None:
    """Show links to the best of both groups and a box to open any other model."""
    known = names_with_page(found.points["model"])
    for access, label in LABELS.items():
        model = found.best(access)["model"]
        if model in known:
            text = label.format(model=safe_text.escaped(model))
            st.page_link("pages/model/page.py", label=text, query_params={"model": known[model]})
        else:
            reason = ESTIMATED if model in _repositories() else ONLY_THERE
            st.caption(safe_text.escaped(reason.format(model=model, axis=found.axis)))
    _open_one(known)


def names_with_page(models: Iterable[str]) -> dict[str, str]:
    """For each model that has a page, the name it has there.

    An estimate of a small model belongs to a Hub repository, whose page is used.
    """
    listed = {*model_names.listed_names(queries.model_ids(), queries.agent_models())}
    listed |= model_names.hub_model_ids()
    repositories = _repositories()
    names = {model: repositories.get(model) or model for model in models}
    return {model: name for model, name in names.items() if name in listed}


def _repositories() -> dict[str, str | None]:
    return {small_name(row): row.hub_id for row in frontier_views.tables().small_open_models}


def _open_one(known: dict[str, str]) -> None:
    names = sorted(known, key=str.casefold)
    chosen = st.selectbox(
        "Open a model from this chart",
        names,
        index=None,
        key="open_model",
        placeholder=f"{len(names)} models",
    )
    if chosen:
        st.switch_page("pages/model/page.py", query_params={"model": known[chosen]})
