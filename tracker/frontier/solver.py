"""Minimize the index's objective for many reweighted copies of the data at once.

The model is score = σ(z), z = slope·(capability − difficulty). Far from the minimum each step is a
damped Gauss-Newton step (Levenberg-Marquardt) on the analytic derivatives; near it a Newton step
with the exact second derivatives. A score ties one model to one benchmark, so the models' block of
the equations is diagonal: it is eliminated, and what is left to solve has two unknowns per
benchmark (Schur complement). Bounds are enforced by freezing parameters that would cross them.

Formulas: `docs/method.md`. The minimum is exact, with one penalty term per parameter; the published
optimizer, which stops earlier, is in `published.py`.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

CAPABILITY_BOUND = 10.0  # of capability and difficulty, both signs; as published
SLOPE_BOUNDS = (0.1, 10.0)  # as published
DAMPING_START = 1e-3
DAMPING_LEAST, DAMPING_MOST = 1e-9, 1e9
NEWTON_BELOW = 1e-3  # predicted decrease, as a share of the objective, below which Newton steps are used
CHUNK = 50  # copies solved at once: about 10 MB for each array of models × benchmarks


@dataclass(frozen=True, slots=True)
class Problem:
    """The rows and the penalty; one row is one model on one benchmark."""

    model_of: Indices  # (R,)
    benchmark_of: Indices  # (R,)
    score: Array  # (R,) strictly between 0 and 1
    n_models: int
    n_benchmarks: int
    pinned: int  # the benchmark whose slope is 1
    penalty: float  # λ/P: weight of each squared parameter
    log_slope: bool = False  # penalize log(slope)² instead of slope²
    trials: Array | None = None  # (R,) weight of the binomial loss; None: least squares


@dataclass(frozen=True, slots=True)
class Parameters:
    """Values of B copies."""

    capability: Array  # (B, M)
    difficulty: Array  # (B, N)
    slope: Array  # (B, N)

    def take(self, rows: slice | Indices | npt.NDArray[np.bool_]) -> Parameters:
        """The chosen copies."""
        return Parameters(self.capability[rows], self.difficulty[rows], self.slope[rows])

    def put(self, rows: Indices, values: Parameters) -> None:
        """Overwrite the chosen copies."""
        self.capability[rows], self.difficulty[rows], self.slope[rows] = (
            values.capability,
            values.difficulty,
            values.slope,
        )

    def repeat(self, n: int) -> Parameters:
        """`n` copies of the first."""
        return Parameters(
            np.repeat(self.capability[:1], n, axis=0),
            np.repeat(self.difficulty[:1], n, axis=0),
            np.repeat(self.slope[:1], n, axis=0),
        )


@dataclass(frozen=True, slots=True)
class Copies:
    """B versions of the data that differ in the weights or the scores of the rows."""

    weight: Array  # (B, R)
    score: Array  # (B, R) strictly between 0 and 1

    def take(self, rows: slice | Indices) -> Copies:
        """The chosen copies."""
        return Copies(self.weight[rows], self.score[rows])


@dataclass(frozen=True, slots=True)
class Solution:
    """The minimum of each copy."""

    parameters: Parameters
    objective: Array  # (B,)
    n_steps: int  # of the slowest copy
    converged: npt.NDArray[np.bool_]  # (B,)


@dataclass(frozen=True, slots=True)
class StopRule:
    """Stop a copy once a step is predicted to lower the objective by less than this share of it."""

    decrease: float = 1e-15
    max_steps: int = 200


def start(problem: Problem) -> Parameters:
    """A start near the answer: capability from the mean logit of a model's scores, difficulty 0."""
    logit = np.log(problem.score / (1.0 - problem.score))
    count = np.bincount(problem.model_of, minlength=problem.n_models)
    total = np.bincount(problem.model_of, weights=logit, minlength=problem.n_models)
    capability = 0.5 * total / np.maximum(count, 1)
    return Parameters(
        capability[None, :], np.zeros((1, problem.n_benchmarks)), np.ones((1, problem.n_benchmarks))
    )


def solve(problem: Problem, copies: Copies, first: Parameters, *, stop: StopRule) -> Solution:
    """The minimum of each copy of the data, started at `first` (1 or B copies)."""
    n_copies = copies.weight.shape[0]
    if first.capability.shape[0] != n_copies:
        first = first.repeat(n_copies)
    rows = _Rows(problem)
    chunks = [slice(begin, begin + CHUNK) for begin in range(0, n_copies, CHUNK)]
    # Products are small: threads inside BLAS only wait for each other (measured 10 times slower).
    with (
        threadpool_limits(limits=1, user_api="blas"),
        ThreadPoolExecutor(min(len(chunks), os.cpu_count() or 1)) as pool,
    ):
        parts = list(
            pool.map(lambda chunk: _solve_chunk(rows, copies.take(chunk), first.take(chunk), stop), chunks)
        )
    return Solution(
        Parameters(
            np.concatenate([part.parameters.capability for part in parts]),
            np.concatenate([part.parameters.difficulty for part in parts]),
            np.concatenate([part.parameters.slope for part in parts]),
        ),
        np.concatenate([part.objective for part in parts]),
        max(part.n_steps for part in parts),
        np.concatenate([part.converged for part in parts]),
    )


