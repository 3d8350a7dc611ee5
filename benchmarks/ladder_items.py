"""Ladders with a known loss: do the intervals contain it, and how many items does a point take?

A parent and a copy answer items drawn from a population in which the loss, the score and the share of items
on which they disagree are known; with clusters, items of one document share their difficulty. Each ladder is
stopped by the rule of `tracker ladder`, at ±1 point. For the items, the same rule is given answers of two
models to different items, as two separate benches would. `python -m benchmarks.ladder_items 2000` takes five
minutes on two cores.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import numpy.typing as npt

from tracker.ladder.run import FIRST_ITEMS, next_limit
from tracker.records.ladders import MOST_LOOKS
from tracker.stats import Interval, paired_difference

REPEATS = 200
PRECISION = 0.01
WHOLE = 400_000  # items of a suite that never ends
SMALL = 1_000  # of one that ends before the difference is known
UNPAIRED_REPEATS = 10  # need ten times the items, and vary little

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Case:
    """A parent's score, the share of items on which the copy differs, and what it loses."""

    score: float
    flips: float
    loss: float
    cluster: int = 1  # items of one document

    @property
    def correlation(self) -> float:
        """Of the two models' item scores."""
        copy = self.score - self.loss
        both = self.score - (self.flips + self.loss) / 2
        spread = np.sqrt(self.score * (1 - self.score) * copy * (1 - copy))
        return float((both - self.score * copy) / spread)


CASES = (
    Case(0.6, 0.04, 0.005),
    Case(0.6, 0.08, 0.02),
    Case(0.6, 0.12, 0.03),
    Case(0.6, 0.05, 0.05),
    Case(0.3, 0.10, 0.0),
    Case(0.9, 0.03, 0.01),
    Case(0.9, 0.02, 0.02),
    Case(0.6, 0.08, 0.02, cluster=5),
)


@dataclass(frozen=True, slots=True)
class Stopped:
    """Where a ladder ended."""

    interval: Interval
    n_items: int
    n_looks: int


def answers(case: Case, n: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """(n,) scores of the parent and of its copy on the same items.

    In a document of several items each answer is, half of the time, the one of its first item.
    """
    lost, gained = (case.flips + case.loss) / 2, (case.flips - case.loss) / 2
    draws = rng.random(n)
    if case.cluster > 1:
        place = np.arange(n)
        shares = rng.random(n) < 0.5
        draws = np.where(shares, draws[place - place % case.cluster], draws)
    only_parent, only_copy = draws < lost, (draws >= lost) & (draws < lost + gained)
    both = (draws >= case.flips) & (draws < case.flips + case.score - lost)
    return (only_parent | both).astype(float), (only_copy | both).astype(float)


def climbed(before: Array, after: Array, *, cluster: int = 1) -> Stopped:
    """One ladder over these items, in their order, by the rule of `tracker ladder`."""
    limit, looks = FIRST_ITEMS, 0
    while True:
        n, looks = min(limit, len(before)), looks + 1
        names = [str(i // cluster) for i in range(n)] if cluster > 1 else None
        found = paired_difference(after[:n], before[:n], clusters=names, n_looks=MOST_LOOKS)
        if found.half_width <= PRECISION or n == len(before) or looks == MOST_LOOKS:
            return Stopped(found, n, looks)
        limit = next_limit(n, found.half_width, PRECISION, n_looks=looks)


def coverage(case: Case, n_items: int, repeats: int, *, seed: int = 0) -> tuple[float, list[Stopped]]:
    """The share of ladders whose interval contains the loss, and where each ended."""
    rng = np.random.default_rng(seed)
    ended = [climbed(*answers(case, n_items, rng), cluster=case.cluster) for _ in range(repeats)]
    return fmean(one.interval.low <= -case.loss <= one.interval.high for one in ended), ended


def unpaired(case: Case, repeats: int, *, seed: int = 1) -> float:
    """Items that each of two models needs if they answer different ones."""
    rng = np.random.default_rng(seed)
    ended = []
    for _ in range(repeats):
        before, _ = answers(case, WHOLE, rng)
        _, after = answers(case, WHOLE, rng)
        ended.append(climbed(before, after, cluster=case.cluster).n_items)
    return fmean(ended)


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else REPEATS
    print(
        "score flips  loss document correlation | covered items looks most | unpaired ratio | small: covered"
    )
    for case in CASES:
        share, ended = coverage(case, WHOLE, repeats)
        items = fmean(one.n_items for one in ended)
        separate = unpaired(case, UNPAIRED_REPEATS)
        looks = [one.n_looks for one in ended]
        small, _ = coverage(case, SMALL, repeats)
        print(
            f"{case.score:5.2f} {case.flips:5.2f} {case.loss:5.3f} {case.cluster:8d} {case.correlation:11.2f}"
            f" | {share:7.3f} {items:5.0f} {fmean(looks):5.1f} {max(looks):4d}"
            f" | {separate:8.0f} {separate / items:5.1f} | {small:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
