"""The best value of a group by each day, for many draws at once: step functions that the gaps use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracker.frontier.axis import Array, Flags


@dataclass(frozen=True, slots=True, eq=False)
class Envelope:
    """F(t) of each row: `level[:, d]` is the best value by `day[d]`; days rise, levels do not fall."""

    day: Array  # (D,)
    level: Array  # (K, D)

    @property
    def best(self) -> Array:
        """(K,) the highest level of each row."""
        return self.level[:, -1]

    @property
    def is_record(self) -> Flags:
        """(K, D) whether the level rose on that day; the first day's always did."""
        flags = np.ones(self.level.shape, dtype=np.bool_)
        np.greater(self.level[:, 1:], self.level[:, :-1], out=flags[:, 1:])
        return flags

    def height(self, days: Array) -> Array:
        """F(t): (K, T) the best level by each of the days; minus infinity before the first."""
        place = np.searchsorted(self.day, days, side="right")
        padded = np.concatenate((np.full((len(self.level), 1), -np.inf), self.level), axis=1)
        heights: Array = padded[:, place]
        return heights

    def reached(self, level: Array) -> Array:
        """T(x): (K, J) the day on which each of (K, J) levels was first reached; infinite if never."""
        place = np.count_nonzero(self.level[:, None, :] < level[:, :, None], axis=2)
        days: Array = np.append(self.day, np.inf)[place]
        return days

    def days_integral(self, low: Array, high: Array) -> Array:
        """(K,) the integral of T(x) over the levels from `low` to `high`, all of which were reached."""
        clipped = np.clip(self.level, low[:, None], high[:, None])
        rise = np.diff(clipped, axis=1, prepend=low[:, None])
        return rise @ self.day


@dataclass(frozen=True, slots=True, eq=False)
class Members:
    """The models of one group sorted by day, with the start of each day's models."""

    place: npt.NDArray[np.intp]  # (M,) places on the axis
    day: Array  # (M,)
    first: npt.NDArray[np.intp]  # (D,) place in `day` of the first model of each day

    @classmethod
    def of(cls, released: Array, flags: Flags) -> Members:
        """The flagged models."""
        place = np.flatnonzero(flags)
        place = place[np.argsort(released[place], kind="stable")]
        _, first = np.unique(released[place], return_index=True)
        return cls(place, released[place], first)

    def envelope(self, value: Array) -> Envelope:
        """The running best of (K, M) values; models of the same day count together."""
        running = np.maximum.accumulate(value, axis=1)
        last = np.append(self.first[1:], len(self.day)) - 1
        return Envelope(self.day[self.first], running[:, last])

    def holders(self, value: Array) -> npt.NDArray[np.intp]:
        """(K, D) the model that holds the record of (K, M) values by each day; the earlier one in a tie."""
        before = np.maximum.accumulate(value, axis=1)[:, :-1]
        sets = np.ones(value.shape, dtype=np.bool_)
        np.greater(value[:, 1:], before, out=sets[:, 1:])
        holder = np.maximum.accumulate(np.where(sets, np.arange(value.shape[1]), 0), axis=1)
        last = np.append(self.first[1:], len(self.day)) - 1
        held: npt.NDArray[np.intp] = holder[:, last]
        return held

    def best_of_day(self, value: Array, day: int) -> npt.NDArray[np.intp]:
        """(K,) the model of that day with the highest of (K, M) values."""
        begin = self.first[day]
        end = self.first[day + 1] if day + 1 < len(self.first) else len(self.day)
        best: npt.NDArray[np.intp] = begin + np.argmax(value[:, begin:end], axis=1)
        return best


def lower(one: Envelope, other: Envelope) -> Envelope:
    """The envelope that reaches a level once both have reached it."""
    days = np.union1d(one.day, other.day)
    return Envelope(days, np.minimum(one.height(days), other.height(days)))
