"""How far the open group is behind the closed one, by six definitions that answer six questions.

    G1  how many months later is a level reached, averaged over all levels both have reached
    G2  the same, but open has caught up once its interval touches the level (Epoch AI's rule)
    G3  how old is the closed state of the art that today's best open model equals
    G4  how long until each closed record is no longer significantly ahead (survival)
    G5  how many points apart are the two best models on a day, averaged over a window
    G6  how old is the closed level that open offers on a day, averaged over a window

Each is computed on rows of values, the central ones and every joint draw alike; formulas: `docs/method.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from tracker.errors import TrackerError
from tracker.frontier.axis import DAYS_PER_MONTH, Array, Axis
from tracker.frontier.calibration import N_INNER, N_WORLDS, calibrated_tails, interval
from tracker.frontier.envelope import Envelope, Members, lower
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
    """Both groups in K rows of values, with what significance needs."""

    open: Envelope
    open_high: Envelope  # of upper interval ends
    closed: Envelope
    open_members: Members
    closed_members: Members
    open_value: Array  # (K, open)
    closed_value: Array  # (K, closed)
    margin: Array  # (closed, open): how far ahead a closed model must be to be significantly ahead
    window: Window


@dataclass(frozen=True, slots=True, eq=False)
class _Measure:
    """One definition on each row; NaN where it says nothing."""

    value: Array  # (K,)
    n: Array  # (K,)
    n_censored: Array  # (K,)
    note: str = ""  # why a value is missing


def gaps(axis: Axis, window: Window, *, unit: str = "index") -> tuple[Gap, ...]:
    """The six definitions on `axis`, with models that were out by the window's last day.

    Raises:
        TrackerError: no open or no closed model is left.
    """
    sampled = _Sampled(axis.until(window.as_of), window)
    central = sampled.central()
    ends = sampled.intervals()
    return tuple(
        _gap(name, "months" if name != "G5" else unit, central[name], ends[name]) for name in DEFINITIONS
    )


def gap(name: str, axis: Axis, window: Window) -> float | None:
    """The central value of one definition, in months (G5: points)."""
    return central_gaps(axis, window)[name]


def central_gaps(axis: Axis, window: Window) -> dict[str, float | None]:
    """The central value of all six definitions, without intervals."""
    central = _Sampled(axis.until(window.as_of), window).central()
    return {name: _known(measure.value[0]) for name, measure in central.items()}


def gap_intervals(axis: Axis, window: Window) -> dict[str, tuple[float, float] | None]:
    """The ends of each definition's interval; None where too few draws define it."""
    return _Sampled(axis.until(window.as_of), window).intervals()


def _gap(name: str, unit: str, central: _Measure, ends: tuple[float, float] | None) -> Gap:
    value = _known(central.value[0])
    low = high = None
    note = central.note
    if value is not None:
        low, high = ends or (None, None)
        note = "" if ends else "no uncertainty of these scores is known"
    return Gap(name, unit, value, low, high, int(central.n[0]), int(central.n_censored[0]), note)


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


class _Sampled:
    """The axis split into groups, once; values per draw come on top."""

    def __init__(self, axis: Axis, window: Window) -> None:
        self._axis = axis
        self._window = window
        self._open = Members.of(axis.released, axis.is_open)
        self._closed = Members.of(axis.released, ~axis.is_open)
        above = axis.high[self._open.place] - axis.value[self._open.place]
        self._above = np.maximum(above, 0.0)
        self._stretch = self._stretches()
        self._margin = self._margins()

    def _stretches(self) -> Array:
        """(K, open) factors on the upper half-widths: a rule that goes by intervals inherits their error."""
        axis = self._axis
        spread = np.zeros(axis.value.size) if axis.high_error is None else axis.high_error
        drawn = np.random.default_rng(STRETCH_SEED).normal(size=(len(axis.draws), self._open.place.size))
        stretch: Array = np.exp(drawn * spread[self._open.place])
        return stretch

    def _margins(self) -> Array:
        """Central difference minus the low end of its interval."""
        axis, open_places = self._axis, self._open.place
        margin = np.zeros((self._closed.place.size, open_places.size))
        if not axis.has_draws:
            return margin
        for c, place in enumerate(self._closed.place):
            ahead = axis.draws[:, place, None] - axis.draws[:, open_places]
            central = axis.value[place] - axis.value[open_places]
            margin[c] = np.maximum(central - np.quantile(ahead, LOW, axis=0), 0.0)
        return margin

    def _groups(self, value: Array, stretch: Array | float) -> _Groups:
        open_value, closed_value = value[:, self._open.place], value[:, self._closed.place]
        return _Groups(
            open=self._open.envelope(open_value),
            open_high=self._open.envelope(open_value + stretch * self._above),
            closed=self._closed.envelope(closed_value),
            open_members=self._open,
            closed_members=self._closed,
            open_value=open_value,
            closed_value=closed_value,
            margin=self._margin,
            window=self._window,
        )

    def central(self) -> dict[str, _Measure]:
        """All six definitions on the central values: one row."""
        groups = self._groups(self._axis.value[None, :], 1.0)
        return {name: measure(groups) for name, measure in DEFINITIONS.items()}

    def intervals(self) -> dict[str, tuple[float, float] | None]:
        """Each definition's draws between its calibrated tails."""
        if not self._axis.has_draws:
            return dict.fromkeys(DEFINITIONS)
        draws = self._draws(self._axis.draws, self._stretch)
        truths = {name: float(found.value[0]) for name, found in self.central().items()}
        truths |= {name: float(np.mean(draws[name][:N_WORLDS])) for name in RULES if draws[name].size}
        known = {name: truth for name, truth in truths.items() if np.isfinite(truth)}
        tails = calibrated_tails(known, self._worlds())
        return {name: interval(draws[name], tails[name]) if name in tails else None for name in DEFINITIONS}

    def _worlds(self) -> Iterator[dict[str, Array]]:
        """What would have been drawn, had each of the first draws been what was seen."""
        noise = self._axis.draws[-N_INNER:] - self._axis.value
        for seen, stretch in zip(self._axis.draws[:N_WORLDS], self._stretch, strict=False):
            yield self._draws(seen + noise, stretch * self._stretch[-N_INNER:])

    def _draws(self, values: Array, stretch: Array) -> dict[str, Array]:
        """Each definition on every row of values; empty where too few rows define it."""
        groups = self._groups(values, stretch)
        found = {}
        for name, measure in DEFINITIONS.items():
            value = measure(groups).value
            defined = value[np.isfinite(value)]
            found[name] = defined if defined.size >= LEAST_DEFINED * value.size else np.empty(0)
        return found


