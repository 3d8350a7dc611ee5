"""Agents propose what can be tried, the same again after a resume, and nothing in a silent model's place."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from runners.demo import demo_model
from runners.engines.thinking import ThinkingMarks
from runners.hardware import Gpu, Hardware
from runners.research import space
from runners.research.agents import AGENTS, Agent, open_agent
from runners.research.agents.hybrid import overridden_trials
from runners.research.agents.scripted import FILE
from runners.research.history import change_key, standings
from runners.research.model_server import GIB, KEPT_BYTES, parser_name, server_argv, shared_settings
from runners.research.prompting import answer_schema, prompt_messages
from tests.openai_double import Behaviour, running_server
from tests.research_asks import BASELINE, PROGRAM, TIER, ask, study, trial
from tests.tiny_models import save_random, tiny_tokenizer
from tracker.errors import ModelError, TrackerError, UnknownNameError, UnreachableError, UsageError
from tracker.records import EngineSettings, Model
from tracker.settings import Settings
from tracker.studies import Change, Proposal, Study, Track, Trial, Verdict

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


# --- optimisers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["random", "tpe", "cma"])
def test_an_optimiser_goes_on_after_a_resume_as_if_nothing_had_been(kind: str, tmp_path: Path) -> None:
    of = study(kind)
    history = played(of, open_agent(of, tmp_path), 18)
    for slot in (0, 5, 17):
        before = history[slot].proposal
        again = open_agent(of, tmp_path).propose(ask(of, history[:slot], incumbent=history[slot].parent))
        assert list(again) == [before]
    other = open_agent(study(kind, seed=1), tmp_path).propose(ask(study(kind, seed=1)))
    assert list(other) != [history[0].proposal]


@pytest.mark.parametrize("kind", ["random", "tpe", "cma"])
def test_a_wave_holds_different_changes_that_lie_in_the_space(kind: str, tmp_path: Path) -> None:
    found = open_agent(study(kind), tmp_path).propose(ask(study(kind), k=6))
    changes = [proposal.change for proposal in found if proposal.change is not None]
    assert len({change_key(change) for change in changes}) == 6
    for change in changes:
        assert space.validate(change.params, TIER) == change.params


def test_a_change_stands_where_its_pairs_put_it_and_not_where_its_seed_did() -> None:
    first, second = Change({"beta1": 0.8}), Change({"beta1": 0.7})
    trials = [
        trial(0, Proposal(first), gain=0.1, level=2.9, verdict=Verdict.ACCEPTED),
        trial(1, Proposal(second), gain=0.05, parent=first, level=1.9),
        trial(2, Proposal(Change({"beta1": 0.5})), gain=None),
        trial(3, Proposal(None, problem="prose"), gain=None),
    ]
    found = [s.val_bpb for s in standings(trials, baseline_bpb=BASELINE["val"])]
    assert found == [pytest.approx(2.6), pytest.approx(2.55), None, None]


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
    assert sorted(AGENTS) == ["cma", "model", "random", "scripted", "tpe"]


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


def past(n: int) -> list[Trial]:
    changes = [Change({"beta1": round(0.5 + i / 100, 2)}) for i in range(n)]
    return [trial(i, Proposal(change, proposer="model"), gain=-0.01 * i) for i, change in enumerate(changes)]


def test_a_prompt_tells_what_was_tried_and_what_never_was() -> None:
    of = study("model")
    messages = prompt_messages(ask(of, past(9)), max_chars=100_000)
    assert messages is not None
    system, question = (message["content"] for message in messages)
    assert "disqualifies" in system
    assert "<!--" not in system
    assert "beta1 0.9→0.55: 2.750, -0.050; rejected" in question
    assert "None of the last 9 trials helped" in question
    assert "betas 9" in question
    assert "Never touched: matrix_lr, embedding_lr" in question
    assert "Trials left: 11 of 20." in question
    assert PROGRAM.startswith("<!-- program ")


def test_an_answer_is_kept_to_what_can_be_moved_alone() -> None:
    incumbent = Change(space.validate({"n_head": 8, "d_model": 48, "warmup_fraction": 0.2}, TIER))
    schema = answer_schema(ask(study("model"), incumbent=incumbent), may_be_empty=False)
    assert schema is not None
    items = schema["properties"]["changes"]["items"]["anyOf"]
    values = {i["properties"]["name"]["const"]: i["properties"]["value"] for i in items}
    assert values["d_model"] == {"enum": [16, 32, 64, 96]}
    assert values["cooldown_fraction"] == {"type": "number", "minimum": 0.0, "maximum": 0.8}
    assert values["beta1"] == {"type": "number", "minimum": 0.5, "maximum": 0.98}


def test_a_prompt_shrinks_its_history_until_it_fits() -> None:
    of = study("model")
    sizes = [100_000]
    for _ in range(4):
        messages = prompt_messages(ask(of, past(19)), max_chars=sizes[-1] - 1)
        assert messages is not None
        sizes.append(sum(len(message["content"]) for message in messages))
    assert sizes == sorted(set(sizes), reverse=True)
    assert prompt_messages(ask(of, past(19)), max_chars=2_000) is None


def test_what_stays_the_same_stands_first_so_that_it_is_read_once() -> None:
    of = study("model")
    texts = []
    for n in (3, 12):
        messages = prompt_messages(ask(of, past(n)), max_chars=100_000)
        assert messages is not None
        texts.append("".join(message["content"] for message in messages))
    n_common = next(i for i, (a, b) in enumerate(zip(*texts, strict=False)) if a != b)
    assert n_common > 0.75 * len(texts[0])


# --- a model on a server ---------------------------------------------------------------------------------


def answering(replies: Sequence[str]) -> Callable[[str], str]:
    """Replies in order, the last one for ever; the engine's own look at the server is no question."""
    waiting = list(replies)

    def reply(prompt: str) -> str:
        if "Propose the next change" not in prompt:
            return "x"
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    return reply


