"""Outlook on one axis: the trend of the distance, and when open models reach today's best closed level.

Covered: the pace of the last two years, resampled. Not covered: a change of that pace. Both intervals are
checked by `python -m benchmarks.outlook`; `docs/method.md` has the figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from scipy import special

from tracker.errors import TrackerError
from tracker.frontier.axis import DAYS_PER_MONTH, Array, Axis, Flags
from tracker.frontier.calibration import TAIL

WINDOW_MONTHS = 24  # of the pace; with 18 to 36 the back-test is nearly the same, with 12 it fails
LEAST_MONTHS = 12  # of both groups; the shortest history in the back-test was 15 months
BLOCK_MONTHS = 3  # resampled together: months with and without records come in runs
HORIZON_MONTHS = 60  # a later date is not told
N_PATHS = 4000
SEED = 0
QUANTILES = (TAIL, 0.5, 1.0 - TAIL)


@dataclass(frozen=True, slots=True)
class CatchUp:
    """The day on which an open model is expected to reach the level of today's best closed model.

    None for a day: more than `HORIZON_MONTHS` away.
    """

    model: str  # the best closed model
    level: float  # its value
    expected: date | None  # the median of the paths
    ci_low: date | None  # ends of the 90% interval
    ci_high: date | None


@dataclass(frozen=True, slots=True)
class Trend:
    """The change of the distance between the best closed and the best open model; positive: it widens."""

    per_year: float  # in the axis's unit
    ci_low: float  # ends of the 90% interval
    ci_high: float
    n_months: int  # behind it

    @property
    def is_shown(self) -> bool:
        """Whether the interval excludes no change."""
        return self.ci_low > 0.0 or self.ci_high < 0.0


def catch_up(axis: Axis, as_of: date) -> CatchUp:
    """The projected day, from the models released by `as_of`.

    Raises:
        TrackerError: a group has no or too few months of models, open models lead, or they set no record in
            the window; the message says which.
    """
    known = axis.until(as_of)
    closed, best_open = known.best(is_open=False), known.best(is_open=True)
    level = float(known.value[closed])
    if known.value[best_open] >= level:
        raise TrackerError(
            f"no projection as of {as_of}: open models lead with `{known.models[best_open]}`,"
            " so there is no closed level to reach"
        )
    records = records_of(known, known.is_open, month_ends(known, as_of))
    if not np.diff(records, axis=1).any():
        raise TrackerError(
            f"no projection as of {as_of}: no open model set a record in {records.shape[1] - 1} months"
        )
    waited = months_until(records, known.draws[:, closed])
    low, middle, high = (_day(as_of, months) for months in np.quantile(waited, QUANTILES, method="nearest"))
    return CatchUp(known.models[closed], level, middle, low, high)


def trend(axis: Axis, as_of: date) -> Trend:
    """The slope of the distance at month ends, with an interval for a distance that wanders.

    The interval treats the monthly changes as independent, so it also covers a distance that returns to a
    level; blocks of residuals around the line do not (`benchmarks/outlook.py`).

    Raises:
        TrackerError: a group has no or too few months of models; the message says which.
    """
    known = axis.until(as_of)
    months = month_ends(known, as_of)
    central = _distances(known, months, known.value[None, :])[0]
    drawn = _distances(known, months, known.draws)
    from_noise = float(np.var(drawn @ _slope_weights(months.size - 1)))
    slope, half = slope_interval(np.diff(central), extra_variance=from_noise)
    return Trend(slope, slope - half, slope + half, months.size - 1)


def distance(axis: Axis, as_of: date) -> float:
    """How far the best closed model of the day is above the best open one, in the axis's unit."""
    known = axis.until(as_of)
    return float(known.value[known.best(is_open=False)] - known.value[known.best(is_open=True)])


def month_ends(axis: Axis, as_of: date, *, window: int = WINDOW_MONTHS) -> Array:
    """(W + 1,) `as_of` and the days one, two, … months before, as far as both groups had models.

    Raises:
        TrackerError: that is less than a year.
    """
    first = max(float(axis.released[group].min()) for group in (axis.is_open, ~axis.is_open))
    days = as_of.toordinal() - DAYS_PER_MONTH * np.arange(window, -1, -1, dtype=np.float64)
    shared: Array = days[days >= first]
    if shared.size <= LEAST_MONTHS:
        raise TrackerError(
            f"no outlook as of {as_of}: the first day with open and closed models is"
            f" {date.fromordinal(int(first))}, and {LEAST_MONTHS} months are needed",
            hint="use a later `--as-of`",
        )
    return shared


def records_of(axis: Axis, group: Flags, days: Array, value: Array | None = None) -> Array:
    """(K, T) the best value of the group by each day in each row of `value`, by default of the draws."""
    rows = axis.draws if value is None else value
    place = np.flatnonzero(group)
    place = place[np.argsort(axis.released[place], kind="stable")]
    running = np.maximum.accumulate(rows[:, place], axis=1)
    last = np.searchsorted(axis.released[place], days, side="right") - 1
    found: Array = running[:, last]
    return found


def months_until(records: Array, level: Array, *, block: int = BLOCK_MONTHS) -> Array:
    """(N,) paths: months until records of the past pace reach the level; infinite beyond the horizon.

    A path takes one of K draws: `records` (K, W + 1) at month ends, the last one today, and `level` (K,).
    Its future gains are blocks of that draw's past months, which wrap around.
    """
    rng = np.random.default_rng(SEED)
    draw = rng.integers(len(records), size=N_PATHS)
    gains = np.diff(records, axis=1)[draw]  # (N, W)
    n_months = gains.shape[1]
    start = rng.integers(n_months, size=(N_PATHS, -(-HORIZON_MONTHS // block), 1))
    month = ((start + np.arange(block)) % n_months).reshape(N_PATHS, -1)[:, :HORIZON_MONTHS]
    height = records[draw, -1, None] + np.cumsum(np.take_along_axis(gains, month, axis=1), axis=1)
    is_above = height >= level[draw, None]
    waited = np.where(is_above.any(axis=1), np.argmax(is_above, axis=1) + 0.5, np.inf)  # mid-month
    found: Array = np.where(records[draw, -1] >= level[draw], 0.0, waited)
    return found


def slope_interval(change: Array, *, extra_variance: float = 0.0) -> tuple[float, float]:
    """The slope per year of a path with these monthly changes, and half its 90% interval.

    The changes count as independent, each with their common variance.
    """
    n = change.size
    weight = _slope_weights(n)
    path = np.append(0.0, np.cumsum(change))
    from_change = np.cumsum(weight[::-1])[::-1][1:]  # the effect of one month's change on the slope
    variance = np.var(change, ddof=1) * float(from_change @ from_change) + extra_variance
    half = special.stdtrit(n - 1, 1.0 - TAIL) * np.sqrt(variance)
    return float(path @ weight), float(half)


def _distances(axis: Axis, days: Array, value: Array) -> Array:
    """(K, T) closed minus open record by each day."""
    closed, opened = (records_of(axis, group, days, value) for group in (~axis.is_open, axis.is_open))
    apart: Array = closed - opened
    return apart


def _day(as_of: date, months: float) -> date | None:
    return as_of + timedelta(days=round(months * DAYS_PER_MONTH)) if np.isfinite(months) else None


def _slope_weights(n_months: int) -> Array:
    """(n + 1,) weights whose sum with month-end values is their least-squares slope per year."""
    year = (np.arange(n_months + 1) - 0.5 * n_months) / 12.0
    weights: Array = year / (year @ year)
    return weights
