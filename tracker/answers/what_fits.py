"""What can I run: the open models that fit a card, best first, before anything is ingested or measured.

The models are those of the index and of the third party's estimates that are shipped, with their shapes, and
in a home those that the Hub was seen to have. Memory and speed are estimates with their basis; a score is
that of the published weights, and what quantization costs is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from tracker.answers.cards import CardAsked
from tracker.answers.index_places import ESTIMATED, PUBLISHED, IndexPlace, IndexPlaces, index_places
from tracker.answers.vintages import tables_for
from tracker.errors import FieldError
from tracker.frontier.facts import ModelShape
from tracker.frontier.tables import Tables, load_shapes
from tracker.memory_estimate import (
    BITS,
    CACHE_FRACTION,
    GB,
    MOST_BITS,
    OVERHEAD_BYTES,
    SHORT_CONTEXT,
    STORED_BITS,
)
from tracker.settings import Settings
from tracker.store import open_snapshot, snapshot_id

LEVELS = (16.0, 8.0, 4.0)  # bits of a weight, the best first
MOST_CONTEXT = 2**27  # tokens
CACHE_BYTES = 2  # of a value in the cache
# Of the bandwidth that is reached while one sequence is generated. Llama 7B Q4_0 with llama.cpp: 0.45 to 0.8
# on Apple's chips (ggml-org/llama.cpp discussion #4167), 0.6 to 0.7 on the cards RTX 3090 and 4090.
REACHED_FRACTION = 0.6
EXPERTS_FRACTION = 0.35  # of a mixture of experts, whose reads are smaller and scattered
DENSE_PARAMS = 60e9  # a larger model is a mixture more often than not: without its active part, no speed
ACTIVE = re.compile(r"-A(\d{1,3}(?:\.\d)?)B(?![A-Za-z0-9])")  # in a name: Qwen3-30B-A3B
MAX_COPIES = 3
KNOWN_MODELS = 5000
EXACT, ESTIMATE = "shape of the model", "estimated from its size"
SPEED_ESTIMATE, MEASURED_HERE = "estimated from bandwidth", "measured here"
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
class OpenModel:
    """A model of the catalogue: what is known without asking anyone."""

    model_id: str
    n_params: int
    n_active_params: int | None = None  # None: all of them
    shape: ModelShape | None = None
    license: str | None = None
    max_context: int | None = None
    published_bits: float = BITS
    copies: tuple[str, ...] = ()  # quantized, the most downloaded first

    def weights_bytes(self, bits: float) -> float:
        """Bytes of the weights of a copy called `bits`, or as published if those are fewer."""
        return self.n_params * min(STORED_BITS.get(bits, bits), self.published_bits) / 8

    def needed_bytes(self, bits: float, context: int) -> int:
        """Weights, the cache of one sequence of `context` tokens, and the engine."""
        return round(self.weights_bytes(bits) + self.cache_bytes(bits, context) + OVERHEAD_BYTES)

    def cache_bytes(self, bits: float, context: int) -> float:
        """The cache of one sequence in 16 bits: by its shape, else a share of the weights."""
        if self.shape is not None:
            return float(self.shape.cache_values(context) * CACHE_BYTES)
        return self.weights_bytes(bits) * CACHE_FRACTION * max(1.0, context / SHORT_CONTEXT)

    def tokens_per_s(self, bits: float, context: int, bandwidth_gb_s: float) -> float | None:
        """Output tokens per second of one sequence: each reads the active weights and the cache.

        None for a large model of which it is not known how many of its parameters are active.
        """
        active = self.n_active_params
        if active is None and self.shape is None and self.n_params > DENSE_PARAMS:
            return None
        share = min(1.0, (active or self.n_params) / self.n_params)
        read_bytes = self.weights_bytes(bits) * share + self.cache_bytes(bits, context)
        return (EXPERTS_FRACTION if share < 1.0 else REACHED_FRACTION) * bandwidth_gb_s * GB / read_bytes


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
    speed_basis: str | None
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
    places = index_places(settings)
    models = open_models(settings, tables_for(settings))
    scores = dict(_scores(settings))
    rows = [
        row
        for model in models
        if asked.license is None or asked.license.casefold() in (model.license or "").casefold()
        if (row := _row(model, card, asked, places, scores)) is not None
    ]
    rows.sort(key=_order)
    days = [place.months_as_of for place in places.published.values()]
    return WhatFits(
        card=card,
        asked=asked,
        rows=tuple(rows[: asked.limit]),
        n_fitting=len(rows),
        n_models=len(models),
        as_of=max(days).isoformat() if days else None,
        notes=_notes(asked),
    )


def open_models(settings: Settings, tables: Tables) -> tuple[OpenModel, ...]:
    """The catalogue: shipped models with a size, then those that the Hub was seen to have, by name."""
    shapes = {shape.hub_id.casefold(): shape for shape in load_shapes()}
    sizes: dict[str, tuple[str, int]] = {}
    for name, n_params in _shipped(tables):
        sizes.setdefault(name.casefold(), (name, n_params))
    for key, shape in shapes.items():
        if shape.n_params is not None:
            sizes[key] = (shape.hub_id, shape.n_params)
    found = {key: _with_shape(name, n_params, shapes.get(key)) for key, (name, n_params) in sizes.items()}
    if snapshot_id(settings) is not None:
        _add_known(found, settings, shapes)
    return tuple(found[key] for key in sorted(found))


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


def _shipped(tables: Tables) -> Iterator[tuple[str, int]]:
    """Repository and size of the shipped open models; an exact count before a rounded one."""
    for row in tables.models.values():
        if row.hub_id and row.n_params:
            yield row.hub_id, row.n_params
    for small in tables.small_open_models:
        if small.hub_id:
            yield small.hub_id, small.n_params


def _with_shape(name: str, n_params: int, shape: ModelShape | None) -> OpenModel:
    if shape is None:
        named = ACTIVE.search(name)
        active = round(float(named[1]) * 1e9) if named else None
        return OpenModel(name, n_params, active if active and active < n_params else None)
    return OpenModel(
        shape.hub_id,
        n_params,
        n_active_params=shape.n_active_params,
        shape=shape,
        license=shape.license,
        max_context=shape.max_context,
        published_bits=shape.published_bits,
    )


def _add_known(found: dict[str, OpenModel], settings: Settings, shapes: Mapping[str, ModelShape]) -> None:
    """Add the models that the Hub was seen to have, and to each model its quantized copies."""
    copies: dict[str, list[str]] = {}
    with open_snapshot(settings) as snapshot:
        listed = snapshot.query("known_models", license=None, max_params=None)
    for row in listed[:KNOWN_MODELS]:
        key = row["name"].casefold()
        if row["kind"] == "quantized":
            for parent in row["base_models"] or ():
                copies.setdefault(parent.casefold(), []).append(row["name"])
        elif key not in found and row["n_params"] and row["kind"] not in ("adapter", "merge"):
            model = _with_shape(row["name"], row["n_params"], shapes.get(key))
            found[key] = replace(model, license=row["license"], max_context=row["max_context"])
    for key, names in copies.items():
        if key in found:
            found[key] = replace(found[key], copies=tuple(names[:MAX_COPIES]))


def _scores(settings: Settings) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """The best measured score of each model on the task of the leaderboard's first page, by repository."""
    if snapshot_id(settings) is None:
        return ()
    from tracker.answers.leaderboard import choose_task, read_board  # pandas

    with open_snapshot(settings) as snapshot:
        tasks = snapshot.query("board_tasks")
        if not tasks:
            return ()
        suite, task = choose_task(tasks, suite=None, task=None)
        board = read_board(snapshot, suite, (task,))
    best = board.sort_values("score").drop_duplicates("model_id", keep="last")
    return [(str(row["model_id"]).casefold(), row) for row in best.to_dict("records")]


