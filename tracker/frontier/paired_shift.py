"""What a paired difference in task scores is worth: points on the index, and months of the closed frontier.

A model and its copy answer the same items and share the errors of the harness, so what a score is worth is
asked of both together: each draw takes one curve for each task and places both models with it. Months are
index points over the pace of the closed frontier, which exists also for a model below all closed ones.
Not covered: how far the place of the model itself is uncertain (`placement`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from tracker.frontier.axis import DAYS_PER_MONTH, Array, Axis
from tracker.frontier.bridges import Bridge, ModelVariant, TaskCurve, TaskScale
from tracker.frontier.calibration import interval
from tracker.frontier.dataset import SCORE_EDGE
from tracker.frontier.envelope import Members
from tracker.frontier.instruments import Instruments, Reading
from tracker.frontier.placement import Scale, calibrate

PACE_MONTHS = 24  # of the closed frontier before the day of the data
N_DRAWS = 200  # curves and differences; the ends of a 90% interval then vary by a tenth of its width


@dataclass(frozen=True, slots=True)
class ScoreShift:
    """One task on the same items, before and after a change of the weights; scores are fractions of 1."""

    task: str
    before: float
    after: float
    stderr: float  # of the score before
    difference_stderr: float  # of after minus before, paired


@dataclass(frozen=True, slots=True)
class IndexShift:
    """The change of a place on the index and the months that this is behind, with 90% intervals."""

    points: float
    points_ci_low: float
    points_ci_high: float
    months_behind: float  # positive: later than the model before the change
    months_ci_low: float
    months_ci_high: float
    points_per_year: float  # of the closed frontier in the `PACE_MONTHS` before `as_of`
    as_of: date
    tasks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NoShift:
    """The reason why a difference is not given in months."""

    reason: str


def index_shift(
    shifts: Sequence[ScoreShift],
    scale: Scale,
    bridges: Sequence[Bridge],
    *,
    variant: ModelVariant | None = None,
    seed: int = 0,
) -> IndexShift | NoShift:
    """The shift on the index and in months from paired scores, or why there is none."""
    found = calibrate([row.task for row in shifts], scale, bridges)
    if found is None:
        return NoShift(_unknown([row.task for row in shifts]))
    rows = _in_order(shifts, found.scales)
    before = _reading(found.scales, rows, [row.before for row in rows], variant)
    place = found.instruments.profile(before).index
    if refusal := _refusal(found.is_checked, found.instruments.span(), place):
        return NoShift(refusal)
    rng = np.random.default_rng(seed)
    drawn = np.array(
        [_drawn_shift(found.instruments, found.scales, rows, variant, rng) for _ in range(N_DRAWS)]
    )
    after = _reading(found.scales, rows, [row.after for row in rows], variant)
    points = found.instruments.profile(after).index - place
    axis = scale.axis.until(scale.as_of)
    pace = float(_pace(axis, axis.value[None, :], scale.as_of)[0])
    paces = _pace(axis, axis.draws, scale.as_of)[np.arange(N_DRAWS) % len(axis.draws)]
    if pace <= 0.0 or not (paces > 0.0).all():
        return NoShift("not given in months: the closed frontier did not move in the time of the data")
    months = -drawn / paces
    low, high = interval(drawn) or (points, points)
    early, late = interval(months) or (-points / pace, -points / pace)
    return IndexShift(
        points=points,
        points_ci_low=min(low, points),
        points_ci_high=max(high, points),
        months_behind=-points / pace,
        months_ci_low=min(early, -points / pace),
        months_ci_high=max(late, -points / pace),
        points_per_year=12 * pace,
        as_of=scale.as_of,
        tasks=tuple(row.task for row in rows),
    )


def _unknown(tasks: Sequence[str]) -> str:
    return f"not given in months: nothing is known of these tasks on the index ({', '.join(tasks) or 'none'})"


def _in_order(shifts: Sequence[ScoreShift], scales: Sequence[TaskScale]) -> list[ScoreShift]:
    by_task = {row.task: row for row in shifts}
    return [by_task[each.task] for each in scales]


def _refusal(is_checked: bool, span: tuple[float, float] | None, place: float) -> str:
    """Why these tasks say nothing about the index there; empty if they do."""
    if not is_checked or span is None:
        return (
            "not given in months: too few published models have both scores of these tasks and a place on "
            "the index, so what a point is worth is not known"
        )
    if not span[0] <= place <= span[1]:
        side = "below" if place < span[0] else "above"
        return (
            f"not given in months: the model is at {place:.0f} on the index, {side} the range of "
            f"{span[0]:.0f} to {span[1]:.0f} in which these tasks tell models apart"
        )
    return ""


def _reading(
    scales: Sequence[TaskScale],
    rows: Sequence[ScoreShift],
    values: Sequence[float],
    variant: ModelVariant | None,
) -> Reading:
    """The scores as a reading; both sides have the same weights, or the weights would move the place."""
    width = np.array([each.ceiling - each.chance for each in scales])
    score = np.array([each.centered(value) for each, value in zip(scales, values, strict=True)])
    variance = (np.array([row.stderr for row in rows]) / width) ** 2
    clipped = np.clip(score, SCORE_EDGE, 1.0 - SCORE_EDGE)
    return Reading(tuple(row.task for row in rows), clipped, variance, variant)


def _drawn_shift(
    known: Instruments,
    scales: Sequence[TaskScale],
    rows: Sequence[ScoreShift],
    variant: ModelVariant | None,
    rng: np.random.Generator,
) -> float:
    """The shift with one draw of the curves and of the differences."""
    drawn = Instruments(tuple(_drawn_curve(curve, rng) for curve in known.curves), known.correlation)
    noise = rng.normal(size=len(rows))
    after = [row.after + row.difference_stderr * z for row, z in zip(rows, noise, strict=True)]
    places = [
        drawn.profile(_reading(scales, rows, values, variant)).index
        for values in ([row.before for row in rows], after)
    ]
    return places[1] - places[0]


def _drawn_curve(curve: TaskCurve, rng: np.random.Generator) -> TaskCurve:
    return replace(curve, parameters=rng.multivariate_normal(curve.parameters, curve.covariance))


def _pace(axis: Axis, values: Array, as_of: date) -> Array:
    """(K,) index points per month of the closed records over the last months, by least squares."""
    closed = Members.of(axis.released, ~axis.is_open)
    days = as_of.toordinal() - DAYS_PER_MONTH * np.arange(PACE_MONTHS, -1, -1.0)
    days = days[days >= closed.day[0]]
    heights = closed.envelope(values[:, closed.place]).height(days)
    offset = (days - days.mean()) / DAYS_PER_MONTH
    spread = float((offset**2).sum())
    pace: Array = heights @ offset / spread if spread > 0.0 else np.zeros(len(values))
    return pace
