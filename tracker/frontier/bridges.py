"""How a task of lm-eval measures the index: a curve per task, estimated from bridge models.

Published scores come from other harnesses, so the same benchmark gives other scores here. A bridge is a model
with a published index that was measured with lm-eval. The expected score of a task is σ(slope·(index −
difficulty)); difficulty and slope start from those of the benchmark with the same questions, with the spread
that such differences have, and move as far as the bridges say. A task without bridges keeps that spread: its
error is never zero. Formulas: `docs/method.md` §8.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from tracker.frontier.dataset import SCORE_EDGE, Array
from tracker.frontier.facts import BenchmarkFacts, HarnessScore, ModelFacts
from tracker.frontier.index import IndexFit, predicted

MIN_BRIDGES = 8  # models with both numbers before a task counts as calibrated; our choice
# Root mean square of the offsets of the eight tasks with enough bridges, in index points: -3.2 to +8.8, 4.8
# (`benchmarks/placement_error.py`, 2026-11-28).
HARNESS_SPREAD = 5.0
# Of log(slope) between a benchmark as published and as lm-eval asks it: 0.07 over the six tasks asked in the
# same way, doubled because the prior itself held them near zero.
SLOPE_SPREAD = 0.15
# Tasks that ask the questions in another way than many published scores: half of those on ARC show the
# choices in the prompt, BBH is published with chain of thought. Their curves are almost free.
OTHER_PROTOCOL = frozenset({"arc_challenge", "leaderboard_bbh"})
FREE_DIFFICULTY, FREE_SLOPE = 15.0, 0.7  # spreads: index points, log(slope)
VARIANT_SPREAD = 3.0  # index points between base and instruct models; -1.0 to +2.8 was found
UNKNOWN_DIFFICULTY = (120.0, 30.0)  # mean and spread for a task that the index does not contain
UNKNOWN_SLOPE = (0.08, FREE_SLOPE)  # the middle of the scale's slopes, and the spread of their logarithms
PRIOR_SCATTER, PRIOR_ROWS = 0.05, 4.0  # the scatter of the published fit's benchmarks, worth four bridges
FLOOR = 0.02  # added to p(1-p), so that a score near chance or near perfect keeps some error
CORRELATION_KEPT = 0.75  # of the correlations between tasks; forty bridges do not determine them fully
LEAST_EIGENVALUE = 0.05  # of the correlations between tasks
STEPS, TOLERANCE = 60, 1e-4
LARGEST_STEP = np.array([5.0, 0.3, 5.0])  # index points, log(slope), index points


class ModelVariant(StrEnum):
    """Whether a model is pretrained only."""

    BASE = "base"
    INSTRUCT = "instruct"


@dataclass(frozen=True, slots=True)
class TaskScale:
    """A task that can be placed: its range, and the benchmark of the index with the same questions."""

    task: str
    chance: float
    ceiling: float
    benchmark: str | None

    def centered(self, value: float) -> float:
        """The score with chance at 0 and the ceiling at 1, not clipped."""
        return (value - self.chance) / (self.ceiling - self.chance)


# Tasks of the Open LLM Leaderboard v2 with a curve of their own. `leaderboard_bbh` asks BBH with three shots
# and compares choices; the index has it with chain of thought.
OWN_SCALES = (
    TaskScale("leaderboard_mmlu_pro", 0.1, 1.0, None),
    TaskScale("leaderboard_bbh", 0.25, 1.0, "BBH"),
)
# Converted weights of models that were never published on the Hub under their own name.
CONVERSIONS = {
    "huggyllama/llama-7b": "LLaMA-7B",
    "huggyllama/llama-13b": "LLaMA-13B",
    "huggyllama/llama-30b": "LLaMA-33B",
    "huggyllama/llama-65b": "LLaMA-65B",
}
# Names by which developers mark models that were trained to follow instructions, and models that were not.
INSTRUCT_NAME = re.compile(r"instruct|chat|thinking|reasoning|dpo|rlhf|sft|[-_]it\b|[-_]r1\b", re.IGNORECASE)
BASE_NAME = re.compile(r"base|pretrain|[-_]pt\b", re.IGNORECASE)
# Another prompt for the same questions, by the name under which reference runs were published.
SAME_TASK = {"r1_gpqa_diamond": "gpqa_diamond_cot_zeroshot"}


def task_scales(benchmarks: Mapping[str, BenchmarkFacts]) -> dict[str, TaskScale]:
    """Every task that can be placed on an index of these benchmarks, by its name in lm-eval."""
    same = (
        TaskScale(row.lm_eval_task, row.chance, row.ceiling, row.benchmark)
        for row in benchmarks.values()
        if row.lm_eval_task
    )
    return {scale.task: scale for scale in (*same, *OWN_SCALES)}


@dataclass(frozen=True, slots=True)
class Bridge:
    """One model of the index on one task as measured with lm-eval; the score is centered."""

    model: str  # its name on the index
    task: str
    score: float
    variant: ModelVariant | None = None


def index_names(models: Iterable[ModelFacts]) -> dict[str, str]:
    """The name on the index of each repository."""
    return CONVERSIONS | {row.hub_id: row.model for row in models if row.hub_id}


def shipped_bridges(
    rows: Iterable[HarnessScore], names: Mapping[str, str], scales: Mapping[str, TaskScale]
) -> list[Bridge]:
    """One bridge per model of the index and task, from published lm-eval scores; several are averaged."""
    found: dict[tuple[str, str], list[HarnessScore]] = {}
    for row in rows:
        task = SAME_TASK.get(row.task, row.task)
        if row.hub_id in names and task in scales:
            found.setdefault((names[row.hub_id], task), []).append(row)
    return [
        bridge(
            model, scales[task], float(np.mean([row.score for row in same])), ModelVariant(same[0].variant)
        )
        for (model, task), same in found.items()
    ]


def bridge(model: str, scale: TaskScale, value: float, variant: ModelVariant | None) -> Bridge:
    """The bridge of a model from its raw score on a task."""
    score = min(max(scale.centered(value), SCORE_EDGE), 1.0 - SCORE_EDGE)
    return Bridge(model, scale.task, score, variant)


def variant_of(model_id: str, rows: Iterable[HarnessScore] = ()) -> ModelVariant | None:
    """Whether a model is a base or an instruct model, from published scores or its name; None: not known."""
    for row in rows:
        if row.hub_id == model_id:
            return ModelVariant(row.variant)
    name = model_id.rpartition("/")[2]
    if INSTRUCT_NAME.search(name):
        return ModelVariant.INSTRUCT
    return ModelVariant.BASE if BASE_NAME.search(name) else None


@dataclass(frozen=True, slots=True, eq=False)
class TaskCurve:
    """The expected score of a task at each index, with its errors; parameters are (D, log slope, shift)."""

    task: str
    parameters: Array  # (3,) difficulty in index points, log of the slope, instruct minus base in points
    covariance: Array  # (3, 3)
    scatter: float  # the variance of a model's score around the curve is scatter·(p(1-p) + FLOOR)
    offset: float | None  # difficulty minus that of the benchmark; None: the index does not contain it
    n_bridges: int
    lowest: float  # index of the lowest and the highest bridge; NaN without any
    highest: float

    @property
    def difficulty(self) -> float:
        """The index at which half of what is above chance is right."""
        return float(self.parameters[0])

    @property
    def slope(self) -> float:
        """The steepness, per index point."""
        return float(np.exp(self.parameters[1]))

    @property
    def is_calibrated(self) -> bool:
        """Whether it is based on enough models."""
        return self.n_bridges >= MIN_BRIDGES

    def expected(self, index: Array, variant: ModelVariant | None) -> Array:
        """(…,) the expected centered score."""
        return predicted(
            index, difficulty=self.difficulty + _side(variant) * self.parameters[2], slope=self.slope
        )

    def variance(self, index: Array, variant: ModelVariant | None) -> Array:
        """(…,) the variance of a model's score around `expected`: scatter and the curve's own error."""
        p = self.expected(index, variant)
        pull = _derivatives(p, np.asarray(index), self.parameters, np.full(np.shape(index), _side(variant)))
        own = np.einsum("...i,ij,...j->...", pull, self.covariance, pull)
        variance: Array = self.scatter * (p * (1.0 - p) + FLOOR) + own
        return variance


def task_curve(scale: TaskScale, fit: IndexFit, bridges: Sequence[Bridge]) -> TaskCurve | None:
    """The curve of a task from the bridges on it; None if neither the index nor enough bridges tell anything.

    The offset between base and instruct models is estimated if there are eight bridges of each.
    """
    rows = [row for row in bridges if row.task == scale.task and row.model in fit.data.models]
    column = fit.data.benchmarks.index(scale.benchmark) if scale.benchmark in fit.data.benchmarks else None
    if column is None and len(rows) < MIN_BRIDGES:
        return None
    place = {model: i for i, model in enumerate(fit.data.models)}
    index = fit.index[[place[row.model] for row in rows]] if rows else np.empty(0)
    score = np.array([row.score for row in rows])
    counts = [sum(row.variant is each for row in rows) for each in ModelVariant]
    by_variant = min(counts) >= MIN_BRIDGES
    side = np.array([_side(row.variant) if by_variant else 0.0 for row in rows])
    if column is None:
        prior = np.array([UNKNOWN_DIFFICULTY[0], np.log(UNKNOWN_SLOPE[0]), 0.0])
        spread = np.array([UNKNOWN_DIFFICULTY[1], UNKNOWN_SLOPE[1], VARIANT_SPREAD])
    else:
        prior = np.array([fit.difficulty[column], np.log(fit.slope[column]), 0.0])
        is_other = scale.task in OTHER_PROTOCOL
        spread = np.array(
            [
                FREE_DIFFICULTY if is_other else HARNESS_SPREAD,
                FREE_SLOPE if is_other else SLOPE_SPREAD,
                VARIANT_SPREAD,
            ]
        )
    at, covariance, scatter = _fitted_curve(index, score, side, prior=prior, spread=spread)
    return TaskCurve(
        task=scale.task,
        parameters=at,
        covariance=covariance,
        scatter=scatter,
        offset=None if column is None else float(at[0] - prior[0]),
        n_bridges=len(rows),
        lowest=float(index.min()) if rows else float("nan"),
        highest=float(index.max()) if rows else float("nan"),
    )


def published_curve(scale: TaskScale, fit: IndexFit) -> TaskCurve | None:
    """The curve of the published scores themselves, without any error of its own; None if there is none."""
    if scale.benchmark not in fit.data.benchmarks:
        return None
    column = fit.data.benchmarks.index(scale.benchmark)
    parameters = np.array([fit.difficulty[column], np.log(fit.slope[column]), 0.0])
    seen = fit.index[fit.data.model_of[fit.data.benchmark_of == column]]
    return TaskCurve(
        task=scale.task,
        parameters=parameters,
        covariance=np.zeros((3, 3)),
        scatter=float(fit.scatter()[column]),
        offset=0.0,
        n_bridges=seen.size,
        lowest=float(seen.min()),
        highest=float(seen.max()),
    )


def residual_correlation(curves: Sequence[TaskCurve], fit: IndexFit, bridges: Sequence[Bridge]) -> Array:
    """(T, T) how far the errors of one model agree between tasks, shrunk towards none."""
    place = {model: i for i, model in enumerate(fit.data.models)}
    models = sorted({row.model for row in bridges if row.model in place})
    row_of = {model: i for i, model in enumerate(models)}
    errors = np.full((len(models), len(curves)), np.nan)
    for column, curve in enumerate(curves):
        for row in bridges:
            if row.task == curve.task and row.model in row_of:
                at = np.array([fit.index[place[row.model]]])
                deviation = row.score - curve.expected(at, row.variant)
                errors[row_of[row.model], column] = (deviation / np.sqrt(curve.variance(at, row.variant)))[0]
    found = np.eye(len(curves))
    for i in range(len(curves)):
        for j in range(i):
            both = errors[~np.isnan(errors[:, [i, j]]).any(axis=1)][:, [i, j]]
            if len(both) >= MIN_BRIDGES:
                size = np.sqrt((both**2).sum(axis=0).prod())
                found[i, j] = found[j, i] = CORRELATION_KEPT * float(both.prod(axis=1).sum() / size)
    return _positive_definite(found)


def _positive_definite(correlation: Array) -> Array:
    """The nearest correlation matrix that can be inverted: pairs from different models may contradict."""
    values, vectors = np.linalg.eigh(correlation)
    raised = (vectors * np.maximum(values, LEAST_EIGENVALUE)) @ vectors.T
    size = np.sqrt(np.diag(raised))
    nearest: Array = raised / np.outer(size, size)
    return nearest


def _side(variant: ModelVariant | None) -> float:
    return {ModelVariant.BASE: -0.5, ModelVariant.INSTRUCT: 0.5, None: 0.0}[variant]


def _derivatives(p: Array, index: Array, at: Array, side: Array) -> Array:
    """(…, 3) derivatives of the expected score by difficulty, log(slope) and the shift between variants."""
    slope = np.exp(at[1])
    bend = p * (1.0 - p) * slope
    return np.stack([-bend, bend * (index - at[0] - side * at[2]), -bend * side], axis=-1)


def _fitted_curve(
    index: Array, score: Array, side: Array, *, prior: Array, spread: Array
) -> tuple[Array, Array, float]:
    """Parameters, covariance and scatter: the posterior mode by Gauss-Newton, the scatter by moments."""
    at, scatter = prior.copy(), PRIOR_SCATTER
    weight = np.diag(1.0 / spread**2)
    curvature: Array = weight
    for _ in range(STEPS):
        p = predicted(index, difficulty=at[0] + side * at[2], slope=np.exp(at[1]))
        room = p * (1.0 - p) + FLOOR
        pull = _derivatives(p, index, at, side)
        scaled = pull / (scatter * room)[:, None]
        curvature = scaled.T @ pull + weight
        gradient = scaled.T @ (score - p) - weight @ (at - prior)
        move = np.clip(np.linalg.solve(curvature, gradient), -LARGEST_STEP, LARGEST_STEP)
        at = at + move
        free = 2.0 if score.size else 0.0
        square = float(((score - p) ** 2 / room).sum())
        scatter = (square + PRIOR_ROWS * PRIOR_SCATTER) / (max(score.size - free, 0.0) + PRIOR_ROWS)
        if np.abs(move).max() < TOLERANCE:
            break
    covariance: Array = np.asarray(np.linalg.inv(curvature), dtype=np.float64)
    return at, covariance, scatter
