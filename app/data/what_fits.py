"""What can I run, for page and JSON route; the catalog is kept per snapshot and state of the index."""

from __future__ import annotations

import streamlit as st

from app.data import measured_models, queries
from tracker.answers.cards import card_with, find_card
from tracker.answers.catalog import Catalog, is_new, read_catalog
from tracker.answers.index_place import IndexPlaces
from tracker.answers.what_fits import WhatFits, WhatFitsAsked, models_that_fit
from tracker.settings import load_settings

KEPT = 4  # with and without intervals, of the newest snapshot and the one before


def what_fits(
    gpu: str | None, memory_gb: float, asked: WhatFitsAsked, *, wait_s: float | None = None
) -> WhatFits:
    """The models that fit the card called `gpu`, else one with `memory_gb` GB, best first.

    Raises:
        TrackerError: there is no such card, or a value is out of range.
    """
    card = card_with(memory_gb) if gpu is None else find_card(gpu)
    return models_that_fit(_catalog(wait_s=wait_s), card, asked)


def _catalog(*, wait_s: float | None) -> Catalog:
    places = None if is_new(load_settings()) else measured_models.index_places(wait_s=wait_s)
    return _read(f"{queries.snapshot()} {id(places)}", places)


@st.cache_resource(max_entries=KEPT, show_spinner=False)
def _read(key: str, _places: IndexPlaces | None) -> Catalog:
    return read_catalog(load_settings(), _places)  # the catalog holds the places, so their id stays theirs