def on_server(server: Behaviour, *, track: Track = Track.PARAMS, thinking: bool | None = None) -> Study:
    settings = EngineSettings(engine="server", base_url=server.url, concurrency=1, thinking=thinking)
    return study("model", track=track, model=BIGRAM, settings=settings)


def proposed(server: Behaviour, folder: Path, *, track: Track = Track.PARAMS, k: int = 1) -> list[Proposal]:
    of = on_server(server, track=track)
    agent = open_agent(of, folder)
    try:
        return list(agent.propose(ask(of, past(2), k=k)))
    finally:
        agent.close()


@pytest.mark.parametrize(
    ("replies", "problem"),
    [
        (["I would rather talk about the weather."], "the answer has no JSON object"),
        ([""], "the answer is empty"),
        ([OUTSIDE], "`beta1` must be between 0.5 and 0.98, got 7"),
        ([GOOD.replace("0.8", "0.9")], "nothing would change"),
        ([GOOD.replace("beta1", "beta_1")], "there is no number called `beta_1`, did you mean `beta1`?"),
    ],
    ids=["prose", "empty", "outside the space", "no change", "unknown number"],
)
def test_an_answer_that_cannot_be_used_gets_one_repair_turn_and_is_then_invalid(
    replies: list[str], problem: str, tmp_path: Path
) -> None:
    with running_server(reply=answering(replies)) as server:
        (proposal,) = proposed(server, tmp_path)
    assert proposal.change is None
    assert problem in (proposal.problem or "")
    assert [exchange.reply for exchange in proposal.exchanges] == replies * 2
    repair = json.loads(proposal.exchanges[1].prompt)
    assert problem in repair[-1]["content"]
    assert repair[-2]["role"] == "assistant"


def test_a_repaired_answer_counts_and_both_exchanges_are_kept(tmp_path: Path) -> None:
    with running_server(reply=answering([OUTSIDE, f"Sorry!\n{GOOD}"])) as server:
        (proposal,) = proposed(server, tmp_path)
    assert (proposal.change, proposal.rationale) == (Change({"beta1": 0.8}), "why not")
    assert proposal.proposer == "model"
    assert [e.finish_reason for e in proposal.exchanges] == ["stop", "stop"]
    assert all(e.prompt_tokens > 0 and e.output_tokens > 0 for e in proposal.exchanges)
    chats = [body for body in server.requests if "messages" in body]
    assert chats[0]["response_format"]["type"] == "json_schema"
    assert chats[0]["temperature"] > 0
    assert chats[0]["seed"] != chats[1]["seed"]


def test_an_endless_answer_is_cut_off_and_invalid(tmp_path: Path) -> None:
    with running_server(reply=answering([GOOD]), endless_after=1) as server:
        (proposal,) = proposed(server, tmp_path)
    assert proposal.change is None
    assert "cut off after" in (proposal.problem or "")
    assert [e.finish_reason for e in proposal.exchanges] == ["length", "length"]


