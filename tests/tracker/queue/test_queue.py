"""The queue: which model comes first and why, what is set aside, and working it off within a budget."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import stamina
from huggingface_hub import constants

from tests.builders.some_runs import model, run, store_runs
from tests.conftest import ROOT
from tests.doubles.hub_double import Hub, running_hub
from tests.doubles.openai_double import running_server
from tracker.bench.request import BenchRequest
from tracker.errors import FieldError, TrackerError, UnknownNameError
from tracker.memory_estimate import class_name, needed_bytes, size_class
from tracker.queue import hub_cache
from tracker.queue import jobs as queue
from tracker.queue import runner as working_off
from tracker.queue.priorities import (
    Candidate,
    Claims,
    obstacle,
    priority,
    read_claims,
)
from tracker.queue.runner import Budget, work_off
from tracker.records import EngineSettings
from tracker.records.published import (
    Access,
    Batch,
    ModelKind,
    SourceModel,
    SourceScore,
)
from tracker.settings import Settings
from tracker.store import Store, open_snapshot

pytestmark = pytest.mark.clock
NOW = datetime(2026, 11, 24, tzinfo=UTC)
ARITHMETIC = EngineSettings(engine="tests.doubles.engines:ArithmeticEngine")


def candidate(name: str = "acme/atlas-8b", **more: Any) -> Candidate:
    return Candidate(
        name, ModelKind.CHAT, **{"weights_bytes": 16_000_000_000, "n_params": 8_000_000_000} | more
    )


def hub_model(name: str, **more: Any) -> SourceModel:
    common: dict[str, Any] = {"access": Access.OPEN, "kind": ModelKind.CHAT, "revision": "a" * 40}
    common |= {"weights_bytes": 2_000_000, "n_params": 1_000_000, "has_safetensors": True}
    common |= {"released_at": datetime.now(UTC) - timedelta(days=1), "downloads": 1000}
    return SourceModel(name, **common | more)


def known(settings: Settings, *models: SourceModel, scores: tuple[SourceScore, ...] = ()) -> None:
    with Store.open(settings) as store:
        store.add_batch(Batch(models=models), source="hub-models", ingest_id="1", seen_at=NOW)
        store.add_batch(Batch(scores=scores), source="hub-evals", ingest_id="2", seen_at=NOW)


def jobs(settings: Settings, **where: Any) -> dict[str, dict[str, Any]]:
    with open_snapshot(settings) as snapshot:
        return {row["model_id"]: row for row in snapshot.query("jobs", **where)}


@pytest.mark.parametrize(
    ("more", "points"),
    [
        ({}, 0.0),
        ({"released_at": NOW - timedelta(days=3)}, 30.0),
        ({"released_at": NOW - timedelta(days=30)}, 15.0),
        ({"downloads": 1_000_000}, 20.0),
        ({"trending": 40}, 10.0),
        ({"kind": ModelKind.QUANTIZED, "released_at": NOW}, -10.0),
    ],
    ids=["nothing", "new", "fairly new", "popular", "trending", "a new copy"],
)
def test_points_have_reasons(more: dict[str, Any], points: float) -> None:
    found = priority(replace(candidate(), **more), Claims(), NOW)
    assert found.points == points
    assert sum(float(reason.split()[0]) for reason in found.reasons) == points


def test_a_claim_near_the_best_of_its_size_counts_and_one_nobody_checked_too() -> None:
    rows = [
        {"model_id": "acme/atlas-8b", "benchmark": "gpqa", "value": 0.50, "reported_by": "first_party"},
        {"model_id": "acme/best-8b", "benchmark": "gpqa", "value": 0.53, "reported_by": "third_party"},
        {"model_id": "acme/big", "benchmark": "gpqa", "value": 0.90, "reported_by": "third_party"},
    ]
    sizes = {"acme/atlas-8b": 8_000_000_000, "acme/best-8b": 9_000_000_000, "acme/big": 400_000_000_000}
    claims = read_claims(rows, sizes)
    found = priority(candidate(), claims, NOW)
    assert found.points == 35.0
    assert found.reasons[0] == "+20 claims 50.0% on gpqa; best open model of 6B to 10B: 53.0%"
    assert priority(candidate("acme/best-8b"), claims, NOW).points == 20.0


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"gated": "manual"}, "gated"),
        ({"has_safetensors": False}, "no safetensors"),
        ({"needs_remote_code": True}, "needs code from its repository"),
        ({"is_disabled": True}, "disabled"),
        (
            {"weights_bytes": 140_000_000_000},
            "153 GB of memory, estimated from the size of its weights; this machine has 24 GB",
        ),
    ],
)
def test_what_is_in_the_way_is_said(more: dict[str, Any], says: str) -> None:
    assert says in (obstacle(replace(candidate(), **more), 24_000_000_000) or "")
    assert obstacle(candidate(), 24_000_000_000) is None


def test_sizes() -> None:
    assert needed_bytes(weights_bytes=16_000_000_000) == 18_780_000_000
    assert [class_name(size_class(n) or 0) for n in (10**9, 8 * 10**9, 10**12)] == [
        "below 3B", "6B to 10B", "above 160B",
    ]  # fmt: skip


def test_a_refresh_queues_what_is_worth_it_and_parks_what_cannot_run(settings: Settings) -> None:
    known(
        settings,
        hub_model("acme/new"),
        hub_model("acme/old", released_at=NOW - timedelta(days=900), downloads=0),
        hub_model("acme/gated", gated="manual"),
        hub_model("acme/huge", weights_bytes=10**13),
        hub_model("bob/adapter", kind=ModelKind.ADAPTER, downloads=10**7),
        hub_model("bob/merge", kind=ModelKind.MERGE, downloads=10**7),
    )
    first = queue.refresh(settings)
    assert (first.n_added, first.n_queued, first.n_parked, first.n_passed_over) == (3, 1, 2, 3)
    assert {name: row["status"] for name, row in jobs(settings).items()} == {
        "acme/new": "queued", "acme/gated": "parked", "acme/huge": "parked",
    }  # fmt: skip
    before = jobs(settings)
    second = queue.refresh(settings)
    assert second.n_added == 0
    assert jobs(settings) == before


def test_a_model_that_is_measured_is_done_also_when_its_repository_moves_on(settings: Settings) -> None:
    known(settings, hub_model("acme/atlas-8b"))
    queue.refresh(settings)
    store_runs(settings, run(1))
    assert queue.refresh(settings).n_done == 1
    with Store.open(settings) as store:
        batch = Batch(models=(hub_model("acme/atlas-8b", revision="b" * 40),))
        store.add_batch(batch, source="hub-models", ingest_id="3", seen_at=NOW)
    queue.refresh(settings)
    (job,) = jobs(settings).values()
    assert (job["revision"], job["status"]) == ("b" * 40, "done")


def test_a_person_goes_before_the_points(settings: Settings) -> None:
    known(settings, hub_model("acme/a"), hub_model("acme/b", downloads=10**6))
    queue.refresh(settings)
    queue.add(settings, "ACME/A", priority=99)
    queue.park(settings, "acme/b", reason=queue.PARKED_BY_USER)
    queue.refresh(settings)
    found = jobs(settings)
    assert [*found] == ["acme/a", "acme/b"]
    assert (found["acme/a"]["set_priority"], found["acme/b"]["status"]) == (99, "parked")
    queue.add(settings, "acme/b")
    assert jobs(settings)["acme/b"]["status"] == "queued"
    queue.remove(settings, "acme/b")
    assert [*jobs(settings)] == ["acme/a"]
    with pytest.raises(UnknownNameError, match="acme/b"):
        queue.remove(settings, "acme/b")


def test_queue_add_takes_the_size_from_the_hub(settings: Settings) -> None:
    known(settings, hub_model("acme/old", released_at=NOW - timedelta(days=900), downloads=0))
    job = queue.add(settings, "ACME/old")
    assert (job.model_id, job.weights_bytes, job.reasons) == ("acme/old", 2_000_000, (queue.ASKED,))


def test_a_job_of_an_earlier_version_that_the_user_added_or_parked_stays_so(settings: Settings) -> None:
    known(settings, hub_model("acme/gated", gated="manual"), hub_model("acme/b", downloads=10**6))
    queue.refresh(settings)
    added = replace(queue.add(settings, "acme/gated"), reasons=("asked for",))
    parked = queue.park(settings, "acme/b", reason="by hand: too slow")
    with Store.open(settings) as store:
        store.put_jobs([added, parked])
    queue.refresh(settings)
    found = jobs(settings)
    assert (found["acme/gated"]["status"], found["acme/b"]["status"]) == ("queued", "parked")
    assert queue.ASKED in found["acme/gated"]["reasons"]
    assert "asked for" not in found["acme/gated"]["reasons"]


def test_a_gate_that_opens_takes_the_job_back_into_the_line(settings: Settings) -> None:
    known(settings, hub_model("acme/gated", gated="manual"))
    queue.refresh(settings)
    with Store.open(settings) as store:
        batch = Batch(models=(hub_model("acme/gated"),))
        store.add_batch(batch, source="hub-models", ingest_id="3", seen_at=NOW)
    queue.refresh(settings)
    assert jobs(settings)["acme/gated"]["status"] == "queued"


def test_the_lease_of_a_dead_process_is_taken_back(settings: Settings) -> None:
    known(settings, hub_model("acme/a"))
    queue.refresh(settings)
    with Store.open(settings) as store:
        job = queue.require(store, "acme/a", "quick")
        store.put_jobs([replace(job, status="running", lease_pid=2**22 - 1)])
    queue.refresh(settings)
    assert jobs(settings)["acme/a"]["status"] == "queued"


@pytest.mark.parametrize("budget", [{"minutes": 0.0}, {"max_gb": -1.0}, {"max_models": 0}])
def test_a_budget_of_nothing_is_refused(budget: dict[str, Any]) -> None:
    with pytest.raises(TrackerError, match="must be more than 0"):
        Budget(**budget)


@pytest.fixture
def hub(home: Path, tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub with one model that can be had, for this process and the worker."""
    with running_hub() as running, stamina.set_testing(True, attempts=1):
        running.serve("acme/tiny-1b", model_folder)
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield running
        huggingface_hub.close_session()


