"""The index that fits a model's scores on several tasks best, and how wrong that is for known models.

Each score is weighed by what it tells: its slope against the scatter of models, the error of the task's
curve, and the error of the sample of items. Errors of one model on two tasks may agree, so they are weighed
together. The interval is every index whose misfit exceeds the least by no more than a limit; the limit is the
one at which the intervals of nine in ten bridges, each left out of its own calibration, contain their index.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tracker.frontier.bridges import (
    MIN_BRIDGES,
    Bridge,
    ModelVariant,
    TaskCurve,
    TaskScale,
    residual_correlation,
    task_curve,
)
from tracker.frontier.calibration import NOMINAL
from tracker.frontier.dataset import SCORE_EDGE, Array
from tracker.frontier.index import IndexFit
from tracker.stats import Z90

GRID: Array = np.linspace(0.0, 200.0, 801)  # candidates, in index points; the published scale spans 22 to 160
LEAST_DEPTH = 1.0  # standard deviations: a few lucky bridges must not make an interval narrower than this
STEEP = 0.06  # per index point; flatter tasks (HellaSwag, Winogrande) tell little anywhere
LEAST_EXPECTED = 0.2  # of the way from chance to perfect: below, a task hardly separates models
FAR_SHARE = 0.5  # of the tasks that a known model needs, to count as a check of all of them


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """The centered scores of one model and the variance of each from its sample of items."""

    tasks: tuple[str, ...]
    score: Array  # (T,)
    item_variance: Array  # (T,)
    variant: ModelVariant | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """The misfit of every candidate in `GRID`, in squared standard deviations."""

    misfit: Array  # (G,)

    @property
    def index(self) -> float:
        """The best candidate, refined by a parabola through its neighbors."""
        best = int(np.argmin(self.misfit))
        if best in {0, GRID.size - 1}:
            return float(GRID[best])
        left, middle, right = self.misfit[best - 1 : best + 2]
        bend = left - 2.0 * middle + right
        step = 0.5 * (left - right) / bend if bend > 0.0 else 0.0
        return float(GRID[best] + step * (GRID[1] - GRID[0]))

    def depth(self, index: float) -> float:
        """How many standard deviations `index` is away from the best candidate."""
        return math.sqrt(max(float(np.interp(index, GRID, self.misfit) - self.misfit.min()), 0.0))

    def interval(self, depth: float) -> tuple[float, float]:
        """The lowest and the highest candidate within `depth` standard deviations."""
        inside = np.flatnonzero(self.misfit <= self.misfit.min() + depth**2)
        index = self.index
        return min(float(GRID[inside[0]]), index), max(float(GRID[inside[-1]]), index)


@dataclass(frozen=True, slots=True, eq=False)
class Instruments:
    """The curves of several tasks and how the errors of one model agree between them."""

    curves: tuple[TaskCurve, ...]
    correlation: Array  # (T, T)

    def profile(self, reading: Reading, *, stretch: float = 1.0) -> Profile:
        """The misfit of every candidate to the scores, which are in the order of the curves.

        `stretch` scales the standard deviations between harnesses and models, not those of samples of items.
        """
        expected = np.stack([curve.expected(GRID, reading.variant) for curve in self.curves], axis=-1)
        variance = np.stack([curve.variance(GRID, reading.variant) for curve in self.curves], axis=-1)
        spread = np.sqrt(variance)  # (G, T)
        covariance = stretch**2 * spread[:, :, None] * spread[:, None, :] * self.correlation
        covariance = covariance + np.diag(reading.item_variance)
        deviation = (reading.score - expected)[..., None]
        misfit: Array = (deviation * np.linalg.solve(covariance, deviation)).sum(axis=(1, 2))
        return Profile(misfit)

    def span(self) -> tuple[float, float] | None:
        """The span of the index that the bridges cover and the tasks resolve; None without enough bridges."""
        known = [curve for curve in self.curves if curve.is_calibrated]
        steep = [curve for curve in known if curve.slope >= STEEP] or known
        if not steep:
            return None
        easiest = math.log(LEAST_EXPECTED / (1.0 - LEAST_EXPECTED))
        low = min(max(curve.lowest, curve.difficulty + easiest / curve.slope) for curve in steep)
        high = max(curve.highest for curve in known)
        return (low, high) if low < high else None


def instruments(
    scales: Sequence[TaskScale], fit: IndexFit, bridges: Sequence[Bridge]
) -> tuple[Instruments, tuple[TaskScale, ...]]:
    """The instruments of the tasks about which anything is known, and those tasks in the same order."""
    found = [(scale, task_curve(scale, fit, bridges)) for scale in scales]
    curves = tuple(curve for _, curve in found if curve is not None)
    usable = tuple(scale for scale, curve in found if curve is not None)
    return Instruments(curves, residual_correlation(curves, fit, bridges)), usable


@dataclass(frozen=True, slots=True)
class LeftOut:
    """One bridge placed by a calibration without it."""

    model: str
    variant: ModelVariant | None
    truth: float  # its published index
    index: float  # where it was placed
    depth: float  # distance between the two, in standard deviations
    width: float  # of the interval of nominal width

    @property
    def error(self) -> float:
        """Placed minus published, in index points."""
        return self.index - self.truth


def left_out(scales: Sequence[TaskScale], fit: IndexFit, bridges: Sequence[Bridge]) -> tuple[LeftOut, ...]:
    """Every bridge with at least half of the tasks, placed by the others."""
    names = {scale.task for scale in scales}
    of_model: dict[str, list[Bridge]] = {}
    for row in bridges:
        if row.task in names and row.model in fit.data.models:
            of_model.setdefault(row.model, []).append(row)
    found = []
    for model, rows in of_model.items():
        if len(rows) < FAR_SHARE * len(scales):
            continue
        others = [row for row in bridges if row.model != model and row.task in names]
        mine = {row.task: row for row in rows}
        known, usable = instruments([scale for scale in scales if scale.task in mine], fit, others)
        if not usable:
            continue
        chosen = [mine[scale.task] for scale in usable]
        profile = known.profile(reading_of(chosen))
        truth = float(fit.index[fit.data.models.index(model)])
        low, high = profile.interval(Z90)
        found.append(LeftOut(model, rows[0].variant, truth, profile.index, profile.depth(truth), high - low))
    return tuple(found)


def reading_of(bridges: Sequence[Bridge]) -> Reading:
    """The scores of one bridge, over all items of each task."""
    return Reading(
        tuple(row.task for row in bridges),
        np.clip([row.score for row in bridges], SCORE_EDGE, 1.0 - SCORE_EDGE),
        np.zeros(len(bridges)),
        bridges[0].variant,
    )


def calibrated_depth(checks: Sequence[LeftOut]) -> float:
    """The depth at which nine in ten intervals of further models contain their index, from these checks.

    The k-th smallest of n depths with k = ⌈0.9·(n + 1)⌉ (conformal prediction: Vovk et al. 2005; Lei et al.,
    JASA 113, 2018), at most the largest.
    """
    if len(checks) < MIN_BRIDGES:
        return Z90
    depths = sorted(check.depth for check in checks)
    rank = min(math.ceil(NOMINAL * (len(depths) + 1)), len(depths))
    return max(depths[rank - 1], LEAST_DEPTH)
