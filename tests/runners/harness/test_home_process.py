"""The process of the homes: it may die or hang at any moment, and no episode is lost or told wrong."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from runners.engines import GenerationRequest
from runners.executors.jobs import run_job
from runners.harness.episodes import play, with_episodes
from runners.harness.questions import TaskQuestion
from runners.harness.tasks.home.client import HomeProcess, HomesGoneError, RemoteEpisode, home_process
from runners.harness.tasks.home.draw import graded, target
from runners.harness.tasks.home.levels import HomeEpisode, document
from runners.harness.tool_prompts import ChatRenderer
from tests.doubles.home_agents import HomeEngine, solution_calls
from tests.doubles.tool_agents import RuleEngine, hermes
from tests.runners.harness.test_worker import rules
from tracker.files.items import read_items, read_run, stored_parts
from tracker.records import EngineSettings, Job, Model, RunRequest, RunStatus
from tracker.records.transcripts import Transcript, TranscriptMessage, parse_transcript
from tracker.settings import Settings
from tracker.suites import get_suite

PLACE = "runners.harness.tasks.home.draw:begin_episode"
DOC = document("tools", seed=20261130, number=0)
# what a process answers that dies, or hangs, as soon as an episode is begun
DESCRIPTION = {"first": "Turn it on.", "tools": [], "limits": {"turns": 9, "calls": 9, "budgets": 9}}
BROKEN = "import sys; sys.stdin.readline(); print({answer!r}, flush=True); sys.stdin.readline(); {then}"


@pytest.fixture(scope="module", autouse=True)
def closed() -> Iterator[None]:
    yield
    home_process().close()


def broken(then: str) -> HomeProcess:
    code = BROKEN.format(answer=json.dumps(DESCRIPTION), then=then)
    return HomeProcess(("-c", code), answer_s=0.5)


def played(engine: RuleEngine, doc: Mapping[str, Any], place: str = PLACE) -> Transcript:
    question = TaskQuestion(
        leaf=None,  # type: ignore[arg-type]  # a task of lm-eval, which only the items need
        doc_id=0,
        doc_hash=str(doc["digest"]),
        prompt="",
        requests=(GenerationRequest("", 256),),
        instances=(SimpleNamespace(doc=doc),),
    )
    asked = with_episodes([question], place, ChatRenderer(engine.chat_prompt, takes_tools=True))
    ((_, whole),) = play(engine, asked, stop=lambda: False)
    found = parse_transcript(whole.text)
    assert found is not None
    assert whole.finish_reason == ("refused" if found.end == "world" else "stop")
    return found


def test_home_an_episode_in_its_process_is_that_of_this_one() -> None:
    remote, local = RemoteEpisode(DOC, home_process()), HomeEpisode("tools", seed=20261130, number=0)
    assert (remote.first, list(remote.tools)) == (local.first, json.loads(json.dumps(local.tools)))
    for name, arguments in [*solution_calls(local), ("list_entities", {}), ("launch", {})]:
        assert remote.call(name, arguments) == local.call(name, arguments)
    assert remote.reply() is None
    assert remote.report() == json.loads(json.dumps(local.report()))
    assert target(DOC) == "\n".join(goal.text() for goal in local.command.goals)


def test_home_an_episode_goes_on_after_its_process_was_killed() -> None:
    homes = HomeProcess()
    episode, other = RemoteEpisode(DOC, homes), HomeEpisode("tools", seed=20261130, number=0)
    calls = [*solution_calls(other), ("wait", {"seconds": 60}), ("list_entities", {})]
    for name, arguments in calls:
        expected = other.call(name, arguments)
        if homes._child is not None:
            os.kill(homes._child.pid, signal.SIGKILL)
        assert episode.call(name, arguments) == expected
    assert homes.generation == 1 + len(calls)
    report = episode.report()
    assert report is not None
    assert all(one["met"] for one in report["goals"])
    homes.close()


@pytest.mark.parametrize(
    ("then", "said"), [("sys.exit(3)", "it died"), ("sys.stdin.readline()", "no answer within")]
)
def test_home_a_process_that_dies_or_hangs_ends_the_episode_with_a_sentence(
    then: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes = broken(then)
    monkeypatch.setattr("runners.harness.tasks.home.draw.home_process", lambda: homes)
    found = played(RuleEngine(lambda *_: hermes("turn_on", {"entity_id": "lamp"})), {"digest": "x"})
    assert (found.end, found.report, len(found.calls)) == ("world", None, 1)
    assert said in found.messages[-1].content
    assert "a later run asks this episode again" in found.messages[-1].content
    homes.close()


def test_home_a_process_that_never_starts_is_an_error_with_a_sentence() -> None:
    homes = HomeProcess(("-c", "raise SystemExit(1)"))
    with pytest.raises(HomesGoneError, match="the simulated home failed: it died"):
        homes.ask_again("describe", doc=DOC)
    assert homes.generation == 3


def test_home_the_rules_stand_before_the_tools_where_these_are_text() -> None:
    renderer = ChatRenderer(lambda messages: str(messages[-1]["content"]), takes_tools=False)
    local = HomeEpisode("api", seed=20261130, number=0)
    prompt = renderer.prompt([TranscriptMessage("user", local.first)], local.tools)
    around, tools, request = prompt.split("\n\n")
    assert "House rules: " in around
    assert tools.startswith("Tools:\n- list_docs()")
    assert request == f"Request: {local.command.text}"


def test_home_arguments_of_ten_megabytes_are_an_error_of_the_call() -> None:
    episode = RemoteEpisode(DOC, home_process())
    assert episode.call("turn_on", {"entity_id": "x" * 10_000_000}).problem == "wrong arguments"
    assert episode.call("list_entities", {}).problem is None


def test_home_a_transcript_tells_what_happened_and_is_graded_by_its_calls() -> None:
    local = HomeEpisode("tools", seed=20261130, number=0)
    (call,) = solution_calls(local)
    found = played(RuleEngine(lambda m, _: hermes(*call) if len(m) == 1 else "Done."), DOC)
    assert found.end == "done"
    assert found.report is not None
    assert [one["met"] for one in found.report["goals"]].count(True) == len(local.command.goals)
    timeline = found.report["timeline"]
    assert [bool(one["call"]) for one in timeline] == [True, False]
    assert timeline[0]["call"].startswith(f"{call[0]} {{")
    assert any(local.command.solution[0].entity_id in one for one in timeline[0]["changes"])
    grade = graded(DOC, [found.to_json()])
    assert (grade["success"], grade["unsafe"], grade["calls"], grade["turns"]) == (1.0, 0.0, 1.0, 2.0)
    claimed = replace(found, messages=found.messages[:1], report={"goals": [], "unsafe": []})
    assert (
        graded(DOC, [claimed.to_json()])["success"] == 0.0
    )  # what a transcript says of itself counts nothing


def test_home_a_run_counts_unsafe_actions_in_all(settings: Settings, model_folder: Path) -> None:
    suite = get_suite("home")
    suite = replace(suite, tasks=suite.tasks[:1])
    job = Job(
        model=Model("acme/tiny-1b", "0" * 40, path=str(model_folder)),
        settings=EngineSettings(engine="tests.doubles.home_agents:HomeEngine"),
        runs=(RunRequest("run-1", suite),),
        items_path=str(settings.items_path),
        flush_s=0.0,
    )
    assert run_job(job, settings, lambda _: None).exit_code == 0
    run = read_run(settings.items_path / "run-1")
    (score,) = run.scores
    n_unsafe = HomeEngine.N_UNSAFE
    assert run.status is RunStatus.COMPLETE
    assert (score.task, score.metric, score.n_items) == ("home_tools", "success", 24)
    assert score.value == pytest.approx((24 - n_unsafe) / 24)
    metrics = {one.metric: one.value for one in run.metrics}
    assert metrics["unsafe"] == 2 * n_unsafe  # a count, and no mean
    assert metrics["unsafe_episodes"] == pytest.approx(n_unsafe / 24)
    items = read_items(stored_parts(settings.items_path, score.fingerprint))
    assert sum(item.metrics["unsafe,none"] for item in items.values()) == 2 * n_unsafe
    assert "state is" in items[11].target


def test_home_a_run_killed_amid_episodes_goes_on_with_the_next_and_leaves_no_process(
    settings: Settings, model_folder: Path
) -> None:
    suite = get_suite("home")
    suite = replace(suite, tasks=suite.tasks[2:])  # the network: its episodes are the longest
    job = Job(
        model=Model("acme/tiny-1b", "0" * 40, path=str(model_folder)),
        settings=EngineSettings(engine="tests.doubles.home_agents:SolvingHomeEngine"),
        runs=(RunRequest("run-1", suite),),
        items_path=str(settings.items_path),
        flush_s=0.0,
    )
    kills = (65, 30)  # answers after which the worker is gone
    for number, die_at in enumerate(kills):
        rules(model_folder, die_at=die_at)
        asked = replace(job, runs=(RunRequest(f"killed-{number}", suite),))
        assert run_job(asked, settings, lambda _: None).exit_code != 0
        children = json.loads((model_folder / "children.json").read_text())
        assert children  # the home was in a process of its own
        _gone, alive = psutil.wait_procs(
            [psutil.Process(pid) for pid in children if psutil.pid_exists(pid)], 30
        )
        assert not alive
    (model_folder / "double.json").unlink()
    assert run_job(job, settings, lambda _: None).exit_code == 0

    run = read_run(settings.items_path / "run-1")
    (score,) = run.scores
    assert run.status is RunStatus.COMPLETE
    assert (score.task, score.value, score.n_items) == ("home_network", 1.0, 24)
    assert 0 < score.n_reused_items < 24
    parts = stored_parts(settings.items_path, score.fingerprint)
    stored = [item.doc_id for part in parts for item in read_items([part]).values()]
    assert sorted(stored) == list(range(24))  # each once, whoever asked it
    for item in read_items(parts).values():
        transcript = parse_transcript(item.response)
        assert transcript is not None
        assert transcript.end == "done"
        assert transcript.report is not None
        assert all(goal["met"] for goal in transcript.report["goals"])
