"""Rows of tables with the place of each model on the index; kept per snapshot and state of the index.

Looking up the places of 5,000 rows takes longer than the rest of a visit.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from app.data import measured_models, queries
from tracker.answers.fits import best_fits, output_speed, stream_speed, with_frontier
from tracker.answers.index_place import IndexPlaces
from tracker.answers.index_places import with_index

KEPT = 3  # tables of some megabytes


@dataclass(frozen=True, slots=True, eq=False)
class CardRows:
    """The models that fit a card, and those measured with `on_frontier`, by each cost."""

    fits: pd.DataFrame
    by_memory: pd.DataFrame
    by_speed: pd.DataFrame  # of their runs
    by_stream: pd.DataFrame  # of one request at a time, by a load generator


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """Rows and the places in them, which are held so that their id stays their own."""

    places: IndexPlaces
    rows: pd.DataFrame


@dataclass(frozen=True, slots=True, eq=False)
class _KeptCard:
    """The same for a card."""

    places: IndexPlaces
    rows: CardRows


def ranked_board(suite: str, task: str, columns: tuple[str, ...]) -> pd.DataFrame:
    """The rows of `queries.ranked_board` with their places; shared, so do not modify."""
    places = measured_models.index_places()
    return _ranked_board(f"{queries.snapshot()} {id(places)}", suite, task, columns, _places=places).rows


def card_rows(suite: str, task: str, *, memory_gb: float, context: int) -> CardRows:
    """The candidates of `queries.candidates` that fit, the best of each model; shared, so do not modify."""
    places = measured_models.index_places()
    key = f"{queries.snapshot()} {id(places)}"
    return _card_rows(key, suite, task, memory_gb, context, _places=places).rows


@st.cache_resource(max_entries=KEPT, show_spinner=False)
def _ranked_board(
    key: str, suite: str, task: str, columns: tuple[str, ...], *, _places: IndexPlaces
) -> _Kept:
    return _Kept(_places, with_index(queries.ranked_board(suite, task, columns), _places))


@st.cache_resource(max_entries=KEPT, show_spinner=False)
def _card_rows(
    key: str, suite: str, task: str, memory_gb: float, context: int, *, _places: IndexPlaces
) -> _KeptCard:
    every = queries.candidates(suite, task)
    fits = with_index(best_fits(every, memory_gb=memory_gb, context=context), _places)
    by_memory = with_frontier(fits, cost=fits[f"needs {context}"], context=context)
    by_speed = with_frontier(fits, cost=-output_speed(fits), context=context)
    streams = fits.assign(device=fits["speed_device"])
    by_stream = with_frontier(streams, cost=-stream_speed(streams), context=context)
    return _KeptCard(_places, CardRows(fits, by_memory, by_speed, by_stream))
