"""How far to cut the draws' tails so that a nominal 90 % interval covers 90 %.

Quantiles of draws cover what they promise only where a statistic moves smoothly with its data. A gap is made
of records and dates: noise on noisy values sets records of its own, and a date jumps. So each interval is
calibrated by playing the whole game again with the estimate in the place of the truth (prepivoting: Beran,
Biometrika 74, 1987; Loh, JASA 82, 1987): every draw is a data set that might have been seen, the same noise
around it gives the draws that would have been made of it, and how deep the known truth lies in those says
how far the tails may be cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from tracker.frontier.axis import Array

NOMINAL = 0.90
# Share of the replayed worlds in which an interval must hold the truth. The replay takes the noise for known,
# and it is an estimate itself: with 0.90 the intervals covered 77 to 93 % (`benchmarks/coverage.py`).
REPLAYED = 0.92
TAIL = 0.5 * (1.0 - NOMINAL)  # at each end, before calibration
LARGEST_TAIL = 0.49  # of a value that sits on one date in nearly every draw
N_WORLDS = 60  # data sets that might have been seen: the tail is then known to about ± 0.02
N_INNER = 100  # draws of each


def interval(draws: Array, tail: float = TAIL) -> tuple[float, float] | None:
    """The draws without a share of `tail` at each end; None where there are none."""
    if not draws.size:
        return None
    low, high = np.quantile(draws, (tail, 1.0 - tail))
    return float(low), float(high)


def depth(draws: Array, truth: float) -> float:
    """The largest tail at which the draws' interval still holds `truth`: 0 outside of all, 0.5 in the middle.

    Draws that equal it count on both sides, so that it may exceed 0.5.
    """
    slack = 1e-9 * max(1.0, abs(truth))
    return min(float(np.mean(draws <= truth + slack)), float(np.mean(draws >= truth - slack)))


def calibrated_tail(depths: Iterable[float]) -> float:
    """The tail whose interval held the truth in `REPLAYED` of the worlds whose depths these are."""
    known = np.fromiter(depths, dtype=np.float64)
    if not known.size:
        return TAIL
    return min(float(np.quantile(known, 1.0 - REPLAYED)), LARGEST_TAIL)


def calibrated_tails(truths: Mapping[str, float], worlds: Iterable[Mapping[str, Array]]) -> dict[str, float]:
    """For each statistic the calibrated tail, from its truth and its draws in each world."""
    depths: dict[str, list[float]] = {name: [] for name in truths}
    for world in worlds:
        for name, truth in truths.items():
            if world[name].size:
                depths[name].append(depth(world[name], truth))
    return {name: calibrated_tail(found) for name, found in depths.items()}
