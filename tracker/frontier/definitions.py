"""The definitions of the gap, one record each: its question, unit, formula and measure.

A definition is a record in `DEFINITIONS` and nowhere else: the command line, the app, the JSON documents and
the table in `docs/method.md` list these records. Every measure works on rows of values, whether central
values or joint draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import numpy as np

from tracker.errors import TrackerError, UnknownNameError
from tracker.frontier.axis import DAYS_PER_MONTH, Array
from tracker.frontier.envelope import Envelope, Members, lower
from tracker.frontier.survival import restricted_mean

WINDOW_DAYS = 365  # of averages over days, up to `as_of`
MONTHS = "months"
TABLE_HEAD = ("id", "question", "unit", "formula", "source")


@dataclass(frozen=True, slots=True)
class Window:
    """The window of averages over days: its first and last day."""

    since: date
    as_of: date

    def __post_init__(self) -> None:
        """Check that the window has at least one day."""
        if self.since > self.as_of:
            raise TrackerError(
                f"`--since {self.since}` is after `--as-of {self.as_of}`", hint="name an earlier `--since`"
            )

    @classmethod
    def year_to(cls, as_of: date) -> Window:
        """The twelve months that end on `as_of`."""
        first = max(as_of.toordinal() - WINDOW_DAYS + 1, date.min.toordinal())
        return cls(date.fromordinal(first), as_of)

    @property
    def days(self) -> Array:
        """Every day of the window."""
        return np.arange(self.since.toordinal(), self.as_of.toordinal() + 1, dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Both groups in K rows of values, with margins of significance."""

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
class Measure:
    """The number by one definition for each row of values; NaN if it is undefined."""

    value: Array  # (K,)
    n: Array  # (K,)
    n_censored: Array  # (K,)
    note: str = ""  # why a value is missing


def _level_average(open_group: Envelope, closed: Envelope, later: Envelope, low: Array) -> Measure:
    """Mean over levels from `low` to the highest mutual one of T_later − T_closed, in months, exactly."""
    high = np.minimum(open_group.best, closed.best)
    level, is_record = closed.level, closed.is_record
    within = is_record & (level >= low[:, None]) & (level <= high[:, None])
    ahead = is_record & (level > open_group.best[:, None])
    has_span = high > low
    top = np.where(has_span, high, low)
    apart = later.days_integral(low, top) - closed.days_integral(low, top)
    span = np.where(has_span, high - low, np.nan)
    return Measure(
        apart / span / DAYS_PER_MONTH,
        np.where(has_span, np.count_nonzero(within, axis=1), 0),
        np.count_nonzero(ahead, axis=1),
        "open and closed models have no level in common",
    )


def _level_average_of_values(groups: Groups) -> Measure:
    low = np.maximum(groups.open.level[:, 0], groups.closed.level[:, 0])
    return _level_average(groups.open, groups.closed, groups.open, low)


def _level_average_of_upper_ends(groups: Groups) -> Measure:
    """A negative lag counts as zero, measured from the time when both have reached a level."""
    both = lower(groups.open_high, groups.closed)
    return _level_average(groups.open_high, groups.closed, both, groups.closed.level[:, 0])


def _standing_lag(groups: Groups) -> Measure:
    """Swapping the groups flips the sign: if open leads, the lag is that of closed."""
    shared = np.minimum(groups.open.best, groups.closed.best)[:, None]
    lag = groups.open.reached(shared) - groups.closed.reached(shared)
    ahead = groups.closed.is_record & (groups.closed.level > groups.open.best[:, None])
    return Measure(lag[:, 0] / DAYS_PER_MONTH, np.ones(len(lag)), np.count_nonzero(ahead, axis=1))


def _record_lifetime(groups: Groups) -> Measure:
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
    return Measure(
        np.where(caught.any(axis=1), mean, np.nan),
        np.count_nonzero(known, axis=1),
        np.count_nonzero(known & ~caught, axis=1),
        "open models have not caught up with any closed record",
    )


def _distance(groups: Groups) -> Measure:
    days = _shared_days(groups)
    if days.size == 0:
        return _no_shared_day(groups)
    apart = groups.closed.height(days) - groups.open.height(days)
    return Measure(apart.mean(axis=1), np.full(len(apart), days.size), np.zeros(len(apart)))


def _age_of_level(groups: Groups) -> Measure:
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
    return Measure(lag / DAYS_PER_MONTH, np.full(len(lag), days.size), np.zeros(len(lag)))


def _age_of_significant_lead(groups: Groups) -> Measure:
    """Days since the closed state of the art was last not significantly better than the best open model.

    A closed record that stands from day a until the next one comes on day b is last there on b − 1; if the
    first closed model was already better, the day before it counts. Never negative.
    """
    days = _shared_days(groups)
    if days.size == 0:
        return _no_shared_day(groups)
    on_open = np.searchsorted(groups.open.day, days, side="right") - 1
    on_closed = np.searchsorted(groups.closed.day, days, side="right") - 1
    # between two releases only the age changes: S stretches of days, each compared once
    changes = np.flatnonzero((np.diff(on_open) != 0) | (np.diff(on_closed) != 0)) + 1
    first = np.append(0, changes)
    n_days = np.diff(np.append(first, days.size))
    at_open, at_closed = on_open[first], on_closed[first]
    open_holder = groups.open_members.holders(groups.open_value)[:, at_open]  # (K, S)
    closed_holder = groups.closed_members.holders(groups.closed_value)  # (K, D)
    ahead = groups.closed.level[:, :, None] - groups.open.level[:, None, at_open]  # (K, D, S)
    is_equal = ahead <= groups.margin[closed_holder[:, :, None], open_holder[:, None, :]]
    place = np.arange(groups.closed.day.size)[:, None]
    last_equal = np.where(is_equal & (place <= at_closed), place, -1).max(axis=1)  # (K, S)
    lost = np.append(groups.closed.day, np.inf)[last_equal + 1]
    mean_day = days[first] + 0.5 * (n_days - 1.0)
    age = np.where(last_equal == at_closed, 0.0, mean_day - (lost - 1.0))
    lag = age @ n_days / days.size
    return Measure(lag / DAYS_PER_MONTH, np.full(len(lag), days.size), np.zeros(len(lag)))


