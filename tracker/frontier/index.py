"""The capability index: one number per model, from benchmarks that few models share.

Epoch AI's published method (eci-public `src/eci/fitting.py` at 6ece2e1, MIT; read 2026-08) solved to
its exact minimum; options, off by default, change the penalty or the loss. Formulas: `docs/method.md`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from tracker.errors import TrackerError
from tracker.frontier.dataset import SCORE_EDGE, Array, Dataset, Indices
from tracker.frontier.solver import Copies, Parameters, Problem, Solution, StopRule, solve, start

ANCHORS = (("Claude 3.5 Sonnet", 130.0), ("GPT-5", 150.0))  # fix origin and unit; as published
RIDGE = 0.1  # λ; as published
INTERVAL = (0.05, 0.95)  # every interval is the middle 90%
DRAWS = 500  # as published
LEAST_SPAN = 0.05  # of capability between the anchors; the published fit has 1.02
LEAST_FREEDOM = 0.3  # share of a benchmark's rows: one with few rows has hardly any residual left
SCATTER_BOUNDS = (1e-4, 0.5)
DRAW_STOP = StopRule(decrease=1e-8, max_steps=100)  # index values then differ by less than 0.001


class DrawMethod(StrEnum):
    """The quantity resampled in a bootstrap draw."""

    SCATTER = "scatter"  # every score, around its expected value: widths match repeated data
    ROWS = "rows"  # each model's own rows with replacement: the published intervals


@dataclass(frozen=True, slots=True)
class FitOptions:
    """How to fit; the defaults are the published method."""

    ridge: float = RIDGE
    log_slope: bool = False  # penalize log(slope)² instead of slope²
    binomial: bool = False  # a likelihood that accounts for the number of items of a benchmark

    def __post_init__(self) -> None:
        """Check the ridge; with 0 the scale is not determined."""
        if not 0.0 < self.ridge <= 10.0:
            raise TrackerError(f"`--ridge {self.ridge}` must be more than 0 and at most 10")


@dataclass(frozen=True, slots=True, eq=False)
class IndexFit:
    """The central fit. Difficulties are on the scale of the index, slopes per index point."""

    data: Dataset
    options: FitOptions
    problem: Problem
    parameters: Parameters  # of the solver, one copy
    objective: float
    index: Array  # (M,)
    difficulty: Array  # (N,)
    slope: Array  # (N,)

    @property
    def residual(self) -> Array:
        """(R,) score minus the score expected from the index."""
        expected = predicted(
            self.index[self.data.model_of],
            difficulty=self.difficulty[self.data.benchmark_of],
            slope=self.slope[self.data.benchmark_of],
        )
        residual: Array = self.data.score - expected
        return residual

    def scatter(self) -> Array:
        """(N,) the scatter of scores around their expected values: their variance is scatter·p(1−p).

        Corrected for the degrees of freedom of the fit: two parameters of the benchmark, and one per
        model, shared among its rows.
        """
        data, n = self.data, len(self.data.benchmarks)
        expected = data.score - self.residual
        square = np.bincount(data.benchmark_of, weights=self.residual**2, minlength=n)
        spread = np.bincount(data.benchmark_of, weights=expected * (1.0 - expected), minlength=n)
        share = 1.0 / data.n_benchmarks_of[data.model_of]
        count = np.bincount(data.benchmark_of, minlength=n)
        swallowed = 2.0 + np.bincount(data.benchmark_of, weights=share, minlength=n)
        freedom = np.maximum(count - swallowed, LEAST_FREEDOM * count)
        scatter: Array = np.clip(square / spread * count / freedom, *SCATTER_BOUNDS)
        return scatter

    def residual_rms(self) -> Array:
        """(N,) root mean square residual of each benchmark."""
        n = len(self.data.benchmarks)
        square = np.bincount(self.data.benchmark_of, weights=self.residual**2, minlength=n)
        rms: Array = np.sqrt(square / np.bincount(self.data.benchmark_of, minlength=n))
        return rms


@dataclass(frozen=True, slots=True, eq=False)
class Scaled:
    """Parameters of B copies on the scale of the index."""

    index: Array  # (B, M)
    difficulty: Array  # (B, N)
    slope: Array  # (B, N)


@dataclass(frozen=True, slots=True, eq=False)
class IndexDraws:
    """K bootstrap refits, all parameters of a draw together: every interval comes from these."""

    index: Array  # (K, M)
    difficulty: Array  # (K, N)
    slope: Array  # (K, N)
    kept: Indices  # (K,) their numbers among all that were drawn
    n_drawn: int
    seed: int = 0

    def interval(self) -> tuple[Array, Array]:
        """(M,) low and (M,) high end of each model's interval."""
        low, high = np.quantile(self.index, INTERVAL, axis=0)
        return low, high


