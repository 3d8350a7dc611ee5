"""The wheel in an environment that has nothing else: what a person has who installs it without an extra.

`make test-wheel` builds the wheel and the environment first.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.wheel
BIN = ROOT / "build" / "wheel-venv" / "bin"
START_S = 120
READ_HOME = """
import tracker
home = tracker.open_home()
print(len(home.query("select 1 as one")), tracker.__version__)
"""


def environment(home: Path) -> dict[str, str]:
    """As a person has it who knows nothing of a checkout."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "TRACKER_HOME": str(home / "tracker")}


def ran(home: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        capture_output=True,
        text=True,
        cwd=home,
        env=environment(home),
        timeout=START_S,
        check=False,
    )


def test_wheel_brings_the_command_without_torch(tmp_path: Path) -> None:
    done = ran(tmp_path, "tracker", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "bench" in done.stdout
    assert ran(tmp_path, "python", "-c", "import torch").returncode == 1


def test_wheel_answers_the_frontier_from_the_tables_that_it_ships(tmp_path: Path) -> None:
    done = ran(tmp_path, "tracker", "frontier", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["best_open"]["model"]
    assert all(row["value"] is not None for row in answer["definitions"])


def test_wheel_has_the_python_api_with_its_types(tmp_path: Path) -> None:
    done = ran(tmp_path, "python", "-c", READ_HOME)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "1"
    typed = ran(
        tmp_path, "python", "-c", "import tracker, pathlib; p = pathlib.Path(tracker.__file__); "
        "print((p.parent / 'py.typed').is_file())",
    )  # fmt: skip
    assert typed.stdout.strip() == "True"


def test_wheel_says_which_extra_a_bench_needs_and_how_to_install_it(tmp_path: Path) -> None:
    done = ran(tmp_path, "tracker", "bench", "demo")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "pip install" in done.stderr


def test_wheel_serves_the_dashboard(tmp_path: Path) -> None:
    with subprocess.Popen(
        [str(BIN / "tracker"), "app", "--no-browser", "--json"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment(tmp_path),
    ) as process:
        assert process.stdout is not None
        try:
            address = json.loads(process.stdout.readline())
            with urllib.request.urlopen(address["health"], timeout=START_S) as answer:
                assert answer.read() == b"ok"
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=START_S) == 0
        finally:
            if process.poll() is None:
                process.kill()
