"""Which card would run a model: the smallest that holds it at each number of bits.

Ordered by memory: no price has a dated source here. Memory and speed are those of
`tracker.answers.what_fits`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tracker.answers.cards import CardAsked, asked
from tracker.answers.catalog import OpenModel, catalog_models, catalog_speeds
from tracker.answers.measured_speed import MeasuredSpeed, speed_phrase
from tracker.answers.what_fits import ESTIMATE, EXACT, LEVELS, SPEED_MEASURED, WhatFitsAsked, timed
from tracker.errors import TrackerError, UnknownNameError
from tracker.frontier.facts import Card
from tracker.frontier.tables import load_cards
from tracker.memory_estimate import GB
from tracker.settings import Settings

COUNTS = (1, 2, 4, 8)  # of one kind of card in a machine
CARDS_SHOWN = 5  # for each number of bits


@dataclass(frozen=True, slots=True)
class PlannedCard:
    """A card, or several, that would run the model."""

    bits: float
    card: str
    n_cards: int
    vendor: str
    kind: str
    memory_gb: float  # that a model may take
    needed_bytes: int
    tokens_per_s: float | None
    released_year: int
    speed_basis: str | None  # measured, estimated from bandwidth
    speed_concurrency: int | None  # requests under way at once; null here and below: not measured
    speed_prompt_tokens: int | None  # of one request
    speed_engine: str | None
    speed_device: str | None
    speed_measured_on: str | None  # day, ISO 8601
    speed_id: str | None


@dataclass(frozen=True, slots=True)
class CardPlan:
    """The smallest cards for a model, by number of bits."""

    model: OpenModel
    context: int
    rows: tuple[PlannedCard, ...]
    memory_basis: str


def answer_card_plan(name: str, wanted: WhatFitsAsked, settings: Settings) -> CardPlan:
    """The smallest cards that would run the model `name`.

    Raises:
        UnknownNameError: the catalog has no such model; similar names are suggested.
        TrackerError: several models match, or it has a shorter context.
    """
    model = _find(name, catalog_models(settings))
    if model.max_context is not None and wanted.context > model.max_context:
        message = f"`{model.model_id}` has a context of {model.max_context:,} tokens"
        raise TrackerError(message, hint=f"--context {model.max_context}")
    levels = sorted(LEVELS) if wanted.bits is None else [wanted.bits]
    levels = [bits for bits in levels if bits <= model.published_bits] or [model.published_bits]
    shown = wanted.limit or CARDS_SHOWN
    speeds = catalog_speeds(settings).get(model.model_id.casefold(), ())
    rows = [row for bits in levels for row in _smallest(model, bits, wanted.context, speeds)[:shown]]
    basis = ESTIMATE if model.shape is None else EXACT
    return CardPlan(model, wanted.context, tuple(rows), basis)


def card_plan_document(plan: CardPlan) -> dict[str, Any]:
    """The plan as plain JSON values."""
    return {
        "model_id": plan.model.model_id,
        "n_params": plan.model.n_params,
        "n_active_params": plan.model.n_active_params,
        "published_bits": plan.model.published_bits,
        "context": plan.context,
        "memory_basis": plan.memory_basis,
        "ordered_by": "memory",
        "cards": [asdict(row) for row in plan.rows],
    }


def _find(name: str, models: Sequence[OpenModel]) -> OpenModel:
    wanted = name.casefold()
    exact = [one for one in models if one.model_id.casefold() == wanted]
    found = exact or [one for one in models if one.model_id.casefold().rpartition("/")[2] == wanted]
    if len(found) == 1:
        return found[0]
    if found:
        hint = " or ".join(f"`{one.model_id}`" for one in found)
        raise TrackerError(f"`{name}` is several models", hint=hint)
    error = UnknownNameError("model in the catalog", name, known=[one.model_id for one in models])
    error.hint = f"{error.hint}; `tracker fit {name} --gpu CARD` reads any model's own headers"
    raise error


def measured_plan_lines(plan: CardPlan) -> list[str]:
    """One line for each speed of the plan that was measured, and on what."""
    return [
        f"{row.bits:g} bits: {row.tokens_per_s:,.1f} tokens/s {speed_phrase(asdict(row))}"
        for row in plan.rows
        if row.speed_basis == SPEED_MEASURED
    ]


def _smallest(
    model: OpenModel, bits: float, context: int, speeds: Sequence[MeasuredSpeed]
) -> list[PlannedCard]:
    """The cards that hold it: fewest first, then the least memory, the newest and fastest of equal ones."""
    needed = model.needed_bytes(bits, context)
    for n_cards in COUNTS:
        found = [_planned(model, bits, context, one, speeds) for one in _holding(needed, n_cards)]
        if found:
            return sorted(found, key=lambda row: (row.memory_gb, -(row.tokens_per_s or 0.0), row.card))
    return []


def _holding(needed: int, n_cards: int) -> Iterator[CardAsked]:
    for card in load_cards():
        if (n_cards == 1 or _may_be_several(card)) and card.usable_gb * n_cards * GB >= needed:
            yield asked(card, n_cards=n_cards)


def _may_be_several(card: Card) -> bool:
    return card.kind != "unified"


def _planned(
    model: OpenModel, bits: float, context: int, found: CardAsked, speeds: Sequence[MeasuredSpeed]
) -> PlannedCard:
    card = found.card
    assert card is not None
    return PlannedCard(
        bits=bits,
        card=card.card,
        n_cards=found.n_cards,
        vendor=card.vendor,
        kind=card.kind,
        memory_gb=found.memory_gb,
        needed_bytes=model.needed_bytes(bits, context),
        released_year=card.released_year,
        **timed(model, found, bits, context, speeds),
    )
