"""The command line as a whole: every command is documented, answers `--help`, and starts quickly."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tracker.cli import app

COMMANDS = sorted(name for name in app if not name.startswith("-"))


def tracker(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tracker", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_there_are_commands() -> None:
    assert {"bench", "fit", "app", "store", "doctor"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_stands_in_the_readme(command: str) -> None:
    done = tracker(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"tracker {command}" in done.stdout
    assert re.search(rf"`tracker {command}\b", (ROOT / "README.md").read_text()), command


def test_every_make_target_is_explained() -> None:
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", text, re.MULTILINE))
    explained = set(re.findall(r"^([a-z-]+):.*## .+", text, re.MULTILINE))
    assert targets == explained
    readme = (ROOT / "README.md").read_text()
    assert "make demo" in readme
    assert "make test" in readme


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("benhc",), 2, "benhc"),
        (("bench",), 2, "MODEL"),
        (("suites", "--no-such-flag"), 2, "--no-such-flag"),
        (("suites", "quik"), 1, "did you mean `quick`"),
    ],
    ids=["unknown command", "missing argument", "unknown flag", "unknown suite"],
)
def test_a_wrong_word_ends_with_the_right_code(arguments: tuple[str, ...], code: int, says: str) -> None:
    done = tracker(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("home")
def test_an_error_with_json_is_one_document_on_stdout() -> None:
    done = tracker("suites", "quik", "--json")
    assert json.loads(done.stdout)["exit_code"] == done.returncode == 1
