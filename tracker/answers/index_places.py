"""Compute the places on the newest index of all models of a home, and add them to tables.

Which of several places of a model counts: `tracker.answers.index_place`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, astuple, replace
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from tracker.answers.frontier import undrawn
from tracker.answers.index_place import (
    ESTIMATED,
    INDEX_COLUMNS,
    INDEX_KINDS,
    MEASURED,
    PUBLISHED,
    SETTINGS,
    UNCALIBRATED,
    IndexPlace,
    IndexPlaces,
)
from tracker.answers.measured import MeasuredAnswer, MeasuredModel, measured_on_index
from tracker.answers.vintages import tables_for
from tracker.frontier.axis import Axis, steps
from tracker.frontier.behind import behind_closed
from tracker.frontier.cache import stored_draws
from tracker.frontier.definitions import STANDING_LAG
from tracker.frontier.index import INTERVAL, fit_index
from tracker.frontier.population import small_name, with_small_models
from tracker.frontier.question import Fitted, Question, axis, selection, window
from tracker.frontier.tables import Tables
from tracker.settings import Settings
from tracker.store import Answer

if TYPE_CHECKING:
    import pandas as pd


def index_places(settings: Settings) -> IndexPlaces:
    """The places on the newest index; intervals only if an earlier answer stored the draws."""
    tables = tables_for(settings)
    fit = fit_index(selection(tables, Question()), Question().options)
    draws = stored_draws(fit, settings.frontier_path)
    found = undrawn(fit) if draws is None else Fitted(fit, draws, fit.index)
    return places_on(tables, found, measured_on_index(tables, Question(), found, settings))


def places_on(tables: Tables, found: Fitted, here: MeasuredAnswer) -> IndexPlaces:
    """The places on a fitted index, with intervals if it has draws."""
    return IndexPlaces(
        by_settings={row.key: _measured(row, here) for row in here.placed},
        by_model={row.model_id.casefold(): _measured(row, here) for row in here.newest},
        published=_published(tables, found),
    )


def _measured(row: MeasuredModel, here: MeasuredAnswer) -> IndexPlace:
    place = row.placement
    return IndexPlace(
        index=place.index,
        index_ci_low=place.ci_low if here.has_intervals else None,
        index_ci_high=place.ci_high if here.has_intervals else None,
        index_basis=MEASURED if place.calibrated and place.in_range else UNCALIBRATED,
        index_name=row.published_as,
        months_behind=place.months_behind,
        months_bound=place.months_bound,
        months_definition=place.definition,
        months_as_of=here.as_of,
    )


def _published(tables: Tables, found: Fitted) -> dict[str, IndexPlace]:
    """The open models of the index, then the estimates, by repository: of several names, the highest."""
    question = Question()
    whole = with_small_models(axis(tables, question, found), tables.small_open_models)
    as_of = window(tables, question).as_of
    estimates = {small_name(row): row.hub_id for row in tables.small_open_models if row.hub_id}
    names = {row.model: row.hub_id for row in tables.models.values() if row.hub_id} | estimates
    places: dict[str, IndexPlace] = {}
    named = [place for place in _axis_places(whole, as_of) if place.index_name in names]
    named.sort(key=lambda place: (place.index_name in estimates, -place.index))
    for place in named:
        hub_id = str(names[place.index_name or ""]).casefold()
        basis = ESTIMATED if place.index_name in estimates else PUBLISHED
        places.setdefault(hub_id, replace(place, index_basis=basis))
    return places


def _axis_places(whole: Axis, as_of: date) -> Iterator[IndexPlace]:
    """The place of each open model of an axis."""
    low, high = np.quantile(whole.draws, INTERVAL, axis=0)
    closed = steps(whole.released[~whole.is_open], whole.value[~whole.is_open])
    for i in np.flatnonzero(whole.is_open):
        index, released = float(whole.value[i]), date.fromordinal(int(whole.released[i]))
        behind = behind_closed(closed, index, released, until=as_of)
        yield IndexPlace(
            index=index,
            index_ci_low=float(low[i]) if whole.has_draws else None,
            index_ci_high=float(high[i]) if whole.has_draws else None,
            index_basis=PUBLISHED,
            index_name=whole.models[i],
            months_behind=behind.months if behind else None,
            months_bound=behind.bound if behind else None,
            months_definition=STANDING_LAG if behind else None,
            months_as_of=as_of,
        )


def place_columns(place: IndexPlace | None) -> dict[str, Any]:
    """`INDEX_COLUMNS` of one row; null where the model has no place."""
    return dict.fromkeys(INDEX_COLUMNS) if place is None else asdict(place)


def with_index(frame: pd.DataFrame, places: IndexPlaces) -> pd.DataFrame:
    """`frame`, whose rows have `model_id`, with `INDEX_COLUMNS`; missing where a model has no place."""
    import pandas as pd

    asked = ["model_id", *(name for name in sorted(SETTINGS) if name in frame)]
    found = [places.of(row) for row in frame[asked].to_dict("records")]
    columns = {
        name: pd.Series(
            [None if place is None else getattr(place, name) for place in found],
            index=frame.index,
            dtype=float if kind == "DOUBLE" else object,
        )
        for name, kind in zip(INDEX_COLUMNS, INDEX_KINDS, strict=True)
    }
    return frame.assign(**columns)


def answer_with_index(answer: Answer, places: IndexPlaces) -> Answer:
    """`answer`, whose rows have `model_id`, with `INDEX_COLUMNS` at the end."""
    found = [places.of(row) for row in answer.records()]
    nothing = (None,) * len(INDEX_COLUMNS)
    rows = [
        (*row, *(nothing if place is None else astuple(place)))
        for row, place in zip(answer.rows, found, strict=True)
    ]
    return Answer((*answer.columns, *INDEX_COLUMNS), rows, (*answer.kinds, *INDEX_KINDS))
