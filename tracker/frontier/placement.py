"""Where a model measured here falls on the index, and how many months that is behind closed models.

Difficulties and slopes stay where the published scores put them; only the new model's index is found.
Published numbers come from other harnesses than ours, so a benchmark measured here is an instrument of
its own: until enough bridge models have both numbers the placement says that it is uncalibrated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import numpy as np

from tracker.frontier.axis import DAYS_PER_MONTH, Array, Axis
from tracker.frontier.bridges import MIN_BRIDGES, Offset
from tracker.frontier.calibration import N_INNER, N_WORLDS, calibrated_tail, depth, interval
from tracker.frontier.dataset import SCORE_EDGE
from tracker.frontier.envelope import Members
from tracker.frontier.facts import BenchmarkFacts
from tracker.frontier.index import INTERVAL, IndexDraws, IndexFit, drawn_scores, predicted
from tracker.frontier.projection import Instrument, best_index

LARGEST_SCATTER = 0.5  # more than that and a score says nothing


@dataclass(frozen=True, slots=True)
class Measured:
    """One task measured here: the raw value as a fraction, with the standard error from its items."""

    task: str
    value: float
    stderr: float | None

    def __post_init__(self) -> None:
        """The value is a fraction."""
        if not 0.0 <= self.value <= 1.0:
            raise ValueError(f"{self.task}: value must be in 0..1, got {self.value}")


@dataclass(frozen=True, slots=True)
class Placement:
    """A place on the index with its 90 % interval, and the months behind with their definition's id."""

    index: float
    ci_low: float
    ci_high: float
    definition: str  # "G3" from the model's own date, "G6" where that is not known: from the day asked
    months_behind: float
    months_ci_low: float
    months_ci_high: float
    months_bound: str | None  # "at_least": below every closed model; "at_most": above every one
    tasks: tuple[str, ...]
    calibrated: bool
    note: str  # why it is not calibrated, and what was left out


@dataclass(frozen=True, slots=True)
class Unplaced:
    """There is no placement, and why."""

    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """What a model is placed on: the fit, its draws, and the axis with the closed models' dates."""

    fit: IndexFit
    draws: IndexDraws
    axis: Axis
    benchmarks: dict[str, BenchmarkFacts]
    as_of: date


def task_benchmarks(benchmarks: dict[str, BenchmarkFacts]) -> dict[str, str]:
    """lm-evaluation-harness task → the benchmark on the scale that asks the same questions."""
    return {row.lm_eval_task: row.benchmark for row in benchmarks.values() if row.lm_eval_task}


def place(
    measured: Sequence[Measured],
    scale: Scale,
    *,
    released: date | None = None,
    offsets: Sequence[Offset] = (),
    seed: int = 0,
) -> Placement | Unplaced:
    """The placement of a model from its task scores, or why there is none.

    A draw takes difficulties, slopes and closed models from one draw of the index, and the model's scores
    anew: with the error of its items, and with how far single models stray on each benchmark.
    """
    names = task_benchmarks(scale.benchmarks)
    on_scale = [row for row in measured if names.get(row.task) in scale.fit.data.benchmarks]
    if not on_scale:
        tasks = ", ".join(sorted(row.task for row in measured)) or "none"
        return Unplaced(f"no placement: none of the tasks is on the scale of the index ({tasks})")
    by_benchmark = {offset.benchmark: offset for offset in offsets}
    chosen = [by_benchmark.get(names[row.task]) for row in on_scale]
    columns = np.array([scale.fit.data.benchmarks.index(names[row.task]) for row in on_scale])
    index, draws = _index_draws(on_scale, columns, chosen, scale, seed)
    low, high = np.quantile(draws, INTERVAL)
    from_day = float((released or scale.as_of).toordinal())
    months = _months(index, draws, scale.axis.until(scale.as_of), from_day)
    return Placement(
        index=index,
        ci_low=float(low),
        ci_high=float(high),
        definition="G3" if released else "G6",
        months_behind=months.value,
        months_ci_low=months.low,
        months_ci_high=months.high,
        months_bound=months.bound,
        tasks=tuple(row.task for row in on_scale),
        calibrated=all(offset is not None and offset.is_calibrated for offset in chosen),
        note=_note(measured, on_scale, chosen),
    )


