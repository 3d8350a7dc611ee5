"""Models compared by published data, for the page and the JSON route; kept per state of the data."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app.data import frontier_views, listed_models, queries
from tracker.answers.published_comparison import PublishedComparison, compare_published, listed_model
from tracker.errors import UnknownNameError
from tracker.frontier.question import Question

KEPT = 32


def names() -> list[str]:
    """The models of the index and the estimates, sorted by name."""
    return sorted((row.model for row in listed_models.listed_models()), key=str.casefold)


def best_of_each_group() -> list[str]:
    """The best open and the best closed model of the index."""
    found = frontier_views.frontier(Question())
    return [str(found.best("open")["model"]), str(found.best("closed")["model"])]


def on_index(models: Sequence[str]) -> list[str]:
    """The names on the index of those models that have a place there, each once."""
    listed, found = listed_models.listed_models(), []
    for name in models:
        try:
            found.append(listed_model(name, listed).model)
        except UnknownNameError:
            continue
    return list(dict.fromkeys(found))


def not_measured(models: Sequence[str]) -> list[str]:
    """Those of the models, by their names on the index, that were not measured here."""
    here = {row.model for row in listed_models.listed_models() if row.is_measured} | set(queries.model_ids())
    return [name for name in models if name not in here]


def comparison(models: Sequence[str]) -> PublishedComparison:
    """The comparison, with intervals once the draws are computed.

    Raises:
        TrackerError: a model has no place on the index, or they are the same.
    """
    drawn = frontier_views.drawn(Question())
    key = f"{queries.snapshot()} {frontier_views.tables().digest} {drawn is not None}"
    return _comparison(key, tuple(models))


@st.cache_resource(max_entries=KEPT, show_spinner=False)
def _comparison(key: str, models: tuple[str, ...]) -> PublishedComparison:
    listed, drawn = listed_models.listed_models(), frontier_views.drawn(Question())
    return compare_published(models, listed, frontier_views.tables(), drawn)
