"""Place models by part of their scores, with difficulties and slopes held where the full fit has them.

Epoch AI's procedure for subsets of benchmarks (eci-public `scripts/fit_subset.py`): one capability per
model by least squares. The same arithmetic places a model that was measured here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tracker.frontier.dataset import Array, Indices
from tracker.frontier.index import IndexDraws, IndexFit, predicted

INDEX_BOUNDS = (-100.0, 300.0)  # as published
GRID = np.linspace(*INDEX_BOUNDS, 201)  # every 2 points: where the descent starts
LEAST_ROWS = 3  # fewer scores say too little about a model: our own choice
STEPS = 40
TOLERANCE = 1e-4  # index points
FLAT = 1e-12  # keeps a step finite where all expected scores are 0 or 1
LARGEST_STEP = 10.0  # index points


class Instrument(NamedTuple):
    """What each row was measured with."""

    difficulty: Array  # (…, R)
    slope: Array  # (…, R)


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Index of every model from the chosen rows; NaN for a model with too few of them."""

    value: Array  # (M,)
    draws: Array  # (K, M)
    n_rows: Indices  # (M,)


def best_index(score: Array, instrument: Instrument, weight: Array, *, first: float | None = None) -> Array:
    """The index in -100..300 whose expected scores are nearest, for each of B copies of R rows.

    Without a `first` guess a grid finds the valley; damped Gauss-Newton steps find its floor.
    """
    at: Array = np.full(weight.shape[0], 0.0 if first is None else first)
    if first is None:
        expected = predicted(
            GRID[:, None, None], difficulty=instrument.difficulty[None], slope=instrument.slope[None]
        )
        at = GRID[np.argmin(((expected - score) ** 2 * weight).sum(axis=2), axis=0)]
    for _ in range(STEPS):
        s = predicted(at[:, None], difficulty=instrument.difficulty, slope=instrument.slope)
        bend = s * (1.0 - s) * instrument.slope
        gradient = (weight * (s - score) * bend).sum(axis=1)
        curve = (weight * bend**2).sum(axis=1) + FLAT
        move = np.clip(gradient / curve, -LARGEST_STEP, LARGEST_STEP)
        at = np.clip(at - move, *INDEX_BOUNDS)
        if np.abs(move).max() < TOLERANCE:
            break
    return at


def project(
    fit: IndexFit, draws: IndexDraws, rows: npt.NDArray[np.bool_], *, seed: int = 0, least: int = LEAST_ROWS
) -> Projection:
    """Every model's index from the flagged rows alone.

    A draw takes its difficulties from the same draw of the full fit and resamples the model's own
    flagged rows.
    """
    data = fit.data
    rng = np.random.default_rng(seed)
    n_models, n_draws = len(data.models), draws.index.shape[0]
    value = np.full(n_models, np.nan)
    sampled = np.full((n_draws, n_models), np.nan)
    n_rows = np.zeros(n_models, dtype=np.intp)
    for m in range(n_models):
        mine = np.flatnonzero((data.model_of == m) & rows)
        n_rows[m] = mine.size
        if mine.size < least:
            continue
        columns, score = data.benchmark_of[mine], data.score[mine]
        central = Instrument(fit.difficulty[None, columns], fit.slope[None, columns])
        value[m] = best_index(score, central, np.ones((1, mine.size)))[0]
        weight = rng.multinomial(mine.size, np.full(mine.size, 1.0 / mine.size), size=n_draws)
        drawn = Instrument(draws.difficulty[:, columns], draws.slope[:, columns])
        sampled[:, m] = best_index(score, drawn, weight.astype(np.float64), first=float(value[m]))
    return Projection(value, sampled, n_rows)
