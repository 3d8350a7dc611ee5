"""A weekly run over repositories that attack it: the good models are measured, the digest is written.

By default a few of the attacks, with an engine without torch. TRACKER_TEST_HOSTILE=all tries all of them, in
about a quarter of an hour, and TRACKER_TEST_HOSTILE="config deep,template loop" these.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.builders.hostile_repositories import HARMS, hostile_repository
from tests.builders.tiny_models import save_random, tiny_config, tiny_tokenizer
from tests.conftest import CLOCK, IMPORTED_FROM
from tests.doubles.hub_double import running_hub
from tests.doubles.sources_double import SourcesHub, entry
from tracker.settings import Settings
from tracker.store import open_snapshot

ASKED = os.environ.get("TRACKER_TEST_HOSTILE", "")
IS_WHOLE = ASKED == "all"
KINDS = [*HARMS] if IS_WHOLE else ASKED.split(",") if ASKED else [*HARMS][:2]
ENGINE = () if ASKED else ("--engine", "tests.doubles.engines:ArithmeticEngine")  # without torch
N_GOOD = 5 if IS_WHOLE else 1
MOST_PARENT_BYTES = 10**9  # 0.3 GB without any attack
MOST_WORKER_BYTES = 10**9  # 0.7 GB with a good model, of which 0.5 are libraries
POLL_S = 0.25
pytestmark = [pytest.mark.clock, pytest.mark.timeout(3600)]


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A tiny model that can be measured."""
    tokens = tiny_tokenizer()
    save_random(tmp_path / "good", tokens, tiny_config(tokens, max_position_embeddings=2048))
    return tmp_path / "good"


def publish(hub: SourcesHub, model_id: str, folder: Path, good: Path, *, downloads: int) -> None:
    """List a repository; what the Hub says of it is that of the good one."""
    sha = hub.serve(model_id, good)[:-4] + f"{len(hub.folders):04x}"
    size = {"parameters": {"F32": 30_000}, "total": 30_000}
    hub.folders[model_id] = folder
    hub.infos[model_id] |= {"sha": sha, "safetensors": size, "config": {"model_type": "llama"}}
    hub.infos[model_id]["siblings"] = [{"rfilename": path.name} for path in sorted(folder.iterdir())]
    created = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    hub.put(entry(model_id, created, sha=sha, safetensors=size, downloads=downloads))


@pytest.fixture
def hub(tmp_path: Path, good: Path) -> Iterator[SourcesHub]:
    """The sources; every attack comes before the good models."""
    with running_hub(SourcesHub()) as running:
        assert isinstance(running, SourcesHub)
        for n, kind in enumerate(KINDS):
            folder = hostile_repository(tmp_path / f"hostile-{n}", good, kind)
            publish(running, f"evil/{kind.replace(' ', '-')}", folder, good, downloads=900_000 - n)
        # the Hub's own words about a repository can be odd too: an error that nobody expected
        publish(running, "evil/listing", good, good, downloads=950_000)
        running.infos["evil/listing"]["safetensors"] = "many"
        for n in range(N_GOOD):
            publish(running, f"good/model-{n}", good, good, downloads=500)
        yield running


def run(*arguments: str, environment: dict[str, str]) -> tuple[int, str, str, dict[str, int]]:
    """Run the command; returns its exit code, its output, and the peak memory of it and of its workers."""
    command = [sys.executable, "-m", "tracker", *arguments]
    peaks = {"parent": 0, "worker": 0}
    out, err = Path(environment["HOME"]) / "out", Path(environment["HOME"]) / "err"
    with out.open("w") as stdout, err.open("w") as stderr:
        process = subprocess.Popen(command, stdout=stdout, stderr=stderr, cwd="/", env=environment)
        while process.poll() is None:
            try:
                root = psutil.Process(process.pid)
                for one, name in [(root, "parent"), *((child, "worker") for child in root.children(True))]:
                    peaks[name] = max(peaks[name], one.memory_info().rss)
            except psutil.Error:
                continue
            time.sleep(POLL_S)
    return process.returncode, out.read_text(), err.read_text(), peaks


@pytest.mark.slow_clock
def test_a_week_of_hostile_repositories(hub: SourcesHub, home: Path, tmp_path: Path) -> None:
    environment = {
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
    began_s = time.monotonic()
    arguments = ("weekly", "--suite", "smoke", "--minutes", "50", "--json", *ENGINE)
    code, out, err, peaks = run(*arguments, environment=environment)
    took_s = time.monotonic() - began_s
    assert code in (0, 3, 4), err
    document = json.loads(out)
    assert all(Path(path).is_file() for path in document["paths"])
    assert document["paths"], err
    rows: dict[str, dict[str, Any]] = {}
    with open_snapshot(Settings(home=home)) as snapshot:
        rows = {row["model_id"]: row for row in snapshot.query("jobs", suite="smoke")}
    durations = {one["model_id"]: one["duration_s"] for one in document["jobs"]}
    if ASKED:
        print(f"{len(KINDS)} kinds, {took_s:.0f} s, {peaks}, exit code {code}")
        for name, row in rows.items():
            print(f"{name} | {row['status']} | {durations.get(name)} s | {row['parked_reason']}")
    assert {rows[f"good/model-{n}"]["status"] for n in range(N_GOOD)} == {"done"}, rows
    hostile = {name: row for name, row in rows.items() if name.startswith("evil/")}
    assert len(hostile) == len(KINDS) + 1
    for name, row in hostile.items():
        assert row["status"] == "parked" or row["attempts"] == 1, (name, row)
        assert row["parked_reason"].startswith("bench: "), (name, row)
        assert row["parked_reason"].isprintable(), (name, row)
        assert len(row["parked_reason"]) < 1000, (name, row)
    assert hostile["evil/listing"]["attempts"] == 1
    if not ASKED:
        assert hostile["evil/config-list"]["attempts"] == 0  # parked at once
    assert peaks["parent"] < MOST_PARENT_BYTES, peaks
    assert peaks["worker"] < MOST_WORKER_BYTES, peaks
