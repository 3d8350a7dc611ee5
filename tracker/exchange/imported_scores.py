"""The scores of imported items, computed as those measured here, and held against what the file states."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tracker.formats.bounded import DAMAGED_HINT, ForeignFileError
from tracker.formats.foreign_run import UNKNOWN_END, ForeignTask, Reported
from tracker.records import CUT_OFF, Item, TaskMetric, TaskScore, fingerprint
from tracker.stats import Interval, mean_interval, normal_interval

ROUNDED = 6e-4  # a stated score may be rounded to three digits


@dataclass(slots=True)
class ScoreTally:
    """What the scores of one task rest on, kept while its items are written."""

    values: array[float] = field(default_factory=lambda: array("d"))
    clusters: list[str] = field(default_factory=list)
    n_clustered: int = 0
    n_items: int = 0
    n_cut: int = 0
    n_unknown_ends: int = 0
    n_choices: float = 0.0  # sum over items of 1 / choices

    def add(self, item: Item, score: Reported | None) -> None:
        """Count one item.

        Raises:
            ValueError: it has no score between 0 and 1, although the task's score is one.
        """
        self.n_items += 1
        self.n_cut += item.finish_reason in CUT_OFF
        self.n_unknown_ends += item.finish_reason == UNKNOWN_END
        self.n_choices += 1 / len(item.choices) if item.choices else 0.0
        if score is None:
            return
        if item.score is None and score.is_mean is not False:
            value = item.metrics.get(score.key, "missing")
            raise ValueError(f"question {item.doc_id}: `{score.metric}` is {value!r}, not between 0 and 1")
        if item.score is not None:
            self.values.append(item.score)
        self.n_clustered += item.cluster is not None
        self.clusters.append(item.cluster or f"{item.task} {item.doc_id}")

    @property
    def chance(self) -> float:
        """The score of guessing, by the number of choices."""
        return self.n_choices / self.n_items if self.n_items else 0.0


def task_score(
    task: ForeignTask, tally: ScoreTally, *, key: str, where: str, warnings: list[str]
) -> TaskScore | None:
    """The score of a task from its items; None: it is no share, or has no items.

    Raises:
        ForeignFileError: the file states another number of items, or another mean.
    """
    if task.n_items is not None and task.n_items != tally.n_items:
        problem = f"`{where}`: {task.name}: it states {task.n_items:,} items, but has {tally.n_items:,}"
        raise ForeignFileError(problem, hint=DAMAGED_HINT)
    if task.score is None or not tally.n_items:
        return None
    interval = _interval(task.name, task.score, [tally], where=where, warnings=warnings)
    if interval is None:
        return None
    return TaskScore(
        task=task.name,
        metric=task.score.metric,
        filter=task.score.filter,
        value=interval.value,
        stderr=interval.stderr,
        ci_low=interval.low,
        ci_high=interval.high,
        n_items=tally.n_items,
        chance=_share(task.chance) if task.chance is not None else min(tally.chance, 0.999),
        truncated_fraction=tally.n_cut / tally.n_items,
        fingerprint=key,
        group=task.group,
        n_total=task.n_total if task.n_total and task.n_total >= tally.n_items else tally.n_items,
    )


def group_score(
    task: ForeignTask,
    parts: Sequence[TaskScore],
    tallies: Mapping[str, ScoreTally],
    *,
    where: str,
    warnings: list[str],
) -> TaskScore | None:
    """The score of a group of tasks; None: it is no share, or a task of it has no score.

    Raises:
        ForeignFileError: it lies outside the scores of its tasks.
    """
    if task.score is None or len(parts) < len(task.parts):
        return None
    values = [part.value for part in parts]
    if not min(values) - ROUNDED <= task.score.value <= max(values) + ROUNDED:
        problem = f"`{where}`: {task.name}: the score is {task.score.value:.4f}, outside those of its tasks"
        raise ForeignFileError(problem, hint=DAMAGED_HINT)
    sizes = np.array([part.n_items for part in parts], dtype=float)
    pooled = float(np.dot(sizes, values) / sizes.sum())
    is_pooled = abs(pooled - task.score.value) < ROUNDED and task.score.interval is None
    whole = [tallies[part.task] for part in parts]
    interval = (
        _interval(task.name, task.score, whole, where=where, warnings=warnings)
        if is_pooled
        else _stated(task.score)
    )
    if interval is None:
        return None
    return TaskScore(
        task=task.name,
        metric=task.score.metric,
        filter=task.score.filter,
        value=interval.value,
        stderr=interval.stderr,
        ci_low=interval.low,
        ci_high=interval.high,
        n_items=int(sizes.sum()),
        chance=float(np.dot(sizes, [part.chance for part in parts]) / sizes.sum()),
        truncated_fraction=float(np.dot(sizes, [part.truncated_fraction for part in parts]) / sizes.sum()),
        fingerprint=fingerprint({part.task: part.fingerprint for part in parts}),
        n_total=sum(part.n_total or part.n_items for part in parts),
    )


def task_metrics(task: ForeignTask, n_items: int) -> Iterable[TaskMetric]:
    """Every metric that the file states of a task, as stated."""
    for one in task.metrics:
        yield TaskMetric(
            task=task.name,
            metric=one.metric,
            filter=one.filter,
            value=one.value,
            stderr=one.stderr,
            n_items=n_items,
            higher_is_better=one.higher_is_better,
            is_headline=one is task.score,
        )


def _interval(
    name: str, score: Reported, tallies: Sequence[ScoreTally], *, where: str, warnings: list[str]
) -> Interval | None:
    """The mean of the items with its interval, or the stated score where it is no mean of theirs.

    Raises:
        ForeignFileError: it should be their mean, and is not.
    """
    values = [value for tally in tallies for value in tally.values]
    mean = sum(values) / len(values) if values else None
    if mean is None or abs(mean - score.value) > ROUNDED:
        if score.is_mean and mean is not None:
            problem = (
                f"`{where}`: {name}: it states {score.value:.4f}, but the mean of its items is {mean:.4f}"
            )
            raise ForeignFileError(problem, hint=DAMAGED_HINT)
        warnings.append(f"{name}: `{score.metric}` is not the mean of its items; the stated value is kept")
        return _stated(score)
    if score.interval is not None and score.interval[0] <= mean <= score.interval[1]:
        return Interval(mean, score.stderr, max(0.0, score.interval[0]), min(1.0, score.interval[1]))
    clusters = [one for tally in tallies for one in tally.clusters]
    has_clusters = any(tally.n_clustered for tally in tallies)
    return mean_interval(values, clusters=clusters if has_clusters else None)


def _stated(score: Reported) -> Interval | None:
    """The score as the file states it; None: it states no error, so nothing is known of its interval."""
    if score.interval is not None and score.interval[0] <= score.value <= score.interval[1]:
        return Interval(score.value, score.stderr, max(0.0, score.interval[0]), min(1.0, score.interval[1]))
    if score.stderr is None or score.stderr < 0:
        return None
    return normal_interval(score.value, score.stderr, least=0.0, most=1.0)


def _share(value: float) -> float:
    return min(max(value, 0.0), 0.999)
