"""What every format is read into: one model's results with its items, as another program has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tracker.records import Item

UNKNOWN_END = "unknown"  # finish reason of an answer of which the file does not say how it ended


@dataclass(frozen=True, slots=True)
class Reported:
    """One metric of a task as the file states it, in its own unit."""

    metric: str
    filter: str
    value: float
    stderr: float | None = None
    interval: tuple[float, float] | None = None  # the 95% one
    higher_is_better: bool | None = None
    is_mean: bool | None = None  # of the values of the items; None: the file does not say

    @property
    def key(self) -> str:
        """Its name among the metrics of an item."""
        return f"{self.metric},{self.filter}"


@dataclass(frozen=True, slots=True)
class ForeignTask:
    """One task or group of tasks. `items` reads them anew at each call."""

    name: str
    score: Reported | None  # a share, of 0 to 1; None: the task has only metrics of other units
    metrics: tuple[Reported, ...]  # all, that of the score among them
    items: Callable[[], Iterator[Item]] | None = None  # None: the file has none
    n_items: int | None = None  # as stated; None: it is not
    n_total: int | None = None  # of the whole task
    chance: float | None = None  # None: from the number of choices
    parts: tuple[str, ...] = ()  # of a group: its tasks
    group: str | None = None  # of a task: its group


@dataclass(frozen=True, slots=True)
class ForeignRun:
    """One evaluation of one model; what the file does not say is None."""

    tool: str
    tool_version: str | None
    path: Path  # as named
    files: tuple[Path, ...]  # all that it is read from
    model: str
    started_at: datetime | None
    tasks: tuple[ForeignTask, ...]
    ended_at: datetime | None = None
    revision: str | None = None
    n_params: int | None = None
    dtype: str | None = None
    evaluated_by: str | None = None
    warnings: tuple[str, ...] = ()
