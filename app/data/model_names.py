"""The names of models with a page: measured here, agents, models of the index, Hub repositories."""

from __future__ import annotations

from collections.abc import Sequence

from app.data import frontier_views, queries
from tracker.frontier.facts import ModelFacts


def listed_names(measured: Sequence[str], agents: Sequence[str] = ()) -> list[str]:
    """The models to choose from: measured here, then other agents, then the index sorted by name."""
    here = list(dict.fromkeys([*measured, *agents]))
    published = (row.model for row in frontier_views.tables().models.values() if row.model not in here)
    return [*here, *sorted(published, key=str.casefold)]


def with_page() -> set[str]:
    """Every model that has a page."""
    return {*listed_names(queries.model_ids(), queries.agent_models())} | hub_model_ids()


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


def hub_model_ids() -> set[str]:
    """The Hub repositories with a known size, claim or place on the index."""
    return queries.hub_ids() | {row.hub_id for row in frontier_views.tables().small_open_models if row.hub_id}
