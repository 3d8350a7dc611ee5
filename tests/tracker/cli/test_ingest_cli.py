"""The commands of ingestion as a new user types them, in an empty home."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.doubles.hub_double import running_hub
from tests.doubles.sources_double import SourcesHub, entry

OUTCOME = {
    "source", "status", "n_seen", "n_new", "n_changed", "n_gone", "n_overwritten", "n_problems",
    "duration_s", "reason", "problems",
}  # fmt: skip


@pytest.fixture
def hub(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SourcesHub]:
    with running_hub(SourcesHub()) as running:
        assert isinstance(running, SourcesHub)
        running.put(
            entry("acme/atlas-8b"),
            entry("acme/atlas-70b", safetensors={"parameters": {"BF16": 70 * 10**9}, "total": 70 * 10**9}),
        )
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("TRACKER_SOURCE_URLS", json.dumps(running.source_urls))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
        yield running


def tracker(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "tracker", *arguments],
        capture_output=True, text=True, check=False, cwd=ROOT, env=os.environ, timeout=120,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.clock
@pytest.mark.slow_clock
def test_from_an_empty_home_to_a_timer(hub: SourcesHub) -> None:
    done = tracker("ingest", "hub-models", "openrouter", "--json")
    assert done.returncode == 0, done.stderr
    sources = json.loads(done.stdout)["sources"]
    assert [set(one) for one in sources] == [OUTCOME, OUTCOME]
    assert [(one["source"], one["status"]) for one in sources] == [
        ("hub-models", "completed"), ("openrouter", "completed"),
    ]  # fmt: skip
    fits = tracker("models", "--fits-gb", "24", "--json")
    assert [one["model_id"] for one in json.loads(fits.stdout)["models"]] == ["acme/atlas-8b"]
    assert "acme/atlas-70b" in tracker("models", "--known").stdout
    assert "OnCalendar" in tracker("schedule", "print").stdout
    assert tracker("queue", "refresh").returncode == 0
    queued = json.loads(tracker("queue", "--json").stdout)["jobs"]
    assert "acme/atlas-8b" in {one["model_id"] for one in queued}
    assert json.loads(tracker("models", "--unmatched", "--json").stdout)["unmatched"]
    assert "acme/atlas-8b" in tracker("digest").stdout
    status = json.loads(tracker("schedule", "status", "--json").stdout)
    assert [(one["source"], one["is_overdue"]) for one in status["sources"]] == [
        ("hub-models", False), ("openrouter", False),
    ]  # fmt: skip


def test_the_queue_is_worked_off_at_the_command_line(hub: SourcesHub, model_folder: Path) -> None:
    hub.serve("acme/tiny-1b", model_folder)
    assert tracker("queue", "add", "acme/tiny-1b", "--suite", "smoke", "--priority", "9").returncode == 0
    engine = ("--suite", "smoke", "--engine", "tests.doubles.engines:ArithmeticEngine")
    done = tracker("bench", "--queue", *engine, "--minutes", "5", "--max-gb", "1", "--json")
    assert done.returncode == 0, done.stderr
    (job,) = json.loads(done.stdout)["jobs"]
    assert (job["model_id"], job["status"], len(job["run_ids"])) == ("acme/tiny-1b", "done", 1)
    again = tracker("bench", "--queue", *engine)
    assert (again.returncode, again.stdout) == (0, "")
    assert "no queued model" in again.stderr


def test_a_source_that_is_down_is_exit_code_4_with_a_reason(
    hub: SourcesHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_SOURCE_URLS", '{"epoch": "http://127.0.0.1:9/x"}')
    done = tracker("ingest", "epoch")
    assert done.returncode == 4
    assert "skipped_unavailable" in done.stdout
    assert "http://127.0.0.1:9/x cannot be reached" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("ingest", "epohc"), "did you mean `epoch`?"),
        (("ingest", "--since", "yesterday"), "is not a date"),
        (("ingest", "--since", "2999-01-01"), "is in the future"),
        (("models", "--fits-gb", "-1"), "`--fits-gb` must be"),
        (("queue", "--status", "quued"), "did you mean `queued`?"),
        (("queue", "remove", "a/b"), "no model in the queue"),
        (("queue", "add", "nonsense"), "is not a Hub id"),
        (("schedule", "print", "--kind", "crn"), "did you mean `cron`?"),
        (("schedule", "install", "--kind", "launchd"), "can only be printed"),
        (("schedule", "install", "--suite", "quik"), "did you mean `quick`?"),
        (("digest", "--format", "pdf"), "no format is called"),
        (("bench", "--queue", "demo"), "cannot be combined with `MODEL`"),
        (("bench", "--queue", "--minutes", "-1"), "must be more than 0"),
        (("weekly", "--max-gb", "0"), "must be more than 0"),
    ],
)
@pytest.mark.usefixtures("home")
def test_a_wrong_word_ends_with_one_sentence(arguments: tuple[str, ...], says: str) -> None:
    done = tracker(*arguments)
    assert (done.returncode, done.stdout) == (2 if "cannot be combined" in says else 1, "")
    assert says in done.stderr


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    "arguments",
    [
        ("models", "--known"),
        ("models", "--unmatched"),
        ("queue",),
        ("digest",),
        ("bench", "--queue"),
        ("schedule", "status"),
    ],
)
def test_an_empty_home_is_no_error(arguments: tuple[str, ...]) -> None:
    done = tracker(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr
