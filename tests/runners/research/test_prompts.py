"""What a model is told beside the numbers: losses, its own notes, and that it repeats itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from runners.research.agents.asking import MAX_TEMPERATURE, TEMPERATURE, temperature_after
from runners.research.agents.history import trailing_repeats
from runners.research.agents.parse_change import read_change
from runners.research.agents.parse_json import MAX_NOTE_CHARS
from runners.research.agents.prompting import MAX_NOTEBOOK_CHARS, prompt_messages
from tests.doubles.research_asks import TIER, ask, past, study, trial
from tracker.records.studies import Change, Proposal, Track, Trial, Verdict


def question(history: Sequence[Trial], *, track: Track = Track.PARAMS, max_chars: int = 100_000) -> str:
    messages = prompt_messages(ask(study("model", track=track), history), max_chars=max_chars)
    assert messages is not None
    return messages[1]["content"]


def noting(slot: int, notes: str) -> Trial:
    return trial(slot, Proposal(Change({"beta1": 0.7}), proposer="model", notes=notes), gain=0.01)


def repeating(slot: int, beta2: float) -> Trial:
    proposal = Proposal(Change({"beta2": beta2}), proposer="model")
    return trial(slot, proposal, gain=0.01, verdict=Verdict.DUPLICATE)


def test_prompt_the_losses_during_the_last_training_stand_beside_the_incumbents() -> None:
    (measured,) = past(1)
    n = TIER.train_tokens
    curve = ((n // 50, 3.4), (n // 2, 2.25), (n, 1.75))
    (pair,) = measured.pairs
    both = replace(pair, parent=replace(pair.parent, curve=curve), child=replace(pair.child, curve=curve[:2]))
    asked = question([replace(measured, pairs=(both,))])
    assert "- incumbent: 2% 3.400, 50% 2.250, 100% 1.750" in asked
    assert "- last trial: 2% 3.400, 50% 2.250" in asked
    assert "Training loss" not in question([measured])


def test_prompt_a_models_own_notes_come_back_within_a_bound_and_once() -> None:
    asked = question([noting(0, "low betas help"), noting(1, "low betas help"), noting(2, "try softcap 0")])
    assert asked.count("low betas help") == 1
    assert asked.index("low betas help") < asked.index("try softcap 0")
    long = [noting(n, f"{n}" + "x" * (MAX_NOTE_CHARS - 2)) for n in range(20)]
    assert "Your notes so far:\n- 1" in question(long)
    assert question(long).count("x" * 100) <= 3 * MAX_NOTEBOOK_CHARS // MAX_NOTE_CHARS
    assert "Your notes" not in question(past(2))


@pytest.mark.parametrize(
    ("track", "reply"),
    [
        (Track.PARAMS, '{"rationale": "why", "notes": "low\\n betas", "changes": {"beta2": 0.98}}'),
        (
            Track.CODE,
            "why\n**Notes:** low betas\n<<<<<<< SEARCH\n    beta2: float = 0.95\n=======\n"
            "    beta2: float = 0.98\n>>>>>>> REPLACE",
        ),
    ],
)
def test_an_answer_may_have_notes_beside_its_reason(track: Track, reply: str) -> None:
    read = read_change(reply, ask(study("model", track=track)))
    assert (read.rationale, read.notes) == ("why", "low betas")
    endless = reply.replace("betas", "betas " * 1000)
    assert len(read_change(endless, ask(study("model", track=track))).notes) <= MAX_NOTE_CHARS


def test_prompt_a_model_that_repeats_itself_is_told_so_and_becomes_warmer() -> None:
    history = [*past(2), repeating(2, 0.98), repeating(3, 0.99)]
    asked = question(history)
    assert "Your last 2 answers repeat what was tried before (beta2 0.95→0.98; beta2 0.95→0.99)" in asked
    assert "Your last answer repeats" in question(history[:3])
    assert "repeat what" not in question([*history, *past(1)])
    assert len(trailing_repeats(history)) == 2
    warmth = [temperature_after(n) for n in range(9)]
    assert warmth == sorted(warmth)
    assert (warmth[0], warmth[-1]) == (TEMPERATURE, MAX_TEMPERATURE)
    assert warmth[1] > warmth[0]