def test_an_answer_cut_off_in_its_thinking_is_asked_for_again_with_more_room(tmp_path: Path) -> None:
    with running_server(reply=answering([GOOD]), thought="hm " * 500) as server:
        (proposal,) = proposed(server, tmp_path)
    assert proposal.change == Change({"beta1": 0.8})
    assert [e.finish_reason for e in proposal.exchanges] == ["length", "stop"]
    assert (proposal.exchanges[1].thinking or "").startswith("hm hm")
    budgets = [body["max_tokens"] for body in server.requests if "messages" in body]
    assert budgets[1] > budgets[0]


def test_an_answer_that_a_server_took_for_thinking_is_still_read(tmp_path: Path) -> None:
    with running_server(reply=answering([""]), thought=f"So be it: {GOOD}") as server:
        (proposal,) = proposed(server, tmp_path)
    assert proposal.change == Change({"beta1": 0.8})
    assert len(proposal.exchanges) == 1


def test_a_server_that_knows_no_schema_is_asked_without_one(tmp_path: Path) -> None:
    with running_server(reply=answering([GOOD])) as server:
        of = on_server(server)
        agent = open_agent(of, tmp_path)
        agent.close()
        server.broken = [(200, {}), (400, {})]  # the first goes to the look at the server
        (proposal,) = agent.propose(ask(of))
    assert proposal.change == Change({"beta1": 0.8})
    assert "response_format" not in server.requests[-1]


def test_a_server_that_is_gone_pauses_the_study_and_nothing_is_proposed_instead(tmp_path: Path) -> None:
    with running_server(reply=answering([GOOD])) as server:
        of = on_server(server)
        agent = open_agent(of, tmp_path)
    with pytest.raises(UnreachableError, match="cannot be reached"):
        agent.propose(ask(of))


@pytest.mark.parametrize(
    ("models", "sentence"),
    [
        ([{"id": "acme/trigram"}], "serves `acme/trigram`, not `acme/bigram`"),
        ([{"id": "acme/bigram", "root": "/models/new"}], "this study was begun with `acme/bigram`"),
    ],
    ids=["another name", "other weights"],
)
def test_a_server_that_changes_its_model_in_the_middle_ends_the_study(
    models: list[dict[str, str]], sentence: str, tmp_path: Path
) -> None:
    with running_server(reply=answering([GOOD])) as server:
        of = on_server(server)
        agent = open_agent(of, tmp_path)
        assert agent.propose(ask(of))[0].change is not None
        server.models = models
        with pytest.raises(TrackerError, match=sentence) as changed:
            agent.propose(ask(of))
        assert not isinstance(changed.value, UnreachableError)
        if "begun" in sentence:
            with pytest.raises(TrackerError, match=sentence):
                open_agent(of, tmp_path)  # nor does a resume go on with it


def test_a_wave_asks_as_often_and_keeps_what_differs(tmp_path: Path) -> None:
    replies = [GOOD, GOOD, GOOD.replace("0.8", "0.7"), "prose", "still prose"]
    with running_server(reply=answering(replies)) as server:
        found = proposed(server, tmp_path, k=4)
    assert [p.change and dict(p.change.params) for p in found] == [{"beta1": 0.8}, {"beta1": 0.7}, None]
    assert sum(len(p.exchanges) for p in found) == 5
    seeds = [body["seed"] for body in server.requests if "messages" in body]
    assert len(set(seeds)) == 5


def test_on_the_code_track_an_edit_becomes_a_script_and_its_difference(tmp_path: Path) -> None:
    line = next(x for x in ask(study("model", track=Track.CODE)).script.splitlines() if "beta1: float" in x)
    edit = f"Less memory.\n<<<<<<< SEARCH\n{line}\n=======\n    beta1: float = 0.8\n>>>>>>> REPLACE"
    with running_server(reply=answering([GOOD, edit])) as server:
        of = on_server(server, track=Track.CODE)
        agent = open_agent(of, tmp_path)
        asked = ask(of)
        (proposal,) = agent.propose(asked)
        agent.close()
    assert proposal.change is not None
    assert proposal.change.script == asked.script.replace(line, "    beta1: float = 0.8")
    assert proposal.rationale == "Less memory."
    assert "+    beta1: float = 0.8" in (proposal.diff or "")
    assert "has no SEARCH/REPLACE block" in json.loads(proposal.exchanges[1].prompt)[-1]["content"]
    assert "response_format" not in server.requests[-1]


