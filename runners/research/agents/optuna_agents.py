"""The classical references: random search and TPE, by Optuna, over the same space as the models.

Both move a few numbers of the incumbent per trial, as a model may: twenty numbers drawn at once are far worse
than the defaults almost always, and thirty trials teach no optimizer the way back.
The Optuna study is rebuilt from the history for each call.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runners.research.agents import Ask
from runners.research.agents.history import change_key, trial_outcomes
from runners.research.agents.parse_json import MAX_CHANGES
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
    import optuna

# Random trials before TPE begins; Optuna's 10 are a third of a study. In a simulation of the `cpu` tier's
# measured effects with 30 trials and 8 seeds, 5 gained 0.180 bpb, 10 gained 0.148, random search 0.142.
STARTUP = 5
DRAWS = 200  # a draw outside the space, such as a width that the heads do not divide, is repeated
Values = dict[str, Any]


class RandomAgent:
    """Draws evenly between the bounds, on the scale of each number."""

    name = "random"

    def __init__(self, study: Study, folder: Path) -> None:
        """Nothing is loaded."""

    def propose(self, ask: Ask) -> Sequence[Proposal]:
        """`ask.k` proposals; equal ones within a wave or to an earlier trial are drawn again."""
        study = _study(ask, self._sampler(seed_of(ask)))
        tried = {change_key(t.proposal.change) for t in ask.history if t.proposal.change is not None}
        tried.add(change_key(ask.incumbent))
        chance = random.Random(seed_of(ask))
        found: list[Proposal] = []
        for _ in range(DRAWS):
            change = self._draw(study, ask, chance)
            if change is not None and change_key(change) not in tried:
                tried.add(change_key(change))
                found.append(Proposal(change, rationale=f"suggested by {self.name}", proposer=self.name))
                if len(found) == ask.k:
                    break
        return found or [Proposal(None, proposer=self.name, problem="no untried proposal could be drawn")]

    def close(self) -> None:
        """Nothing is held."""

    def _sampler(self, seed: int) -> Any:
        from optuna.samplers import RandomSampler

        return RandomSampler(seed=seed)

    def _draw(self, study: optuna.Study, ask: Ask, chance: random.Random) -> Change | None:
        """The incumbent with some numbers as the sampler suggests; None if they do not go together."""
        import optuna

        chosen = chance.sample(list(ask.space), chance.randint(1, min(MAX_CHANGES, len(ask.space))))
        trial = study.ask({tunable.name: _distribution(tunable) for tunable in chosen})
        moved = {tunable.name: _value(tunable, trial.params[tunable.name]) for tunable in chosen}
        try:
            params = space.validate({**ask.incumbent.params, **moved}, ask.tier)
        except ValueError:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            return None
        return Change(params=params, script=ask.incumbent.script)


class TpeAgent(RandomAgent):
    """Tree-structured Parzen estimator (arXiv 2304.11127): draws where the good trials were."""

    name = "tpe"

    def _sampler(self, seed: int) -> Any:
        from optuna.samplers import TPESampler

        return TPESampler(seed=seed, n_startup_trials=STARTUP)


def seed_of(ask: Ask) -> int:
    """A seed that depends on the study's seed and the slot alone."""
    return random.Random(f"{ask.study.seed}/{ask.slot}").getrandbits(32)


def all_values(params: Mapping[str, Any], ask: Ask) -> Values:
    """Every number of the space: the proposed ones, the others at their defaults."""
    return {tunable.name: params.get(tunable.name, tunable.default) for tunable in ask.space}


def _study(ask: Ask, sampler: Any) -> optuna.Study:
    """An Optuna study that knows the baseline and the history.

    What failed is told as pruned, that is, as worse than everything with a number and without one itself.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {tunable.name: _distribution(tunable) for tunable in ask.space}
    study = optuna.create_study(sampler=sampler)

    def tell(params: Mapping[str, Any], bpb: float | None) -> None:
        state = optuna.trial.TrialState.PRUNED if bpb is None else optuna.trial.TrialState.COMPLETE
        values = all_values(params, ask)
        coordinates = {tunable.name: _coordinate(tunable, values[tunable.name]) for tunable in ask.space}
        study.add_trial(
            optuna.create_trial(params=coordinates, distributions=distributions, value=bpb, state=state)
        )

    baseline_bpb = ask.baseline_bpb.get(Split.VAL)
    if baseline_bpb is not None:
        tell({}, baseline_bpb)
    for standing in trial_outcomes(ask.history, baseline_bpb=baseline_bpb):
        if standing.params is not None and standing.trial.verdict is not Verdict.DUPLICATE:
            tell(standing.params, standing.val_bpb)
    return study


def _distribution(tunable: Tunable) -> Any:
    """The number's range; choices are in rising order, so that their places are one too."""
    import optuna

    if tunable.choices:
        return optuna.distributions.IntDistribution(0, len(tunable.choices) - 1)
    return optuna.distributions.FloatDistribution(tunable.low, tunable.high, log=tunable.log)


def _coordinate(tunable: Tunable, value: Any) -> float | int:
    return tunable.choices.index(value) if tunable.choices else float(value)


def _value(tunable: Tunable, coordinate: Any) -> Any:
    return tunable.choices[int(coordinate)] if tunable.choices else float(coordinate)
