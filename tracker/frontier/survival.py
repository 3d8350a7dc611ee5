"""Durations of which some have not ended yet: the mean that does not throw those away."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tracker.frontier.axis import Array


def restricted_mean(duration: Array, ended: npt.NDArray[np.bool_]) -> float:
    """Kaplan-Meier mean, restricted to the longest duration seen (ended or not).

    With every duration ended it is the plain mean; a duration that is still running counts as longer
    than it is by what the ended ones suggest, up to the longest seen. Durations may be negative.

    Raises:
        ValueError: there is no duration.
    """
    if duration.size == 0:
        raise ValueError("no durations")
    times = np.unique(duration[ended])
    at_risk = np.count_nonzero(duration >= times[:, None], axis=1)
    ends = np.count_nonzero(ended & (duration == times[:, None]), axis=1)
    surviving = np.cumprod(1.0 - ends / at_risk) if times.size else np.empty(0)
    drop = -np.diff(np.append(1.0, surviving))
    rest = surviving[-1] if times.size else 1.0
    return float(np.sum(times * drop) + rest * duration.max())
