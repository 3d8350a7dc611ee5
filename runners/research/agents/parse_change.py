"""From a model's answer to a proposal: what it means on the study's track, or why it means nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass

from runners.research.agents import Ask
from runners.research.agents.history import change_key
from runners.research.agents.parse_json import KEPT_RATIONALE_CHARS, note, read_reply
from runners.research.agents.patching import patched
from runners.research.problem import space
from tracker.records.studies import Change, Proposal, Track

NOTES = re.compile(r"^[\s*_#]*NOTES?[\s*_]*:[\s*_]*(.*)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Read:
    """A change that was understood."""

    change: Change
    rationale: str
    diff: str | None = None
    notes: str = ""  # of the model, for itself
    is_suggestion: bool = False  # the optimizer's, accepted


def read_change(text: str, ask: Ask, *, suggestion: Proposal | None = None) -> Read:
    """The change that `text` wants made to the incumbent; no change at all takes the `suggestion`.

    Raises:
        ValueError: it cannot be read, is outside the space, or changes nothing.
    """
    if ask.study.track is Track.CODE:
        edit = patched(ask.script, text)
        space.values(Change(params=ask.incumbent.params, script=edit.script), ask.tier)
        change = Change(params=ask.incumbent.params, script=edit.script)
        said, notes = _without_notes(edit.rationale)
        return Read(change, said[:KEPT_RATIONALE_CHARS], edit.diff, notes)
    current = {t.name: ask.incumbent.params.get(t.name, t.default) for t in ask.space}
    reply = read_reply(text, current)
    if not reply.changes:
        if suggestion is not None and suggestion.change is not None:
            return Read(suggestion.change, reply.rationale, notes=reply.notes, is_suggestion=True)
        raise ValueError('"changes" is empty: name at least one')
    params = space.validate({**ask.incumbent.params, **reply.changes}, ask.tier)
    change = Change(params=params, script=ask.incumbent.script)
    if change_key(change) == change_key(ask.incumbent):
        raise ValueError("nothing would change: the incumbent has these values already")
    return Read(change, reply.rationale, notes=reply.notes)


def _without_notes(rationale: str) -> tuple[str, str]:
    """The reason for an edit, and the line of notes that stands in it."""
    lines = rationale.splitlines()
    notes = [found.group(1) for line in lines if (found := NOTES.match(line))]
    return "\n".join(line for line in lines if not NOTES.match(line)).strip(), note(" ".join(notes))


def read_proposal(text: str, ask: Ask, *, proposer: str) -> Proposal:
    """The proposal in `text`, invalid with the problem's sentence where there is none."""
    try:
        read = read_change(text, ask)
    except ValueError as error:
        return Proposal(None, proposer=proposer, problem=str(error))
    return Proposal(
        read.change, rationale=read.rationale, proposer=proposer, diff=read.diff, notes=read.notes
    )
