"""The placement of a model measured here on the index, and how many months that is behind.

Only the new model's index is estimated; the curves of the tasks come from the published fit and from bridges
(`bridges`), the weighing of several tasks and the interval from `instruments`. Scores of the publishers' own
harness need no bridges (`bridges=None`).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

import numpy as np

from tracker.frontier.axis import DAYS_PER_MONTH, Array, Axis
from tracker.frontier.bridges import (
    MIN_BRIDGES,
    Bridge,
    ModelVariant,
    TaskCurve,
    TaskScale,
    published_curve,
    task_scales,
)
from tracker.frontier.calibration import N_INNER, N_WORLDS, calibrated_tail, depth, interval
from tracker.frontier.dataset import SCORE_EDGE
from tracker.frontier.definitions import CURRENT_AGE, STANDING_LAG
from tracker.frontier.envelope import Members
from tracker.frontier.facts import BenchmarkFacts
from tracker.frontier.index import IndexDraws, IndexFit
from tracker.frontier.instruments import (
    Instruments,
    LeftOut,
    Reading,
    calibrated_depth,
    instruments,
    left_out,
)
from tracker.frontier.projection import Instrument, best_index
from tracker.stats import Z90

PLACED_SUITE = "place"  # what to run to be placed
SMALL_PARAMS = 10_000_000_000  # the open models that a small model is compared with: under 10B
LARGEST_UNPARSED = 0.1  # share of answers without a letter; the score then measures the format, not the model
LETTER_TASKS = frozenset({"gpqa_diamond_cot_zeroshot"})  # a letter is extracted from free text
THINKING_TASKS = frozenset({"gpqa_diamond_cot_zeroshot", "leaderboard_math_hard"})  # answered after thinking
CONTRADICTORY = 6.0  # index points by which bridges miss each other on average; usually 2


@dataclass(frozen=True, slots=True)
class Measured:
    """One task measured here: the raw value as a fraction, with the standard error from its items."""

    task: str
    value: float
    stderr: float | None
    unparsed_fraction: float | None = None  # answers from which nothing could be extracted

    def __post_init__(self) -> None:
        """Check that the value is a fraction."""
        if not 0.0 <= self.value <= 1.0:
            raise ValueError(f"{self.task}: value must be in 0..1, got {self.value}")


@dataclass(frozen=True, slots=True)
class OpenEqual:
    """The earliest open model under 10B at the level of a placement, and the months since."""

    model: str
    released: date
    months_behind: float  # from `released` to the placed model's date, or to the day of the data
    months_ci_low: float
    months_ci_high: float
    bound: str | None  # "at_least": below every one; "at_most": above every one


@dataclass(frozen=True, slots=True)
class Placement:
    """A place on the index with its 90% interval, and the months behind with their definition's id."""

    index: float
    ci_low: float
    ci_high: float
    definition: str  # STANDING_LAG from the model's date, or CURRENT_AGE from `as_of` if the date is unknown
    months_behind: float
    months_ci_low: float
    months_ci_high: float
    months_bound: str | None  # "at_least": below every closed model; "at_most": above every one
    tasks: tuple[str, ...]
    calibrated: bool
    note: str  # what it is calibrated by, or why it is not; what was left out
    open_equal: OpenEqual | None = None  # the best open models under 10B at that level
    range_low: float | None = None  # span of the index for which these tasks are calibrated
    range_high: float | None = None
    in_range: bool = False
    n_bridges: int = 0  # known models that check the calibration, each left out of it
    mean_error: float | None = None  # their mean distance from the published index

    @property
    def below_closed(self) -> bool:
        """Whether it is below every closed model of the scale, so that its months are only a bound."""
        return self.months_bound == "at_least"


@dataclass(frozen=True, slots=True)
class Unplaced:
    """The reason why there is no placement."""

    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """The scale for placements: the fit, its draws, and the axis with the closed models' dates."""

    fit: IndexFit
    draws: IndexDraws
    axis: Axis
    benchmarks: dict[str, BenchmarkFacts]
    as_of: date
    small: Axis | None = None  # open models under 10B, beside the closed ones
    # Of the sets of tasks asked so far, since leaving out every bridge takes half a second; empty in a copy.
    calibrations: dict[Hashable, Calibration | None] = field(default_factory=dict, init=False)


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """What is known of a set of tasks before any model is placed by them."""

    instruments: Instruments
    scales: tuple[TaskScale, ...]  # in the order of the curves
    checks: tuple[LeftOut, ...] = field(default=())

    @property
    def is_checked(self) -> bool:
        """Whether enough known models confirm the intervals."""
        return len(self.checked_in_range) >= MIN_BRIDGES

    @property
    def checked_in_range(self) -> tuple[LeftOut, ...]:
        """The checks inside the range that the tasks resolve."""
        span = self.instruments.span()
        return tuple(row for row in self.checks if span and span[0] <= row.truth <= span[1])

    def depth(self, index: float) -> float:
        """The depth of a 90% interval at `index`; outside the range at least that of all checks."""
        if self.is_in_range(index):
            return calibrated_depth(self.checked_in_range)
        return max(calibrated_depth(self.checks), Z90)

    def is_in_range(self, index: float) -> bool:
        """Whether bridges cover this part of the index."""
        span = self.instruments.span()
        return span is not None and span[0] <= index <= span[1]


