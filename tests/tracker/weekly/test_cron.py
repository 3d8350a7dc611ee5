"""The timer for real: the installed line, started by Debian's `cron`, and never twice at once.

Needs root and `cron`; waits for the next full minute. `make test-cron` runs it, the default tests do not.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.doubles.hub_double import running_hub
from tests.doubles.sources_double import SourcesHub, entry
from tracker.answers.weekly_timer import BEGIN, END
from tracker.settings import Settings
from tracker.store import open_snapshot
from tracker.weekly.schedule import CRON

pytestmark = pytest.mark.cron

EVERY_MINUTE = "* * * * *"
FIRST_S = 75  # the next full minute, and a little
WEEK_S = 120


def crontab(*arguments: str, text: str | None = None) -> str:
    done = subprocess.run(["crontab", *arguments], input=text, capture_output=True, text=True, check=False)
    return done.stdout


@pytest.fixture
def cron(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A `cron` that runs the crontab of this user; the crontab is put back as it was."""
    if os.getuid() or shutil.which("cron") is None:
        pytest.skip("needs root and Debian's cron")
    before = crontab("-l")
    with (tmp_path / "cron.log").open("w") as log:
        daemon = subprocess.Popen(["cron", "-f", "-L", "1"], stdout=log, stderr=log, text=True)
        try:
            time.sleep(0.5)
            if daemon.poll() is not None:
                pytest.skip("another cron runs here")
            yield daemon
        finally:
            daemon.terminate()
            daemon.wait(timeout=10)
            crontab("-", text=before) if before else crontab("-r")


def wait_until(is_so: Path | None, log: Path, words: str, limit_s: float) -> None:
    ends_at_s = time.monotonic() + limit_s
    while time.monotonic() < ends_at_s:
        if (is_so is None or is_so.exists()) and words in (log.read_text() if log.exists() else ""):
            return
        time.sleep(0.2)
    raise AssertionError(f"after {limit_s} s: {log.read_text() if log.exists() else 'cron started nothing'}")


def test_cron_starts_the_installed_line_and_a_second_start_is_refused(
    cron: subprocess.Popen[str], home: Path, tmp_path: Path
) -> None:
    assert cron.poll() is None
    with running_hub(SourcesHub()) as hub:
        assert isinstance(hub, SourcesHub)
        hub.put(entry("acme/atlas-70b", safetensors={"parameters": {"BF16": 10**13}, "total": 10**13}))
        there = {
            "HF_ENDPOINT": hub.url,
            "HF_HUB_OFFLINE": "0",
            "PYTHONPATH": str(ROOT),
            "HF_HOME": str(tmp_path),
        }
        there |= {"TRACKER_SOURCE_URLS": json.dumps(hub.source_urls)}
        crontab("-", text="".join(f"{name}={value}\n" for name, value in there.items()))
        install = [sys.executable, "-m", "tracker", "schedule", "install", "--kind", "cron", "--minutes", "1"]
        done = subprocess.run(install, capture_output=True, text=True, check=False, cwd=ROOT)
        assert (done.returncode, done.stdout.startswith("installed for cron")) == (0, True), done.stderr

        installed = crontab("-l")
        assert installed.startswith("HF_ENDPOINT=")
        (line,) = [one for one in installed.splitlines() if one.startswith(CRON)]
        soon = line.replace(CRON, EVERY_MINUTE, 1)
        crontab("-", text=installed.replace(line, f"{soon}\n{soon}"))  # both in the same second

        log = home / "weekly.log"
        wait_until(None, log, "another weekly run is in progress: ", FIRST_S)
        crontab("-", text=installed)  # no further minute
        wait_until(home / "digests" / "feed.xml", log, "feed.xml", WEEK_S)
    assert "Traceback" not in log.read_text()
    with open_snapshot(Settings(home=home)) as snapshot:
        statuses = {row["source"]: row["status"] for row in snapshot.query("ingests")}
        (job,) = snapshot.query("jobs")
    assert statuses["hub-models"] == "completed"
    assert (job["model_id"], job["status"]) == ("acme/atlas-70b", "parked")
    remove = [sys.executable, "-m", "tracker", "schedule", "remove"]
    assert subprocess.run(remove, capture_output=True, check=False, cwd=ROOT).returncode == 0
    assert BEGIN not in crontab("-l")
    assert END not in crontab("-l")
