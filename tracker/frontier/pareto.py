"""The models with the best value for their cost, as a probability for each.

One model dominates another if it scores at least as well, costs at most as much, and is better in one of
the two. A cost is any quantity for which less is better: parameters, bytes of memory, seconds, dollars; for
tokens per second, use the inverse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tracker.errors import TrackerError
from tracker.frontier.axis import Array, Axis, Flags
from tracker.frontier.index import INTERVAL

LEAST_MODELS = 2


@dataclass(frozen=True, slots=True)
class Offer:
    """One model with its cost, its value and the probability that it is on the frontier."""

    model: str
    is_open: bool
    cost: float
    value: float
    ci_low: float | None
    ci_high: float | None
    on_frontier: bool  # by the central values
    probability: float  # share of draws in which nothing dominates it


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Candidates for the frontier: one entry per model, draws of shape (K, entries)."""

    models: tuple[str, ...]
    is_open: Flags
    cost: Array
    value: Array
    draws: Array


def pareto_frontier(axis: Axis, cost: Mapping[str, float]) -> tuple[Offer, ...]:
    """The models of `axis` with a known cost, cheapest first.

    Raises:
        TrackerError: fewer than two models have a cost.
    """
    places = np.array([i for i, model in enumerate(axis.models) if model in cost], dtype=np.intp)
    candidates = Candidates(
        models=tuple(axis.models[place] for place in places),
        is_open=axis.is_open[places],
        cost=np.array([cost[axis.models[place]] for place in places]),
        value=axis.value[places],
        draws=axis.draws[:, places],
    )
    return offers(candidates)


def offers(candidates: Candidates, *, least: int = LEAST_MODELS) -> tuple[Offer, ...]:
    """Every candidate with its standing, cheapest first.

    Raises:
        TrackerError: there are fewer than `least`.
    """
    costs, value, draws = candidates.cost, candidates.value, candidates.draws
    if len(candidates.models) < least:
        raise TrackerError(
            f"a frontier needs two models with a cost and a score; there are {len(candidates.models)}"
        )
    if not np.isfinite(costs).all():
        raise ValueError("a cost is not finite")
    central = undominated(costs, value)
    share = np.mean([undominated(costs, row) for row in draws], axis=0)
    low, high = np.quantile(draws, INTERVAL, axis=0)
    has_draws = len(draws) > 1
    found = [
        Offer(
            model=model,
            is_open=bool(candidates.is_open[i]),
            cost=float(costs[i]),
            value=float(value[i]),
            ci_low=float(low[i]) if has_draws else None,
            ci_high=float(high[i]) if has_draws else None,
            on_frontier=bool(central[i]),
            probability=float(share[i]),
        )
        for i, model in enumerate(candidates.models)
    ]
    return tuple(sorted(found, key=lambda row: (row.cost, -row.value)))


def undominated(cost: Array, value: Array) -> Flags:
    """Whether no other point costs at most as much, scores at least as well, and beats it in one."""
    order = np.lexsort((-value, cost))
    sorted_cost, sorted_value = cost[order], value[order]
    best_so_far = np.append(-np.inf, np.maximum.accumulate(sorted_value)[:-1])
    flags = np.zeros(cost.size, dtype=np.bool_)
    flags[order] = sorted_value > best_so_far
    # a twin with the same cost and the same value does not dominate
    twin = (np.diff(sorted_cost, prepend=np.nan) == 0) & (np.diff(sorted_value, prepend=np.nan) == 0)
    for i in np.flatnonzero(twin):
        flags[order[i]] = flags[order[i - 1]]
    return flags