def _row(
    model: OpenModel,
    card: CardAsked,
    asked: WhatFitsAsked,
    places: IndexPlaces,
    scores: Mapping[str, Mapping[str, Any]],
) -> ModelThatFits | None:
    """The model at the most bits that fit; None if it fits at none, or has a shorter context."""
    if model.max_context is not None and asked.context > model.max_context:
        return None
    levels = LEVELS if asked.bits is None else (asked.bits,)
    needed = {bits: model.needed_bytes(bits, asked.context) for bits in sorted({*LEVELS, *levels})}
    bits = next((bits for bits in levels if needed[bits] <= card.memory_gb * GB), None)
    if bits is None:
        return None
    place = places.of({"model_id": model.model_id})
    here = scores.get(model.model_id.casefold(), {})
    is_reduced = bits < model.published_bits
    speed, speed_basis = _speed(model, card, bits, asked.context, here)
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
        tokens_per_s=speed,
        speed_basis=speed_basis,
        quantization_loss=NOT_MEASURED if is_reduced else None,
        score=here.get("score"),
        task=here.get("task"),
        license=model.license,
        max_context=model.max_context,
        copies=model.copies,
    )


def _speed(
    model: OpenModel, card: CardAsked, bits: float, context: int, here: Mapping[str, Any]
) -> tuple[float | None, str | None]:
    """Output tokens per second, and where the number comes from."""
    measured = here.get("tokens_per_s")
    if card.is_here and isinstance(measured, float) and measured > 0:
        return measured, MEASURED_HERE
    if card.bandwidth_gb_s is None:
        return None, None
    estimate = model.tokens_per_s(bits, context, card.bandwidth_gb_s)
    return estimate, None if estimate is None else SPEED_ESTIMATE


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
    stored = " (4 bits take 4.89 a weight as Q4_K_M, 8 bits 8.5 as Q8_0)"
    return (
        f"weights at {levels}{stored}, the cache of one sequence of {asked.context:,} tokens in 16 bits,"
        f" {OVERHEAD_BYTES / GB:g} GB for the engine",
        f"speed: an estimate until it is measured here, {REACHED_FRACTION:.0%} of the card's bandwidth"
        f" ({EXPERTS_FRACTION:.0%} for experts) over the bytes read for a token",
        "an index below the published bits is the parent's: what quantization costs is not measured",
    )