def _level_average(open_group: Envelope, closed: Envelope, later: Envelope, low: Array) -> _Measure:
    """Mean over levels from `low` to the highest mutual one of T_later − T_closed, in months, exactly."""
    high = np.minimum(open_group.best, closed.best)
    level, is_record = closed.level, closed.is_record
    within = is_record & (level >= low[:, None]) & (level <= high[:, None])
    ahead = is_record & (level > open_group.best[:, None])
    has_span = high > low
    top = np.where(has_span, high, low)
    apart = later.days_integral(low, top) - closed.days_integral(low, top)
    span = np.where(has_span, high - low, np.nan)
    return _Measure(
        apart / span / DAYS_PER_MONTH,
        np.where(has_span, np.count_nonzero(within, axis=1), 0),
        np.count_nonzero(ahead, axis=1),
        "the two groups have no level in common",
    )


def _g1(groups: _Groups) -> _Measure:
    low = np.maximum(groups.open.level[:, 0], groups.closed.level[:, 0])
    return _level_average(groups.open, groups.closed, groups.open, low)


def _g2(groups: _Groups) -> _Measure:
    """A negative lag counts as none: that is the time by which both have reached a level."""
    both = lower(groups.open_high, groups.closed)
    return _level_average(groups.open_high, groups.closed, both, groups.closed.level[:, 0])


def _g3(groups: _Groups) -> _Measure:
    """Signed so that swapping the groups flips it: if open leads, closed is the one that stands behind."""
    shared = np.minimum(groups.open.best, groups.closed.best)[:, None]
    lag = groups.open.reached(shared) - groups.closed.reached(shared)
    ahead = groups.closed.is_record & (groups.closed.level > groups.open.best[:, None])
    return _Measure(lag[:, 0] / DAYS_PER_MONTH, np.ones(len(lag)), np.count_nonzero(ahead, axis=1))


def _g4(groups: _Groups) -> _Measure:
    """Mean months from each closed record to the first open model not significantly below it."""
    closed, is_record = groups.closed, groups.closed.is_record
    days = np.flatnonzero(is_record.any(axis=0))  # those on which some row sets a record
    caught_on = np.full((len(closed.level), days.size), np.inf)
    for j, day in enumerate(days):
        member = groups.closed_members.best_of_day(groups.closed_value, day)
        equal = closed.level[:, day, None] - groups.open_value <= groups.margin[member]
        first = groups.open_members.day[np.argmax(equal, axis=1)]
        caught_on[:, j] = np.where(equal.any(axis=1), first, np.inf)
    known = is_record[:, days]
    caught = np.isfinite(caught_on) & known
    end = float(groups.window.as_of.toordinal())
    duration = np.where(caught, caught_on, end) - closed.day[days]
    mean = restricted_mean(duration, caught, known) / DAYS_PER_MONTH
    return _Measure(
        np.where(caught.any(axis=1), mean, np.nan),
        np.count_nonzero(known, axis=1),
        np.count_nonzero(known & ~caught, axis=1),
        "open has caught up with no closed record",
    )


def _g5(groups: _Groups) -> _Measure:
    days = _shared_days(groups)
    if days.size == 0:
        return _no_shared_day(groups)
    apart = groups.closed.height(days) - groups.open.height(days)
    return _Measure(apart.mean(axis=1), np.full(len(apart), days.size), np.zeros(len(apart)))


def _g6(groups: _Groups) -> _Measure:
    """Signed as G3: on days on which open leads, closed is the stale one."""
    days = _shared_days(groups)
    if days.size == 0:
        return _no_shared_day(groups)
    on_open = np.searchsorted(groups.open.day, days, side="right") - 1
    on_closed = np.searchsorted(groups.closed.day, days, side="right") - 1
    stale_open = days - groups.closed.reached(groups.open.level)[:, on_open]
    stale_closed = days - groups.open.reached(groups.closed.level)[:, on_closed]
    leads = groups.open.level[:, on_open] > groups.closed.level[:, on_closed]
    lag = np.where(leads, -stale_closed, stale_open).mean(axis=1)
    return _Measure(lag / DAYS_PER_MONTH, np.full(len(lag), days.size), np.zeros(len(lag)))


def _shared_days(groups: _Groups) -> Array:
    days: Array = groups.window.days
    shared: Array = days[days >= max(groups.open.day[0], groups.closed.day[0])]
    return shared


def _no_shared_day(groups: _Groups) -> _Measure:
    n = len(groups.open.level)
    return _Measure(
        np.full(n, np.nan), np.zeros(n), np.zeros(n), "one of the groups had no model in the window"
    )


DEFINITIONS: dict[str, Callable[[_Groups], _Measure]] = {
    "G1": _g1,
    "G2": _g2,
    "G3": _g3,
    "G4": _g4,
    "G5": _g5,
    "G6": _g6,
}
