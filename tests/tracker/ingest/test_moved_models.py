"""Models that change while nobody looks: renamed, gated, with other weights; and ingests that are cut off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.builders.some_runs import model, run, store_runs
from tests.conftest import ROOT
from tests.doubles.sources_double import SourcesHub, entry
from tests.tracker.ingest.test_ingest import (
    EVER,
    hub,
    hub_models,
    rows,
    sql,
    there,
)
from tracker.answers.digest import digest
from tracker.ingest.run import ingest
from tracker.queue import jobs as queue
from tracker.records.published import OutcomeStatus
from tracker.settings import Settings
from tracker.store import Store, publish
from tracker.suites import get_suite

__all__ = ["hub", "there"]

pytestmark = pytest.mark.clock
NAME = "acme/atlas-8b"
VERSION = get_suite("quick").version


def files(weights: str, text: str) -> list[dict[str, Any]]:
    """A repository's files at a commit, as the Hub lists them."""
    lfs = {"oid": weights * 64, "size": 9}
    return [
        {"type": "file", "path": "README.md", "oid": text * 40, "size": 9},
        {"type": "file", "path": "model.safetensors", "oid": weights * 40, "size": 9, "lfs": lfs},
    ]


def measured_here(there: Settings, hub: SourcesHub, name: str = NAME) -> str:
    """Ingest, measure and queue that model; the commit at which it was measured."""
    hub_models(there, since=EVER)
    commit = str(hub.entries[name]["sha"])
    of = replace(model(name), revision=commit)
    store_runs(there, run(1, of=of, suite_version=VERSION))
    queue.add(there, name)
    assert queue.refresh(there).n_done == 1
    return commit


def lines(there: Settings, key: str) -> tuple[str, ...]:
    now = datetime.now(UTC)
    found = digest(there, since=now - timedelta(days=7), until=now)
    return next(section.lines for section in found.sections if section.key == key)


def job(there: Settings, name: str = NAME) -> dict[str, Any]:
    return next(row for row in rows(there, "jobs", suite="quick") if row["model_id"] == name)


def test_new_weights_of_a_measured_model_open_its_job_and_are_told_until_it_is_measured(
    there: Settings, hub: SourcesHub
) -> None:
    old = measured_here(there, hub)
    hub.put(entry(NAME, "2026-11-23T00:00:00.000Z"))
    new = str(hub.entries[NAME]["sha"])
    hub.trees = {(NAME, old): files("a", "b"), (NAME, new): files("c", "b")}
    hub_models(there)
    queue.refresh(there)
    queue.refresh(there)
    assert (job(there)["status"], job(there)["reasons"][-1]) == (
        "queued",
        "new weights since it was measured",
    )
    assert lines(there, "new_weights") == (
        f"`{NAME}` was measured at {old[:12]}; its weights changed with {new[:12]}",
    )
    of = replace(model(NAME), revision=new)
    store_runs(there, run(2, of=of, suite_version=VERSION))
    queue.refresh(there)
    assert (job(there)["status"], lines(there, "new_weights")) == ("done", ())


def test_a_commit_that_changes_a_text_measures_nothing_again(there: Settings, hub: SourcesHub) -> None:
    old = measured_here(there, hub)
    hub.put(entry(NAME, "2026-11-23T00:00:00.000Z"))
    new = str(hub.entries[NAME]["sha"])
    hub.trees = {(NAME, old): files("a", "b"), (NAME, new): files("a", "c")}
    assert hub_models(there).n_changed == 1
    queue.refresh(there)
    assert (job(there)["status"], lines(there, "new_weights")) == ("done", ())


def test_a_forced_push_is_told_and_the_measurement_stays(there: Settings, hub: SourcesHub) -> None:
    old = measured_here(there, hub)
    hub.put(entry(NAME, "2026-11-23T00:00:00.000Z"))
    outcome = hub_models(there)
    assert outcome.status is OutcomeStatus.COMPLETED
    problem = f"{NAME}: commit `{old[:12]}` no longer exists; the history was rewritten"
    assert lines(there, "outages") == (problem,)
    assert len(rows(there, "runs")) == 1


