"""CMA-ES (arXiv 1604.00772) from the package that Optuna uses for it.

Optuna's own sampler keeps its state in the trials that it asked for itself; here the state is rebuilt from
the history, whoever proposed, and the search begins at the tier's defaults.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from runners.research.agents import Ask
from runners.research.agents.history import change_key, trial_outcomes
from runners.research.agents.optuna_agents import DRAWS, Values, all_values, seed_of
from runners.research.problem import space
from runners.research.problem.tunables import Tunable
from tracker.records.studies import (
    Change,
    Proposal,
    Split,
    Study,
    Verdict,
)

if TYPE_CHECKING:
    import cmaes

SIGMA = 1 / 6  # of each range, at first: Optuna 5.0's value


class CmaAgent:
    """Moves all numbers at once, and learns which of them go together."""

    name = "cma"

    def __init__(self, study: Study, folder: Path) -> None:
        """Nothing is loaded."""

    def propose(self, ask: Ask) -> Sequence[Proposal]:
        """`ask.k` proposals; what does not go together or was tried before is drawn again."""
        optimizer = _optimizer(ask)
        optimizer.reseed_rng(seed_of(ask))
        tried = {change_key(t.proposal.change) for t in ask.history if t.proposal.change is not None}
        found: list[Proposal] = []
        for _ in range(DRAWS):
            try:
                params = space.validate(_values(optimizer.ask(), ask), ask.tier)
            except ValueError:
                continue
            change = Change(params=params, script=ask.incumbent.script)
            if change_key(change) not in tried:
                tried.add(change_key(change))
                found.append(Proposal(change, rationale=f"suggested by {self.name}", proposer=self.name))
                if len(found) == ask.k:
                    break
        return found or [Proposal(None, proposer=self.name, problem="no untried proposal could be drawn")]

    def close(self) -> None:
        """Nothing is held."""


def _optimizer(ask: Ask) -> cmaes.CMA:
    """The search after the history, told in generations; an unfinished generation waits.

    It ranks only: what failed is told at the worst rank, so that no penalty's size can mislead it.
    """
    import cmaes

    optimizer = cmaes.CMA(
        mean=_point({}, ask),
        sigma=SIGMA,
        bounds=np.array([[0.0, 1.0]] * len(ask.space)),
        seed=ask.study.seed,
    )
    generation: list[tuple[Any, float]] = []
    for standing in trial_outcomes(ask.history, baseline_bpb=ask.baseline_bpb.get(Split.VAL)):
        if standing.params is None or standing.trial.verdict is Verdict.DUPLICATE:
            continue
        bpb = math.inf if standing.val_bpb is None else standing.val_bpb
        generation.append((_point(standing.params, ask), bpb))
        if len(generation) == optimizer.population_size:
            optimizer.tell(generation)
            generation = []
    return optimizer


def _point(params: Mapping[str, Any], ask: Ask) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Every number as a place in 0..1 of its range."""
    values = all_values(params, ask)
    return np.array([_unit(tunable, values[tunable.name]) for tunable in ask.space])


def _values(point: np.ndarray[Any, np.dtype[np.float64]], ask: Ask) -> Values:
    return {t.name: _value(t, float(unit)) for t, unit in zip(ask.space, point, strict=True)}


def _unit(tunable: Tunable, value: float) -> float:
    if tunable.choices:
        return (tunable.choices.index(value) + 0.5) / len(tunable.choices)
    low, high, value = (
        (math.log(x) for x in (tunable.low, tunable.high, value))
        if tunable.log
        else (tunable.low, tunable.high, value)
    )
    return (value - low) / (high - low)


def _value(tunable: Tunable, unit: float) -> float | int:
    if tunable.choices:
        return tunable.choices[min(int(unit * len(tunable.choices)), len(tunable.choices) - 1)]
    if tunable.log:
        low, high = math.log(tunable.low), math.log(tunable.high)
        return min(max(math.exp(low + unit * (high - low)), tunable.low), tunable.high)
    return tunable.low + unit * (tunable.high - tunable.low)
