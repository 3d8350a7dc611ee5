"""How far a running bench is: its answers by task with the score so far, its speed, and what is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tracker.stats import anytime_interval

LEAST_ITEMS = 5  # for a score so far: with fewer the interval is nearly everything
LEAST_SPAN_S = 2.0  # between the first and the last answers, for a speed


@dataclass(frozen=True, slots=True)
class PartAnswers:
    """The answers of one chunk of items of one task."""

    task: str
    scores: tuple[float, ...]  # of those that have one
    n_items: int
    written_at: datetime


@dataclass(frozen=True, slots=True)
class TaskSoFar:
    """One task of a running bench."""

    task: str
    n_items: int
    score: float | None  # mean of the answers so far; None: too few, or not between 0 and 1
    ci_low: float | None  # 95% interval that holds at every look, for items in random order
    ci_high: float | None


@dataclass(frozen=True, slots=True)
class BenchSoFar:
    """A running bench: its tasks, items per second, seconds left as far as they are known."""

    tasks: tuple[TaskSoFar, ...]
    items_per_s: float | None
    remaining_s: float | None


def bench_so_far(parts: Sequence[PartAnswers], *, n_left: int | None) -> BenchSoFar:
    """The progress by chunks of answers; `n_left` items are still to be answered, None if unknown."""
    by_task: dict[str, list[PartAnswers]] = {}
    for part in sorted(parts, key=lambda part: part.written_at):
        by_task.setdefault(part.task, []).append(part)
    speed = _items_per_s(parts)
    left_s = None if speed is None or n_left is None else max(n_left, 0) / speed
    return BenchSoFar(tuple(_task(name, of) for name, of in by_task.items()), speed, left_s)


def expected_total(sizes: Mapping[str, int], *, limit: int | None) -> int | None:
    """The items of a suite by the sizes of its tasks in an earlier complete run; None if there was none."""
    if not sizes:
        return None
    return sum(n if limit is None else min(n, limit) for n in sizes.values())


def _task(name: str, parts: Sequence[PartAnswers]) -> TaskSoFar:
    n_items = sum(part.n_items for part in parts)
    scores = [score for part in parts for score in part.scores]
    if len(scores) < LEAST_ITEMS or not all(0.0 <= score <= 1.0 for score in scores):
        return TaskSoFar(name, n_items, None, None, None)
    found = anytime_interval(scores)
    return TaskSoFar(name, n_items, found.value, found.low, found.high)


def _items_per_s(parts: Sequence[PartAnswers]) -> float | None:
    """Answers per second between the first and the last chunk; the first one's began earlier."""
    if len(parts) < 2:
        return None
    first, *others = sorted(parts, key=lambda part: part.written_at)
    span_s = (others[-1].written_at - first.written_at).total_seconds()
    n_items = sum(part.n_items for part in others)
    return n_items / span_s if span_s >= LEAST_SPAN_S and n_items else None
