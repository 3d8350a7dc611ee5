"""`--until` on a group that counts its tasks equally: how often its interval holds, and for how many items.

Groups are simulated with the sizes of real ones: each model has a share of right answers of its own in every
task. Each task is the next one with the same chance, and answers are looked at after the same numbers of them
as in a run. Beside it, for one model in ten, the rule that such a group had before: items of all tasks
together, ended by the interval over all items, with the interval of a run without stopping.
`python -m benchmarks.group_stopping 400` takes ten minutes of one core.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from runners.harness.task_run import FIRST_LOOK, LOOK_GROWTH
from tracker.stats import Z95, StratifiedDraws, anytime_interval, refutes

BESIDE = 10  # one model in so many is also stopped by the rule before

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Group:
    """The tasks of a simulated group."""

    name: str
    sizes: tuple[int, ...]
    mean: float
    spread: float  # standard deviation of a model's shares in the tasks around its own mean
    half_width: float


GROUPS = (
    Group("24 alike, 250 items each", (250,) * 24, 0.5, 0.15, 0.03),
    Group("5 of 50 to 2,000 items", (50, 100, 400, 1_000, 2_000), 0.6, 0.15, 0.04),
    Group("3 near the ends", (800, 400, 200), 0.97, 0.02, 0.015),
)


@dataclass(frozen=True, slots=True)
class GroupEnd:
    """Where a group ended."""

    n_items: int
    is_covered: bool


def looks(n_total: int) -> list[int]:
    """The numbers of answers after which a run looks."""
    found, n = [], FIRST_LOOK
    while n < n_total:
        found.append(n)
        n = max(n + 1, math.ceil(n * LOOK_GROWTH))
    return found


def in_turns(
    order: NDArray[np.int64], strata: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """The items in the order of `TaskRun.in_draw_order` for such a group."""
    left = [some for place in range(strata.max() + 1) if (some := order[strata[order] == place].tolist())]
    found = []
    for point in rng.random(len(order)).tolist():
        place = int(point * len(left))
        found.append(left[place].pop())
        if not left[place]:
            del left[place]
    return np.array(found)


def draws_of(values: Array, strata: NDArray[np.int64], group: Group) -> StratifiedDraws | None:
    """Draws of which each task is the next with the same chance; None: a task has none."""
    sizes = np.array(group.sizes, dtype=float)
    taken = (strata[:, None] == np.arange(len(sizes))).astype(float)
    if not taken.any(axis=0).all():
        return None
    left = (sizes > taken.cumsum(axis=0) - taken).astype(float)
    weights = [1 / len(sizes)] * len(sizes)
    chances = left / left.sum(axis=1, keepdims=True)
    return StratifiedDraws(values.tolist(), strata.tolist(), chances, weights, list(group.sizes))


def normal_half_width(values: Array, strata: NDArray[np.int64], group: Group) -> float:
    """Half the interval of a run without stopping, of which each task has a value; infinite otherwise."""
    variance = 0.0
    for place, size in enumerate(group.sizes):
        own = values[strata == place]
        if len(own) == 0:
            return math.inf
        share = (own.sum() + 1) / (len(own) + 2)
        variance += share * (1 - share) / len(own) * (1 - len(own) / size)
    return Z95 * math.sqrt(variance) / len(group.sizes)


def ended_by_mean(values: Array, strata: NDArray[np.int64], group: Group, truth: float) -> GroupEnd:
    """By the interval of the mean over tasks. It is the wider one, so looks before that are no ends."""
    width = group.half_width
    for n in looks(len(values)):
        if normal_half_width(values[:n], strata[:n], group) > width:
            continue
        draws = draws_of(values[:n], strata[:n], group)
        if draws is None:
            continue
        if all(refutes(draws, draws.mean + side * width, half_width=width) for side in (-1, 1)):
            return GroupEnd(n, not refutes(draws, truth, half_width=width))
    return GroupEnd(len(values), True)


def ended_by_items(values: Array, strata: NDArray[np.int64], group: Group, truth: float) -> GroupEnd:
    """As before: by the interval over all items, with that of a run without stopping printed."""
    width, n_total = group.half_width, len(values)
    for n in looks(n_total):
        share = values[:n].mean()
        if Z95 * math.sqrt(max(share * (1 - share), 1e-9) / n) > width:
            continue
        if anytime_interval(values[:n], n_total=n_total, half_width=width).half_width <= width:
            means = [values[:n][strata[:n] == place] for place in range(len(group.sizes))]
            mean = fmean(float(one.mean()) if len(one) else 0.0 for one in means)
            return GroupEnd(n, abs(mean - truth) <= normal_half_width(values[:n], strata[:n], group))
    return GroupEnd(n_total, True)


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    print("group, half width, items | models | mean over tasks: covered, items | as before: covered, items")
    for group in GROUPS:
        rng = np.random.default_rng(0)
        ends: list[list[GroupEnd]] = [[], []]
        for seed in range(repeats):
            shares = np.clip(group.mean + group.spread * rng.standard_normal(len(group.sizes)), 0, 1)
            strata = np.repeat(np.arange(len(group.sizes)), group.sizes)
            values = (rng.random(len(strata)) < shares[strata]).astype(float)
            truth = fmean(float(values[strata == place].mean()) for place in range(len(group.sizes)))
            order = rng.permutation(len(values))
            turns = in_turns(order, strata, rng)
            ends[0].append(ended_by_mean(values[turns], strata[turns], group, truth))
            if seed % BESIDE == 0:
                ends[1].append(ended_by_items(values[order], strata[order], group, truth))
        cells = [
            f"{fmean(one.is_covered for one in some):7.4f} {fmean(one.n_items for one in some):8,.0f}"
            for some in ends
        ]
        print(
            f"{group.name:26} ±{100 * group.half_width:g} {sum(group.sizes):6,} | {repeats:5} | "
            + " | ".join(cells),
            flush=True,
        )


if __name__ == "__main__":
    main()
