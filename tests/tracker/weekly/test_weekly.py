"""A whole week, the same week again and the next one, played through stand-ins by the crontab line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stamina
from huggingface_hub import constants

from runners.models.demo import demo_model
from tests.conftest import CLOCK, IMPORTED_FROM
from tests.doubles.engines import PanicException
from tests.doubles.hub_double import running_hub
from tests.doubles.sources_double import SourcesHub, entry
from tests.tracker.sources.test_sources import RECORD
from tests.tracker.weekly.test_schedule import table
from tracker.errors import UnknownNameError
from tracker.queue.runner import Budget
from tracker.records import EngineSettings
from tracker.settings import Settings
from tracker.store import open_snapshot
from tracker.weekly.run import Week, weekly
from tracker.weekly.schedule import CRON

__all__ = ["table"]

SMOL = "HuggingFaceTB/SmolLM2-135M-Instruct"
WEEK_S = 280
pytestmark = [
    pytest.mark.clock,
    pytest.mark.timeout(
        1200
    ),  # a model is made and three weeks are run: 50 s on idle cores, 200 s on busy ones
]


@pytest.fixture
def hub(demo_home: Path) -> Iterator[SourcesHub]:
    """All sources; the Hub has the embedded model as a repository, a gated one and a copy."""
    folder = demo_model(Settings(home=demo_home)).path
    assert folder is not None
    with running_hub(SourcesHub()) as running:
        assert isinstance(running, SourcesHub)
        sha = running.serve(
            SMOL, Path(folder), safetensors={"parameters": {"BF16": 134_515_008}, "total": 134_515_008}
        )
        small = {"parameters": {"BF16": 134_515_008}, "total": 134_515_008}
        running.put(entry(SMOL, sha=sha, safetensors=small, downloads=900_000, trendingScore=9))
        running.put(entry("acme/gated-8b", gated="manual"), entry("bob/atlas-8b-AWQ", trendingScore=0))
        running.records["flat/objects/aa/bb/1.json"] = RECORD
        yield running


@pytest.fixture
def environment(hub: SourcesHub, home: Path, table: Path, tmp_path: Path) -> dict[str, str]:
    """What a crontab line gets here: little, and the way to the stand-ins."""
    return {
        "HOME": str(tmp_path),
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": IMPORTED_FROM,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "TRACKER_HOME": str(home),
        "TRACKER_SOURCE_URLS": json.dumps(hub.source_urls),
    } | CLOCK


def tracker(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tracker", *arguments],
        capture_output=True, text=True, check=False, cwd="/", env=environment, timeout=WEEK_S,
    )  # fmt: skip


def rows(home: Path, query: str, **params: Any) -> list[dict[str, Any]]:
    with open_snapshot(Settings(home=home)) as snapshot:
        return snapshot.query(query, **params)


def counts(done: subprocess.CompletedProcess[str]) -> dict[str, tuple[int, int, int]]:
    sources = json.loads(done.stdout)["sources"]
    return {one["source"]: (one["n_new"], one["n_changed"], one["n_gone"]) for one in sources}


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    ends_at_s = time.monotonic() + 60
    while not path.exists() and process.poll() is None and time.monotonic() < ends_at_s:
        time.sleep(0.05)
    assert path.exists(), "the weekly run never began"


@pytest.mark.slow_clock
def test_two_weeks_by_the_crontab_line(
    hub: SourcesHub, environment: dict[str, str], home: Path, table: Path
) -> None:
    on_path = environment | {"PATH": os.environ["PATH"], "TRACKER_TEST_CRONTAB": str(table)}
    done = tracker("schedule", "install", "--suite", "smoke", "--minutes", "9", environment=on_path)
    assert done.returncode == 0, done.stderr
    line = next(line for line in table.read_text().splitlines() if line.startswith(CRON))
    command = ["/bin/sh", "-c", line.removeprefix(CRON)]

    # the first week, with a second start while it runs
    with subprocess.Popen(command, env=environment, cwd="/", text=True) as first:
        wait_for(home / "locks" / "weekly.json", first)
        assert subprocess.run(command, env=environment, cwd="/", check=False).returncode == 1
        code = first.wait(timeout=WEEK_S)
    log = (home / "weekly.log").read_text()
    assert code == 4, log  # Epoch's ZIP names two files that are not in it
    assert "Traceback" not in log
    assert "another weekly run is in progress" in log
    jobs = {row["model_id"]: row for row in rows(home, "jobs", suite="smoke")}
    assert (jobs[SMOL]["status"], jobs["acme/gated-8b"]["status"]) == ("done", "parked"), jobs[SMOL]
    assert "gated" in jobs["acme/gated-8b"]["parked_reason"]
    (run,) = rows(home, "runs", suite="smoke")
    assert (run["model_id"], run["status"], run["n_items"], run["path"]) == (SMOL, "complete", 16, None)
    assert (Path(environment["HF_HOME"]) / "hub" / "models--HuggingFaceTB--SmolLM2-135M-Instruct").is_dir()

    # the same week again changes nothing
    again = tracker("ingest", "--json", environment=environment)
    assert again.returncode == 4, again.stderr
    assert set(counts(again).values()) == {(0, 0, 0)}

    # the next week: a new model without weights, and a gate that opens
    hub.put(
        entry("acme/new-8b", "2026-11-23T00:00:00.000Z"), entry("acme/gated-8b", "2026-11-23T00:00:00.000Z")
    )
    week = tracker("weekly", "--suite", "smoke", "--minutes", "5", "--json", environment=environment)
    document = json.loads(week.stdout)
    assert week.returncode == 4, week.stderr
    assert counts(week)["hub-models"] == (1, 1, 0)
    jobs = {row["model_id"]: row for row in rows(home, "jobs", suite="smoke")}
    assert jobs["acme/new-8b"]["status"] == "parked"
    assert "missing_weights" in jobs["acme/new-8b"]["parked_reason"]
    said = {one["key"]: one["lines"] for one in document["digest"]["sections"]}
    assert any("acme/new-8b" in text for text in said["new_models"])
    assert "`acme/gated-8b` is no longer gated" in said["changed_models"]
    assert len(rows(home, "runs", suite="smoke", status="complete")) == 1
    assert [Path(path).exists() for path in document["paths"]] == [True, True, True]
    status = tracker("schedule", "status", "--json", environment=on_path)
    assert json.loads(status.stdout)["kind"] == "cron"


def test_weekly_refuses_a_wrong_engine_before_it_asks_a_source(settings: Settings) -> None:
    with pytest.raises(UnknownNameError, match="no engine is called `vlm`"):
        weekly(settings, Budget(), lambda _: None, engine=EngineSettings(engine="vlm"))
    assert not settings.home.exists()


def test_the_digest_is_written_whatever_a_step_does(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = "http://127.0.0.1:9"
    monkeypatch.setattr(constants, "ENDPOINT", dead)
    names = ("epoch", "models-dev", "openrouter", "artificial-analysis", "openrouter-usage")
    settings = settings.model_copy(update={"source_urls": dict.fromkeys(names, dead)})
    with stamina.set_testing(True, attempts=1):
        week = weekly(settings, Budget(), lambda _: None, suite="no-such-suite")
    assert len(week.problems) == 2
    assert all("no suite is called `no-such-suite`" in problem for problem in week.problems)
    assert week.exit_code == 1
    assert week.paths
    assert all(path.is_file() for path in week.paths)


def test_a_step_may_fail_in_any_way_but_a_request_to_stop_is_obeyed() -> None:
    week = Week()

    def fail(error: BaseException) -> None:
        raise error

    week.attempt("queue", lambda: fail(RecursionError("too deep")))
    week.attempt("digest", lambda: fail(PanicException("retry-limit \x1b[31m")))
    assert week.problems == [
        "queue: RecursionError: too deep",
        "digest: PanicException: retry-limit \ufffd[31m",
    ]
    assert week.exit_code == 1
    for stop in (KeyboardInterrupt, SystemExit):
        with pytest.raises(stop):
            week.attempt("queue", lambda stop=stop: fail(stop()))