def centered(value: float, facts: BenchmarkFacts) -> float:
    """The score on the benchmark's scale: chance is 0, the ceiling is 1; kept off both ends."""
    score = (value - facts.chance) / (facts.ceiling - facts.chance)
    return float(np.clip(score, SCORE_EDGE, 1.0 - SCORE_EDGE))


def _index_draws(
    rows: Sequence[Measured], columns: Array, chosen: Sequence[Offset | None], scale: Scale, seed: int
) -> tuple[float, Array]:
    """The central index, and one for each draw of the scale."""
    fit, rng = scale.fit, np.random.default_rng(seed)
    n_draws = scale.draws.index.shape[0]
    facts = [scale.benchmarks[fit.data.benchmarks[column]] for column in columns]
    score = np.array([centered(row.value, fact) for row, fact in zip(rows, facts, strict=True)])
    usable = [offset if offset is not None and offset.is_calibrated else None for offset in chosen]
    shift = np.array([offset.shift if offset else 0.0 for offset in usable])
    shift_error = np.array([offset.stderr if offset else 0.0 for offset in usable])
    difficulty = fit.difficulty[columns] + shift
    index = float(best_index(score[None, :], Instrument(difficulty[None, :], fit.slope[None, columns]))[0])
    expected = predicted(index, difficulty=difficulty, slope=fit.slope[columns])
    expected = np.clip(expected, SCORE_EDGE, 1.0 - SCORE_EDGE)
    width = np.array([fact.ceiling - fact.chance for fact in facts])
    item_error = np.array([row.stderr or 0.0 for row in rows]) / width
    scatter = fit.scatter()[columns] + item_error**2 / (expected * (1.0 - expected))
    scatter = np.minimum(scatter, LARGEST_SCATTER)
    drawn = drawn_scores(expected, scatter=scatter, n_draws=n_draws, rng=rng)
    moved = shift + shift_error * rng.normal(size=(n_draws, shift.size))
    instrument = Instrument(scale.draws.difficulty[:, columns] + moved, scale.draws.slope[:, columns])
    return index, best_index(drawn, instrument, first=index)


class _Months(NamedTuple):
    value: float
    low: float
    high: float
    bound: str | None


def _months(index: float, draws: Array, axis: Axis, from_day: float) -> _Months:
    """Months behind the closed group, whether that is a bound, and their interval, calibrated by replay."""
    closed = Members.of(axis.released, ~axis.is_open)
    end = float(axis.released.max())

    def months(value: Array, closed_value: Array) -> Array:
        reached = closed.envelope(closed_value).reached(value[:, None])[:, 0]
        behind: Array = (from_day - np.minimum(reached, end)) / DAYS_PER_MONTH
        return behind

    value, values = axis.value[closed.place], axis.draws[:, closed.place]
    central = float(months(np.array([index]), value[None, :])[0])
    frontier = closed.envelope(value[None, :]).level[0]
    bound = "at_most" if index > frontier[-1] else "at_least" if index < frontier[0] else None
    noise, closed_noise = draws[-N_INNER:] - index, values[-N_INNER:] - value
    tail = calibrated_tail(
        depth(months(seen + noise, closed_seen + closed_noise), central)
        for seen, closed_seen in zip(draws[:N_WORLDS], values[:N_WORLDS], strict=True)
    )
    low, high = interval(months(draws, values), tail) or (central, central)
    return _Months(central, low, high, bound)


def _note(measured: Sequence[Measured], on_scale: Sequence[Measured], chosen: Sequence[Offset | None]) -> str:
    parts = []
    missing = [
        f"{row.task} ({offset.n_bridges if offset else 0} of {MIN_BRIDGES})"
        for row, offset in zip(on_scale, chosen, strict=True)
        if offset is None or not offset.is_calibrated
    ]
    if missing:
        parts.append(
            "uncalibrated: published scores come from another harness, and too few models have both numbers "
            f"to estimate the offset: {', '.join(missing)}"
        )
    left = sorted({row.task for row in measured} - {row.task for row in on_scale})
    if left:
        parts.append(f"not on the scale of the index: {', '.join(left)}")
    return "; ".join(parts)
