"""The agent of a study that is driven from outside: waits for what is submitted through the tools.

The study runs in its worker as any other. This agent tells in `asked.json` that a proposal is wanted, and
returns when it lies in the study's folder; who wrote it there is the business of `tracker research serve`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from runners.research.agents import Ask
from runners.research.agents.parse_json import KEPT_RATIONALE_CHARS
from runners.research.problem import space
from runners.research.tools.workspace import AskedProposal, Submission, Workspace
from tracker.records.studies import Proposal, Split, Study

LOOK_S = 0.1
NAME = "served"
UNUSED = "the agent ended its work before this trial"


class ServedAgent:
    """Proposes what is submitted; a trial that the agent does not want any more is invalid."""

    def __init__(self, study: Study, folder: Path) -> None:
        """Nothing is started: the client comes by itself."""
        self._work = Workspace(folder)

    def propose(self, ask: Ask) -> Sequence[Proposal]:
        """The next submission, however long it takes; a signal ends the wait."""
        n_past = len(ask.history)
        self._work.write_asked(asked_of(ask))
        while (submission := self._work.submission(n_past)) is None:
            if self._work.finished() is not None:
                return [Proposal(None, proposer=NAME, problem=UNUSED) for _ in range(ask.k)]
            time.sleep(LOOK_S)
        return [proposal_of(submission, ask, proposer=NAME)]

    def close(self) -> None:
        """Nothing is held."""


def asked_of(ask: Ask) -> AskedProposal:
    """The part of a question that an agent with tools is told."""
    return AskedProposal(
        n_past=len(ask.history),
        n_left=ask.n_left,
        baseline_bpb=ask.baseline_bpb.get(Split.VAL),
        incumbent_bpb=ask.incumbent_bpb.get(Split.VAL),
    )


def proposal_of(submission: Submission, ask: Ask, *, proposer: str) -> Proposal:
    """The proposal in a submission."""
    note = submission.note.strip()[:KEPT_RATIONALE_CHARS]
    exchanges, change = submission.exchanges, submission.change
    problem = submission.problem
    if change is not None:
        try:
            space.values(change, ask.tier)
        except (SyntaxError, ValueError) as error:
            change, problem = None, str(error)
    if change is None:
        problem = problem or "nothing was submitted"
        return Proposal(None, rationale=note, proposer=proposer, problem=problem, exchanges=exchanges)
    return Proposal(change, rationale=note, proposer=proposer, diff=submission.diff, exchanges=exchanges)
