"""How far the open group is behind the closed one, by six definitions that answer six questions.

    G1  how many months later is a level reached, averaged over all levels both have reached
    G2  the same, but open has caught up once its interval touches the level (Epoch AI's rule)
    G3  how old is the closed state of the art that today's best open model equals
    G4  how long until each closed record is no longer significantly ahead (survival)
    G5  how many points apart are the two best models on a day, averaged over a window
    G6  how old is the closed level that open offers on a day, averaged over a window

Each is computed on the central values and on every joint draw; formulas: `docs/method.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from tracker.errors import TrackerError
from tracker.frontier.axis import DAYS_PER_MONTH, Array, Axis, Steps, sorted_steps
from tracker.frontier.calibration import N_INNER, N_WORLDS, calibrated_tails, interval
from tracker.frontier.survival import restricted_mean

STRETCH_SEED = 0
RULES = ("G2", "G4")  # defined through intervals: without noise they have no value of their own
LOW = 0.05  # low end of a difference that G4 goes by
WINDOW_DAYS = 365  # of G5 and G6, up to the day asked for
LEAST_DEFINED = 0.9  # share of draws that must give a number for an interval to be shown


@dataclass(frozen=True, slots=True)
class Gap:
    """One definition's answer; positive means that open is behind."""

    id: str
    unit: str  # "months", or the axis's own unit
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int  # closed records, levels or days behind the number
    n_censored: int  # closed records that open has not reached yet
    note: str = ""  # why there is no value or interval