def off_scale(tasks: str) -> str:
    """The reason why a run of these tasks is not placed, and a suite whose tasks can be."""
    reason = f"not placed: the index contains none of these tasks ({tasks})"
    return f"{reason}; it contains those of `--suite {PLACED_SUITE}`"


def calibrate(tasks: Sequence[str], scale: Scale, bridges: Sequence[Bridge] | None) -> Calibration | None:
    """The calibration of those tasks that are on the scale; None if there are none. The scale keeps it."""
    key = (tuple(tasks), None if bridges is None else tuple(bridges))
    if key not in scale.calibrations:
        scale.calibrations[key] = _calibration(tasks, scale, bridges)
    return scale.calibrations[key]


def _calibration(tasks: Sequence[str], scale: Scale, bridges: Sequence[Bridge] | None) -> Calibration | None:
    known = task_scales(scale.benchmarks)
    scales = [known[task] for task in dict.fromkeys(tasks) if task in known]
    if bridges is None:
        found = [(each, published_curve(each, scale.fit)) for each in scales]
        curves = tuple(curve for _, curve in found if curve is not None)
        usable = tuple(each for each, curve in found if curve is not None)
        read = Instruments(curves, np.eye(len(curves)))
        return Calibration(read, usable) if curves else None
    read, usable = instruments(scales, scale.fit, bridges)
    return Calibration(read, usable, left_out(usable, scale.fit, bridges)) if usable else None


def place(
    measured: Sequence[Measured],
    scale: Scale,
    *,
    released: date | None = None,
    bridges: Sequence[Bridge] | None = (),
    variant: ModelVariant | None = None,
    seed: int = 0,
) -> Placement | Unplaced:
    """The placement of a model from its task scores, or why there is none.

    `bridges` must not contain the model itself; None: the scores are those of the publishers' harness.
    """
    tasks = ", ".join(sorted({row.task for row in measured})) or "none"
    readable = [row for row in measured if not _is_unreadable(row)]
    found = calibrate([row.task for row in readable], scale, bridges)
    if found is None:
        return Unplaced(_unreadable_note(measured) or off_scale(tasks))
    reading = _reading(readable, found.scales, variant)
    depth_there = found.depth(found.instruments.profile(reading).index)
    profile = found.instruments.profile(reading, stretch=depth_there / Z90)
    index, (low, high) = profile.index, profile.interval(Z90)
    if bridges is None:
        shared = Z90 * _scale_error(reading, found, scale)
        low, high = (
            index - float(np.hypot(index - low, shared)),
            index + float(np.hypot(high - index, shared)),
        )
    draws = _index_draws(index, (low, high), scale.draws.index.shape[0], np.random.default_rng(seed))
    from_day = float((released or scale.as_of).toordinal())
    months = _months(index, draws, scale.axis.until(scale.as_of), from_day, of_open=False)
    span = found.instruments.span()
    checks = found.checked_in_range
    return Placement(
        index=index,
        ci_low=low,
        ci_high=high,
        definition=STANDING_LAG if released else CURRENT_AGE,
        months_behind=months.value,
        months_ci_low=months.low,
        months_ci_high=months.high,
        months_bound=months.bound,
        tasks=tuple(each.task for each in found.scales),
        calibrated=found.is_checked,
        note=_note(measured, found, index, is_published=bridges is None),
        open_equal=_open_equal(index, draws, scale, from_day),
        range_low=span[0] if span else None,
        range_high=span[1] if span else None,
        in_range=found.is_in_range(index),
        n_bridges=len(found.checks),
        mean_error=float(np.mean([abs(row.error) for row in checks])) if checks else None,
    )


def _is_unreadable(row: Measured) -> bool:
    return row.task in LETTER_TASKS and (row.unparsed_fraction or 0.0) > LARGEST_UNPARSED


def _unreadable_note(measured: Sequence[Measured]) -> str:
    parts = [
        f"{row.task}: no letter was found in {row.unparsed_fraction or 0.0:.0%} of the answers, so its score "
        "measures how the model writes answers"
        for row in measured
        if _is_unreadable(row)
    ]
    return "not placed by " + "; ".join(parts) if parts else ""


def _reading(
    measured: Sequence[Measured], scales: Sequence[TaskScale], variant: ModelVariant | None
) -> Reading:
    by_task = {row.task: row for row in measured}
    rows = [by_task[each.task] for each in scales]
    width = np.array([each.ceiling - each.chance for each in scales])
    score = np.array([each.centered(row.value) for each, row in zip(scales, rows, strict=True)])
    return Reading(
        tuple(row.task for row in rows),
        np.clip(score, SCORE_EDGE, 1.0 - SCORE_EDGE),
        (np.array([row.stderr or 0.0 for row in rows]) / width) ** 2,
        variant,
    )


