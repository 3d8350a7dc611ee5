"""The gap between the open and the closed group by every definition on one axis, with intervals.

The definitions are in `tracker.frontier.definitions`; each is computed on rows of values, whether central
values or joint draws. Formulas: `docs/method.md`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tracker.frontier import definitions
from tracker.frontier.axis import Array, Axis
from tracker.frontier.calibration import N_INNER, N_WORLDS, calibrated_tails, interval
from tracker.frontier.definitions import Definition, Groups, Measure, Window
from tracker.frontier.envelope import Members

STRETCH_SEED = 0
LOW = 0.05  # low end of a difference that decides whether a closed model is significantly ahead
BEING_DRAWN = "being computed"
LEAST_DEFINED = 0.9  # share of draws with a number needed to show an interval


@dataclass(frozen=True, slots=True)
class Gap:
    """The gap by one definition; positive means that open is behind."""

    id: str
    unit: str  # "months", or the axis's own unit
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int  # closed records, levels or days behind the number
    n_censored: int  # closed records that open has not reached yet
    note: str = ""  # why there is no value or interval


def gaps(axis: Axis, window: Window, *, unit: str = "index") -> tuple[Gap, ...]:
    """Every definition on `axis`, with models released by the window's last day.

    Raises:
        TrackerError: no open or no closed model is left.
    """
    sampled = _Sampled(axis.until(window.as_of), window)
    central = sampled.central()
    ends = sampled.intervals()
    return tuple(
        _gap(each.id, each.unit_on(unit), central[each.id], ends[each.id]) for each in definitions.DEFINITIONS
    )


def gap_at(rule: Definition, axis: Axis, window: Window, *, unit: str = "index") -> Gap:
    """One definition alone, which takes a fraction of the time of `gaps`.

    Raises:
        TrackerError: no open or no closed model is left.
    """
    sampled = _Sampled(axis.until(window.as_of), window, (rule,))
    return _gap(rule.id, rule.unit_on(unit), sampled.central()[rule.id], sampled.intervals()[rule.id])


def undrawn_gaps(axis: Axis, window: Window, *, unit: str = "index") -> tuple[Gap, ...]:
    """The same without draws: central values only, and none for definitions that need draws.

    Raises:
        TrackerError: no open or no closed model is left.
    """
    central = central_gaps(axis, window)
    return tuple(
        Gap(
            each.id,
            each.unit_on(unit),
            None if each.needs_draws else central[each.id],
            None,
            None,
            0,
            0,
            BEING_DRAWN,
        )
        for each in definitions.DEFINITIONS
    )


def gap(name: str, axis: Axis, window: Window) -> float | None:
    """The central value of one definition, in its own unit."""
    rule = definitions.definition(name)
    return _known(_Sampled(axis.until(window.as_of), window, (rule,)).central()[name].value[0])


def central_gaps(axis: Axis, window: Window) -> dict[str, float | None]:
    """The central value of every definition, without intervals."""
    central = _Sampled(axis.until(window.as_of), window).central()
    return {name: _known(measure.value[0]) for name, measure in central.items()}


def gap_intervals(axis: Axis, window: Window) -> dict[str, tuple[float, float] | None]:
    """The ends of each definition's interval; None if too few draws define it."""
    return _Sampled(axis.until(window.as_of), window).intervals()


def _gap(name: str, unit: str, central: Measure, ends: tuple[float, float] | None) -> Gap:
    value = _known(central.value[0])
    low = high = None
    note = central.note
    if value is not None:
        low, high = ends or (None, None)
        note = "" if ends else "the uncertainty of these scores is unknown"
    return Gap(name, unit, value, low, high, int(central.n[0]), int(central.n_censored[0]), note)


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


class _Sampled:
    """The axis split into groups, shared by all rows of values and by the definitions, by default all."""

    def __init__(self, axis: Axis, window: Window, rules: tuple[Definition, ...] | None = None) -> None:
        self._axis = axis
        self._window = window
        self._rules = definitions.DEFINITIONS if rules is None else rules
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
        if not axis.has_draws or not any(rule.needs_draws for rule in self._rules):
            return margin
        for c, place in enumerate(self._closed.place):
            ahead = axis.draws[:, place, None] - axis.draws[:, open_places]
            central = axis.value[place] - axis.value[open_places]
            margin[c] = np.maximum(central - np.quantile(ahead, LOW, axis=0), 0.0)
        return margin

    def _groups(self, value: Array, stretch: Array | float) -> Groups:
        open_value, closed_value = value[:, self._open.place], value[:, self._closed.place]
        return Groups(
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

    def central(self) -> dict[str, Measure]:
        """Every definition on the central values: one row."""
        groups = self._groups(self._axis.value[None, :], 1.0)
        return {each.id: each.measure(groups) for each in self._rules}

    def intervals(self) -> dict[str, tuple[float, float] | None]:
        """Each definition's draws between its calibrated tails."""
        if not self._axis.has_draws:
            return {each.id: None for each in self._rules}
        draws = self._draws(self._axis.draws, self._stretch)
        truths = {name: float(found.value[0]) for name, found in self.central().items()}
        # a definition based on intervals has no value without noise
        rules = [each.id for each in self._rules if each.needs_draws and draws[each.id].size]
        truths |= {name: float(np.mean(draws[name][:N_WORLDS])) for name in rules}
        known = {name: truth for name, truth in truths.items() if np.isfinite(truth)}
        tails = calibrated_tails(known, self._worlds())
        return {name: interval(draws[name], tails[name]) if name in tails else None for name in draws}

    def _worlds(self) -> Iterator[dict[str, Array]]:
        """The draws that would follow if each of the first draws were the data."""
        noise = self._axis.draws[-N_INNER:] - self._axis.value
        for seen, stretch in zip(self._axis.draws[:N_WORLDS], self._stretch, strict=False):
            yield self._draws(seen + noise, stretch * self._stretch[-N_INNER:])

    def _draws(self, values: Array, stretch: Array) -> dict[str, Array]:
        """Each definition on every row of values; empty if too few rows define it."""
        groups = self._groups(values, stretch)
        found = {}
        for each in self._rules:
            value = each.measure(groups).value
            defined = value[np.isfinite(value)]
            found[each.id] = defined if defined.size >= LEAST_DEFINED * value.size else np.empty(0)
        return found
