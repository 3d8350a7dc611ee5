"""A whole job on the `server` engine: the worker against a real server with a tiny language model."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runners.engines import open_engine
from runners.executors.jobs import run_job
from runners.harness.answering import thinks
from runners.harness.events import Event
from tests.conftest import ROOT
from tests.doubles.openai_double import Behaviour, running_server
from tests.runners.engines.test_server_parameters import O_SERIES, Picky
from tests.runners.engines.test_server_variants import serving
from tracker.bench.run import store_runs
from tracker.files.items import read_items, stored_parts
from tracker.records import Condition, EngineSettings, Job, Model, RunRequest, RunStatus, Suite, Task
from tracker.settings import Settings
from tracker.store import check, open_snapshot

SUITE = Suite("sums-suite", 1, "", (Task("sums"),), include_path=str(ROOT / "tests" / "tasks"), chat=True)
SERVERS: dict[str, dict[str, Any]] = {
    "vLLM": {"/version": {"version": "0.32.0"}},
    "Ollama": {"/api/version": {"version": "0.12.1"}},
    "llama.cpp": {"/props": {"build_info": "b6000-abc", "chat_template": "{{x}}"}},
    "tells nothing": {},
}


def job(settings: Settings, server: Behaviour, suite: Suite) -> Job:
    """Two items of each task of the suite, asked of this server."""
    return Job(
        model=Model("acme/bigram", "server:1"),
        settings=EngineSettings(engine="server", base_url=server.url),
        runs=(RunRequest("run-1", suite),),
        items_path=str(settings.items_path),
        flush_s=settings.flush_s,
        limit=2,
    )


@pytest.mark.parametrize("places", SERVERS.values(), ids=SERVERS)
def test_server_job_a_chat_suite_asks_every_server_with_messages(
    places: dict[str, Any], settings: Settings
) -> None:
    events: list[Event] = []
    with running_server(places=places) as server:
        end = run_job(job(settings, server, SUITE), settings, events.append)
    run = end.runs[0]
    assert (run.status, run.n_items, run.warnings) == (RunStatus.COMPLETE, 2, ()), run.detail
    assert run.cost.prefilled_tokens == run.cost.prompt_tokens > 0
    assert server.paths[1:] == ["/v1/chat/completions"] * 2  # the first asks what the server can do
    asked = sorted(request["messages"][-1]["content"] for request in server.requests[1:])
    assert [text.partition(" =")[0] for text in asked] == ["Q: 0 + 3", "Q: 1 + 4"]


@pytest.mark.clock
@pytest.mark.slow_clock
def test_server_job_answers_of_a_server_without_a_digest_count_for_a_week(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []
    with running_server() as server:
        for number, days in enumerate((0, 6, 8, 9), 1):
            monkeypatch.setenv("TRACKER_NOW", f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%dT%H:%MZ}")
            again = replace(job(settings, server, SUITE), runs=(RunRequest(f"run-{number}", SUITE),))
            runs.append(run_job(again, settings, lambda event: None).runs[0])
    assert [(run.n_items, run.n_reused_items) for run in runs] == [(2, 0), (2, 2), (2, 0), (2, 0)]
    assert runs[1].warnings == ()
    (said,) = runs[2].warnings
    assert said.startswith("task `sums`: 2 stored answers are older than 7 days and asked again, since the")


def test_server_job_a_refused_question_is_an_empty_answer_until_it_is_answered(settings: Settings) -> None:
    with running_server(refuses="Q: 1 + 4") as server:
        first = run_job(job(settings, server, SUITE), settings, lambda event: None).runs[0]
        n_requests = len(server.requests)
        again = replace(job(settings, server, SUITE), runs=(RunRequest("run-2", SUITE),))
        second = run_job(again, settings, lambda event: None).runs[0]
        asked_again = server.requests[n_requests + 1 :]
        server.refuses = ""
        last = replace(again, runs=(RunRequest("run-3", SUITE),))
        third = run_job(last, settings, lambda event: None).runs[0]
    for run in (first, second):
        assert (run.status, run.n_items) == (RunStatus.COMPLETE, 2)
        assert [score.n_items for score in run.scores] == [2]
    (said,) = first.warnings
    assert said.startswith("task `sums`: 1 of 2 requests got no answer and counts as an empty one; repeat")
    assert "maximum context length is 4096 tokens" in said
    assert (second.n_reused_items, third.n_reused_items) == (1, 1)
    assert {"Q: 1 + 4" in json.dumps(request) for request in asked_again} == {True}
    assert (third.status, third.n_items, third.warnings) == (RunStatus.COMPLETE, 2, ())
    parts = stored_parts(settings.items_path, third.scores[0].fingerprint)
    assert [item.refused for item in read_items(parts).values()] == [False, False]
    store_runs(settings, [first, second, third])
    with open_snapshot(settings) as snapshot:
        found = snapshot.select("select run_id, doc_id, finish_reason from items order by doc_id").records()
    assert [(row["run_id"], row["finish_reason"] == "refused") for row in found] == [
        ("run-1", False),
        ("run-3", False),
    ]


def test_server_job_a_choice_without_log_probabilities_is_in_no_score_until_it_is_answered(
    settings: Settings,
) -> None:
    suite = replace(SUITE, tasks=(Task("parity"),), chat=False)
    with running_server(refuses="2 is") as server:
        asked = replace(job(settings, server, suite), limit=4)
        first = run_job(asked, settings, lambda event: None).runs[0]
        server.refuses = ""
        again = replace(asked, runs=(RunRequest("run-2", suite),))
        second = run_job(again, settings, lambda event: None).runs[0]
    assert (first.status, first.n_items) == (RunStatus.COMPLETE, 4), first.detail
    assert [(score.task, score.n_items) for score in first.scores] == [("parity", 3)]
    assert {metric.n_items for metric in first.metrics} == {3}
    (said,) = first.warnings
    assert said.startswith("task `parity`: 1 of 4 questions has no log-probabilities and is not in the score")
    assert "maximum context length is 4096 tokens" in said
    assert (second.n_reused_items, second.warnings) == (3, ())
    assert [(score.task, score.n_items) for score in second.scores] == [("parity", 4)]
    store_runs(settings, [first, second])
    assert check(settings) == []


def test_server_job_a_setting_that_the_server_does_not_take_is_kept_with_the_run(settings: Settings) -> None:
    server = Picky(O_SERIES)
    with serving(server) as url:
        asked = EngineSettings(engine="server", base_url=url, server_option=("top_k=20",))
        of_double = job(settings, Behaviour(url=url), SUITE)
        end = run_job(
            replace(of_double, model=Model("m", "server:1"), settings=asked), settings, lambda event: None
        )
    run = end.runs[0]
    assert (run.status, run.n_items) == (RunStatus.COMPLETE, 2), run.detail
    assert run.warnings == (
        "the server does not take `temperature`, so its own default applies instead of 0.0",
    )
    assert run.settings.server_option == ("top_k=20",)
    assert {body["top_k"] for body in server.taken} == {20}
    (key,) = {score.fingerprint for score in run.scores}
    text = (settings.items_path / "run-1" / f"{key}.json").read_text()
    assert json.loads(text)["engine"]["versions"]["server_option"] == "top_k=20"


def test_server_job_a_base_model_does_not_think_and_the_run_goes_on(settings: Settings) -> None:
    late = (
        Task("parity", when=(Condition("sums", thinking=True),)),
        Task("sums_few_shot", chat=False, when=(Condition("sums", thinking=False),)),
    )
    suite = replace(SUITE, tasks=(Task("sums", chat=False), *late))
    with running_server(has_chat=False) as server:
        run = run_job(job(settings, server, suite), settings, lambda _event: None).runs[0]
    assert (run.status, run.thinks) == (RunStatus.COMPLETE, False), run.detail
    assert [score.task for score in run.scores] == ["sums", "sums_few_shot"]


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        ({"reply": lambda _prompt: "Let me see. " * 100}, True),  # its template begins the thinking
        ({"reply": lambda _prompt: "Let me see.</think>71"}, True),
        ({"thought": "Let me see. " * 100}, True),
        ({"thought": "Let me see."}, True),
        ({"reply": lambda _prompt: "71"}, False),
        ({"has_chat": False}, False),
    ],
    ids=["never ends", "ends inline", "separate, never ends", "separate", "answers", "base model"],
)
def test_server_job_a_model_thinks_if_it_shows_thinking_or_does_not_come_to_an_end(
    behaviour: dict[str, Any], expected: bool, home: object
) -> None:
    with running_server(**behaviour) as server:
        engine = open_engine(
            Model("acme/bigram", "server:1"), EngineSettings(engine="server", base_url=server.url)
        )
        assert thinks(engine) is expected
