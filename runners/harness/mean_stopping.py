"""Stop several tasks as soon as their mean is known, and ask most where that costs least.

One interval is for the mean of all items of the tasks, however they are asked: it holds at every look. Items
are drawn one by one, each from a task that is chosen at random: the more often, the more it weighs, the more
the scores of its items differ, and the cheaper its answers are. What is chosen follows from the seed and from
earlier answers, so that a run that is resumed asks the same items.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from tracker.records import Item
from tracker.stats import Interval, StratifiedDraws, anytime_stratified, refutes

# Draws between two looks: the first block for each stratum, and the largest of all. They grow, as those of
# one task do.
FIRST_BLOCK, LARGEST_BLOCK = 4, 256
# Of the chance of a draw, the part that follows the weights alone: no item counts more than five times what
# it weighs, whatever the first answers look like.
BY_WEIGHT = 0.2
LIKE_ALL = 10  # answers
PROMPT_TOKEN_COST = 0.1  # of an output token: a batch of prompts is read about ten times as fast as written

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Drawn:
    """One drawn item."""

    stratum: int
    place: int  # in the random order of the stratum's items
    chances: tuple[float, ...]  # of each stratum, when it was drawn


@dataclass(frozen=True, slots=True)
class DrawnAnswer:
    """What a drawn item gave, and what it cost."""

    value: float | None  # 0..1; None: it has no score
    cost: float  # in output tokens


def item_cost(item: Item) -> float:
    """What an answer costs, in output tokens."""
    read = max(item.prompt_tokens - item.cached_tokens, 0)
    return max(item.output_tokens + PROMPT_TOKEN_COST * read, 1.0)


@dataclass(slots=True)
class StrataDraw:
    """The draw in progress: which item of which stratum is next, and what is known of the mean."""

    weights: Sequence[float]  # (K,) of the strata's means, which add up to 1
    sizes: Sequence[int]  # (K,) items of each stratum, all of which can be asked
    half_width: float  # at which it will end
    seed: int
    by_weight: float = BY_WEIGHT  # 1: the chances follow the weights alone
    drawn: list[Drawn] = field(default_factory=list)  # and answered
    answers: list[DrawnAnswer] = field(default_factory=list)
    _n_blocks: int = 0

    def next_block(self) -> list[Drawn]:
        """The next items to ask, in the order of the draw; empty: all are drawn."""
        size = min(FIRST_BLOCK * len(self.sizes) * 2**self._n_blocks, LARGEST_BLOCK)
        rng = np.random.default_rng((self.seed, self._n_blocks))
        taken = np.bincount([one.stratum for one in self.drawn], minlength=len(self.sizes)).tolist()
        merit = self._merit()
        chances = self._chances(taken, merit)
        block: list[Drawn] = []
        for point in rng.random(size).tolist():
            if not chances:
                break
            ends = [*accumulate(chances)]
            stratum = bisect_right(ends, point * ends[-1])
            block.append(Drawn(stratum, taken[stratum], chances))
            taken[stratum] += 1
            if taken[stratum] == self.sizes[stratum]:
                chances = self._chances(taken, merit)
        return block

    def accept(self, block: Sequence[Drawn], answers: Sequence[DrawnAnswer]) -> None:
        """Take the answers of a whole block."""
        self.drawn += block
        self.answers += answers
        self._n_blocks += 1

    def interval(self, strata: Collection[int] | None = None) -> Interval | None:
        """The mean of all strata, or of these, in their weights; None: one of them has no scored item."""
        draws = self.draws(strata)
        if draws is None:
            return None
        return anytime_stratified(draws, half_width=self.half_width if strata is None else None)

    def draws(self, strata: Collection[int] | None = None) -> StratifiedDraws | None:
        """The draws so far; of those of some strata, each was drawn with its chance among these.

        None: a stratum has no scored item.
        """
        chosen = sorted(range(len(self.sizes)) if strata is None else strata)
        places = {stratum: place for place, stratum in enumerate(chosen)}
        values, numbers, known = [], [], []
        for one, answer in zip(self.drawn, self.answers, strict=True):
            if one.stratum in places and answer.value is not None:
                values.append(answer.value)
                numbers.append(places[one.stratum])
                known.append(one.chances)
        if len(set(numbers)) < len(chosen):
            return None
        chances = np.array(known)[:, chosen]
        chances /= chances.sum(axis=1, keepdims=True)
        total = math.fsum(self.weights[stratum] for stratum in chosen)
        weights = [self.weights[stratum] / total for stratum in chosen]
        return StratifiedDraws(values, numbers, chances, weights, [self.sizes[one] for one in chosen])

    @property
    def is_narrow(self) -> bool:
        """Whether the mean is known as well as was asked for."""
        draws = self.draws()
        if draws is None:
            return False
        ends = (draws.mean - self.half_width, draws.mean + self.half_width)
        return all(refutes(draws, end, half_width=self.half_width) for end in ends)

    def _chances(self, taken: Sequence[int], merit: Array) -> tuple[float, ...]:
        """Of each stratum to be drawn next, 0 of one without an item left; empty: none has one."""
        left = np.asarray(self.weights, dtype=float) * (np.asarray(taken) < np.asarray(self.sizes))
        if not left.any():
            return ()
        wanted = left * merit
        chances = self.by_weight * left / left.sum() + (1 - self.by_weight) * wanted / wanted.sum()
        return tuple(chances.tolist())

    def _merit(self) -> Array:
        """Of each stratum (K,), the standard deviation of its scores over the root of an answer's cost.

        Draws in this proportion to the weights give the narrowest interval for a cost (Cochran, Sampling
        Techniques, 1977, §5.5). A stratum is taken to be like all until its own answers outnumber
        `LIKE_ALL`: chances that follow a few answers cost more items than they save.
        """
        n_strata = len(self.sizes)
        numbers = np.array([one.stratum for one in self.drawn], dtype=int)
        costs = np.array([answer.cost for answer in self.answers])
        values = np.array([answer.value or 0.0 for answer in self.answers])
        n = np.bincount(numbers, minlength=n_strata)
        usual = costs.mean() if len(costs) else 1.0
        cost = (usual + np.bincount(numbers, weights=costs, minlength=n_strata)) / (n + 1)
        sums = np.bincount(numbers, weights=values, minlength=n_strata)
        overall = (0.5 + sums.sum()) / (n.sum() + 1)
        means = (LIKE_ALL * overall + sums) / (n + LIKE_ALL)
        squares = np.bincount(numbers, weights=(values - means[numbers]) ** 2, minlength=n_strata)
        pooled = (0.25 + squares.sum()) / (n.sum() + 1)
        variances = (LIKE_ALL * pooled + squares) / (n + LIKE_ALL)
        return np.asarray(np.sqrt(variances / cost), dtype=float)
