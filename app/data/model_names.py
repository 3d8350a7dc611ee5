"""The names of models with a page: measured here, agents, models of the index, Hub repositories."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app.data import frontier_views, queries
from tracker.frontier.facts import ModelFacts

KEPT = 2  # the newest and the one before


def listed_names(measured: Sequence[str], agents: Sequence[str] = ()) -> list[str]:
    """The models to choose from: measured here, then other agents, then the index sorted by name."""
    here = dict.fromkeys([*measured, *agents])
    published = (row.model for row in frontier_views.tables().models.values() if row.model not in here)
    return [*here, *sorted(published, key=str.casefold)]


def with_page() -> frozenset[str]:
    """Every model that has a page; kept until one is added, since a page asks for it several times."""
    measured, agents, on_hub = queries.model_ids(), queries.agent_models(), hub_model_ids()
    key = f"{frontier_views.tables().digest} {hash((*measured, '', *agents))} {hash(on_hub)}"
    return _with_page(key, measured, agents, on_hub)


@st.cache_resource(max_entries=KEPT, show_spinner=False)
def _with_page(
    key: str, _measured: Sequence[str], _agents: Sequence[str], _on_hub: frozenset[str]
) -> frozenset[str]:
    return _on_hub.union(listed_names(_measured, _agents))


def index_facts(name: str) -> ModelFacts | None:
    """The model of the index with that name or that Hub repository; None if there is none."""
    known = frontier_views.tables().models
    if name in known:
        return known[name]
    return next((row for row in known.values() if (row.hub_id or "").casefold() == name.casefold()), None)


def measured_id(name: str, measured: Sequence[str]) -> str:
    """The ID under which a model is measured here: its Hub repository if known, otherwise its name."""
    facts = index_facts(name)
    hub_id = (facts.hub_id or "").casefold() if facts else ""
    return next((one for one in measured if one.casefold() == hub_id), name)


def agent_repository(name: str, agents: Sequence[str]) -> str | None:
    """The Hub repository of a model that acted as an agent here; None if unknown."""
    is_on_hub = name in agents and name.count("/") == 1 and not name.startswith("local/")
    return name if is_on_hub else None


def hub_model_ids() -> frozenset[str]:
    """The Hub repositories with a known size, claim or place on the index; kept until they change."""
    return _hub_model_ids(f"{queries.state('hub_sizes', 'model_claims')} {frontier_views.tables().digest}")


@st.cache_resource(max_entries=KEPT, show_spinner=False)
def _hub_model_ids(key: str) -> frozenset[str]:
    estimated = {row.hub_id for row in frontier_views.tables().small_open_models if row.hub_id}
    return frozenset(queries.hub_ids() | estimated)
