"""The models with the best score for their cost: Pareto frontiers of published and measured scores.

The arithmetic is in `tracker.frontier.pareto`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np

from tracker.answers.placement import index_scale, place_run
from tracker.answers.vintages import tables_for
from tracker.errors import TrackerError, UnknownNameError
from tracker.files.items import read_run
from tracker.frontier.bridges import task_scales
from tracker.frontier.index import DRAWS
from tracker.frontier.pareto import Candidates, Offer, offers, pareto_frontier
from tracker.frontier.placement import Placement
from tracker.frontier.population import prices, sizes
from tracker.frontier.question import Question, axis, fitted
from tracker.frontier.tables import ATTRIBUTION
from tracker.memory_estimate import is_share_of_card, peak_of_need
from tracker.settings import Settings
from tracker.stats import Z90
from tracker.store import open_snapshot

Row = dict[str, Any]
INDEX = "index"
MAKE_TWO = "measure two models on the same suite with `tracker bench`"


class PublishedCost(StrEnum):
    """Cost of a published model."""

    PARAMS = "params"  # of open models
    PRICE = "price"  # US dollars per million output tokens


class MeasuredCost(StrEnum):
    """Cost as measured in the run."""

    MEMORY = "memory"  # peak bytes
    TIME = "time"  # seconds per output token: the inverse of tokens per second


class Scored(NamedTuple):
    """One entry: a value on the axis with the standard errors of its lower and upper side."""

    name: str
    cost: float
    value: float
    below: float
    above: float


@dataclass(frozen=True, slots=True)
class ParetoAnswer:
    """Every model with its cost, cheapest first, and notes on comparability."""

    cost: PublishedCost | MeasuredCost
    axis: str  # "index" or the task
    offers: tuple[Offer, ...]
    notes: tuple[str, ...] = ()
    attribution: tuple[str, ...] = ()


def pareto_document(answer: ParetoAnswer) -> dict[str, Any]:
    """The answer as plain JSON values."""
    return {
        "cost": answer.cost.value,
        "axis": answer.axis,
        "models": [asdict(row) for row in answer.offers],
        "notes": list(answer.notes),
        "attribution": list(answer.attribution),
    }


def published_offers(settings: Settings, cost: PublishedCost, question: Question) -> ParetoAnswer:
    """The published models with a known cost, by the index.

    Raises:
        TrackerError: fewer than two models have the cost.
    """
    tables = tables_for(settings, question)
    chosen = axis(tables, question, fitted(tables, question, settings.frontier_path))
    spent = sizes(tables) if cost is PublishedCost.PARAMS else prices(tables)
    return ParetoAnswer(cost, INDEX, pareto_frontier(chosen, spent), attribution=ATTRIBUTION)


def measured_offers(settings: Settings, cost: MeasuredCost, *, task: str | None = None) -> ParetoAnswer:
    """The models measured here, by `task`, or by the index if a run could be placed on it.

    Raises:
        UnknownNameError: no model has been measured on that task.
        TrackerError: fewer than two models have the cost and a score.
    """
    with open_snapshot(settings) as snapshot:
        rows = [row for row in snapshot.query("leaderboard") if row["group"] is None]
    known = {row["task"] for row in rows}
    if task is not None and task not in known:
        raise UnknownNameError("task measured here", task, known=known)
    costed = [row for row in rows if _cost(row, cost) is not None and task in (None, row["task"])]
    scored = _on_task(costed, cost) if task is not None else _on_index(costed, cost, settings)
    if len(scored) < 2:
        what = f"a score on `{task}`" if task else "a placement on the index"
        raise TrackerError(
            f"a frontier needs two models with {what} and a measured {cost.value}; there are {len(scored)}",
            hint=MAKE_TWO if task or not known else f"--task {min(known)}",
        )
    return ParetoAnswer(cost, task or INDEX, offers(_candidates(scored)), _notes(costed, rows, cost))


def _cost(row: Row, cost: MeasuredCost) -> float | None:
    """The cost, lower is better; None if it was not measured."""
    if cost is MeasuredCost.MEMORY:
        return peak_of_need(row)
    return 1.0 / row["tokens_per_s"] if row["tokens_per_s"] else None


def _on_task(rows: Sequence[Row], cost: MeasuredCost) -> list[Scored]:
    found = []
    for name, row in zip(_names(rows), rows, strict=True):
        spent = _cost(row, cost)
        stderr = row["stderr"] or 0.0
        if spent is not None:
            found.append(Scored(name, spent, row["value"], stderr, stderr))
    return found


def _on_index(rows: Sequence[Row], cost: MeasuredCost, settings: Settings) -> list[Scored]:
    """One entry per run that can be placed."""
    tables = tables_for(settings)
    names = task_scales(tables.benchmarks)
    by_run = {row["run_id"]: row for row in rows if row["task"] in names}
    if not by_run:
        return []
    scale = index_scale(tables, settings)
    found = []
    for name, row in zip(_names(list(by_run.values())), by_run.values(), strict=True):
        placed = place_run(read_run(settings.items_path / row["run_id"]), settings, scale)
        spent = _cost(row, cost)
        if isinstance(placed, Placement) and spent is not None:
            below, above = (placed.index - placed.ci_low) / Z90, (placed.ci_high - placed.index) / Z90
            found.append(Scored(name, spent, placed.index, max(below, 0.0), max(above, 0.0)))
    return found


def _names(rows: Sequence[Row]) -> list[str]:
    """The model id, plus the settings that differ if the model occurs more than once."""
    counts = Counter(row["model_id"] for row in rows)
    return [
        row["model_id"]
        if counts[row["model_id"]] == 1
        else f"{row['model_id']} ({row['engine']}, {row['dtype']}, {row['quantization'] or 'as published'})"
        for row in rows
    ]


def _candidates(scored: Sequence[Scored]) -> Candidates:
    value = np.array([row.value for row in scored])
    below, above = np.array([row.below for row in scored]), np.array([row.above for row in scored])
    z = np.random.default_rng(0).normal(size=(DRAWS, value.size))
    return Candidates(
        models=tuple(row.name for row in scored),
        is_open=np.ones(value.size, dtype=np.bool_),
        cost=np.array([row.cost for row in scored]),
        value=value,
        draws=value + np.where(z < 0.0, z * below, z * above),
    )


def _notes(rows: Sequence[Row], known: Sequence[Row], cost: MeasuredCost) -> tuple[str, ...]:
    devices = sorted({row["device"] or "unknown" for row in rows})
    if len(devices) == 1:
        notes = [f"measured on: {devices[0]}"]
    else:
        notes = [f"measured on different devices, so costs are not comparable: {', '.join(devices)}"]
    left_out = sorted(
        {row["model_id"] for row in known if is_share_of_card(row) and row["peak_memory_bytes"]}
    )
    if cost is MeasuredCost.MEMORY and left_out:
        notes.append(
            f"left out, since only the share of the card that vLLM reserved is known: {', '.join(left_out)}"
        )
    return tuple(notes)
