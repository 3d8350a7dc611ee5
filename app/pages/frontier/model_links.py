"""Links from the models of the chart to their pages."""

from __future__ import annotations

from collections.abc import Iterable

import streamlit as st

from app.data import frontier_views, model_names
from app.data.frontier_views import Frontier
from app.widgets import safe_text

LABELS = {"open": "View {model}, the best open model", "closed": "View {model}, the best closed model"}
ESTIMATED = (
    "{model} is a third-party estimate (TECI) of a model whose repository is unknown, so it has no page"
)
ONLY_THERE = "{model} appears only on {axis}, so it has no page"


def show_best(found: Frontier, access: str) -> None:
    """Show a link to the best model of a group, or why it has no page."""
    model = found.best(access)["model"]
    name = names_with_page([model]).get(model)
    if name is not None:
        text = LABELS[access].format(model=safe_text.escaped(model))
        st.page_link("pages/model/page.py", label=text, query_params={"model": name})
        return
    reason = ESTIMATED if frontier_views.is_estimate(model) else ONLY_THERE
    st.caption(safe_text.escaped(reason.format(model=model, axis=found.axis)))


def show_model_box(found: Frontier) -> None:
    """Show a box to open any model of the chart."""
    known = names_with_page(found.points["model"])
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


def names_with_page(models: Iterable[str]) -> dict[str, str]:
    """For each model that has a page, the name it has there.

    An estimate of a small model belongs to a Hub repository, whose page is used.
    """
    listed = model_names.with_page()
    repositories = frontier_views.repositories()
    names = {model: repositories.get(model) or model for model in models}
    return {model: name for model, name in names.items() if name in listed}
