"""Agents propose what can be tried, the same again after a resume, and nothing in a silent model's place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runners.research.agents import AGENTS, Agent, open_agent
from runners.research.agents.history import change_key, trial_outcomes
from runners.research.agents.prompting import answer_schema, prompt_messages
from runners.research.agents.scripted import FILE
from runners.research.problem import space
from tests.doubles.research_asks import (
    BASELINE,
    PROGRAM,
    TIER,
    ask,
    past,
    study,
    trial,
)
from tracker.errors import TrackerError, UnknownNameError, UsageError
from tracker.records import Model
from tracker.records.studies import (
    Change,
    Proposal,
    Study,
    Track,
    Trial,
    Verdict,
)

BIGRAM = Model("acme/bigram", "server")
GOOD = '{"rationale": "why not", "changes": [{"name": "beta1", "value": 0.8}]}'
OUTSIDE = '{"rationale": "far", "changes": [{"name": "beta1", "value": 7}]}'


def loss(change: Change) -> float:
    """A made-up landscape: lower beta1 and higher matrix_lr help, everything else does nothing."""
    values = {t.name: change.params.get(t.name, t.default) for t in space.tunables(TIER)}
    return 2.7 + (float(values["beta1"]) - 0.6) ** 2 - 10 * min(float(values["matrix_lr"]), 0.02)


def played(of: Study, agent: Agent, n: int, *, until: int | None = None) -> list[Trial]:
    """`n` trials of the agent, each kept that is better, from the beginning."""
    history: list[Trial] = []
    incumbent = Change()
    for slot in range(n):
        (proposal,) = agent.propose(ask(of, history, incumbent=incumbent))
        assert proposal.change is not None
        gain = loss(incumbent) - loss(proposal.change)
        verdict = Verdict.ACCEPTED if gain > 0 else Verdict.REJECTED
        level = loss(incumbent)
        made = trial(slot, proposal, gain=gain, parent=incumbent, level=level, verdict=verdict)
        history.append(made if slot % 7 else trial(slot, proposal, gain=None, parent=incumbent, level=level))
        incumbent = proposal.change if history[-1].verdict is Verdict.ACCEPTED else incumbent
    return history


# --- optimizers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["random", "tpe", "cma"])
def test_agents_resume_of_an_optimizer_changes_nothing(kind: str, tmp_path: Path) -> None:
    of = study(kind)
    history = played(of, open_agent(of, tmp_path), 18)
    for slot in (0, 5, 17):
        before = history[slot].proposal
        again = open_agent(of, tmp_path).propose(ask(of, history[:slot], incumbent=history[slot].parent))
        assert list(again) == [before]
    other = open_agent(study(kind, seed=1), tmp_path).propose(ask(study(kind, seed=1)))
    assert list(other) != [history[0].proposal]


@pytest.mark.parametrize("kind", ["random", "tpe", "cma"])
def test_agents_a_wave_holds_different_changes_that_lie_in_the_space(kind: str, tmp_path: Path) -> None:
    found = open_agent(study(kind), tmp_path).propose(ask(study(kind), k=6))
    changes = [proposal.change for proposal in found if proposal.change is not None]
    assert len({change_key(change) for change in changes}) == 6
    for change in changes:
        assert space.validate(change.params, TIER) == change.params


def test_agents_a_change_stands_where_its_pairs_put_it_and_not_where_its_seed_did() -> None:
    first, second = Change({"beta1": 0.8}), Change({"beta1": 0.7})
    trials = [
        trial(0, Proposal(first), gain=0.1, level=2.9, verdict=Verdict.ACCEPTED),
        trial(1, Proposal(second), gain=0.05, parent=first, level=1.9),
        trial(2, Proposal(Change({"beta1": 0.5})), gain=None),
        trial(3, Proposal(None, problem="prose"), gain=None),
    ]
    found = [s.val_bpb for s in trial_outcomes(trials, baseline_bpb=BASELINE["val"])]
    assert found == [pytest.approx(2.6), pytest.approx(2.55), None, None]


def test_agents_what_is_proposed_again_is_reported_as_it_was_measured_and_never_above_what_beat_it() -> None:
    lost, kept = Change({"beta1": 0.7}), Change({"beta1": 0.8})
    trials = [
        trial(0, Proposal(lost), gain=0.01),
        trial(1, Proposal(kept), gain=0.1, verdict=Verdict.ACCEPTED),
        trial(2, Proposal(lost), gain=0.01, parent=kept, verdict=Verdict.DUPLICATE),
        trial(3, Proposal(Change()), gain=0.0, parent=kept, verdict=Verdict.DUPLICATE),
    ]
    found = [(s.val_bpb, s.gain_bpb) for s in trial_outcomes(trials, baseline_bpb=BASELINE["val"])]
    assert found[2:] == [(pytest.approx(2.69), None), (pytest.approx(2.7), None)]
    messages = prompt_messages(ask(study("model"), [*past(6), *trials], incumbent=kept), max_chars=100_000)
    assert messages is not None
    lines = messages[1]["content"].splitlines()
    assert "- beta1 0.8→0.7: 2.690; duplicate" in lines
    best = lines[lines.index("The best so far:") + 1 :]
    assert best[:2] == [
        "- beta1 0.9→0.8: 2.600, +0.100; accepted",
        "- beta1 0.9→0.7: 2.690, +0.010; rejected",
    ]


# --- who may do what -------------------------------------------------------------------------------------


def test_each_agent_is_refused_where_it_cannot_work(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="no agent is called `tpee`") as unknown:
        open_agent(study("tpee"), tmp_path)
    assert unknown.value.hint == "did you mean `tpe`?"
    for track in (Track.CODE, Track.HYBRID):
        with pytest.raises(UsageError, match="tpe"):
            open_agent(study("tpe", track=track), tmp_path)
    with pytest.raises(UsageError, match="needs a model"):
        open_agent(study("model"), tmp_path)
    with pytest.raises(UsageError, match=FILE):
        open_agent(study("scripted"), tmp_path)
    assert sorted(AGENTS) == ["cma", "model", "random", "scripted", "served", "tpe"]


def test_a_scripted_agent_proposes_what_its_file_says(tmp_path: Path) -> None:
    entries = [{"changes": {"beta1": 0.8}}, {"changes": {"beta1": 9}}, {"reply": GOOD}, {"reply": "prose"}]
    (tmp_path / FILE).write_text(json.dumps(entries))
    of = study("scripted")
    found = open_agent(of, tmp_path).propose(ask(of, k=5))
    assert [p.change and p.change.params for p in found] == [{"beta1": 0.8}, None, {"beta1": 0.8}, None, None]
    assert "between 0.5 and 0.98" in (found[1].problem or "")
    (tmp_path / FILE).write_text('[{"changes": 1}]')
    with pytest.raises(TrackerError, match=FILE):
        open_agent(of, tmp_path)


# --- prompts ---------------------------------------------------------------------------------------------


def test_agents_a_prompt_tells_what_was_tried_and_what_never_was() -> None:
    of = study("model")
    messages = prompt_messages(ask(of, past(9)), max_chars=100_000)
    assert messages is not None
    system, question = (message["content"] for message in messages)
    assert "disqualifies" in system
    assert "<!--" not in system
    assert "beta1 0.9→0.55: 2.750, -0.050; rejected" in question
    assert "None of the last 9 trials helped" in question
    assert "betas 9" in question
    assert "Never changed: matrix_lr, embedding_lr" in question
    assert "Trials left: 11 of 20." in question
    assert PROGRAM.startswith("<!-- version: ")


def test_agents_an_answer_is_kept_to_what_can_be_moved_alone() -> None:
    incumbent = Change(space.validate({"n_head": 8, "d_model": 48, "warmup_fraction": 0.2}, TIER))
    schema = answer_schema(ask(study("model"), incumbent=incumbent), may_be_empty=False)
    assert schema is not None
    items = schema["properties"]["changes"]["items"]["anyOf"]
    values = {i["properties"]["name"]["const"]: i["properties"]["value"] for i in items}
    assert values["d_model"] == {"enum": [16, 32, 64, 96]}
    assert values["cooldown_fraction"] == {"type": "number", "minimum": 0.0, "maximum": 0.8}
    assert values["beta1"] == {"type": "number", "minimum": 0.5, "maximum": 0.98}


def test_agents_a_prompt_shrinks_its_history_until_it_fits() -> None:
    of = study("model")
    sizes = [100_000]
    for _ in range(4):
        messages = prompt_messages(ask(of, past(19)), max_chars=sizes[-1] - 1)
        assert messages is not None
        sizes.append(sum(len(message["content"]) for message in messages))
    assert sizes == sorted(set(sizes), reverse=True)
    assert prompt_messages(ask(of, past(19)), max_chars=2_000) is None


def test_agents_what_stays_the_same_stands_first_so_that_it_is_read_once() -> None:
    of = study("model")
    texts = []
    for n in (3, 12):
        messages = prompt_messages(ask(of, past(n)), max_chars=100_000)
        assert messages is not None
        texts.append("".join(message["content"] for message in messages))
    n_common = next(i for i, (a, b) in enumerate(zip(*texts, strict=False)) if a != b)
    assert n_common > 0.75 * len(texts[0])