def predicted(index: Array | float, *, difficulty: Array | float, slope: Array | float) -> Array:
    """The centered score that a model of that index is expected to reach."""
    z = np.clip(slope * (index - difficulty), -500.0, 500.0)
    expected: Array = 1.0 / (1.0 + np.exp(-z))
    return expected


def fit_index(data: Dataset, options: FitOptions | None = None) -> IndexFit:
    """The exact minimum of the published objective on `data`.

    Raises:
        TrackerError: an anchor model is missing, or both anchors have the same capability.
    """
    options = options or FitOptions()
    problem = problem_of(data, options)
    once = Copies(np.ones((1, data.score.size)), data.score[None, :])
    solution = solve(problem, once, start(problem), stop=StopRule())
    if options.binomial:
        problem = _binomial(problem, data, solution.parameters)
        solution = solve(problem, once, solution.parameters, stop=StopRule())
    if not solution.converged.all():
        raise TrackerError(
            f"the index of vintage {data.vintage} did not converge in {solution.n_steps} steps",
            hint="use a larger `--ridge`",
        )
    return _central(data, options, problem, solution)


def _central(data: Dataset, options: FitOptions, problem: Problem, solution: Solution) -> IndexFit:
    scaled = on_index_scale(data, solution.parameters)
    return IndexFit(
        data=data,
        options=options,
        problem=problem,
        parameters=solution.parameters,
        objective=float(solution.objective[0]),
        index=scaled.index[0],
        difficulty=scaled.difficulty[0],
        slope=scaled.slope[0],
    )


def draw_index(
    fit: IndexFit, *, n_draws: int = DRAWS, seed: int = 0, method: DrawMethod = DrawMethod.SCATTER
) -> IndexDraws:
    """Bootstrap refits, without draws in which both anchors have the same capability.

    Raises:
        TrackerError: that happened in every draw.
    """
    draw = _drawn_scores if method is DrawMethod.SCATTER else _drawn_rows
    copies = draw(fit, n_draws, np.random.default_rng(seed))
    solution = solve(fit.problem, copies, fit.parameters, stop=DRAW_STOP)
    place = [fit.data.models.index(model) for model, _ in ANCHORS]
    span = np.diff(solution.parameters.capability[:, place], axis=1)[:, 0]
    good = span > LEAST_SPAN
    if not good.any():
        raise TrackerError("the anchors of the index have the same capability in every bootstrap draw")
    scaled = on_index_scale(fit.data, solution.parameters.take(good))
    kept = np.flatnonzero(good)
    return IndexDraws(scaled.index, scaled.difficulty, scaled.slope, kept, n_draws, seed)


def scores_of(fit: IndexFit, draws: IndexDraws) -> Array:
    """(K, R) the scores that each draw of the method `SCATTER` was fitted to."""
    copies = _drawn_scores(fit, draws.n_drawn, np.random.default_rng(draws.seed))
    score: Array = copies.score[draws.kept]
    return score


