"""An optimizer proposes; a model sees what it would try, and may override a share of the trials.

Thirty percent is what worked best (ferreirafabio/autoresearch-automl, `centaur.md`): more overrides hurt.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from runners.research.agents import Agent, Ask, agent_facts, open_agent, optimizers
from runners.research.agents.model import ModelAgent
from runners.research.agents.prompting import OptimizerSuggestion
from tracker.errors import UnknownNameError
from tracker.records.studies import (
    AgentSpec,
    Proposal,
    Study,
    Track,
)


class HybridAgent:
    """Which trials the model may override depends on the study's seed alone."""

    def __init__(self, study: Study, folder: Path) -> None:
        """Load the model.

        Raises:
            UnknownNameError: there is no such optimizer.
            TrackerError: as `ModelAgent`.
        """
        name = study.agent.optimiser
        if not agent_facts(name).is_optimizer:
            raise UnknownNameError("optimizer", name, known=optimizers())
        alone = replace(study, agent=AgentSpec(name, name), track=Track.PARAMS)
        self._optimizer: Agent = open_agent(alone, folder)
        self._model = ModelAgent(study, folder)

    def propose(self, ask: Ask) -> Sequence[Proposal]:
        """The optimizer's proposals, some of them overridden by the model.

        Raises:
            TrackerError: as `ModelAgent.propose`.
        """
        suggested = self._optimizer.propose(ask)
        overridden = overridden_trials(ask.study)
        n_past = len(ask.history)
        places = [
            place
            for place, proposal in enumerate(suggested)
            if n_past + place in overridden and proposal.change is not None
        ]
        if not places:
            return suggested
        offers = [OptimizerSuggestion(ask.study.agent.optimiser, suggested[place]) for place in places]
        own = self._model.propose(replace(ask, k=len(places)), suggestions=offers)
        # fewer come back where two were equal; the optimizer does not step in for the model
        kept = [proposal for place, proposal in enumerate(suggested) if place not in places]
        return [*kept, *own]

    def close(self) -> None:
        """Give the model's memory back."""
        self._model.close()


def overridden_trials(study: Study) -> frozenset[int]:
    """Numbers of the trials that are the model's: at most `override_share` of them, spread by the seed."""
    n = int(study.agent.override_share * study.n_trials)
    return frozenset(random.Random(f"{study.seed}/override").sample(range(study.n_trials), n))