def _scale_error(reading: Reading, found: Calibration, scale: Scale) -> float:
    """The standard deviation of the index over the draws of the published curves, which move together.

    Bridges need no such term: they say how far placements are from the published index.
    """
    columns = [scale.fit.data.benchmarks.index(each.benchmark or "") for each in found.scales]
    drawn = Instrument(scale.draws.difficulty[:, columns], scale.draws.slope[:, columns])
    score = np.broadcast_to(reading.score, drawn.slope.shape)
    return float(np.std(best_index(score, drawn)))


def _index_draws(index: float, ends: tuple[float, float], n_draws: int, rng: np.random.Generator) -> Array:
    """(K,) draws around the index; each side has its own width."""
    below, above = (index - ends[0]) / Z90, (ends[1] - index) / Z90
    z = rng.normal(size=n_draws)
    draws: Array = index + np.where(z < 0.0, z * below, z * above)
    return draws


class _Months(NamedTuple):
    value: float
    low: float
    high: float
    bound: str | None


def _months(index: float, draws: Array, axis: Axis, from_day: float, *, of_open: bool) -> _Months:
    """Months behind a group with a calibrated interval, and whether they are a bound."""
    group = Members.of(axis.released, axis.is_open == of_open)
    end = float(group.day.max())

    def months(value: Array, group_value: Array) -> Array:
        reached = group.envelope(group_value).reached(value[:, None])[:, 0]
        behind: Array = (from_day - np.minimum(reached, end)) / DAYS_PER_MONTH
        return behind

    value, values = axis.value[group.place], axis.draws[:, group.place]
    central = float(months(np.array([index]), value[None, :])[0])
    frontier = group.envelope(value[None, :]).level[0]
    bound = "at_most" if index > frontier[-1] else "at_least" if index < frontier[0] else None
    noise, group_noise = draws[-N_INNER:] - index, values[-N_INNER:] - value
    tail = calibrated_tail(
        depth(months(seen + noise, group_seen + group_noise), central)
        for seen, group_seen in zip(draws[:N_WORLDS], values[:N_WORLDS], strict=True)
    )
    low, high = interval(months(draws, values), tail) or (central, central)
    return _Months(central, low, high, bound)


def _open_equal(index: float, draws: Array, scale: Scale, from_day: float) -> OpenEqual | None:
    """The earliest open model under 10B that reached `index`, or the best one if none did."""
    if scale.small is None:
        return None
    axis = scale.small.until(scale.as_of)
    months = _months(index, draws, axis, from_day, of_open=True)
    small = np.flatnonzero(axis.is_open)
    reached = small[axis.value[small] >= index]
    if reached.size:
        chosen = int(reached[np.lexsort((-axis.value[reached], axis.released[reached]))[0]])
    else:
        chosen = axis.best(is_open=True)
    return OpenEqual(
        axis.models[chosen],
        date.fromordinal(int(axis.released[chosen])),
        months.value,
        months.low,
        months.high,
        months.bound,
    )


def _note(measured: Sequence[Measured], found: Calibration, index: float, *, is_published: bool) -> str:
    curves = found.instruments.curves
    parts = [_calibration_note(found, index)] if not is_published else []
    missing = [f"{curve.task} ({curve.n_bridges} of {MIN_BRIDGES})" for curve in curves if _is_loose(curve)]
    if missing and not is_published and found.is_checked:
        parts.append(f"too few known models for {', '.join(missing)}, so the interval is wider")
    if unreadable := _unreadable_note(measured):
        parts.append(unreadable)
    dropped = {row.task for row in measured if _is_unreadable(row)}
    left = sorted({row.task for row in measured} - {curve.task for curve in curves} - dropped)
    if left:
        parts.append(f"not in the index: {', '.join(left)}")
    return "; ".join(part for part in parts if part)


def _is_loose(curve: TaskCurve) -> bool:
    return not curve.is_calibrated


def _calibration_note(found: Calibration, index: float) -> str:
    checks, span = found.checked_in_range, found.instruments.span()
    if not found.is_checked or span is None:
        counts = ", ".join(
            f"{curve.task} ({curve.n_bridges} of {MIN_BRIDGES})" for curve in found.instruments.curves
        )
        return (
            "uncalibrated: published scores come from another harness, and too few known models have both "
            f"scores: {counts}; the interval contains the usual difference"
        )
    error = float(np.mean([abs(row.error) for row in checks]))
    note = (
        f"calibrated by lm-eval scores of {len(found.checks)} published models; "
        f"those from {span[0]:.0f} to {span[1]:.0f}, placed without their own scores, are off by {error:.1f} "
        "points on average"
    )
    if error > CONTRADICTORY:
        note += ", so these models contradict each other"
    if not found.is_in_range(index):
        side = "below" if index < span[0] else "above"
        note += f"; {index:.0f} is {side} that range, so the interval is less certain"
    return note
