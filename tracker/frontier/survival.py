"""The mean of durations of which some have not ended yet."""

from __future__ import annotations

import numpy as np

from tracker.frontier.axis import Array, Flags


def restricted_mean(duration: Array, ended: Flags, known: Flags | None = None) -> Array:
    """Kaplan-Meier mean of each row, restricted to its longest duration seen (ended or not).

    If all durations have ended, this is the plain mean; a duration that has not ended is extended as the
    ended ones suggest, up to the longest seen. Durations may be negative.
    `duration`, `ended`, `known`: (K, J); unknown durations are left out. Returns (K,), NaN for a row
    without a known duration.
    """
    known = np.ones(duration.shape, dtype=np.bool_) if known is None else known
    length = np.where(known, duration, np.inf)
    order = np.lexsort((~ended, length), axis=1)  # at equal times those that ended come first
    length = np.take_along_axis(length, order, axis=1)
    has_ended = np.take_along_axis(ended & known, order, axis=1)
    n_known = np.count_nonzero(known, axis=1)
    at_risk = np.maximum(n_known[:, None] - np.arange(duration.shape[1]), 1)
    surviving = np.cumprod(np.where(has_ended, 1.0 - 1.0 / at_risk, 1.0), axis=1)
    drop = -np.diff(surviving, axis=1, prepend=1.0)
    length = np.where(np.isfinite(length), length, 0.0)
    longest = np.take_along_axis(length, np.maximum(n_known - 1, 0)[:, None], axis=1)[:, 0]
    mean: Array = np.sum(length * drop, axis=1) + surviving[:, -1] * longest
    return np.where(n_known > 0, mean, np.nan)
