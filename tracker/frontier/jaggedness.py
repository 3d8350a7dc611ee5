"""The unevenness of a model: its scores compared with those expected from its index.

    J1  root mean square of its residuals, in score
    J2  the same with each residual in units of its benchmark's own residuals
    J3  standard deviation of the index that each benchmark alone implies, in index points

With few benchmarks a model looks too even, so the number of benchmarks and a p-value are given for each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tracker.frontier.dataset import Array
from tracker.frontier.index import IndexFit

INSIDE = (0.05, 0.95)  # a score outside says little about the model's position on the scale
LEAST_INSIDE = 3  # benchmarks that J3 needs
PERMUTATIONS = 2000
NAMED = 3  # worst and best benchmarks


@dataclass(frozen=True, slots=True)
class Standing:
    """The residual of a model on one benchmark."""

    benchmark: str
    residual: float  # score minus expected score
    implied_index: float | None  # None: too close to 0 or 1


@dataclass(frozen=True, slots=True)
class Jaggedness:
    """The three measures of one model."""

    model: str
    index: float
    n_benchmarks: int
    j1: float
    j2: float
    j3: float | None  # None: fewer than three benchmarks between 0.05 and 0.95
    n_inside: int  # benchmarks behind J3
    p_value: float  # share of shuffles with at least this J2: small means more uneven than chance
    worst: tuple[Standing, ...]
    best: tuple[Standing, ...]


def jaggedness(
    fit: IndexFit, *, least_benchmarks: int = 8, permutations: int = PERMUTATIONS, seed: int = 0
) -> tuple[Jaggedness, ...]:
    """Every model with enough benchmarks, the most jagged (J2) first.

    The p-value shuffles residuals among the models of each benchmark.
    """
    data = fit.data
    residual = fit.residual
    rms = np.maximum(fit.residual_rms(), 1e-12)
    scaled = residual / rms[data.benchmark_of]
    shuffled = _shuffled_squares(fit, scaled, permutations, seed)
    implied = implied_index(fit)
    found = []
    for m, model in enumerate(data.models):
        rows = np.flatnonzero(data.model_of == m)
        if rows.size < least_benchmarks:
            continue
        inside = rows[np.isfinite(implied[rows])]
        square = float(np.mean(scaled[rows] ** 2))
        order = rows[np.argsort(scaled[rows])]
        standings = [_standing(fit, row, residual, implied) for row in order]
        found.append(
            Jaggedness(
                model=model,
                index=float(fit.index[m]),
                n_benchmarks=int(rows.size),
                j1=float(np.sqrt(np.mean(residual[rows] ** 2))),
                j2=float(np.sqrt(square)),
                j3=float(np.std(implied[inside], ddof=1)) if inside.size >= LEAST_INSIDE else None,
                n_inside=int(inside.size),
                p_value=float((1 + np.sum(shuffled[:, m] >= square)) / (1 + permutations)),
                worst=tuple(row for row in standings[:NAMED] if row.residual < 0),
                best=tuple(row for row in standings[::-1][:NAMED] if row.residual > 0),
            )
        )
    return tuple(sorted(found, key=lambda row: -row.j2))


def implied_index(fit: IndexFit) -> Array:
    """(R,) the index at which each score would be expected; NaN outside 0.05..0.95."""
    data = fit.data
    low, high = INSIDE
    inside = (data.score > low) & (data.score < high)
    logit = np.log(data.score / (1.0 - data.score))
    index = fit.difficulty[data.benchmark_of] + logit / fit.slope[data.benchmark_of]
    implied: Array = np.where(inside, index, np.nan)
    return implied


def _standing(fit: IndexFit, row: int, residual: Array, implied: Array) -> Standing:
    benchmark = fit.data.benchmarks[int(fit.data.benchmark_of[row])]
    index = float(implied[row])
    return Standing(benchmark, float(residual[row]), index if np.isfinite(index) else None)


def _shuffled_squares(fit: IndexFit, scaled: Array, permutations: int, seed: int) -> Array:
    """(permutations, M) mean squared scaled residual of each model when residuals are shuffled."""
    data = fit.data
    rng = np.random.default_rng(seed)
    shuffled = np.empty((permutations, scaled.size))
    for b in range(len(data.benchmarks)):
        rows = np.flatnonzero(data.benchmark_of == b)
        shuffled[:, rows] = rng.permuted(np.tile(scaled[rows], (permutations, 1)), axis=1)
    squares = np.zeros((permutations, len(data.models)))
    for m in range(len(data.models)):
        squares[:, m] = np.mean(shuffled[:, data.model_of == m] ** 2, axis=1)
    return squares