def objective(problem: Problem, copies: Copies, parameters: Parameters) -> Array:
    """½(Σ w·(σ(z) − y)² + (λ/P)·‖p‖²) of each copy, or its binomial counterpart."""
    return _Rows(problem).objective(copies, parameters)


def _solve_chunk(rows: _Rows, copies: Copies, current: Parameters, stop: StopRule) -> Solution:
    """Step all copies that are not finished until all are, or `max_steps` is reached."""
    n_copies = copies.weight.shape[0]
    best = Parameters(current.capability.copy(), current.difficulty.copy(), current.slope.copy())
    value = rows.objective(copies, best)
    damping = np.full(n_copies, DAMPING_START)
    newton = np.zeros(n_copies, dtype=np.bool_)
    active = np.arange(n_copies)
    step = 0
    while active.size and step < stop.max_steps:
        step += 1
        there, promised = rows.step(copies.take(active), best.take(active), damping[active], newton[active])
        new_value = rows.objective(copies.take(active), there)
        better = (new_value <= value[active]) & (promised >= 0.0)
        won = active[better]
        best.put(won, there.take(better))
        small = promised <= NEWTON_BELOW * value[active]
        finished = (np.abs(promised) <= stop.decrease * value[active]) | (damping[active] >= DAMPING_MOST)
        value[won] = new_value[better]
        newton[active] = better & small
        damping[active] = np.where(
            better,
            np.maximum(damping[active] / 10.0, DAMPING_LEAST),
            np.where(newton[active], damping[active], np.minimum(damping[active] * 8.0, DAMPING_MOST)),
        )
        active = active[~finished]
    converged = np.ones(n_copies, dtype=np.bool_)
    converged[active] = False
    return Solution(best, value, step, converged)