def _drawn_rows(fit: IndexFit, n_draws: int, rng: np.random.Generator) -> Copies:
    """The number of times each row is drawn; each model keeps its number of rows."""
    data = fit.data
    weights = np.zeros((n_draws, data.score.size))
    for m in range(len(data.models)):
        rows = np.flatnonzero(data.model_of == m)
        weights[:, rows] = rng.multinomial(rows.size, np.full(rows.size, 1.0 / rows.size), size=n_draws)
    return Copies(weights, np.broadcast_to(data.score, weights.shape))


def _drawn_scores(fit: IndexFit, n_draws: int, rng: np.random.Generator) -> Copies:
    """Every score redrawn around its expected value, with the scatter of its benchmark."""
    expected = np.clip(fit.data.score - fit.residual, SCORE_EDGE, 1.0 - SCORE_EDGE)
    score = drawn_scores(expected, scatter=fit.scatter()[fit.data.benchmark_of], n_draws=n_draws, rng=rng)
    return Copies(np.ones_like(score), score)


def drawn_scores(expected: Array, *, scatter: Array, n_draws: int, rng: np.random.Generator) -> Array:
    """(K, R) beta-distributed scores with the mean `expected` and variance scatter·p(1−p)."""
    precision = 1.0 / scatter - 1.0
    drawn = rng.beta(expected * precision, (1.0 - expected) * precision, size=(n_draws, expected.size))
    score: Array = np.clip(drawn, SCORE_EDGE, 1.0 - SCORE_EDGE)
    return score


def problem_of(data: Dataset, options: FitOptions) -> Problem:
    """The solver's objective; parameters are counted as published, with one slope fixed."""
    n_models, n_benchmarks = len(data.models), len(data.benchmarks)
    return Problem(
        model_of=data.model_of,
        benchmark_of=data.benchmark_of,
        score=data.score,
        n_models=n_models,
        n_benchmarks=n_benchmarks,
        pinned=data.pinned,
        penalty=options.ridge / (n_models + 2 * n_benchmarks - 1),
        log_slope=options.log_slope,
    )


def on_index_scale(data: Dataset, at: Parameters) -> Scaled:
    """Each copy on the scale that its own anchor models fix.

    Raises:
        TrackerError: an anchor model is missing, or both have the same capability.
    """
    for model, _ in ANCHORS:
        if model not in data.models:
            raise TrackerError(
                f"`{model}`, which anchors the scale of the index, has no scores in this selection",
                hint="use fewer filters",
            )
    (low_model, low), (high_model, high) = ANCHORS
    low_capability = at.capability[:, data.models.index(low_model)]
    span = at.capability[:, data.models.index(high_model)] - low_capability
    if (np.abs(span) < 1e-9).any():
        raise TrackerError(
            f"the anchors `{low_model}` and `{high_model}` have the same capability, so the index has no unit"
        )
    unit = ((high - low) / span)[:, None]
    origin = low - unit * low_capability[:, None]
    return Scaled(origin + unit * at.capability, origin + unit * at.difficulty, at.slope / unit)


def _binomial(problem: Problem, data: Dataset, at: Parameters) -> Problem:
    """The same problem with a quasi-binomial loss, its overdispersion estimated from a first fit.

    The variance of a score is p(1−p)·(1/n + (1−1/n)·ρ) for n items with correlation ρ. The weights are
    scaled so that an average row counts as in the published loss.
    """
    z = at.slope[0, data.benchmark_of] * (
        at.capability[0, data.model_of] - at.difficulty[0, data.benchmark_of]
    )
    p = 1.0 / (1.0 + np.exp(-z))
    square, spread = (data.score - p) ** 2, p * (1.0 - p)
    share = 1.0 / data.n_items[data.benchmark_of]
    rho = float(np.sum(square - spread * share) / np.sum(spread * (1.0 - share)))
    rho = min(max(rho, 1e-4), 1.0)
    trials = 1.0 / (share + (1.0 - share) * rho)
    return replace(problem, trials=trials * float(square.mean()))
