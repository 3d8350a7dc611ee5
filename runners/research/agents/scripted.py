"""An agent that reads its proposals from a file: for tests, and for replaying another study's proposals.

`proposals.json` in the study's folder is a list; the entry at a slot's number is what is proposed there, and
the last one again after the end. An entry has `changes` (numbers), `script` (a whole edited script) or
`reply` (a model's answer as it was).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runners.research.agents import Ask
from runners.research.agents.parse_change import read_proposal
from tracker.errors import TrackerError, UsageError
from tracker.records.studies import (
    Change,
    Params,
    Proposal,
    Study,
)
from tracker.serialization import load_json

FILE = "scripted.json"
NAME = "scripted"


@dataclass(frozen=True, slots=True)
class Entry:
    """One proposal of the file."""

    changes: Params = field(default_factory=dict)
    script: str | None = None
    reply: str | None = None
    rationale: str = ""


class ScriptedAgent:
    """Proposes what the file says."""

    def __init__(self, study: Study, folder: Path) -> None:
        """Read the file.

        Raises:
            UsageError: there is none, or it is empty.
            TrackerError: it is not as it should be.
        """
        path = folder / FILE
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise UsageError(f"agent `{NAME}` reads `{path}`: {error.strerror}") from error
        self._entries = load_json(tuple[Entry, ...], raw, where=str(path))
        if not self._entries:
            raise TrackerError(f"{path}: it has no proposals")

    def propose(self, ask: Ask) -> Sequence[Proposal]:
        """The next `ask.k` entries, counted by the trials so far."""
        n_past = len(ask.history)
        last = len(self._entries) - 1
        return [self._proposal(self._entries[min(n_past + i, last)], ask) for i in range(ask.k)]

    def close(self) -> None:
        """Nothing is held."""

    def _proposal(self, entry: Entry, ask: Ask) -> Proposal:
        if entry.reply is not None:
            return read_proposal(entry.reply, ask, proposer=NAME)
        try:
            params = _params(entry, ask)
        except ValueError as error:
            return Proposal(None, rationale=entry.rationale, proposer=NAME, problem=str(error))
        script = ask.incumbent.script if entry.script is None else entry.script
        return Proposal(Change(params=params, script=script), rationale=entry.rationale, proposer=NAME)


def _params(entry: Entry, ask: Ask) -> Any:
    from runners.research.problem import space

    return space.validate({**ask.incumbent.params, **entry.changes}, ask.tier)
