"""What a model measured here gives for the memory and the time that it took here: Pareto frontiers.

Joins the store and the frontier, as `tracker.placing` does; the arithmetic is in `tracker.frontier.pareto`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np

from tracker.errors import TrackerError, UnknownNameError
from tracker.frontier.index import DRAWS
from tracker.frontier.pareto import Candidates, Offer, offers
from tracker.frontier.placement import Placement
from tracker.frontier.population import Z90
from tracker.frontier.tables import load_tables
from tracker.items import read_run
from tracker.placing import index_scale, place_run
from tracker.settings import Settings
from tracker.store import open_snapshot

Row = dict[str, Any]
INDEX = "index"
MAKE_TWO = "`tracker bench` two models with the same suite"


class MeasuredCost(StrEnum):
    """What was spent, as measured in the run."""

    MEMORY = "memory"  # peak bytes
    TIME = "time"  # seconds per output token: the inverse of tokens per second


class Scored(NamedTuple):
    """One entry: a value on the axis with the standard errors of its lower and upper side."""

    name: str
    cost: float
    value: float
    below: float
    above: float


class MeasuredOffers(NamedTuple):
    """The frontier, its axis, and what a reader must know before he compares."""

    axis: str  # "index" or the task
    offers: tuple[Offer, ...]
    notes: tuple[str, ...]


def measured_offers(settings: Settings, cost: MeasuredCost, *, task: str | None = None) -> MeasuredOffers:
    """What was measured here, by `task`, or by the index where a run could be placed on it.

    Raises:
        UnknownNameError: nobody has been measured on that task.
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
        what = f"a score on `{task}`" if task else "a place on the index"
        raise TrackerError(
            f"a frontier needs two models with {what} and a measured {cost.value}, known here: {len(scored)}",
            hint=MAKE_TWO if task or not known else f"--task {min(known)}",
        )
    return MeasuredOffers(task or INDEX, offers(_candidates(scored)), _notes(costed))


def _cost(row: Row, cost: MeasuredCost) -> float | None:
    """The smaller the better; None where it was not measured."""
    if cost is MeasuredCost.MEMORY:
        return float(row["peak_memory_bytes"]) if row["peak_memory_bytes"] else None
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
    tables = load_tables()
    names = {fact.lm_eval_task for fact in tables.benchmarks.values() if fact.lm_eval_task}
    by_run = {row["run_id"]: row for row in rows if row["task"] in names and row["limit"] is None}
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
    """The model's id, with what tells its settings apart where it stands there more than once."""
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


def _notes(rows: Sequence[Row]) -> tuple[str, ...]:
    devices = sorted({row["device"] or "unknown" for row in rows})
    if len(devices) == 1:
        return (f"measured on: {devices[0]}",)
    return (f"measured on different devices, which cannot be compared: {', '.join(devices)}",)