class _Rows:
    """A problem with the values that every step needs."""

    def __init__(self, problem: Problem) -> None:
        self.p = problem
        n_rows = problem.score.size
        self._by_model = np.zeros((n_rows, problem.n_models))
        self._by_model[np.arange(n_rows), problem.model_of] = 1.0
        self._by_benchmark = np.zeros((n_rows, problem.n_benchmarks))
        self._by_benchmark[np.arange(n_rows), problem.benchmark_of] = 1.0
        self._free = np.ones(problem.n_benchmarks)
        self._free[problem.pinned] = 0.0

    def objective(self, copies: Copies, at: Parameters) -> Array:
        p = self.p
        z, _ = self._logit(at)
        if p.trials is None:
            loss = 0.5 * (_sigmoid(z) - copies.score) ** 2
        else:
            loss = p.trials * (np.logaddexp(0.0, z) - copies.score * z)
        penalised = np.log(at.slope) if p.log_slope else at.slope
        size = (
            (at.capability**2).sum(axis=1)
            + (at.difficulty**2).sum(axis=1)
            + (penalised**2 * self._free).sum(axis=1)
        )
        total: Array = (copies.weight * loss).sum(axis=1) + 0.5 * p.penalty * size
        return total

    def _logit(self, at: Parameters) -> tuple[Array, Array]:
        distance = at.capability[:, self.p.model_of] - at.difficulty[:, self.p.benchmark_of]
        return at.slope[:, self.p.benchmark_of] * distance, distance

    def step(
        self, copies: Copies, at: Parameters, damping: Array, newton: npt.NDArray[np.bool_]
    ) -> tuple[Parameters, Array]:
        """The next point of each copy, and the decrease predicted by its quadratic model."""
        system = self._system(copies, at, newton)
        move_c, move_b = system.solve(damping)
        n = self.p.n_benchmarks
        there = Parameters(
            np.clip(at.capability + move_c, -CAPABILITY_BOUND, CAPABILITY_BOUND),
            np.clip(at.difficulty + move_b[:, :n], -CAPABILITY_BOUND, CAPABILITY_BOUND),
            np.clip(at.slope + move_b[:, n:], *SLOPE_BOUNDS),
        )
        promised = -0.5 * ((system.grad_c * move_c).sum(axis=1) + (system.grad_b * move_b).sum(axis=1))
        return there, promised

    def _derivatives(self, copies: Copies, z: Array, newton: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
        """First and second derivative of each row's loss in z; the second is exact for Newton."""
        p = self.p
        s = _sigmoid(z)
        spread = s * (1.0 - s)
        if p.trials is not None:
            return copies.weight * p.trials * (s - copies.score), copies.weight * p.trials * spread
        pull = copies.weight * (s - copies.score) * spread
        curve = copies.weight * spread**2 + np.where(newton[:, None], pull * (1.0 - 2.0 * s), 0.0)
        return pull, curve

    def _system(self, copies: Copies, at: Parameters, newton: npt.NDArray[np.bool_]) -> _System:
        p, n = self.p, self.p.n_benchmarks
        z, distance = self._logit(at)
        pull, curve = self._derivatives(copies, z, newton)
        alpha = at.slope[:, p.benchmark_of]
        bend = np.where(newton[:, None], pull, 0.0)  # z is a product: its own second derivative
        slope_grad, slope_curve = self._slope_penalty(at.slope)
        by_square = curve * alpha**2
        by_product = curve * alpha * distance + bend
        grad_c = (pull * alpha) @ self._by_model + p.penalty * at.capability
        grad_d = -(pull * alpha) @ self._by_benchmark + p.penalty * at.difficulty
        grad_a = (pull * distance) @ self._by_benchmark + slope_grad
        free_c = ~_pushing_out(at.capability, grad_c, -CAPABILITY_BOUND, CAPABILITY_BOUND)
        free_d = ~_pushing_out(at.difficulty, grad_d, -CAPABILITY_BOUND, CAPABILITY_BOUND)
        free_a = ~_pushing_out(at.slope, grad_a, *SLOPE_BOUNDS) & (self._free > 0.0)
        cross = np.zeros((z.shape[0], p.n_models, 2 * n))
        row_free = free_c[:, p.model_of]
        cross[:, p.model_of, p.benchmark_of] = -by_square * (row_free & free_d[:, p.benchmark_of])
        cross[:, p.model_of, n + p.benchmark_of] = by_product * (row_free & free_a[:, p.benchmark_of])
        curve_d = by_square @ self._by_benchmark + p.penalty
        curve_a = (curve * distance**2) @ self._by_benchmark + slope_curve
        free_b = np.concatenate([free_d, free_a], axis=1)
        return _System(
            grad_c=grad_c * free_c,
            curve_c=np.where(free_c, by_square @ self._by_model + p.penalty, 1.0),
            grad_b=np.concatenate([grad_d, grad_a], axis=1) * free_b,
            curve_b=np.where(free_b, np.concatenate([curve_d, curve_a], axis=1), 1.0),
            mixed=-(by_product @ self._by_benchmark) * (free_d & free_a),
            cross=cross,
        )

    def _slope_penalty(self, slope: Array) -> tuple[Array, Array]:
        p = self.p
        if p.log_slope:
            return p.penalty * np.log(slope) / slope * self._free, p.penalty / slope**2 * self._free
        return p.penalty * slope * self._free, p.penalty * self._free * np.ones_like(slope)


@dataclass(frozen=True, slots=True)
class _System:
    """The equations of a step, models first; a frozen parameter has gradient 0 and no cross terms."""

    grad_c: Array  # (B, M)
    curve_c: Array  # (B, M) diagonal
    grad_b: Array  # (B, 2N) difficulties, then slopes
    curve_b: Array  # (B, 2N) diagonal
    mixed: Array  # (B, N) between a benchmark's difficulty and its slope
    cross: Array  # (B, M, 2N)

    def solve(self, damping: Array) -> tuple[Array, Array]:
        """The step of the models and of the benchmarks."""
        n2 = self.grad_b.shape[1]
        n = n2 // 2
        grow = 1.0 + damping[:, None]
        least = 1e-9  # a Newton curvature can be negative; the predicted decrease then rejects the step
        diagonal_c = np.maximum(self.curve_c * grow, least)
        scaled = self.cross / diagonal_c[:, :, None]
        schur = -np.matmul(self.cross.transpose(0, 2, 1), scaled)
        every = np.arange(n)
        schur[:, np.arange(n2), np.arange(n2)] += self.curve_b * grow
        schur[:, every, n + every] += self.mixed
        schur[:, n + every, every] += self.mixed
        reduced = -self.grad_b + np.matmul(self.grad_c[:, None, :], scaled)[:, 0, :]
        move_b = np.linalg.solve(schur, reduced[:, :, None])[:, :, 0]
        move_c = (-self.grad_c - np.matmul(self.cross, move_b[:, :, None])[:, :, 0]) / diagonal_c
        return move_c, move_b


def _pushing_out(value: Array, gradient: Array, low: float, high: float) -> npt.NDArray[np.bool_]:
    """The parameters at a bound that the descent would cross."""
    out: npt.NDArray[np.bool_] = ((value <= low) & (gradient > 0.0)) | ((value >= high) & (gradient < 0.0))
    return out


def _sigmoid(z: Array) -> Array:
    s: Array = 1.0 / (1.0 + np.exp(-np.clip(z, -500.0, 500.0)))
    return s
