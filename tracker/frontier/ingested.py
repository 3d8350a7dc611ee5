"""A vintage that was ingested: the published index with its joint draws, beside the shipped tables."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from tracker.frontier.axis import Array, Axis
from tracker.frontier.index import DRAWS
from tracker.frontier.population import Label, projected_axis
from tracker.stats import Z90


@dataclass(frozen=True, slots=True, eq=False)
class IngestedIndex:
    """The published index of one ingested vintage; M models, K draws."""

    vintage_id: str
    day: date  # of the data
    ingested_on: date
    confirmed_on: date  # the last day on which the source still said the same
    digest: str
    is_refitted: bool  # whether the scores behind it can be fitted; else the published values are the axis
    models: tuple[str, ...]  # those with a published value
    value: Array  # (M,)
    ci_low: Array  # (M,) NaN where not published
    ci_high: Array  # (M,)
    draws: Array  # (K, M) joint; K = 1 and equal to `value` if neither draws nor intervals are published


def published_axis(found: IngestedIndex, by_model: dict[str, Label]) -> Axis:
    """The published values as an axis, with the published joint draws or, without those, the intervals.

    Raises:
        TrackerError: no open or no closed model is in it.
    """
    return projected_axis("index", found.models, by_model, found.value, found.draws)


def draws_of(value: Array, low: Array, high: Array, *, seed: int = 0) -> Array:
    """(K, M) independent normal draws, each side with the width of its 90% interval; no width where unknown.

    (1, M), the values themselves, if no model has an interval.
    """
    below, above = ((value - low) / Z90, (high - value) / Z90)
    if not np.isfinite(below).any():
        return value[None, :]
    below, above = (np.nan_to_num(np.maximum(width, 0.0)) for width in (below, above))
    z = np.random.default_rng(seed).normal(size=(DRAWS, value.size))
    draws: Array = value + np.where(z < 0.0, z * below, z * above)
    return draws
