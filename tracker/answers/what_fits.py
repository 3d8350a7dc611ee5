"""What can I run: the open models that fit a card, best first, before anything is ingested or measured.

The models are those of the index and of the third party's estimates that are shipped, with their shapes, and
in a home those that the Hub was seen to have. Memory and speed are estimates with their basis, unless the
speed was measured on the card; a score is that of the published weights, and what quantization costs is not
known here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tracker.answers.cards import CardAsked
from tracker.answers.catalog import EXPERTS_FRACTION, REACHED_FRACTION, Catalog, OpenModel, read_catalog
from tracker.answers.index_place import ESTIMATED, PUBLISHED, IndexPlace
from tracker.answers.measured_speed import (
    MeasuredSpeed,
    is_on_card,
    speed_columns,
    speed_on_card,
    speed_phrase,
)
from tracker.errors import FieldError
from tracker.memory_estimate import (
    GB,
    MOST_BITS,
    OVERHEAD_BYTES,
    SHORT_CONTEXT,
    STORED_NOTE,
)
from tracker.settings import Settings

LEVELS = (16.0, 8.0, 4.0)  # bits of a weight, the best first
MOST_CONTEXT = 2**27  # tokens
EXACT, ESTIMATE = "shape of the model", "estimated from its size"
SPEED_ESTIMATE, SPEED_MEASURED, SPEED_OF_RUN = "estimated from bandwidth", "measured", "measured in a run"
MEASURED_HERE = "measured here"
PARENT, OWN = "parent's", "published"
NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class WhatFitsAsked:
    """What to look for."""

    context: int = SHORT_CONTEXT
    bits: float | None = None  # of a weight; None: the most of 16, 8 and 4 that fit
    license: str | None = None  # a part of its name
    limit: int | None = None  # rows

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            FieldError: one is out of range.
        """
        if not 1 <= self.context <= MOST_CONTEXT:
            raise FieldError("context", f"must be a number of tokens, got {self.context}", example=8192)
        if self.bits is not None and not 1.0 <= self.bits <= MOST_BITS:
            raise FieldError("bits", f"must be from 1 to {MOST_BITS:g}, got {self.bits:g}", example=4)
        if self.limit is not None and self.limit < 1:
            raise FieldError("limit", f"must be at least 1, got {self.limit}", example=10)


@dataclass(frozen=True, slots=True)
class ModelThatFits:
    """One model at the most bits that fit."""

    model_id: str
    index: float | None
    index_ci_low: float | None  # 90% interval
    index_ci_high: float | None
    index_basis: str | None  # published scores, measured here, a third party's estimate
    evidence: str | None  # of the score at these bits: published, parent's, estimated, measured here
    months_behind: float | None  # behind closed models
    months_bound: str | None
    n_params: int
    n_active_params: int | None
    bits: float
    needed_bytes: int
    needed_bytes_by_bits: Mapping[str, int]  # at 4, 8 and 16 bits, whether it fits or not
    memory_basis: str
    tokens_per_s: float | None
    speed_basis: str | None  # measured, measured in a run, estimated from bandwidth
    speed_concurrency: int | None  # requests under way at once; null here and below: not measured
    speed_prompt_tokens: int | None  # of one request
    speed_engine: str | None
    speed_device: str | None
    speed_measured_on: str | None  # day, ISO 8601
    speed_id: str | None
    quantization_loss: str | None  # None: no fewer bits than published
    score: float | None  # measured here
    task: str | None
    license: str | None
    max_context: int | None
    copies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WhatFits:
    """The answer for one card, best first."""

    card: CardAsked
    asked: WhatFitsAsked
    rows: tuple[ModelThatFits, ...]
    n_fitting: int  # before the limit
    n_models: int  # considered
    as_of: str | None  # day of the scores
    notes: tuple[str, ...]


def answer_what_fits(card: CardAsked, asked: WhatFitsAsked, settings: Settings) -> WhatFits:
    """The models that fit on `card`: by index, then by the score measured here, then by size."""
    return models_that_fit(read_catalog(settings), card, asked)


def models_that_fit(catalog: Catalog, card: CardAsked, asked: WhatFitsAsked) -> WhatFits:
    """`answer_what_fits` from a catalog that was read."""
    rows = [
        row
        for model in catalog.models
        if asked.license is None or asked.license.casefold() in (model.license or "").casefold()
        if (row := _row(model, card, asked, catalog)) is not None
    ]
    rows.sort(key=_order)
    days = [place.months_as_of for place in catalog.places.published.values()]
    return WhatFits(
        card=card,
        asked=asked,
        rows=tuple(rows[: asked.limit]),
        n_fitting=len(rows),
        n_models=len(catalog.models),
        as_of=max(days).isoformat() if days else None,
        notes=_notes(asked),
    )


def what_fits_document(found: WhatFits) -> dict[str, Any]:
    """The answer as plain JSON values."""
    card = {
        "name": found.card.name,
        "memory_gb": found.card.memory_gb,
        "bandwidth_gb_s": found.card.bandwidth_gb_s,
        "n_cards": found.card.n_cards,
        "is_here": found.card.is_here,
    }
    return {
        "card": card,
        "context": found.asked.context,
        "bits": found.asked.bits,
        "as_of": found.as_of,
        "n_models": found.n_models,
        "n_fitting": found.n_fitting,
        "models": [asdict(row) | {"copies": list(row.copies)} for row in found.rows],
        "notes": list(found.notes),
    }


