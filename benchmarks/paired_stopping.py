"""Paired stopping on simulated models: how often it is wrong, and how many items it takes.

A model and a reference answer items drawn from a population in which the score of the reference, the share of
items on which they disagree and what the model loses are known. A task of `N_ITEMS` is stopped by the rule of
`--until-better-than`. Beside it: the items of each model after which two separate scores differ with 80%
power.
`python -m benchmarks.paired_stopping 1000` takes two minutes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from benchmarks.ladder_items import Case, answers
from runners.harness.task_run import BLOCKS
from tracker.stats import refuted_after

__all__ = ["Case", "Stop", "stopped"]

REPEATS = 600
N_ITEMS = 1_319  # as many as GSM8K has
CASES = (
    Case(0.6, 0.10, 0.0),
    Case(0.6, 0.30, 0.0),
    Case(0.9, 0.05, 0.0),
    Case(0.3, 0.20, 0.0),
    Case(0.6, 0.10, 0.02),
    Case(0.6, 0.20, 0.05),
    Case(0.6, 0.20, 0.10),
    Case(0.6, 0.30, 0.20),
    Case(0.9, 0.10, 0.05),
)


@dataclass(frozen=True, slots=True)
class Stop:
    """Where a task ended, and what its interval of the difference says there."""

    n_items: int
    is_told_apart: bool  # the interval excludes 0
    is_covered: bool  # it contains the difference of the population
    is_better: bool  # the model scored higher than the reference on the items asked


def stopped(case: Case, n_items: int, rng: np.random.Generator) -> Stop:
    """One task, looked at after each block, model minus reference."""
    reference, model = (scores.tolist() for scores in answers(case, n_items, rng))
    zero, truth = (refuted_after(model, reference, one) for one in (0.0, -case.loss))
    looks = np.minimum(np.cumsum([*_blocks(n_items)]), n_items).tolist()
    end = next((n for n in looks if zero is not None and zero <= n), n_items)
    told, covered = zero is not None and zero <= end, truth is None or truth > end
    return Stop(end, told, covered, sum(model[:end]) > sum(reference[:end]))


def _blocks(n_items: int) -> Iterator[int]:
    """The sizes of the blocks that are asked until all items are."""
    done, size = 0, BLOCKS[0]
    while done < n_items:
        yield size
        done, size = done + size, min(2 * size, BLOCKS[1])


def separate_items(case: Case) -> float:
    """Items of each model at which two separate scores differ by twice their error; infinite if equal."""
    if not case.loss:
        return float("inf")
    copy = case.score - case.loss
    return 2.8**2 * (case.score * (1 - case.score) + copy * (1 - copy)) / case.loss**2


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else REPEATS
    rng = np.random.default_rng(0)
    print(f"{repeats} models each, {N_ITEMS} items; separate: items of 80% power for two scores of their own")
    print("score flips  loss | covered told apart wrong side | items of all | separate", flush=True)
    for case in CASES:
        ends = [stopped(case, N_ITEMS, rng) for _ in range(repeats)]
        covered = fmean(one.is_covered for one in ends)
        told = fmean(one.is_told_apart for one in ends)
        wrong = fmean(one.is_told_apart and (one.is_better or not case.loss) for one in ends)
        share = fmean(one.n_items for one in ends) / N_ITEMS
        print(
            f"{case.score:5.2f} {case.flips:5.2f} {case.loss:5.3f}"
            f" | {covered:7.3f} {told:10.3f} {wrong:10.4f} | {share:12.0%} | {separate_items(case):8.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