def test_a_renamed_model_is_not_measured_again_and_keeps_its_claims(there: Settings, hub: SourcesHub) -> None:
    measured_here(there, hub)
    fresh = entry("acme/new-name", "2026-11-23T00:00:00.000Z", downloads=10**6)
    fresh |= {"tags": [*fresh["tags"], "eval-results"], "sha": hub.entries[NAME]["sha"]}
    claim = {"dataset": {"id": "openai/gsm8k", "task_id": "gsm8k"}, "value": 90.0}
    fresh["evalResults"] = [{"data": claim, "filename": "x.yaml"}]
    hub.drop(NAME)
    hub.put(fresh)
    hub.renamed[NAME] = "acme/new-name"
    ingest(["hub-models", "hub-evals"], there)
    queue.refresh(there)
    assert [row["model_id"] for row in rows(there, "jobs") if row["status"] == "queued"] == ["acme/atlas-70b"]
    assert lines(there, "changed_models") == (f"`{NAME}` is now `acme/new-name`",)
    with Store.open(there) as store:
        store.put_benchmark_tasks([("openai/gsm8k", "count_letters", "close")])
    publish(there)
    (pair,) = rows(there, "claimed_and_measured")
    assert (pair["model_id"], pair["claimed"], pair["measured"]) == (NAME, pytest.approx(0.9), 0.5)


def test_a_disabled_or_refused_repository_stops_no_ingest(there: Settings, hub: SourcesHub) -> None:
    measured_here(there, hub)
    hub.answers[f"/api/models/{NAME}"] = [
        (403, {"X-Error-Message": "Access to this resource is disabled."}, b"{}")
    ]
    outcome = hub_models(there)
    assert outcome.status is OutcomeStatus.COMPLETED
    assert (outcome.n_gone, outcome.problems) == (0, (f"{hub.url}/api/models/{NAME} is disabled",))


def test_a_model_that_is_gated_after_it_was_measured_is_told_and_stays_done(
    there: Settings, hub: SourcesHub
) -> None:
    measured_here(there, hub)
    hub.put(entry(NAME, "2026-11-23T00:00:00.000Z", sha=hub.entries[NAME]["sha"], gated="manual"))
    hub_models(there)
    queue.refresh(there)
    assert job(there)["status"] == "done"
    assert lines(there, "changed_models") == (f"`{NAME}` is now gated (manual)",)


def test_a_gated_model_that_a_person_takes_back_stays_in_the_line(there: Settings, hub: SourcesHub) -> None:
    hub.put(entry("acme/gated", gated="manual", downloads=10**6))
    hub_models(there, since=EVER)
    queue.refresh(there)
    assert job(there, "acme/gated")["status"] == "parked"
    queue.add(there, "acme/gated")  # what `tracker queue unpark` does, once access was granted
    queue.refresh(there)
    assert job(there, "acme/gated")["status"] == "queued"


def test_what_moves_while_the_walks_go_on_is_seen_next_time(there: Settings, hub: SourcesHub) -> None:
    hub.put(*(entry(f"acme/old-{n}", "2026-01-05T00:00:00.000Z") for n in range(6)))
    hub.put(entry("acme/vision", "2026-11-22T00:00:00.000Z", pipeline_tag="image-text-to-text"))
    answer = hub._list

    def moving(query: dict[str, list[str]]) -> Any:
        if query["pipeline_tag"] == ["image-text-to-text"]:  # the walk of the others is over
            late = {"trendingScore": 0, "downloads": 0}
            hub.put(entry("acme/late", "2026-11-22T12:00:00.000Z", **late))
            hub.put(entry("acme/vision", "2026-11-23T00:00:00.000Z", pipeline_tag="image-text-to-text"))
        return answer(query)

    hub._list = moving  # type: ignore[method-assign]
    hub_models(there)
    hub._list = answer  # type: ignore[method-assign]
    assert "acme/late" not in {row["name"] for row in rows(there, "known_models")}
    hub.entries["acme/late"] |= {"trendingScore": -1}
    hub_models(there)
    assert "acme/late" in {row["name"] for row in rows(there, "known_models")}