@dataclass(frozen=True, slots=True)
class Window:
    """The days asked about: the last one, and the first one that G5 and G6 average over."""

    since: date
    as_of: date

    def __post_init__(self) -> None:
        """A window has at least one day."""
        if self.since > self.as_of:
            raise TrackerError(f"--since {self.since} is after --as-of {self.as_of}")

    @classmethod
    def year_to(cls, as_of: date) -> Window:
        """The twelve months that end on `as_of`."""
        return cls(as_of - timedelta(days=WINDOW_DAYS - 1), as_of)

    @property
    def days(self) -> Array:
        """Every day of the window."""
        return np.arange(self.since.toordinal(), self.as_of.toordinal() + 1, dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class _Groups:
    """Both groups of one draw, with what significance needs."""

    open: Steps
    open_high: Steps  # the open frontier of upper interval ends
    closed: Steps
    open_value: Array
    open_day: Array
    margin: Array  # (closed, open): how far ahead a closed model must be to be significantly ahead
    window: Window


@dataclass(frozen=True, slots=True)
class _Measure:
    value: float | None
    n: int
    n_censored: int
    note: str = ""


def gaps(axis: Axis, window: Window, *, unit: str = "index") -> tuple[Gap, ...]:
    """The six definitions on `axis`, with models that were out by the window's last day.

    Raises:
        TrackerError: no open or no closed model is left.
    """
    axis = axis.until(window.as_of)
    sampled = _Sampled(axis, window)
    central = sampled.measures(axis.value)
    ends = sampled.intervals(central)
    return tuple(
        _gap(name, "months" if name != "G5" else unit, central[name], ends[name]) for name in DEFINITIONS
    )


def gap(name: str, axis: Axis, window: Window) -> float | None:
    """The central value of one definition, in months (G5: points)."""
    axis = axis.until(window.as_of)
    return DEFINITIONS[name](_Sampled(axis, window).groups(axis.value)).value


def central_gaps(axis: Axis, window: Window) -> dict[str, float | None]:
    """The central value of all six definitions, without intervals."""
    axis = axis.until(window.as_of)
    sampled = _Sampled(axis, window)
    groups = sampled.groups(axis.value)
    return {name: measure(groups).value for name, measure in DEFINITIONS.items()}


def gap_intervals(axis: Axis, window: Window) -> dict[str, tuple[float, float] | None]:
    """The ends of each definition's interval; None where too few draws define it."""
    axis = axis.until(window.as_of)
    sampled = _Sampled(axis, window)
    return sampled.intervals(sampled.measures(axis.value))


def _gap(name: str, unit: str, central: _Measure, ends: tuple[float, float] | None) -> Gap:
    low = high = None
    note = central.note
    if central.value is not None:
        low, high = ends or (None, None)
        note = note or ("" if ends else "no uncertainty of these scores is known")
    return Gap(name, unit, central.value, low, high, central.n, central.n_censored, note)


class _Sampled:
    """The axis split into groups, once; values per draw come on top."""

    def __init__(self, axis: Axis, window: Window) -> None:
        self._axis = axis
        self._window = window
        by_day = np.argsort(axis.released, kind="stable")
        self._open = by_day[axis.is_open[by_day]]
        self._closed = by_day[~axis.is_open[by_day]]
        self._open_day, self._closed_day = axis.released[self._open], axis.released[self._closed]
        self._places = np.arange(axis.released.size)
        self._above = np.maximum(axis.high[self._open] - axis.value[self._open], 0.0)
        self._stretch = self._stretches()
        self._margin = np.zeros((self._closed.size, self._open.size))
        if axis.has_draws:
            self._margin = self._margins()

    def _margins(self) -> Array:
        """Central difference minus the low end of its interval."""
        axis = self._axis
        margin = np.empty((self._closed.size, self._open.size))
        for c, place in enumerate(self._closed):
            ahead = axis.draws[:, place, None] - axis.draws[:, self._open]
            central = axis.value[place] - axis.value[self._open]
            margin[c] = np.maximum(central - np.quantile(ahead, LOW, axis=0), 0.0)
        return margin

    def _stretches(self) -> Array:
        """(K, open) factors on the upper half-widths: a rule that goes by intervals inherits their error."""
        axis = self._axis
        spread = np.zeros(axis.value.size) if axis.high_error is None else axis.high_error
        drawn = np.random.default_rng(STRETCH_SEED).normal(size=(len(axis.draws), self._open.size))
        stretch: Array = np.exp(drawn * spread[self._open])
        return stretch

    def groups(self, value: Array, stretch: Array | float = 1.0) -> _Groups:
        """Both groups with the axis's models at these values."""
        open_value, closed_value = value[self._open], value[self._closed]
        open_places, closed_places = self._places[: self._open.size], self._places[: self._closed.size]
        return _Groups(
            open=sorted_steps(self._open_day, open_value, open_places),
            open_high=sorted_steps(self._open_day, open_value + stretch * self._above, open_places),
            closed=sorted_steps(self._closed_day, closed_value, closed_places),
            open_value=open_value,
            open_day=self._open_day,
            margin=self._margin,
            window=self._window,
        )

    def measures(self, value: Array, stretch: Array | float = 1.0) -> dict[str, _Measure]:
        """All six definitions on these values."""
        groups = self.groups(value, stretch)
        return {name: measure(groups) for name, measure in DEFINITIONS.items()}

    def intervals(self, central: dict[str, _Measure]) -> dict[str, tuple[float, float] | None]:
        """Each definition's draws between its calibrated tails."""
        if not self._axis.has_draws:
            return dict.fromkeys(DEFINITIONS)
        draws = self.draws(self._axis.draws, self._stretch)
        truths = {name: found.value for name, found in central.items() if found.value is not None}
        truths |= {name: float(np.mean(draws[name][:N_WORLDS])) for name in RULES if draws[name].size}
        tails = calibrated_tails(truths, self.worlds())
        return {name: interval(draws[name], tails[name]) if name in tails else None for name in DEFINITIONS}

    def worlds(self) -> Iterator[dict[str, Array]]:
        """What would have been drawn, had each of the first draws been what was seen."""
        noise = self._axis.draws[-N_INNER:] - self._axis.value
        for seen, stretch in zip(self._axis.draws[:N_WORLDS], self._stretch, strict=False):
            yield self.draws(seen + noise, stretch * self._stretch[-N_INNER:])

    def draws(self, values: Array, stretch: Array) -> dict[str, Array]:
        """Each definition on every row of values; empty where too few rows define it."""
        rows = [self.measures(value, factor) for value, factor in zip(values, stretch, strict=True)]
        found = {}
        for name in DEFINITIONS:
            defined = np.array([row[name].value for row in rows if row[name].value is not None])
            found[name] = defined if defined.size >= LEAST_DEFINED * len(rows) else np.empty(0)
        return found


def _level_average(open_steps: Steps, closed: Steps, low: float, *, clip: bool) -> _Measure:
    """Mean over levels from `low` to the highest mutual one of T_open − T_closed, in months, exactly."""
    high = min(open_steps.level[-1], closed.level[-1])
    ahead = int(np.count_nonzero(closed.level > open_steps.level[-1]))
    if high <= low:
        return _Measure(None, 0, ahead, "the two groups have no level in common")
    edges = np.concatenate(((low, high), open_steps.level, closed.level))
    edges.sort()
    edges = edges[(edges >= low) & (edges <= high)]
    middle = 0.5 * (edges[1:] + edges[:-1])
    lag = open_steps.reached(middle) - closed.reached(middle)
    if clip:
        lag = np.maximum(lag, 0.0)
    months = float(lag @ (edges[1:] - edges[:-1]) / (high - low) / DAYS_PER_MONTH)
    return _Measure(months, int(np.count_nonzero((closed.level >= low) & (closed.level <= high))), ahead)


def _g1(groups: _Groups) -> _Measure:
    low = max(groups.open.level[0], groups.closed.level[0])
    return _level_average(groups.open, groups.closed, low, clip=False)


def _g2(groups: _Groups) -> _Measure:
    return _level_average(groups.open_high, groups.closed, groups.closed.level[0], clip=True)


def _g3(groups: _Groups) -> _Measure:
    """Signed so that swapping the groups flips it: if open leads, closed is the one that stands behind."""
    open_best, closed_best = groups.open.level[-1], groups.closed.level[-1]
    ahead = int(np.count_nonzero(groups.closed.level > open_best))
    if open_best > closed_best:
        lag = groups.open.reached(closed_best) - groups.closed.day[-1]
    else:
        lag = groups.open.day[-1] - groups.closed.reached(open_best)
    return _Measure(float(lag) / DAYS_PER_MONTH, 1, ahead)


def _g4(groups: _Groups) -> _Measure:
    """Mean months from each closed record to the first open model not significantly below it."""
    end = float(groups.window.as_of.toordinal())
    closed = groups.closed
    ahead = closed.level[:, None] - groups.open_value[None, :]
    equal = ahead <= groups.margin[closed.member]
    caught_on = np.min(np.where(equal, groups.open_day[None, :], np.inf), axis=1)
    caught = np.isfinite(caught_on)
    days = np.where(caught, caught_on, end) - closed.day
    n_censored = int(np.count_nonzero(~caught))
    if not caught.any():
        return _Measure(None, closed.day.size, n_censored, "open has caught up with no closed record")
    return _Measure(restricted_mean(days, caught) / DAYS_PER_MONTH, closed.day.size, n_censored)


def _g5(groups: _Groups) -> _Measure:
    days = _shared_days(groups)
    if days.size == 0:
        return _Measure(None, 0, 0, "one of the groups had no model in the window")
    apart = groups.closed.height(days) - groups.open.height(days)
    return _Measure(float(apart.mean()), days.size, 0)


def _g6(groups: _Groups) -> _Measure:
    """Signed as G3: on days on which open leads, closed is the stale one."""
    days = _shared_days(groups)
    if days.size == 0:
        return _Measure(None, 0, 0, "one of the groups had no model in the window")
    open_best, closed_best = groups.open.height(days), groups.closed.height(days)
    stale_open = days - groups.closed.reached(open_best)
    stale_closed = days - groups.open.reached(closed_best)
    lag = np.where(open_best > closed_best, -stale_closed, stale_open)
    return _Measure(float(lag.mean()) / DAYS_PER_MONTH, days.size, 0)


def _shared_days(groups: _Groups) -> Array:
    days: Array = groups.window.days
    shared: Array = days[days >= max(groups.open.day[0], groups.closed.day[0])]
    return shared


DEFINITIONS: dict[str, Callable[[_Groups], _Measure]] = {
    "G1": _g1,
    "G2": _g2,
    "G3": _g3,
    "G4": _g4,
    "G5": _g5,
    "G6": _g6,
}