def worked_off(settings: Settings, **budget: Any) -> list[tuple[str, str, int]]:
    work = work_off(settings, Budget(**budget), lambda _: None, suite="smoke", engine=ARITHMETIC)
    return [(worked.model_id, worked.status, worked.exit_code) for worked in work]


def test_the_queue_is_worked_off_in_order_and_a_refusal_is_parked(settings: Settings, hub: Hub) -> None:
    queue.add(settings, "acme/tiny-1b", suite="smoke", priority=50)
    queue.add(settings, "meta-llama/Llama-3.1-8B-Instruct", suite="smoke", priority=60)  # gated
    queue.add(settings, "acme/too-large", suite="smoke", priority=70)
    with Store.open(settings) as store:
        job = queue.require(store, "acme/too-large", "smoke")
        store.put_jobs([replace(job, weights_bytes=10**10)])
    assert worked_off(settings, max_gb=1.0) == [
        ("meta-llama/Llama-3.1-8B-Instruct", "parked", 3), ("acme/tiny-1b", "done", 0),
    ]  # fmt: skip
    found = jobs(settings)
    assert found["acme/tiny-1b"]["run_id"]
    assert found["acme/too-large"]["status"] == "queued"
    assert "bench: gated" in found["meta-llama/Llama-3.1-8B-Instruct"]["parked_reason"]
    assert worked_off(settings, max_gb=1.0) == []


