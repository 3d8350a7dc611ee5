"""Standard output that cannot be written: one sentence about the output, whatever the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.some_runs import model, run, store_runs
from tests.conftest import ROOT
from tracker.cli import main
from tracker.settings import Settings

FULL = Path("/dev/full")
COMMANDS = ("--version", "models --json", "query 'select 1'")


def shell(command: str, settings: Settings) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{sys.executable} -m tracker {command}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"TRACKER_HOME": str(settings.home)},
        check=False,
    )


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", COMMANDS)
def test_output_on_a_full_device_is_one_sentence(settings: Settings, command: str) -> None:
    store_runs(settings, run(1))
    done = shell(f"{command} >/dev/full", settings)
    assert done.returncode == 1
    assert "error: cannot write to standard output: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert "hf cache rm" not in done.stderr


@pytest.mark.parametrize("command", ["--version", "models --json"])
def test_output_that_is_closed_is_one_sentence(settings: Settings, command: str) -> None:
    done = shell(f"{command} >&-", settings)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "error: cannot write to standard output: it is closed"


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_output_an_error_is_told_once_on_a_full_device(settings: Settings) -> None:
    done = shell("show nothing --json >/dev/full", settings)
    assert (done.returncode, done.stderr.count("error:")) == (1, 1)
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_output_in_an_encoding_without_our_letters_is_escaped(encoding: str, settings: Settings) -> None:
    store_runs(settings, run(1))
    settings_of_output = f"PYTHONIOENCODING={encoding} PYTHONUTF8=0"
    for command in ("models", """query "select '–😀' as text" --json"""):
        done = subprocess.run(
            ["bash", "-c", f"{settings_of_output} {sys.executable} -m tracker {command}"],
            capture_output=True, cwd=ROOT, env=os.environ | {"TRACKER_HOME": str(settings.home)}, check=False,
        )  # fmt: skip
        assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
    assert json.loads(done.stdout.decode(encoding))["rows"] == [{"text": "–😀"}]


def test_output_to_a_reader_that_has_left_is_silent(settings: Settings) -> None:
    done = shell("--help | true", settings)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("as_json", [False, True])
def test_output_of_an_error_repeats_no_control_of_others(
    settings: Settings, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    store_runs(settings, run(1, of=model("acme/atlas\x1b]0;owned\x07\x9b31m\u202e\nerror: forged")))
    with pytest.raises(SystemExit):
        main(["show", "atlas\x1b[2J\nhint: run `rm -rf ~`", *(["--json"] if as_json else [])])
    said = capsys.readouterr()
    for text in (said.out, said.err):
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(text)
    told = [line for line in said.err.splitlines() if line.startswith(("error:", "hint:"))]
    assert [line.partition(":")[0] for line in told] == ["error", "hint"]
