"""How far our harness stands from the published one, benchmark by benchmark.

A bridge is a model with a published index that was also measured here. The offset of a benchmark is the
shift of its difficulty that makes the measured scores of all bridges fit best; below eight bridges it is
kept but not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tracker.frontier.dataset import Array
from tracker.frontier.index import IndexFit, predicted

MIN_BRIDGES = 8  # models with both numbers, before an offset is believed: our own choice
BOUND = 60.0  # index points an offset may reach
SHIFTS = np.linspace(-BOUND, BOUND, 241)  # every half point: where the descent starts
RESAMPLES = 200
STEPS = 30


@dataclass(frozen=True, slots=True)
class Bridge:
    """One model on one benchmark as measured here; the score is centered."""

    model: str  # its name on the index
    benchmark: str
    score: float


@dataclass(frozen=True, slots=True)
class Offset:
    """`benchmark@harness` against the benchmark: a positive shift means harder here, in index points."""

    benchmark: str
    harness: str
    shift: float
    stderr: float
    n_bridges: int

    @property
    def is_calibrated(self) -> bool:
        """Whether enough models carry it."""
        return self.n_bridges >= MIN_BRIDGES


def offsets(fit: IndexFit, bridges: Sequence[Bridge], *, harness: str, seed: int = 0) -> tuple[Offset, ...]:
    """One offset per benchmark that has a bridge; bridges that the index does not know are passed over."""
    found = []
    rng = np.random.default_rng(seed)
    for benchmark in sorted({bridge.benchmark for bridge in bridges} & set(fit.data.benchmarks)):
        rows = [row for row in bridges if row.benchmark == benchmark and row.model in fit.data.models]
        if not rows:
            continue
        column = fit.data.benchmarks.index(benchmark)
        index = fit.index[[fit.data.models.index(row.model) for row in rows]]
        score = np.array([row.score for row in rows])
        place = (float(fit.difficulty[column]), float(fit.slope[column]))
        shift = _best_shift(score, index, place)
        chosen = rng.integers(0, len(rows), size=(RESAMPLES, len(rows)))
        drawn = [_best_shift(score[pick], index[pick], place) for pick in chosen]
        stderr = float(np.std(drawn, ddof=1)) if len(rows) > 1 else BOUND
        found.append(Offset(benchmark, harness, shift, stderr, len(rows)))
    return tuple(found)


def _best_shift(score: Array, index: Array, place: tuple[float, float]) -> float:
    """The shift of the difficulty that fits best, by least squares: a grid, then Gauss-Newton steps."""
    difficulty, slope = place
    expected = predicted(index[None, :], difficulty=difficulty + SHIFTS[:, None], slope=slope)
    shift = float(SHIFTS[np.argmin(((expected - score) ** 2).sum(axis=1))])
    for _ in range(STEPS):
        s = predicted(index, difficulty=difficulty + shift, slope=slope)
        bend = s * (1.0 - s) * slope
        move = float(np.sum((s - score) * bend) / (np.sum(bend**2) + 1e-12))
        shift = min(max(shift + min(max(move, -5.0), 5.0), -BOUND), BOUND)
        if abs(move) < 1e-6:
            break
    return shift