def _row(
    model: OpenModel,
    card: CardAsked,
    asked: WhatFitsAsked,
    catalog: Catalog,
) -> ModelThatFits | None:
    """The model at the most bits that fit; None if it fits at none, or has a shorter context."""
    if model.max_context is not None and asked.context > model.max_context:
        return None
    levels = LEVELS if asked.bits is None else (asked.bits,)
    needed = {bits: model.needed_bytes(bits, asked.context) for bits in sorted({*LEVELS, *levels})}
    bits = next((bits for bits in levels if needed[bits] <= card.memory_gb * GB), None)
    if bits is None:
        return None
    place = catalog.places.of({"model_id": model.model_id})
    here = catalog.scores.get(model.model_id.casefold(), {})
    is_reduced = bits < model.published_bits
    return ModelThatFits(
        model_id=model.model_id,
        index=place.index if place else None,
        index_ci_low=place.index_ci_low if place else None,
        index_ci_high=place.index_ci_high if place else None,
        index_basis=place.index_basis if place else None,
        evidence=_evidence(place, is_reduced=is_reduced),
        months_behind=place.months_behind if place else None,
        months_bound=place.months_bound if place else None,
        n_params=model.n_params,
        n_active_params=model.n_active_params,
        bits=min(bits, model.published_bits),
        needed_bytes=needed[bits],
        needed_bytes_by_bits={f"{level:g}": needed[level] for level in sorted(LEVELS)},
        memory_basis=ESTIMATE if model.shape is None else EXACT,
        **_speed(model, card, bits, asked.context, catalog),
        quantization_loss=NOT_MEASURED if is_reduced else None,
        score=here.get("score"),
        task=here.get("task"),
        license=model.license,
        max_context=model.max_context,
        copies=model.copies,
    )


def timed(
    model: OpenModel, card: CardAsked, bits: float, context: int, speeds: Sequence[MeasuredSpeed]
) -> dict[str, Any]:
    """Output tokens per second on a card, measured or estimated, with the columns that say which."""
    found = speed_on_card(
        speeds, card, model_id=model.model_id, bits=bits, published_bits=model.published_bits
    )
    if found is not None:
        of_card = {"tokens_per_s": found.tokens_per_s, "speed_basis": SPEED_MEASURED}
    elif card.bandwidth_gb_s is None:
        of_card = {"tokens_per_s": None, "speed_basis": None}
    else:
        estimate = model.tokens_per_s(bits, context, card.bandwidth_gb_s)
        of_card = {"tokens_per_s": estimate, "speed_basis": None if estimate is None else SPEED_ESTIMATE}
    return of_card | speed_columns(found)


def _speed(model: OpenModel, card: CardAsked, bits: float, context: int, catalog: Catalog) -> dict[str, Any]:
    """`timed`; on this machine, the speed of a run rather than an estimate."""
    key = model.model_id.casefold()
    found = timed(model, card, bits, context, catalog.speeds.get(key, ()))
    here = catalog.scores.get(key, {})
    of_run, device = here.get("tokens_per_s"), here.get("device")
    is_of_run = (
        card.is_here and isinstance(of_run, float) and of_run > 0 and is_on_card(device, card.cpu, card)
    )
    if found["speed_basis"] == SPEED_MEASURED or not is_of_run:
        return found
    day = here["measured_at"].date().isoformat()
    of_card = {"tokens_per_s": of_run, "speed_basis": SPEED_OF_RUN}
    return found | of_card | {"speed_device": device, "speed_measured_on": day}


def speed_text(row: ModelThatFits) -> str | None:
    """What the speed of a row is, for people: an estimate, or what it was measured on; None: no speed."""
    is_measured = row.speed_basis in (SPEED_MEASURED, SPEED_OF_RUN)
    return speed_phrase(asdict(row)) if is_measured else row.speed_basis


def measured_lines(found: WhatFits) -> list[str]:
    """One line for each speed in the answer that was measured, and on what."""
    return [
        f"{row.model_id}: {row.tokens_per_s:,.1f} tokens/s {speed_phrase(asdict(row))}"
        for row in found.rows
        if row.speed_basis in (SPEED_MEASURED, SPEED_OF_RUN)
    ]


def _evidence(place: IndexPlace | None, *, is_reduced: bool) -> str | None:
    """The grade of the score at the bits of the row."""
    if place is None:
        return None
    if place.index_basis == ESTIMATED:
        return "estimated"
    if place.index_basis == PUBLISHED:
        return PARENT if is_reduced else OWN
    return MEASURED_HERE


def _order(row: ModelThatFits) -> tuple[Any, ...]:
    by_index = (row.index is None, -(row.index or 0.0))
    by_score = (row.score is None, -(row.score or 0.0))
    return (*by_index, *by_score, -row.n_params, row.model_id)


def _notes(asked: WhatFitsAsked) -> tuple[str, ...]:
    levels = "16, 8 or 4 bits, the most that fit" if asked.bits is None else f"{asked.bits:g} bits"
    return (
        f"weights at {levels} ({STORED_NOTE}), the cache of one sequence of {asked.context:,} tokens in 16"
        f" bits, {OVERHEAD_BYTES / GB:g} GB for the engine",
        f"speed: an estimate until it is measured on the card (`tracker bench MODEL --speed`),"
        f" {REACHED_FRACTION:.0%} of its bandwidth ({EXPERTS_FRACTION:.0%} for experts) over the bytes read"
        " for a token",
        "an index below the published bits is the parent's: what quantization costs is not measured",
    )