def _shared_days(groups: Groups) -> Array:
    days: Array = groups.window.days
    shared: Array = days[days >= max(groups.open.day[0], groups.closed.day[0])]
    return shared


def _no_shared_day(groups: Groups) -> Measure:
    n = len(groups.open.level)
    return Measure(
        np.full(n, np.nan), np.zeros(n), np.zeros(n), "one of the groups had no model in the window"
    )


@dataclass(frozen=True, slots=True)
class Definition:
    """One definition of how far open models are behind closed models."""

    id: str  # shown with every number
    title: str  # what it measures, in a few words to choose from
    question: str  # in one sentence, for people
    formula: str  # in the notation of `docs/method.md`, as Markdown
    source: str
    measure: Callable[[Groups], Measure]
    unit: str | None = MONTHS  # None: the axis's own unit
    needs_draws: bool = False  # defined through intervals: without draws it has no value

    def unit_on(self, axis_unit: str) -> str:
        """The unit of its numbers on an axis with values in `axis_unit`."""
        return self.unit or axis_unit


DEFINITIONS: tuple[Definition, ...] = (
    Definition(
        id="G1",
        title="Average delay until open models reach a level",
        question="How much later do open models reach a level, averaged over all levels both have reached?",
        formula="mean over levels x of `T_open(x) − T_closed(x)`, from the higher of the two first levels to"
        " the lower of the two best",
        source="own; exact integral",
        measure=_level_average_of_values,
    ),
    Definition(
        id="G2",
        title="Average delay, if an open interval that touches the level is enough",
        question="How much later, if it is enough that an open model's interval touches the level (Epoch AI's"
        " rule of October 2025)?",
        formula="as G1 with `T_open` reached when the *upper end* of the open model's interval reaches x;"
        " negative lags count as 0; from the lowest closed level",
        source="G",
        measure=_level_average_of_upper_ends,
        needs_draws=True,
    ),
    Definition(
        id="G3",
        title="Age of the closed level that the best open model reached",
        question="How long had closed models been at the level of the best open model when it came out?",
        formula="`date(o) − T_closed(index(o))` for the best open model o; if open leads, minus the same with"
        " the groups swapped",
        source="own",
        measure=_standing_lag,
    ),
    Definition(
        id="G4",
        title="Time that a closed record stays ahead of all open models",
        question="How long does a closed record stay significantly ahead of every open model?",
        formula="for each closed record the months until an open model is not significantly below it: the low"
        " end of the interval of their difference is not above 0. Kaplan-Meier mean, restricted to the"
        " longest duration seen; not yet caught up = censored",
        source="after Epoch AI, open-models report, 2024-11-04",
        measure=_record_lifetime,
        needs_draws=True,
    ),
    Definition(
        id="G5",
        title="Distance in points, average of a year",
        question="How far apart are the best open and the best closed model, on average over a year?",
        formula="mean over days of `F_closed(t) − F_open(t)`, in points",
        source="own",
        measure=_distance,
        unit=None,
    ),
    Definition(
        id="G6",
        title="Age of the best open level, average of a year",
        question="How long ago did closed models reach the best open level, on average over a year?",
        formula="mean over days of `t − T_closed(F_open(t))`; on days on which open leads, minus the same"
        " with the groups swapped",
        source="own",
        measure=_age_of_level,
    ),
    Definition(
        id="G7",
        title="Time since closed models were last not ahead, average of a year",
        question="How long ago were closed models last not significantly better than the best open model, on"
        " average over a year?",
        formula="mean over days t of `t − s`, with s the latest day up to t on which the closed state of the"
        " art was not significantly better than the best open model of day t: the low end of the interval of"
        " their difference is not above 0",
        source="Epoch AI, open-closed-eci-gap, 2026-05-29",
        measure=_age_of_significant_lead,
        needs_draws=True,
    ),
)
# Of the headline until another is chosen: moves least if a model is left out (docs/method.md, §4)
HEADLINE = "G1"
STANDING_LAG = "G3"  # of a single benchmark, and of a placement whose date is known
CURRENT_AGE = "G6"  # for a placement without a date: measured from `as_of`


def definition(name: str) -> Definition:
    """The definition with that id.

    Raises:
        UnknownNameError: there is no such definition.
    """
    found = {each.id: each for each in DEFINITIONS}
    if name not in found:
        raise UnknownNameError("definition", name, known=found)
    return found[name]


def table_rows() -> tuple[tuple[str, ...], ...]:
    """The definitions as rows under `TABLE_HEAD`: id, question, unit, formula, source."""
    return tuple(
        (each.id, each.question, each.unit or "points", each.formula, each.source) for each in DEFINITIONS
    )


def table() -> str:
    """The definitions as a Markdown table."""
    rows = (TABLE_HEAD, ("---",) * len(TABLE_HEAD), *table_rows())
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)
