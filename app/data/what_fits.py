"""What can I run, for page and JSON route; the catalog is kept per snapshot and state of the index."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from app.data import frontier_views, measured_models, queries
from tracker.answers.cards import CardAsked, card_with, find_card
from tracker.answers.catalog import Catalog, OpenModel, catalog_models, is_new, read_catalog
from tracker.answers.index_place import IndexPlaces
from tracker.answers.leaderboard import choose_task
from tracker.answers.what_fits import WhatFits, WhatFitsAsked, models_that_fit
from tracker.settings import load_settings

KEPT = 4  # with and without intervals, of the newest snapshot and the one before
KEPT_CARDS = 4  # each holds its catalog


@dataclass(frozen=True, slots=True)
class _OnCard:
    """An answer and the catalog that it comes from, which is held so that its id stays its own."""

    catalog: Catalog
    found: WhatFits


def what_fits(
    gpu: str | None, memory_gb: float, asked: WhatFitsAsked, *, wait_s: float | None = None
) -> WhatFits:
    """The models that fit the card called `gpu`, else one with `memory_gb` GB, best first; shared.

    Raises:
        TrackerError: there is no such card, or a value is out of range.
    """
    card = card_with(memory_gb) if gpu is None else find_card(gpu)
    catalog = _catalog(wait_s=wait_s)
    return _that_fit(f"{queries.snapshot()} {id(catalog)} {card} {asked}", catalog, card, asked).found


@st.cache_resource(max_entries=KEPT_CARDS, show_spinner=False)
def _that_fit(key: str, _catalog: Catalog, _card: CardAsked, _asked: WhatFitsAsked) -> _OnCard:
    return _OnCard(_catalog, models_that_fit(_catalog, _card, _asked))


def _catalog(*, wait_s: float | None) -> Catalog:
    places = None if is_new(load_settings()) else measured_models.index_places(wait_s=wait_s)
    return _read(f"{queries.snapshot()} {id(places)}", places)


@st.cache_resource(max_entries=KEPT, show_spinner=False)
def _read(key: str, _places: IndexPlaces | None) -> Catalog:
    tasks = queries.board_tasks()
    suite, task = choose_task(tasks, suite=None, task=None) if tasks else ("", "")
    board = queries.task_scores(suite, (task,)) if tasks else None
    # it holds the places, so their id stays theirs
    return read_catalog(load_settings(), _places, board, None if _places is None else _open_models())


def _open_models() -> tuple[OpenModel, ...]:
    return _models(f"{queries.state('known_models')} {frontier_views.tables().digest}")


@st.cache_resource(max_entries=1, show_spinner=False)
def _models(key: str) -> tuple[OpenModel, ...]:
    return catalog_models(load_settings())
