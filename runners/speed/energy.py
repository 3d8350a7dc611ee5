"""The energy that cards used between two moments, from a counter that is read a few times a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

import numpy as np

from runners.child import repeating

READ_S = 0.2  # NVML counts in millijoules and renews its counter ten to twenty times a second
SLACK_S = 2 * READ_S  # beyond the first and the last reading


class EnergyMeter:
    """Readings of `counter`, in joules, between `__enter__` and `__exit__`; None: the cards do not report."""

    def __init__(self, counter: Callable[[], float | None], *, every_s: float = READ_S) -> None:
        """Nothing is read yet."""
        self._counter = counter
        self._readings: list[tuple[float, float]] = []  # of the clock that `time.perf_counter` reads
        self._repeating = repeating(self.read, every_s=every_s, name="energy-meter")

    def __enter__(self) -> EnergyMeter:
        """Start reading."""
        self.read()
        self._repeating.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop reading."""
        self._repeating.__exit__(kind, error, trace)
        self.read()

    def read(self) -> None:
        """Take one reading now."""
        if (joules := self._counter()) is not None:
            self._readings.append((time.perf_counter(), joules))

    def between(self, begin: float, end: float) -> float | None:
        """Joules used between two moments of `time.perf_counter`; None where there are no readings of them.

        The clock is the machine's monotonic one, so moments of another process count as well.
        """
        if len(self._readings) < 2:
            return None
        moments, joules = np.array(list(self._readings)).T
        if begin < moments[0] - SLACK_S or end > moments[-1] + SLACK_S or end <= begin:
            return None
        return float(np.interp(end, moments, joules) - np.interp(begin, moments, joules))
