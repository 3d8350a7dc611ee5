"""Place models by some of their scores, with difficulties and slopes fixed at those of the full fit.

Epoch AI's procedure for subsets of benchmarks (eci-public `scripts/fit_subset.py`): one capability per
model by least squares. The same arithmetic places a model measured here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tracker.frontier.dataset import Array, Indices
from tracker.frontier.index import IndexDraws, IndexFit, predicted, scores_of

INDEX_BOUNDS = (-100.0, 300.0)  # as published
GRID = np.linspace(*INDEX_BOUNDS, 201)  # every 2 points: candidate starts for the descent
LEAST_ROWS = 3  # fewer scores say too little about a model; our choice
STEPS = 40
TOLERANCE = 1e-4  # index points
FLAT = 1e-12  # keeps a step finite where all expected scores are 0 or 1
LARGEST_STEP = 10.0  # index points


class Instrument(NamedTuple):
    """The difficulty and slope of each row."""

    difficulty: Array  # (…, R)
    slope: Array  # (…, R)


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Index of every model from the chosen rows; NaN for a model with too few of them."""

    value: Array  # (M,)
    draws: Array  # (K, M)
    n_rows: Indices  # (M,)


def best_index(score: Array, instrument: Instrument, *, first: float | None = None) -> Array:
    """(B,) the index in -100..300 whose expected scores are nearest to `score` (B, R).

    Without a `first` guess the start is the best point of a grid; damped Gauss-Newton steps follow.
    """
    at: Array = np.full(score.shape[0], 0.0 if first is None else first)
    if first is None:
        expected = predicted(
            GRID[:, None, None], difficulty=instrument.difficulty[None], slope=instrument.slope[None]
        )
        at = GRID[np.argmin(((expected - score) ** 2).sum(axis=2), axis=0)]
    for _ in range(STEPS):
        s = predicted(at[:, None], difficulty=instrument.difficulty, slope=instrument.slope)
        bend = s * (1.0 - s) * instrument.slope
        gradient = ((s - score) * bend).sum(axis=1)
        curve = (bend**2).sum(axis=1) + FLAT
        move = np.clip(gradient / curve, -LARGEST_STEP, LARGEST_STEP)
        at = np.clip(at - move, *INDEX_BOUNDS)
        if np.abs(move).max() < TOLERANCE:
            break
    return at


def project(
    fit: IndexFit, draws: IndexDraws, rows: npt.NDArray[np.bool_], *, least: int = LEAST_ROWS
) -> Projection:
    """Every model's index from the flagged rows alone.

    A draw takes its scores, difficulties and slopes from the same draw of the full fit, so the two
    can be compared draw by draw. Those scores are centered on the model's index over all rows; the draws are
    shifted to be centered on its index over the flagged rows.
    """
    data = fit.data
    drawn = scores_of(fit, draws)
    n_models, n_draws = len(data.models), draws.index.shape[0]
    value = np.full(n_models, np.nan)
    sampled = np.full((n_draws, n_models), np.nan)
    n_rows = np.bincount(data.model_of[rows], minlength=n_models).astype(np.intp)
    for m in np.flatnonzero(n_rows >= least):
        mine = np.flatnonzero((data.model_of == m) & rows)
        columns = data.benchmark_of[mine]
        central = Instrument(fit.difficulty[None, columns], fit.slope[None, columns])
        value[m] = best_index(data.score[None, mine], central)[0]
        same = Instrument(draws.difficulty[:, columns], draws.slope[:, columns])
        around = best_index(drawn[:, mine], same, first=float(fit.index[m]))
        sampled[:, m] = around + (value[m] - fit.index[m])
    return Projection(value, sampled, n_rows)
