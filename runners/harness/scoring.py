"""From items to scores: pure arithmetic over what the items hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from runners.harness.questions import Leaf
from tracker.records import Item, TaskScore, fingerprint
from tracker.stats import Interval, anytime_interval, bootstrap_interval, mean_interval

UNPARSED = "[invalid]"  # what lm-eval's regex filters say when they find nothing
N_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class LeafItems:
    """The items behind one leaf's score."""

    leaf: Leaf
    fingerprint: str
    items: Mapping[int, Item]  # by doc_id
    n_reused_items: int


@dataclass(frozen=True, slots=True)
class Stopping:
    """How a task ended before all of it was asked. What was asked is a random sample, in draw order."""

    values: tuple[float, ...]
    n_total: int
    half_width: float | None  # the precision that ended it; None: its time was up

    def interval(self) -> Interval:
        """The 95 % interval: valid at any look if looking ended it, else that of a finite sample."""
        if self.half_width is None:
            return mean_interval(self.values, n_total=self.n_total)
        return anytime_interval(self.values, n_total=self.n_total, half_width=self.half_width)


def item_score(metrics: Mapping[str, Any], *, metric: str, filter_name: str) -> float | None:
    """The suite's metric of one item; None where it is no number between 0 and 1."""
    value = metrics.get(f"{metric},{filter_name}")
    if isinstance(value, bool | int | float) and 0.0 <= float(value) <= 1.0:
        return float(value)
    return None


def metric_values(leaf: Leaf, items: Sequence[Item]) -> list[Any]:
    """The leaf's metric of each item, as the task computed it.

    Raises:
        ValueError: there are no items, or one lacks the metric.
    """
    key = f"{leaf.metric},{leaf.filter}"
    if not items:
        raise ValueError(f"{leaf.name}: no items")
    for item in items:
        if key not in item.metrics:
            known = ", ".join(sorted(item.metrics))
            raise ValueError(f"{leaf.name}: items have no `{key}`; they have {known}")
    return [item.metrics[key] for item in items]


def leaf_score(part: LeafItems, *, stopping: Stopping | None = None) -> TaskScore:
    """The score of one task with its 95 % interval.

    Raises:
        ValueError: there are no items, or the value is not between 0 and 1.
    """
    leaf, items = part.leaf, list(part.items.values())
    values = metric_values(leaf, items)
    if not leaf.is_mean(leaf.metric):
        interval = bootstrap_interval(
            values, lambda sample: leaf.aggregate(list(sample), metric=leaf.metric), n_resamples=N_RESAMPLES
        )
    else:
        interval = stopping.interval() if stopping else _mean([float(v) for v in values], items)
    return TaskScore(
        task=leaf.name,
        metric=leaf.metric,
        filter=leaf.filter,
        value=interval.value,
        stderr=interval.stderr,
        ci_low=interval.low,
        ci_high=interval.high,
        n_items=len(items),
        chance=leaf.chance,
        truncated_fraction=sum(item.truncated for item in items) / len(items),
        unparsed_fraction=sum(item.extracted == UNPARSED for item in items) / len(items),
        fingerprint=part.fingerprint,
        n_reused_items=part.n_reused_items,
        n_total=leaf.n_docs,
        group=leaf.group,
    )


def group_score(
    name: str, parts: Sequence[LeafItems], *, weight_by_size: bool, stopping: Stopping | None = None
) -> TaskScore:
    """The score of a group: the mean over all items, or over its tasks where the group says so.

    Raises:
        ValueError: a task of the group has no items or no plain mean.
    """
    scores = [leaf_score(part) for part in parts]
    sizes = np.array([score.n_items for score in scores], dtype=float)
    weights = sizes / sizes.sum() if weight_by_size else np.full(len(scores), 1 / len(scores))
    if weight_by_size and all(part.leaf.is_mean(part.leaf.metric) for part in parts):
        items = [item for part in parts for item in part.items.values()]
        values = [float(v) for part in parts for v in metric_values(part.leaf, list(part.items.values()))]
        interval = stopping.interval() if stopping else _mean(values, items)
    else:
        interval = _weighted(scores, weights)
    first = scores[0]
    return TaskScore(
        task=name,
        metric=first.metric,
        filter=first.filter,
        value=interval.value,
        stderr=interval.stderr,
        ci_low=interval.low,
        ci_high=interval.high,
        n_items=int(sizes.sum()),
        chance=float(np.dot(weights, [score.chance for score in scores])),
        truncated_fraction=float(np.dot(sizes, [score.truncated_fraction for score in scores]) / sizes.sum()),
        unparsed_fraction=float(
            np.dot(sizes, [score.unparsed_fraction or 0.0 for score in scores]) / sizes.sum()
        ),
        fingerprint=fingerprint({score.task: score.fingerprint for score in scores}),
        n_reused_items=sum(score.n_reused_items for score in scores),
        n_total=sum(part.leaf.n_docs for part in parts),
    )


def _mean(values: Sequence[float], items: Sequence[Item]) -> Interval:
    clusters = [item.cluster for item in items]
    return mean_interval(values, clusters=[str(c) for c in clusters] if all(clusters) else None)


def _weighted(scores: Sequence[TaskScore], weights: Any) -> Interval:
    """Independent parts: variances add up with the squared weights."""
    value = float(np.dot(weights, [score.value for score in scores]))
    stderr = float(np.sqrt(np.dot(weights**2, [(score.stderr or 0.0) ** 2 for score in scores])))
    return Interval(value, stderr, max(0.0, value - 1.96 * stderr), min(1.0, value + 1.96 * stderr))