def test_an_ingest_that_is_killed_goes_on_as_far_back_as_it_was_asked_to(
    there: Settings, hub: SourcesHub
) -> None:
    hub.put(*(entry(f"acme/m-{n:02}", f"2025-{n % 12 + 1:02}-01T00:00:00.000Z") for n in range(24)))
    answer, n_asked = hub._list, 0

    def slow(query: dict[str, list[str]]) -> Any:
        nonlocal n_asked
        n_asked += 1
        if n_asked > 4:
            os.kill(process.pid, signal.SIGKILL)
        return answer(query)

    hub._list = slow  # type: ignore[method-assign]
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "TRACKER_HUB_PAGE": "2"}
    environment |= {"TRACKER_FLUSH_S": "0.001"}
    command = [sys.executable, "-m", "tracker", "ingest", "hub-models", "--since", "2020-01-01"]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        assert process.wait(timeout=60) == -signal.SIGKILL
    hub._list = answer  # type: ignore[method-assign]
    hub.requests.clear()
    assert hub_models(there).status is OutcomeStatus.COMPLETED
    assert len(rows(there, "known_models")) == 26
    last = [line for line in hub.requests if "sort=lastModified" in line and "pipeline_tag=text" in line]
    assert len(last) == 13, last  # to the end, and not only the last seven days
    assert rows(there, "ingests")[0]["status"] == "completed"


def test_what_was_read_before_a_control_c_is_kept_and_seen(there: Settings, hub: SourcesHub) -> None:
    hub.put(*(entry(f"acme/m-{n:02}") for n in range(20)))
    answer, n_asked = hub._list, 0

    def slow(query: dict[str, list[str]]) -> Any:
        nonlocal n_asked
        n_asked += 1
        if n_asked == 6:
            os.kill(process.pid, signal.SIGINT)
            time.sleep(0.5)
        return answer(query)

    hub._list = slow  # type: ignore[method-assign]
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "TRACKER_HUB_PAGE": "2"}
    command = [sys.executable, "-m", "tracker", "ingest", "hub-models", "--json"]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        _, stderr = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in stderr) == (130, False)
    ((status, reason),) = sql(there, "select status, reason from ingests")
    assert (status, "interrupted" in reason) == ("partial", True)
    assert rows(there, "known_models")


def test_a_job_whose_process_number_now_belongs_to_another_program_is_taken_back(there: Settings) -> None:
    queue.add(there, NAME)
    long_ago = datetime.now(UTC) - timedelta(days=4000)  # before this process, whose number it has
    with Store.open(there) as store:
        held = queue.require(store, NAME, "quick")
        store.put_jobs([replace(held, status="running", lease_pid=os.getpid(), updated_at=long_ago)])
        assert not queue.is_at_work(queue.require(store, NAME, "quick"))
        store.put_jobs([replace(held, status="running", lease_pid=os.getpid(), updated_at=datetime.now(UTC))])
        assert queue.is_at_work(queue.require(store, NAME, "quick"))


def test_parked_models_take_no_place_in_the_line(there: Settings, hub: SourcesHub) -> None:
    hub.put(*(entry(f"acme/gated-{n}", gated="manual", downloads=10**7) for n in range(5)))
    hub_models(there, since=EVER)
    few, queue.MAX_QUEUED = queue.MAX_QUEUED, 3
    try:
        queue.refresh(there)
    finally:
        queue.MAX_QUEUED = few
    found = [row["status"] for row in rows(there, "jobs")]
    assert (found.count("queued"), found.count("parked")) == (2, 3)
