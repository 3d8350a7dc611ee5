"""A model as the agent: its answers are used or refused, never replaced; its own server ends with it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from runners.engines.thinking import ThinkingMarks
from runners.engines.vllm.server_process import ServerAddress, VllmLaunch, VllmServer, server_argv
from runners.hardware import Gpu, Hardware
from runners.models.demo import demo_model
from runners.research.agents import open_agent
from runners.research.agents.history import change_key
from runners.research.agents.hybrid import overridden_trials
from runners.research.agents.prompting import OptimizerSuggestion, prompt_messages
from runners.research.agents.vllm_server import (
    GIB,
    KEPT_BYTES,
    parser_name,
    shared_settings,
    training_bytes,
)
from runners.research.problem import space
from runners.research.problem.tiers import TIERS
from tests.builders.tiny_models import save_random, tiny_tokenizer
from tests.doubles.openai_double import Behaviour, running_server
from tests.doubles.research_asks import (
    TIER,
    ask,
    past,
    study,
    trial,
)
from tracker.errors import EngineError, ModelError, TrackerError, UnreachableError
from tracker.files.studies import Ledger, Wave
from tracker.records import EngineSettings, Model
from tracker.records.studies import (
    Change,
    Proposal,
    Study,
    Track,
    Training,
    TrainingStatus,
    Trial,
    Verdict,
)
from tracker.serialization import dump_json, write_atomically
from tracker.settings import Settings

BIGRAM = Model("acme/bigram", "server")
GOOD = '{"rationale": "why not", "changes": [{"name": "beta1", "value": 0.8}]}'
OUTSIDE = '{"rationale": "far", "changes": [{"name": "beta1", "value": 7}]}'


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
        ([GOOD.replace("0.8", "1" + "0" * 400)], "`beta1` must be between 0.5 and 0.98, got 1000"),
        ([GOOD.replace("0.8", '"1e400"')], "`beta1` must be a number, got '1e400'"),
        ([GOOD.replace("0.8", "true")], "`beta1` must be a number, got True"),
        ([GOOD.replace("0.8", "0.9")], "nothing would change"),
        ([GOOD.replace("beta1", "beta_1")], "there is no number called `beta_1`, did you mean `beta1`?"),
    ],
    ids=[
        "prose",
        "empty",
        "outside the space",
        "endless number",
        "number as a text",
        "truth as a number",
        "no change",
        "unknown number",
    ],
)
def test_model_agent_an_answer_that_cannot_be_used_gets_one_repair_turn_and_is_then_invalid(
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


def test_model_agent_a_repaired_answer_counts_and_both_exchanges_are_kept(tmp_path: Path) -> None:
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


def test_model_agent_half_a_character_is_replaced_wherever_a_server_writes_it(tmp_path: Path) -> None:
    half = "\ud83d"
    told = f'{half} {{"rationale": "x \\ud83d", "changes": [{{"name": "beta1", "value": 0.8}}]}}'
    unknown = '{"changes": [{"name": "\\ud83d", "value": 0.8}]}'
    with running_server(reply=answering([unknown, told]), thought=f"hm {half}") as server:
        (proposal,) = proposed(server, tmp_path)
    assert (proposal.change, proposal.rationale) == (Change({"beta1": 0.8}), "x \ufffd")
    assert proposal.exchanges[1].reply == told.replace(half, "\ufffd")
    assert proposal.exchanges[1].thinking == "hm \ufffd"
    Ledger(tmp_path).write_wave(Wave(0, (0,), (proposal,)))
    assert Ledger(tmp_path).wave(0) == Wave(0, (0,), (proposal,))


@pytest.mark.parametrize(
    "n_tokens", [10**400, float("inf"), -1, "many"], ids=["long", "inf", "negative", "text"]
)
def test_model_agent_a_count_of_tokens_that_cannot_be_costs_no_proposal(
    n_tokens: object, tmp_path: Path
) -> None:
    told = {"prompt_tokens": n_tokens}
    with running_server(reply=answering([GOOD]), usage=told) as server:
        (proposal,) = proposed(server, tmp_path)
    assert proposal.change == Change({"beta1": 0.8})
    assert [exchange.prompt_tokens for exchange in proposal.exchanges] == [0]


def test_model_agent_an_endless_answer_is_cut_off_and_invalid(tmp_path: Path) -> None:
    with running_server(reply=answering([GOOD]), endless_after=1) as server:
        (proposal,) = proposed(server, tmp_path)
    assert proposal.change is None
    assert "cut off after" in (proposal.problem or "")
    assert [e.finish_reason for e in proposal.exchanges] == ["length", "length"]


def test_model_agent_an_answer_cut_off_in_its_thinking_is_asked_for_again_with_more_room(
    tmp_path: Path,
) -> None:
    with running_server(reply=answering([GOOD]), thought="hm " * 500) as server:
        (proposal,) = proposed(server, tmp_path)
    assert proposal.change == Change({"beta1": 0.8})
    assert [e.finish_reason for e in proposal.exchanges] == ["length", "stop"]
    assert (proposal.exchanges[1].thinking or "").startswith("hm hm")
    budgets = [body["max_tokens"] for body in server.requests if "messages" in body]
    assert budgets[1] > budgets[0]


def test_model_agent_an_answer_that_a_server_took_for_thinking_is_still_read(tmp_path: Path) -> None:
    with running_server(reply=answering([""]), thought=f"So be it: {GOOD}") as server:
        (proposal,) = proposed(server, tmp_path)
    assert proposal.change == Change({"beta1": 0.8})
    assert len(proposal.exchanges) == 1


def test_model_agent_a_server_that_knows_no_schema_is_asked_without_one(tmp_path: Path) -> None:
    with running_server(reply=answering([GOOD])) as server:
        of = on_server(server)
        agent = open_agent(of, tmp_path)
        agent.close()
        # the first goes to the look at the server; with a schema it is asked with three kinds of token counts
        server.broken = [(200, {}), *[(400, {})] * 3]
        (proposal,) = agent.propose(ask(of))
    assert proposal.change == Change({"beta1": 0.8})
    assert "response_format" not in server.requests[-1]


def test_model_agent_a_server_that_is_gone_pauses_the_study_and_nothing_is_proposed_instead(
    tmp_path: Path,
) -> None:
    with running_server(reply=answering([GOOD])) as server:
        of = on_server(server)
        agent = open_agent(of, tmp_path)
    with pytest.raises(UnreachableError, match="cannot be reached"):
        agent.propose(ask(of))


@pytest.mark.parametrize(
    ("models", "sentence"),
    [
        ([{"id": "acme/trigram"}], "serves `acme/trigram`, not `acme/bigram`"),
        ([{"id": "acme/bigram", "root": "/models/new"}], "this study was started with `acme/bigram`"),
    ],
    ids=["another name", "other weights"],
)
def test_model_agent_a_server_that_changes_its_model_in_the_middle_ends_the_study(
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


def test_model_agent_a_wave_asks_as_often_and_keeps_what_differs(tmp_path: Path) -> None:
    replies = [GOOD, GOOD, GOOD.replace("0.8", "0.7"), "prose", "still prose"]
    with running_server(reply=answering(replies)) as server:
        found = proposed(server, tmp_path, k=4)
    assert [p.change and dict(p.change.params) for p in found] == [{"beta1": 0.8}, {"beta1": 0.7}, None]
    assert sum(len(p.exchanges) for p in found) == 5
    seeds = [body["seed"] for body in server.requests if "messages" in body]
    assert len(set(seeds)) == 5


def test_model_agent_on_the_code_track_an_edit_becomes_a_script_and_its_difference(tmp_path: Path) -> None:
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


def test_model_agent_a_model_overrides_at_most_its_share_of_an_optimizers_trials(tmp_path: Path) -> None:
    with running_server(reply=answering([GOOD])) as server:
        of = on_server(server, track=Track.HYBRID)
        agent = open_agent(of, tmp_path)
        history: list[Trial] = []
        for slot in range(of.n_trials):
            (proposal,) = agent.propose(ask(of, history))
            history.append(trial(slot, proposal, gain=-0.01))
        agent.close()
    whose = [t.proposal.proposer for t in history]
    assert whose.count("model") == 6  # 30% of 20
    assert {slot for slot, who in enumerate(whose) if who == "model"} == overridden_trials(of)
    assert overridden_trials(of) != overridden_trials(replace(of, seed=1))
    seen = json.loads(next(t.proposal.exchanges[0].prompt for t in history if t.proposal.exchanges))
    assert "You work alongside an optimizer, tpe" in seen[-1]["content"]


def test_model_agent_a_model_beside_an_optimizer_sees_where_both_stand() -> None:
    trials = [
        trial(0, Proposal(Change({"beta1": 0.7}), proposer="tpe"), gain=0.02),
        trial(1, Proposal(Change({"beta1": 0.8}), proposer="tpe"), gain=0.1, verdict=Verdict.ACCEPTED),
        trial(2, Proposal(Change({"beta1": 0.6}), proposer="model"), gain=-0.1),
        trial(3, Proposal(None, proposer="model", problem="prose"), gain=None),
    ]
    of = study("model", track=Track.HYBRID)
    offer = OptimizerSuggestion("tpe", Proposal(Change({"beta2": 0.99}), proposer="tpe"))
    for history, says in (
        (trials, "1 of its own 2 trials were kept, best 2.600 bpb; 0 of your own 2 trials were kept."),
        ([], "0 of its own 0 trials were kept, nothing measured yet; you have made no trials yet."),
    ):
        messages = prompt_messages(ask(of, history), max_chars=100_000, suggestion=offer)
        assert messages is not None
        assert says in messages[1]["content"]
        assert "It suggests trying next: beta2 0.95→0.99." in messages[1]["content"]


def test_model_agent_a_model_may_take_the_optimizers_suggestion(tmp_path: Path) -> None:
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


def test_model_agent_a_server_claims_what_its_model_needs_and_leaves_the_trainings_theirs(
    tmp_path: Path,
) -> None:
    model = save_random(tmp_path, tiny_tokenizer())
    wanted = EngineSettings(engine="vllm")
    kept = KEPT_BYTES["gpu"]
    shared = shared_settings(model, wanted, CARD, tier="gpu", kept_bytes=kept)
    assert 0.01 < shared.gpu_memory_utilization < 1 - KEPT_BYTES["gpu"] / (80 * GIB)
    assert shared.max_model_len == 128
    small = replace(CARD, gpus=(replace(CARD.gpus[0], total_bytes=40 * GIB, free_bytes=40 * GIB),))
    with pytest.raises(ModelError, match="next to the trainings of tier `gpu`") as refused:
        shared_settings(model, wanted, small, tier="gpu", kept_bytes=kept)
    assert refused.value.reason == "does_not_fit"
    smoke = shared_settings(model, wanted, small, tier="smoke", kept_bytes=0)
    assert smoke.gpu_memory_utilization < 0.5
    other = replace(small.gpus[0], uuid="GPU-1")  # for the trainings
    both = replace(small, gpus=(*small.gpus, other))
    assert shared_settings(model, wanted, both, tier="gpu", kept_bytes=kept) == smoke


def test_model_agent_where_its_need_is_unknown_a_server_takes_what_the_trainings_leave(
    tmp_path: Path,
) -> None:
    model = save_random(tmp_path, tiny_tokenizer())
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "hidden_size": None}))
    wanted = EngineSettings(engine="vllm")
    shared = shared_settings(model, wanted, CARD, tier="gpu", kept_bytes=40 * GIB)
    assert shared.gpu_memory_utilization == pytest.approx((79 - 40) / 80, abs=0.01)
    assert shared.gpu_memory_utilization * 80 <= 79 - 40
    used = replace(CARD, gpus=(replace(CARD.gpus[0], free_bytes=50 * GIB),))  # by another program
    shared = shared_settings(model, wanted, used, tier="gpu", kept_bytes=40 * GIB)
    assert 0 < shared.gpu_memory_utilization * 80 <= 50 - 40


def test_model_agent_the_memory_of_a_training_is_the_measured_one(tmp_path: Path) -> None:
    assert training_bytes("gpu-small", tmp_path) == KEPT_BYTES["gpu-small"]
    tier = TIERS["gpu-small"]
    ran = Training("k", 0, TrainingStatus.OK, n_tokens=tier.train_tokens, device="cuda")
    for name, peak in (("a", 8 * GIB), ("b", 10 * GIB), ("c", None)):
        path = tmp_path / "trainings" / f"{name}.json"
        write_atomically(path, dump_json(replace(ran, peak_memory_bytes=peak)))
    assert training_bytes("gpu-small", tmp_path) == pytest.approx(11.7 * GIB, rel=0.01)
    assert training_bytes("gpu", tmp_path) == KEPT_BYTES["gpu"]


@pytest.mark.parametrize(
    ("log", "error", "says"),
    [
        ("INFO: answering", UnreachableError, "its process ended without a message"),
        ("torch.OutOfMemoryError: CUDA out of memory", EngineError, "out of memory"),
    ],
    ids=["killed", "out of memory"],
)
def test_model_agent_a_server_of_ours_that_dies_pauses_the_study_unless_it_would_die_again(
    log: str, error: type[TrackerError], says: str, tmp_path: Path
) -> None:
    log_path = tmp_path / "vllm.log"
    log_path.write_text(log)
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    launch = VllmLaunch(BIGRAM, EngineSettings(engine="vllm"), is_cpu=True)
    server = VllmServer(process, launch, log_path, address=ServerAddress("http://127.0.0.1:1/v1"))
    server.check_still_there()
    process.kill()
    process.communicate()
    with pytest.raises(error, match=says):
        server.check_still_there()


def test_model_agent_a_server_listens_on_this_machine_alone() -> None:
    launch = VllmLaunch(BIGRAM, EngineSettings(engine="vllm"), is_cpu=False, parser="qwen3")
    argv = server_argv(launch, port=8123)
    assert argv[argv.index("--host") + 1] == "127.0.0.1"
    assert argv[argv.index("--allowed-origins") + 1] == "[]"
    assert not any("key" in word for word in argv)  # everybody can list the arguments of a process
    assert argv[argv.index("--port") + 1] == "8123"
    assert argv[argv.index("--reasoning-parser") + 1] == "qwen3"
    assert argv[argv.index("--revision") + 1] == "server"


@pytest.mark.parametrize(
    ("start", "template", "name"),
    [
        ("<think>", "{% if enable_thinking %}", "qwen3"),
        ("<think>", "", "deepseek_r1"),
        ("[THINK]", "", "mistral"),
        ("<|channel>", "", "gemma4"),
        ("<think:v3>", "", "hy_v3"),
        ("<think:v4>", "", "hy_v4"),
    ],
)
def test_model_agent_thinking_marks_have_the_name_of_vllm_s_parser(
    start: str, template: str, name: str
) -> None:
    assert parser_name(ThinkingMarks(start, "end", (1,)), template) == name
    assert parser_name(None, template) is None


# --- the embedded model ----------------------------------------------------------------------------------


@pytest.mark.timeout(600)
def test_model_agent_the_embedded_model_makes_proposals_that_can_be_tried(
    demo_home: Path, tmp_path: Path
) -> None:
    embedded = demo_model(Settings(home=demo_home))
    of = study("model", model=embedded, settings=EngineSettings(engine="transformers"))
    agent = open_agent(of, tmp_path)
    found = [*agent.propose(ask(of, k=3)), *agent.propose(ask(of, past(4), k=1))]
    agent.close()
    changes = [proposal.change for proposal in found if proposal.change is not None]
    assert len(changes) >= len(found) - 1
    for change in changes:
        assert space.validate(change.params, TIER) == change.params
    assert len({change_key(change) for change in changes}) > 1
