"""All models with a place on the index, for the page and the JSON route; kept until they change."""

from __future__ import annotations

import math
from dataclasses import asdict, fields
from typing import Any

import pandas as pd
import streamlit as st

from app.data import frontier_views, queries
from app.data.frontier_views import Frontier
from tracker.answers.frontier import FrontierAnswer
from tracker.answers.model_table import ListedModel, model_table
from tracker.frontier.question import Question
from tracker.frontier.tables import Tables

KEPT = 4  # with and without intervals, the newest and the one before
FACTS = ("license", "max_context")


def listed_models() -> tuple[ListedModel, ...]:
    """Every model, the best first; intervals once they are computed."""
    found, known = frontier_views.frontier(Question()), frontier_views.tables()
    measured = hash(tuple(queries.model_ids()))
    key = f"{queries.state('hub_sizes')} {known.digest} {found.as_of} {found.has_intervals} {measured}"
    return _listed(key, found, known)


@st.cache_resource(max_entries=KEPT, show_spinner=False)
def _listed(key: str, _found: Frontier, _tables: Tables) -> tuple[ListedModel, ...]:
    return models_of(_found.answer)


def models_of(answer: FrontierAnswer) -> tuple[ListedModel, ...]:
    """Every model of an answer on the whole index, with what the Hub says of it, the best first."""
    hub = {
        row["model_id"].casefold(): {name: _plain(row[name]) for name in FACTS}
        for row in queries.hub_sizes()[["model_id", *FACTS]].to_dict("records")
    }
    measured = {name.casefold() for name in queries.model_ids()}
    return model_table(answer, frontier_views.tables(), hub, measured)


def _plain(value: Any) -> Any:
    """A cell as a plain value; null is None."""
    if isinstance(value, float):
        return None if math.isnan(value) else int(value)
    return value if isinstance(value, str | int) else None


def frame(rows: tuple[ListedModel, ...]) -> pd.DataFrame:
    """The rows as a frame with the fields of `ListedModel` as columns."""
    names = [field.name for field in fields(ListedModel)]
    return pd.DataFrame([asdict(row) for row in rows], columns=names)