# --- hybrid ----------------------------------------------------------------------------------------------


def test_a_model_overrides_at_most_its_share_of_an_optimisers_trials(tmp_path: Path) -> None:
    with running_server(reply=answering([GOOD])) as server:
        of = on_server(server, track=Track.HYBRID)
        agent = open_agent(of, tmp_path)
        history: list[Trial] = []
        for slot in range(of.n_trials):
            (proposal,) = agent.propose(ask(of, history))
            history.append(trial(slot, proposal, gain=-0.01))
        agent.close()
    whose = [t.proposal.proposer for t in history]
    assert whose.count("model") == 6  # 30 % of 20
    assert {slot for slot, who in enumerate(whose) if who == "model"} == overridden_trials(of)
    assert overridden_trials(of) != overridden_trials(replace(of, seed=1))
    seen = json.loads(next(t.proposal.exchanges[0].prompt for t in history if t.proposal.exchanges))
    assert "You work beside an optimiser, tpe." in seen[-1]["content"]


def test_a_model_may_take_the_optimisers_suggestion(tmp_path: Path) -> None:
    with running_server(reply=answering(['{"rationale": "fine", "changes": []}'])) as server:
        of = on_server(server, track=Track.HYBRID)
        place = min(overridden_trials(of))
        agent = open_agent(of, tmp_path)
        (proposal,) = agent.propose(ask(of, past(place)))
        agent.close()
    assert (proposal.proposer, proposal.rationale) == ("tpe", "fine")
    (suggested,) = open_agent(study("tpe"), tmp_path).propose(ask(study("tpe"), past(place)))
    assert proposal.change == suggested.change


# --- the agent's own server ------------------------------------------------------------------------------

CARD = Hardware("cpu", 16, 64 * GIB, 64 * GIB, (Gpu("H100", "GPU-0", 80 * GIB, 79 * GIB, "9.0"),))


def test_a_server_claims_what_its_model_needs_and_leaves_the_trainings_theirs(tmp_path: Path) -> None:
    model = save_random(tmp_path, tiny_tokenizer())
    wanted = EngineSettings(engine="vllm")
    shared = shared_settings(model, wanted, CARD, tier="gpu")
    assert 0.01 < shared.gpu_memory_utilization < 1 - KEPT_BYTES["gpu"] / (80 * GIB)
    assert shared.max_model_len == 128
    small = replace(CARD, gpus=(replace(CARD.gpus[0], total_bytes=60 * GIB, free_bytes=60 * GIB),))
    with pytest.raises(ModelError, match="beside the trainings of tier `gpu`") as refused:
        shared_settings(model, wanted, small, tier="gpu")
    assert refused.value.reason == "does_not_fit"
    assert shared_settings(model, wanted, small, tier="smoke").gpu_memory_utilization < 0.5


def test_a_server_listens_on_this_machine_alone() -> None:
    argv = server_argv(BIGRAM, EngineSettings(engine="vllm"), port=8123, is_cpu=False, parser="qwen3")
    assert argv[argv.index("--host") + 1] == "127.0.0.1"
    assert argv[argv.index("--port") + 1] == "8123"
    assert argv[argv.index("--reasoning-parser") + 1] == "qwen3"
    assert argv[argv.index("--revision") + 1] == "server"


@pytest.mark.parametrize(
    ("start", "template", "name"),
    [
        ("<think>", "{% if enable_thinking %}", "qwen3"),
        ("<think>", "", "deepseek_r1"),
        ("[THINK]", "", "mistral"),
    ],
)
def test_thinking_is_told_apart_by_vllm_in_its_own_words(start: str, template: str, name: str) -> None:
    assert parser_name(ThinkingMarks(start, "end", (1,)), template) == name
    assert parser_name(None, template) is None


# --- the embedded model ----------------------------------------------------------------------------------


@pytest.mark.timeout(600)
def test_the_embedded_model_makes_proposals_that_can_be_tried(settings: Settings, tmp_path: Path) -> None:
    of = study("model", model=demo_model(settings), settings=EngineSettings(engine="transformers"))
    agent = open_agent(of, tmp_path)
    found = [*agent.propose(ask(of, k=3)), *agent.propose(ask(of, past(4), k=2))]
    agent.close()
    changes = [proposal.change for proposal in found if proposal.change is not None]
    assert len(changes) >= len(found) - 1
    for change in changes:
        assert space.validate(change.params, TIER) == change.params
    assert len({change_key(change) for change in changes}) > 1
