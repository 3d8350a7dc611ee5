"""The best open model that fits a memory budget, over time, beside the closed frontier.

The size of the weights follows from the bits that the user chooses; the rest is the product's one rule of
memory. Scores are those of the published weights, which may have more bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import numpy as np

from tracker.answers.frontier import FrontierAnswer, ModelPoint, answer_question
from tracker.answers.vintages import tables_for
from tracker.frontier.axis import Steps, steps
from tracker.frontier.behind import behind_closed
from tracker.frontier.definitions import STANDING_LAG
from tracker.frontier.population import sizes
from tracker.frontier.question import Question
from tracker.memory_estimate import (
    BITS,
    GB,
    SHORT_CONTEXT,
    STORED_BITS,
    STORED_NOTE,
    needed_bytes,
    params_that_fit,
    stored_bits,
)
from tracker.settings import Settings


@dataclass(frozen=True, slots=True)
class CardBudget:
    """The memory of a card, and the bits of a weight."""

    memory_gb: float  # 10^9 bytes
    bits: float = BITS

    @property
    def max_params(self) -> int:
        """The largest model that fits.

        Raises:
            TrackerError: a value is out of range.
        """
        return params_that_fit(self.memory_gb, self.bits)

    @property
    def phrase(self) -> str:
        """`24 GB at 4 bits`."""
        return f"{self.memory_gb:g} GB at {self.bits:g} bits"


@dataclass(frozen=True, slots=True)
class BestSoFar:
    """A model that was the best that fits from its release until the next step."""

    model: str
    organization: str
    released: date
    value: float  # on the axis
    ci_low: float | None  # 90% interval
    ci_high: float | None
    n_params: int | None
    needed_gb: float | None  # at the bits of the budget
    months_behind: float | None  # how long closed models had been at that level at its release
    months_bound: str | None  # "at_least" or "at_most"


@dataclass(frozen=True, slots=True)
class BestThatFits:
    """The running best open model within a budget, oldest first, with the months behind of each step."""

    budget: CardBudget
    axis: str
    as_of: date
    definition: str  # of `months_behind`
    steps: tuple[BestSoFar, ...]
    note: str


def answer_best_that_fits(budget: CardBudget, settings: Settings) -> BestThatFits:
    """The curve on the newest index, with intervals.

    Raises:
        TrackerError: a value is out of range, or no open model is that small.
    """
    answer = answer_question(Question(max_params=budget.max_params), settings)
    return best_that_fits(answer, budget, sizes(tables_for(settings)))


def best_that_fits(answer: FrontierAnswer, budget: CardBudget, n_params: Mapping[str, int]) -> BestThatFits:
    """The curve of an answer whose open models are at most `budget.max_params` large; `n_params` by model."""
    closed = [point for point in answer.points if point.access == "closed"]
    frontier = steps(
        np.array([float(point.released.toordinal()) for point in closed]),
        np.array([point.value for point in closed]),
    )
    best = [point for point in answer.points if point.access == "open" and point.is_record]
    return BestThatFits(
        budget=budget,
        axis=answer.axis,
        as_of=answer.as_of,
        definition=STANDING_LAG,
        steps=tuple(
            _step(point, n_params.get(point.model), frontier, budget, as_of=answer.as_of) for point in best
        ),
        note=assumption(budget),
    )


def assumption(budget: CardBudget) -> str:
    """What the curve takes for granted."""
    kept = (
        f"a model quantized to {budget.bits:g} bits is assumed to keep the score of its published weights,"
        " which is not measured"
        if budget.bits < BITS
        else "scores are those of the published weights"
    )
    stored = f" ({STORED_NOTE})" if budget.bits in STORED_BITS else ""
    return (
        f"fits {budget.phrase}: at most {budget.max_params / 1e9:.3g}B parameters (weights at {budget.bits:g}"
        f" bits{stored}, a cache for {SHORT_CONTEXT:,} tokens, 1.5 GB for the engine); {kept}"
    )


def _step(
    point: ModelPoint, n_params: int | None, closed: Steps, budget: CardBudget, *, as_of: date
) -> BestSoFar:
    behind = behind_closed(closed, point.value, point.released, until=as_of)
    needed = None if n_params is None else needed_bytes(weights_bytes=n_params * stored_bits(budget.bits) / 8)
    return BestSoFar(
        model=point.model,
        organization=point.organization,
        released=point.released,
        value=point.value,
        ci_low=point.ci_low,
        ci_high=point.ci_high,
        n_params=n_params,
        needed_gb=None if needed is None else needed / GB,
        months_behind=behind.months if behind else None,
        months_bound=behind.bound if behind else None,
    )


def best_that_fits_document(found: BestThatFits | None) -> dict[str, Any]:
    """`best_that_fits` as plain JSON values; null if no budget was asked about."""
    if found is None:
        return {"best_that_fits": None}
    rows = [asdict(row) | {"released": row.released.isoformat()} for row in found.steps]
    document = asdict(found.budget) | {
        "max_params": found.budget.max_params,
        "axis": found.axis,
        "as_of": found.as_of.isoformat(),
        "definition": found.definition,
        "steps": rows,
        "note": found.note,
    }
    return {"best_that_fits": document}
