"""A model's place on the index with months behind, and where it comes from.

The index fitted to published scores comes first, then the placement of a run here, then a third party's
estimate of a small model. For quantized weights, of which published scores say nothing, a calibrated
placement comes first. Imports nothing heavy: the catalog of an empty home is answered from these alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date
from typing import Any

MEASURED, PUBLISHED = "measured here", "published scores"
UNCALIBRATED, ESTIMATED = "measured here, uncalibrated", "third-party estimate"
BASES = (PUBLISHED, MEASURED, UNCALIBRATED, ESTIMATED)  # the first that a model has is shown
SETTINGS = {"revision", "quantization", "thinking"}
KINDS = {"str": "VARCHAR", "float": "DOUBLE", "date": "DATE"}
INDEX_NOTE = (
    "Index: capability index with its 90% interval, from published scores, a run here that can be placed, or"
    " a third party's estimate (TECI). Months: behind closed models, with the id of the definition."
)


@dataclass(frozen=True, slots=True)
class IndexPlace:
    """One model's place: the columns that tables of models get."""

    index: float
    index_ci_low: float | None  # 90% interval; None while the draws are not computed
    index_ci_high: float | None
    index_basis: str  # MEASURED, UNCALIBRATED, PUBLISHED or ESTIMATED
    index_name: str | None  # its name in the published data
    months_behind: float | None  # behind closed models
    months_bound: str | None  # "at_least" or "at_most"
    months_definition: str | None
    months_as_of: date  # day of the data


INDEX_COLUMNS = tuple(field.name for field in fields(IndexPlace))
INDEX_KINDS = tuple(KINDS[str(field.type).removesuffix(" | None")] for field in fields(IndexPlace))


@dataclass(frozen=True, slots=True)
class IndexPlaces:
    """Every model with a place; the keys of models are Hub repositories in lower case."""

    by_settings: Mapping[tuple[Any, ...], IndexPlace]  # measured here, by `settings_key`
    by_model: Mapping[str, IndexPlace]  # measured here, the newest run of each
    published: Mapping[str, IndexPlace]  # by published scores, or an estimate

    def of(self, row: Mapping[str, Any]) -> IndexPlace | None:
        """The place of a row with `model_id`; in a row with settings, only a run with the same settings."""
        name = row["model_id"].casefold()
        here = self.by_settings.get(settings_key(row)) if row.keys() >= SETTINGS else self.by_model.get(name)
        if here is not None and here.index_basis == MEASURED and isinstance(row.get("quantization"), str):
            return here
        known = [place for place in (here, self.published.get(name)) if place is not None]
        return min(known, key=lambda place: BASES.index(place.index_basis), default=None)


def settings_key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What must be equal for a placement to hold for another run: weights, their bits, and thinking."""
    quantization, thinking = row["quantization"], row["thinking"]
    return (
        row["model_id"],
        row["revision"],
        quantization if isinstance(quantization, str) else None,  # a frame writes NaN for null
        None if thinking is None or math.isnan(thinking) else bool(thinking),
    )
