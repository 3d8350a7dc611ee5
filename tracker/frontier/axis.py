"""A score axis: dated open and closed models with values and joint draws on one scale.

The scale may be the index, one benchmark or a rating series; the gap definitions work on any of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import numpy.typing as npt

from tracker.errors import TrackerError, UnknownNameError

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

DAYS_PER_MONTH = 30.4375  # 365.25 / 12
_NEVER = np.array([np.inf])


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """Models with an access label, a date and a value; draws are joint, so shared errors are preserved."""

    name: str  # "index", or the benchmark
    models: tuple[str, ...]
    is_open: Flags  # (M,)
    released: Array  # (M,) days since 0001-01-01
    value: Array  # (M,)
    draws: Array  # (K, M); a single row equal to `value` if the uncertainty is unknown
    high: Array  # (M,) upper end of each model's interval, used by G2
    high_error: Array | None = None  # (M,) sd of log(high − value) from one data set to the next

    def __post_init__(self) -> None:
        """Check that both groups have models and every number is finite."""
        if not np.isfinite(self.value).all() or not np.isfinite(self.draws).all():
            raise ValueError(f"axis {self.name}: a value is not finite")
        for label, flags in (("open", self.is_open), ("closed", ~self.is_open)):
            if not flags.any():
                raise TrackerError(
                    f"no {label} model is left on the axis `{self.name}`, so there is nothing to compare",
                    hint="use a later `--as-of` or fewer filters",
                )

    @property
    def has_draws(self) -> bool:
        """Whether intervals can be given."""
        return len(self.draws) > 1

    def keep(self, flags: Flags) -> Axis:
        """The axis with the flagged models only.

        Raises:
            TrackerError: no open or no closed model is left.
        """
        return replace(
            self,
            models=tuple(model for model, kept in zip(self.models, flags, strict=True) if kept),
            is_open=self.is_open[flags],
            released=self.released[flags],
            value=self.value[flags],
            draws=self.draws[:, flags],
            high=self.high[flags],
            high_error=None if self.high_error is None else self.high_error[flags],
        )

    def until(self, day: date) -> Axis:
        """The models released by that day."""
        return self.keep(self.released <= day.toordinal())

    def without(self, models: Sequence[str]) -> Axis:
        """The axis without these models, on the same scale.

        Raises:
            UnknownNameError: a model is not on the axis.
        """
        for model in models:
            if model not in self.models:
                raise UnknownNameError("model on this axis", model, known=self.models)
        return self.keep(np.array([model not in models for model in self.models]))

    def best(self, *, is_open: bool) -> int:
        """Position of the best model of a group; the earlier one in a tie."""
        members = np.flatnonzero(self.is_open == is_open)
        order = np.lexsort((self.released[members], -self.value[members]))
        return int(members[order[0]])


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """A running maximum over time: it reaches `level[i]` on `day[i]`; both rise."""

    day: Array
    level: Array
    member: npt.NDArray[np.intp]  # positions of the record setters in the input

    def reached(self, level: Array) -> Array:
        """T(x): the day on which each level was first reached; infinite if never."""
        padded = np.concatenate((self.day, _NEVER))
        days: Array = padded[np.searchsorted(self.level, level, side="left")]
        return days

    def height(self, day: Array) -> Array:
        """F(t): the best level by each day; minus infinity before the first."""
        padded = np.concatenate((-_NEVER, self.level))
        levels: Array = padded[np.searchsorted(self.day, day, side="right")]
        return levels


def steps(released: Array, value: Array) -> Steps:
    """The records of a group in order; models released on the same day count together."""
    order = np.lexsort((-value, released))
    running = np.maximum.accumulate(value[order])
    is_record = np.append(True, running[1:] > running[:-1])
    member = order[is_record]
    return Steps(released[member], value[member], member)
