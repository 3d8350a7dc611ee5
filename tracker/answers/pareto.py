"""The models with the best score for their cost: Pareto frontiers of published and measured scores.

The arithmetic is in `tracker.frontier.pareto`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np

from tracker.answers.measured_speed import MeasuredSpeed, by_model, measured_speeds, speed_of_weights
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
TIME_TWO = "measure the speed of two of them with `tracker bench MODEL --speed --sweep 1`"
MAKE_TWO = "measure two models on the same suite with `tracker bench`"


class PublishedCost(StrEnum):
    """Cost of a published model."""

    PARAMS = "params"  # of open models
    PRICE = "price"  # US dollars per million output tokens


class MeasuredCost(StrEnum):
    """Cost as measured in the run."""

    MEMORY = "memory"  # peak bytes
    TIME = "time"  # seconds per output token: the inverse of tokens per second
    SPEED = "speed"  # the same of one request at a time, as a load generator measured it


BY_DEVICE = (MeasuredCost.TIME, MeasuredCost.SPEED)  # which depend on it


@dataclass(frozen=True, slots=True)
class Spent:
    """A cost, and what it was measured on."""

    cost: float  # lower is better
    device: str | None
    engine: str
    measured_on: date
    speed_id: str | None = None  # of the measurement; null: the run of the score


class Scored(NamedTuple):
    """One entry: a value on the axis with the standard errors of its lower and upper side."""

    name: str
    model_id: str
    spent: Spent
    value: float
    below: float
    above: float


@dataclass(frozen=True, slots=True)
class ParetoAnswer:
    """Every model with its cost, cheapest first, and notes on comparability."""

    cost: PublishedCost | MeasuredCost
    axis: str  # "index" or the task
    offers: tuple[Offer, ...]
    spent: Mapping[str, Spent] = field(default_factory=dict)  # by model; empty: published
    notes: tuple[str, ...] = ()
    attribution: tuple[str, ...] = ()


def pareto_document(answer: ParetoAnswer) -> dict[str, Any]:
    """The answer as plain JSON values."""
    return {
        "cost": answer.cost.value,
        "axis": answer.axis,
        "models": [asdict(row) | _measured_on(answer.spent.get(row.model)) for row in answer.offers],
        "notes": list(answer.notes),
        "attribution": list(answer.attribution),
    }


def _measured_on(spent: Spent | None) -> dict[str, Any]:
    """What the cost of an offer was measured on, as plain JSON values."""
    if spent is None:
        return {"device": None, "engine": None, "measured_on": None, "speed_id": None}
    return asdict(spent) | {"measured_on": spent.measured_on.isoformat()}


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
        speeds = by_model(measured_speeds(snapshot)) if cost is MeasuredCost.SPEED else {}
    known = {row["task"] for row in rows}
    if task is not None and task not in known:
        raise UnknownNameError("task measured here", task, known=known)
    costed = [
        (row, spent)
        for row in rows
        if task in (None, row["task"]) and (spent := _spent(row, cost, speeds)) is not None
    ]
    scored = _on_task(costed) if task is not None else _on_index(costed, settings)
    if len(scored) < 2:
        what = f"a score on `{task}`" if task else "a placement on the index"
        raise TrackerError(
            f"a frontier needs two models with {what} and a measured {cost.value}; there are {len(scored)}",
            hint=_hint(cost, task, known),
        )
    basis = {row.name: row.spent for row in scored}
    return ParetoAnswer(cost, task or INDEX, _standings(scored, cost), basis, _notes(scored, rows, cost))


def _hint(cost: MeasuredCost, task: str | None, known: Collection[str]) -> str:
    if known and task is None:
        return f"--task {min(known)}"
    return TIME_TWO if known and cost is MeasuredCost.SPEED else MAKE_TWO


def _standings(scored: Sequence[Scored], cost: MeasuredCost) -> tuple[Offer, ...]:
    """Every entry, cheapest first; where the cost depends on the device, on the frontier of its own."""
    if cost not in BY_DEVICE:
        return offers(_candidates(scored))
    devices: dict[str | None, list[Scored]] = {}
    for row in scored:
        devices.setdefault(row.spent.device, []).append(row)
    found = [one for some in devices.values() for one in offers(_candidates(some), least=1)]
    return tuple(sorted(found, key=lambda one: one.cost))


def _spent(row: Row, cost: MeasuredCost, speeds: Mapping[str, Sequence[MeasuredSpeed]]) -> Spent | None:
    """The cost of a score; None if it was not measured."""
    if cost is MeasuredCost.SPEED:
        weights = {"revision": row["revision"], "dtype": row["dtype"]}
        alone = [one for one in speeds.get(row["model_id"].casefold(), ()) if one.concurrency == 1]
        found = speed_of_weights(
            alone, **weights, quantization=row["quantization"] or row["model_quantization"]
        )
        if found is None:
            return None
        return Spent(1.0 / found.tokens_per_s, found.device, found.engine, found.measured_on, found.speed_id)
    amount = peak_of_need(row)
    if cost is MeasuredCost.TIME:
        amount = 1.0 / row["tokens_per_s"] if row["tokens_per_s"] else None
    if amount is None:
        return None
    day = (row["ended_at"] or row["started_at"]).date()
    return Spent(amount, row["device"], row["engine"], day)


def _on_task(costed: Sequence[tuple[Row, Spent]]) -> list[Scored]:
    names = _names([row for row, _ in costed])
    stderrs = [row["stderr"] or 0.0 for row, _ in costed]
    return [
        Scored(name, row["model_id"], spent, row["value"], stderr, stderr)
        for name, (row, spent), stderr in zip(names, costed, stderrs, strict=True)
    ]


def _on_index(costed: Sequence[tuple[Row, Spent]], settings: Settings) -> list[Scored]:
    """One entry per run that can be placed."""
    tables = tables_for(settings)
    scales = task_scales(tables.benchmarks)
    by_run = {row["run_id"]: (row, spent) for row, spent in costed if row["task"] in scales}
    if not by_run:
        return []
    scale = index_scale(tables, settings)
    names = _names([row for row, _ in by_run.values()])
    found = []
    for name, (row, spent) in zip(names, by_run.values(), strict=True):
        placed = place_run(read_run(settings.items_path / row["run_id"]), settings, scale)
        if isinstance(placed, Placement):
            below, above = (placed.index - placed.ci_low) / Z90, (placed.ci_high - placed.index) / Z90
            sides = max(below, 0.0), max(above, 0.0)
            found.append(Scored(name, row["model_id"], spent, placed.index, *sides))
    return found


def _names(rows: Sequence[Row]) -> list[str]:
    """The model id, plus the settings and then the run if the model occurs more than once."""
    counts = Counter(row["model_id"] for row in rows)
    names = [
        row["model_id"]
        if counts[row["model_id"]] == 1
        else f"{row['model_id']} ({row['engine']}, {row['dtype']}, {row['quantization'] or 'as published'})"
        for row in rows
    ]
    alike = Counter(names)
    return [
        name if alike[name] == 1 else f"{name[:-1]}, run {row['run_id']})"
        for name, row in zip(names, rows, strict=True)
    ]


def _candidates(scored: Sequence[Scored]) -> Candidates:
    value = np.array([row.value for row in scored])
    below, above = np.array([row.below for row in scored]), np.array([row.above for row in scored])
    z = np.random.default_rng(0).normal(size=(DRAWS, value.size))
    return Candidates(
        models=tuple(row.name for row in scored),
        is_open=np.ones(value.size, dtype=np.bool_),
        cost=np.array([row.spent.cost for row in scored]),
        value=value,
        draws=value + np.where(z < 0.0, z * below, z * above),
    )


def _notes(scored: Sequence[Scored], known: Sequence[Row], cost: MeasuredCost) -> tuple[str, ...]:
    devices = sorted({row.spent.device or "unknown" for row in scored})
    if len(devices) == 1:
        notes = [f"measured on: {devices[0]}"]
    else:
        notes = [f"measured on different devices, so costs are not comparable: {', '.join(devices)}"]
        if cost in BY_DEVICE:
            notes.append("on the frontier: among the models measured on the same device")
    if cost is MeasuredCost.SPEED:
        notes.append(
            "cost: seconds per output token of one request at a time, by `tracker bench MODEL --speed`"
        )
        if without := sorted({row["model_id"] for row in known} - {row.model_id for row in scored}):
            notes.append(f"left out, since no such speed of these weights was measured: {', '.join(without)}")
    left_out = sorted(
        {row["model_id"] for row in known if is_share_of_card(row) and row["peak_memory_bytes"]}
    )
    if cost is MeasuredCost.MEMORY and left_out:
        notes.append(
            f"left out, since only the share of the card that vLLM reserved is known: {', '.join(left_out)}"
        )
    return tuple(notes)
