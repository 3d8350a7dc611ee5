"""The published optimizer, unchanged, to check and time our exact minimum against.

scipy's trust-region least squares with a sparse analytic Jacobian, the whole penalty as one
residual √(λ‖p‖²/P), default tolerances, the published start (Epoch AI, eci-public
`src/eci/fitting.py` at 6ece2e1, MIT). It stops short of the minimum along an almost flat
direction, which is why the published values differ from ours by up to 0.2.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import least_squares
from scipy.sparse import csr_array

from tracker.frontier.dataset import Array, Dataset
from tracker.frontier.index import FitOptions, Scaled, on_index_scale, problem_of
from tracker.frontier.solver import CAPABILITY_BOUND, SLOPE_BOUNDS, Parameters, Problem

SEED = 42  # of the start; as published


def fit_as_published(data: Dataset, *, weights: Array | None = None, first: Array | None = None) -> Scaled:
    """The point where the published optimizer stops on `data`, as a single copy on the index scale.

    `weights` (R,) repeats rows for a bootstrap draw, `first` is the start (None: the published one).
    """
    problem = problem_of(data, FitOptions())
    p = fitted_vector(problem, weights=weights, first=first)
    return on_index_scale(data, _parameters(problem, p))


def fitted_vector(problem: Problem, *, weights: Array | None, first: Array | None) -> Array:
    """Capabilities, difficulties and free slopes in one row, where the published optimizer stops."""
    n_models, n_benchmarks = problem.n_models, problem.n_benchmarks
    if first is None:
        # the published start is numpy's legacy generator with this seed
        rng = np.random.RandomState(SEED)
        places = 0.1 * rng.standard_normal(n_models + n_benchmarks)
        first = np.concatenate([places, np.ones(n_benchmarks - 1)])
    low = np.full(first.size, -CAPABILITY_BOUND)
    high = np.full(first.size, CAPABILITY_BOUND)
    low[n_models + n_benchmarks :], high[n_models + n_benchmarks :] = SLOPE_BOUNDS
    root = np.sqrt(np.ones(problem.score.size) if weights is None else weights)
    model = _Residuals(problem, root)
    found = least_squares(
        model.values, first, jac=model.jacobian, bounds=(low, high), method="trf", max_nfev=2000
    )
    x: Array = found.x
    return x


def _parameters(problem: Problem, p: Array) -> Parameters:
    n_models, n_benchmarks = problem.n_models, problem.n_benchmarks
    slope = np.insert(p[n_models + n_benchmarks :], problem.pinned, 1.0)
    return Parameters(p[None, :n_models], p[None, n_models : n_models + n_benchmarks], slope[None, :])


class _Residuals:
    """The residuals of all rows, then the penalty's, with their sparse derivatives."""

    def __init__(self, problem: Problem, root_weight: Array) -> None:
        self._p = problem
        self._root = root_weight

    def _forward(self, p: Array) -> tuple[Array, Array, Array]:
        at = _parameters(self._p, p)
        alpha = at.slope[0, self._p.benchmark_of]
        distance = at.capability[0, self._p.model_of] - at.difficulty[0, self._p.benchmark_of]
        return 1.0 / (1.0 + np.exp(-alpha * distance)), alpha, distance

    def values(self, p: Array) -> Array:
        s, _, _ = self._forward(p)
        penalty = np.sqrt(self._p.penalty * (p @ p))
        return np.append(self._root * (s - self._p.score), penalty)

    def jacobian(self, p: Array) -> csr_array:
        s, alpha, distance = self._forward(p)
        n_rows, n_models, n_benchmarks = s.size, self._p.n_models, self._p.n_benchmarks
        spread = self._root * s * (1.0 - s)
        rows = np.arange(n_rows)
        free = self._p.benchmark_of != self._p.pinned
        slope_column = self._p.benchmark_of - (self._p.benchmark_of > self._p.pinned)
        size = max(float(np.sqrt(self._p.penalty * (p @ p))), 1e-12)
        parts = [
            (alpha * spread, rows, self._p.model_of),
            (-alpha * spread, rows, n_models + self._p.benchmark_of),
            ((distance * spread)[free], rows[free], (n_models + n_benchmarks + slope_column)[free]),
            (self._p.penalty * p / size, np.full(p.size, n_rows), np.arange(p.size)),
        ]
        data, row, column = (np.concatenate([part[i] for part in parts]) for i in range(3))
        return csr_array((data, (row, column)), shape=(n_rows + 1, p.size))
