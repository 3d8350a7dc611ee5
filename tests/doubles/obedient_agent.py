"""An agent that does what its instructions say: for searches of better instructions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from runners.research.agents import Ask
from tracker.records.studies import Change, Proposal, Study


class ObedientAgent:
    """Proposes the value of beta1 that stands in the program behind `beta1=`, else one that does harm."""

    def __init__(self, study: Study, folder: Path) -> None:
        word = study.program.partition("beta1=")[2].split()
        self._beta1 = float(word[0]) if word else 0.97

    def propose(self, ask: Ask) -> Sequence[Proposal]:
        """The same again and again."""
        return [Proposal(Change({"beta1": self._beta1}), proposer="obedient")] * ask.k

    def close(self) -> None:
        """Nothing is held."""