def test_queue_counts_the_bytes_left_to_download_of_an_added_model(
    settings: Settings, hub: Hub, model_folder: Path
) -> None:
    queue.add(settings, "acme/tiny-1b", suite="smoke")
    n_bytes = sum(path.stat().st_size for path in model_folder.iterdir())
    assert worked_off(settings, max_gb=(n_bytes - 1) / 1e9) == []
    assert jobs(settings)["acme/tiny-1b"]["status"] == "queued"
    assert worked_off(settings, max_gb=n_bytes / 1e9) == [("acme/tiny-1b", "done", 0)]
    queue.add(settings, "acme/tiny-1b", suite="smoke")
    assert worked_off(settings, max_gb=1e-9) == [("acme/tiny-1b", "done", 0)]  # it lies in the cache


@pytest.mark.slow_clock
def test_queue_run_on_a_server_asks_no_hub_downloads_nothing_and_evicts_nothing(
    settings: Settings, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.add(settings, "acme/bigram", suite="smoke")
    queue.add(settings, "acme/elsewhere", suite="smoke", priority=90)
    with Store.open(settings) as store:  # far beyond any budget, if it had to be downloaded
        job = queue.require(store, "acme/bigram", "smoke")
        store.put_jobs([replace(job, weights_bytes=10**15)])
    fake_repo(tmp_path / "hf" / "hub", "acme/bigram", 2_000_000, used_days_ago=9)
    frugal = settings.model_copy(update={"cache_quota_gb": 1e-9})
    with running_server() as server:
        engine = EngineSettings(engine="auto", base_url=server.url)
        work = work_off(frugal, Budget(max_gb=1e-9), lambda _: None, suite="smoke", engine=engine)
        (worked,) = work
    assert (worked.model_id, worked.status, worked.exit_code) == ("acme/bigram", "done", 0), worked.reason
    assert hub.requests == []
    assert hub_cache.cached_bytes("acme/bigram") == 2_000_000
    left = jobs(settings)["acme/elsewhere"]  # it is not served there, which is no failure of its own
    assert (left["status"], left["attempts"]) == ("queued", 0)
    with open_snapshot(settings) as snapshot:
        (measured,) = snapshot.query("models")
    assert (measured["engine"], measured["revision"].partition(":")[0]) == ("server", "server")
    assert hub_cache.keep_quota(frugal, keep="") == []  # what lies there under this name is someone else's


def test_queue_is_not_begun_with_a_setting_that_its_engine_does_not_take(settings: Settings) -> None:
    queue.add(settings, "acme/tiny-1b", suite="smoke")
    engine = EngineSettings(engine="transformers", tensor_parallel_size=2)
    with pytest.raises(FieldError, match="is not supported by `--engine transformers`"):
        list(work_off(settings, Budget(), lambda _: None, suite="smoke", engine=engine))
    assert jobs(settings)["acme/tiny-1b"]["attempts"] == 0


@pytest.mark.parametrize("command", [("queue", "run"), ("bench", "--queue")], ids=" ".join)
def test_queue_run_and_bench_queue_are_the_same(command: tuple[str, ...], settings: Settings) -> None:
    with running_server() as server:
        flags = ("--suite", "smoke", "--base-url", server.url, "--json")
        done = subprocess.run(
            [sys.executable, "-m", "tracker", *command, *flags],
            capture_output=True, text=True, check=False, cwd=ROOT, timeout=240,
        )  # fmt: skip
    assert (done.returncode, json.loads(done.stdout)) == (0, {"jobs": []}), done.stderr


def test_what_tracker_fit_reads_of_a_model_stands_in_its_job(
    settings: Settings, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = str(hub.infos["acme/tiny-1b"]["sha"])
    known(settings, hub_model("acme/tiny-1b", revision=commit))
    queue.refresh(settings)
    (before,) = jobs(settings).values()
    assert (before["predicted_by"], before["weights_bytes"]) == ("weights", 2_000_000)
    job = queue.job_of(before)
    request = BenchRequest(model="acme/tiny-1b", engine=EngineSettings(engine="transformers"))
    read, n_bytes = working_off.foreseen(job, request, settings)
    assert (read.predicted_by, read.weights_bytes, read.revision, n_bytes > 512) == ("fit", 512, commit, True)
    with Store.open(settings) as store:
        store.put_jobs([read])
    queue.refresh(settings)
    (after,) = jobs(settings).values()
    assert (after["predicted_by"], after["predicted_bytes"]) == ("fit", read.predicted_bytes)


def test_what_a_killed_process_had_taken_is_measured(settings: Settings, hub: Hub) -> None:
    queue.add(settings, "acme/tiny-1b", suite="smoke")
    with Store.open(settings) as store:
        job = queue.require(store, "acme/tiny-1b", "smoke")
        store.put_jobs([replace(job, status="running", lease_pid=2**22 - 1)])
    assert worked_off(settings) == [("acme/tiny-1b", "done", 0)]


def test_a_hub_that_is_down_leaves_the_queue_as_it_was(settings: Settings, hub: Hub) -> None:
    for place in range(4):
        queue.add(settings, f"acme/m-{place}", suite="smoke", priority=place)
    hub.broken = [(503, {}, b"")] * 99
    assert worked_off(settings) == [("acme/m-3", "queued", 4), ("acme/m-2", "queued", 4)]
    assert {row["status"] for row in jobs(settings).values()} == {"queued"}
    assert {row["attempts"] for row in jobs(settings).values()} == {0}


def test_a_model_with_which_anything_goes_wrong_is_counted_and_then_parked(
    settings: Settings, hub: Hub, model_folder: Path
) -> None:
    hub.serve("evil/odd", model_folder, safetensors="many")  # an error that nobody expected
    hub.serve("evil/nowhere", model_folder, sha=None)  # seems to be unreachable, but the Hub answers
    hub.serve("evil/nothing", model_folder, sha=None)
    for place, name in enumerate(("acme/tiny-1b", "evil/odd", "evil/nowhere", "evil/nothing")):
        queue.add(settings, name, suite="smoke", priority=place)
    evil = ["evil/nothing", "evil/nowhere", "evil/odd"]
    assert worked_off(settings) == [*[(name, "queued", 3) for name in evil], ("acme/tiny-1b", "done", 0)]
    assert {row["attempts"] for name, row in jobs(settings).items() if name in evil} == {1}
    assert "last attempt failed" not in jobs(settings)["acme/tiny-1b"]
    assert "the Hub names no commit" in jobs(settings)["evil/nowhere"]["parked_reason"]
    assert worked_off(settings) == [(name, "queued", 3) for name in evil]
    assert worked_off(settings) == [(name, "parked", 3) for name in evil]
    assert worked_off(settings) == []
    for name in evil:
        assert jobs(settings)[name]["parked_reason"].startswith("bench: tried 3 times: error: ")
    assert queue.add(settings, "evil/odd", suite="smoke").attempts == 0


def test_a_model_parked_after_its_attempts_is_tried_again_with_a_new_version_of_the_suite(
    settings: Settings,
) -> None:
    known(settings, hub_model("acme/a"))
    queue.refresh(settings)
    with Store.open(settings) as store:
        job = queue.require(store, "acme/a", "quick")
        why = f"{queue.TRIED} 3 times: error: TypeError"
        parked = replace(job, status="parked", parked_reason=why, attempts=3)
        store.put_jobs([parked])
    queue.refresh(settings)
    assert jobs(settings)["acme/a"]["status"] == "parked"
    with Store.open(settings) as store:
        store.put_jobs([replace(parked, suite_version=job.suite_version - 1)])
    queue.refresh(settings)
    assert (jobs(settings)["acme/a"]["status"], jobs(settings)["acme/a"]["attempts"]) == ("queued", 0)


def test_a_model_that_left_the_hub_is_set_aside(settings: Settings) -> None:
    known(settings, hub_model("acme/a"), hub_model("acme/b"))
    queue.refresh(settings)
    with Store.open(settings) as store:
        batch = Batch(gone=("acme/a",), renamed=(("acme/b", "acme/c"),))
        store.add_batch(batch, source="hub-models", ingest_id="3", seen_at=NOW)
    queue.refresh(settings)
    why = {name: row["parked_reason"] for name, row in jobs(settings).items()}
    assert why == {"acme/a": "no longer on the Hub", "acme/b": "renamed to `acme/c`"}


def fake_repo(cache: Path, model_id: str, n_bytes: int, *, used_days_ago: float) -> None:
    """A repository in the Hub's cache, as its library lays it out."""
    folder = cache / f"models--{model_id.replace('/', '--')}"
    (folder / "blobs").mkdir(parents=True)
    snapshot = folder / "snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("c" * 40)
    blob = folder / "blobs" / "1234"
    blob.write_bytes(b"x" * n_bytes)
    (snapshot / "model.safetensors").symlink_to(blob)
    then = (datetime.now(UTC) - timedelta(days=used_days_ago)).timestamp()
    os.utime(blob, (then, then))


def test_the_quota_removes_what_was_measured_here_and_not_used_for_longest(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    for name, age in (("acme/older", 9.0), ("acme/newer", 1.0), ("somebody/elses", 99.0)):
        fake_repo(cache, name, 1000, used_days_ago=age)
    store_runs(settings, run(1, of=model("acme/older")), run(2, of=model("acme/newer")))
    small = settings.model_copy(update={"cache_quota_gb": 1.5e-6})
    assert hub_cache.keep_quota(small, keep="acme/newer") == ["acme/older"]
    assert hub_cache.keep_quota(small, keep="acme/newer") == []
    left = {repo.repo_id for repo in huggingface_hub.scan_cache_dir(cache).repos}
    assert left == {"acme/newer", "somebody/elses"}


def test_a_model_for_which_there_is_no_room_is_said_with_its_size(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(TrackerError, match=r"`acme/huge` needs 1000000.0 GB"):
        hub_cache.make_room(settings, 10**15, keep="acme/huge")


def test_claimed_and_measured_are_kept_as_pairs(settings: Settings) -> None:
    claims = (
        SourceScore("acme/atlas-8b", "Count letters", 0.9, reported_by="first_party"),
        SourceScore("ACME/atlas-8b", "Sort words", 0.5),
    )
    known(settings, hub_model("acme/atlas-8b"), scores=claims)
    store_runs(settings, run(1))
    with Store.open(settings) as store:
        store.put_benchmark_tasks(
            [("Count letters", "count_letters", "close"), ("Sort words", "sort_words", "close")]
        )
        pairs = store.query("claimed_and_measured")
    found = [(p["task"], p["claimed"], p["measured"], p["verdict"]) for p in pairs]
    assert found == [("count_letters", 0.9, 0.5, "claimed_higher"), ("sort_words", 0.5, 0.5, "agrees")]
    assert json.dumps(pairs[0]["reported_by"]) == '"first_party"'
