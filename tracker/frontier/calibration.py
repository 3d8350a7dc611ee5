"""Calibration of the draws' tails, so that a nominal 90% interval covers 90%.

Quantiles of draws have the nominal coverage only if a statistic varies smoothly with its data. A gap depends
on records and dates: noise creates new records, and a date jumps. So each interval is calibrated by repeating
the procedure with the estimate as the truth (prepivoting: Beran, Biometrika 74, 1987; Loh, JASA 82, 1987):
every draw is a simulated data set, the same noise around it gives its own draws, and the depth of the known
truth among those says how far the tails may be cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from tracker.frontier.axis import Array

NOMINAL = 0.90
# Share of the replayed worlds in which an interval must contain the truth. The replay treats the noise as
# known although it is estimated: with 0.90 the intervals covered 77 to 93% (`benchmarks/coverage.py`).
REPLAYED = 0.92
TAIL = 0.5 * (1.0 - NOMINAL)  # at each end, before calibration
LARGEST_TAIL = 0.49  # for a value that is the same date in nearly every draw
N_WORLDS = 60  # simulated data sets; the tail is then known to about ± 0.02
N_INNER = 100  # draws of each


def interval(draws: Array, tail: float = TAIL) -> tuple[float, float] | None:
    """The ends of the draws after cutting a share of `tail` at each; None if there are no draws."""
    if not draws.size:
        return None
    low, high = np.quantile(draws, (tail, 1.0 - tail))
    return float(low), float(high)


def depth(draws: Array, truth: float) -> float:
    """The largest tail at which the draws' interval contains `truth`: 0 outside all draws, 0.5 at the median.

    Draws that equal it count on both sides, so that it may exceed 0.5.
    """
    slack = 1e-9 * max(1.0, abs(truth))
    return min(float(np.mean(draws <= truth + slack)), float(np.mean(draws >= truth - slack)))


def calibrated_tail(depths: Iterable[float]) -> float:
    """The tail at which the interval contained the truth in a share of `REPLAYED` of these worlds."""
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
