"""The placement of a run's scores as `tracker bench` prints it: the JSON contract in one place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from tracker.frontier.bridges import Offset
from tracker.frontier.placement import Measured, Scale, Unplaced, place, task_benchmarks
from tracker.frontier.question import Question, axis, fitted
from tracker.frontier.tables import Tables
from tracker.records import TaskScore


@dataclass(frozen=True, slots=True)
class Placed:
    """`placement` as the contract has it, or None; `warning` says why not, or what to keep in mind."""

    placement: dict[str, Any] | None
    warning: str


def placed(
    tables: Tables,
    scores: Sequence[TaskScore],
    *,
    cache: Path | None,
    released: date | None = None,
    offsets: Sequence[Offset] = (),
) -> Placed:
    """Where a run's scores put the model on the newest index; nothing is fitted for tasks off the scale."""
    measured = [Measured(row.task, row.value, _stderr(row)) for row in scores]
    names = task_benchmarks(tables.benchmarks)
    if not any(row.task in names for row in measured):
        tasks = ", ".join(sorted(row.task for row in measured)) or "none"
        return Placed(None, f"no placement: none of the tasks is on the scale of the index ({tasks})")
    question = Question()
    found = fitted(tables, question, cache)
    scale = Scale(
        found.fit, found.draws, axis(tables, question, found), tables.benchmarks, found.fit.data.vintage
    )
    answer = place(measured, scale, released=released, offsets=offsets)
    if isinstance(answer, Unplaced):
        return Placed(None, answer.reason)
    return Placed(asdict(answer) | {"tasks": list(answer.tasks)}, answer.note)


def _stderr(row: TaskScore) -> float:
    """The score's own standard error, else that of as many right-or-wrong items."""
    if row.stderr is not None:
        return row.stderr
    return math.sqrt(row.value * (1.0 - row.value) / row.n_items)
