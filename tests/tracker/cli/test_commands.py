"""The command line as a whole: every command is documented, answers `--help`, and starts quickly."""

from __future__ import annotations

import errno
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.doubles.command import command as tracker
from tracker import __version__
from tracker.cli import main
from tracker.cli.command_line import command_line
from tracker.errors import near_names
from tracker.settings import load_settings, log_level

COMMANDS = sorted(name for name in command_line if not name.startswith("-"))


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


@pytest.mark.parametrize("arguments", ["benhc", "bench", "suites --nope", "bench demo --limit many"])
def test_a_usage_error_with_json_is_one_document_on_stdout(arguments: str) -> None:
    done = tracker(*arguments.split(), "--json")
    document = json.loads(done.stdout)
    assert document["exit_code"] == done.returncode == 2
    assert document["error"]
    assert "--help" in document["hint"]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("bench demo --limit 1", 1),
        ("fit demo", 1),
        ("models", 0),  # what only reads finds an empty store
        ("show demo", 1),
        ("suites", 0),
        ("query select+1", 0),
        ("compare a b", 1),
        ("doctor", 0),  # it looks, and makes nothing
        ("frontier lags", 0),
        ("index show", 0),
        ("research board", 0),
        ("research show", 0),
        ("research run --agent tpe --tier smoke", 1),
        ("store rebuild", 1),
        ("store publish", 1),
        ("store check", 1),
        ("store repair", 1),
        ("store compact", 1),
        ("store prune --keep 1", 1),
    ],
)
def test_a_home_that_cannot_be_written_is_no_traceback(
    arguments: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_HOME", "/proc/nope")
    done = tracker(*(word.replace("+", " ") for word in arguments.split()))
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    if code and arguments.split(maxsplit=1)[0] in {"bench", "fit", "store"}:
        assert "/proc/nope" in done.stderr.splitlines()[0]
        assert "TRACKER_HOME" in done.stderr


def test_the_disk_under_the_home_is_told_whoever_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").write_text("a file where a folder belongs")
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path / "home"))
    done = tracker("models", "--json")
    assert json.loads(done.stdout)["exit_code"] == done.returncode == 1
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("home")
def test_an_error_with_json_is_one_document_on_stdout() -> None:
    done = tracker("suites", "quik", "--json")
    assert json.loads(done.stdout)["exit_code"] == done.returncode == 1


def test_version_with_json_is_one_document() -> None:
    assert json.loads(tracker("--version", "--json").stdout) == {"version": __version__}


@pytest.mark.usefixtures("home")
def test_log_level_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_LOG_LEVEL", "banana")
    done = tracker("models")
    assert (done.returncode, done.stdout) == (1, "")
    assert "error: TRACKER_LOG_LEVEL: input should be 'debug', 'info', 'warning', 'error'" in done.stderr
    monkeypatch.setenv("TRACKER_LOG_LEVEL", " Info")
    assert tracker("models").returncode == 0


@pytest.mark.usefixtures("home")
def test_quiet_and_verbose_are_taken_anywhere_and_exclude_each_other() -> None:
    words = [(tracker(*words).returncode) for words in (("-q", "models"), ("models", "--verbose"))]
    assert words == [0, 0]
    both = tracker("models", "--quiet", "-v")
    assert (both.returncode, both.stderr.splitlines()[0]) == (
        2,
        "error: `--quiet` and `--verbose` cannot be combined",
    )
    assert "--verbose" in tracker("--help").stdout


@pytest.mark.usefixtures("home")
def test_quiet_overrides_the_environment_for_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_LOG_LEVEL", "debug")
    with log_level("error"):
        assert load_settings().log_level == "error"
    assert load_settings().log_level == "debug"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_that_knows_every_command(shell: str) -> None:
    done = tracker("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert [command for command in COMMANDS if command not in done.stdout] == []
    if shutil.which(shell):
        parsed = subprocess.run([shell, "-n"], input=done.stdout, text=True, capture_output=True, check=False)
        assert (parsed.returncode, parsed.stderr) == (0, "")


def test_completion_is_installed_where_the_shell_looks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", "/bin/bash")
    path = json.loads(tracker("completion", "--install", "--json").stdout)["path"]
    assert Path(path).is_relative_to(tmp_path)
    assert "tracker" in Path(path).read_text()


@pytest.mark.parametrize(
    ("typed", "near"),
    [
        ("GPQA", ["GPQA diamond"]),
        ("gpqa", ["GPQA diamond"]),
        ("diamond", ["GPQA diamond"]),
        ("WINO", ["Winogrande"]),
        ("PIQ", ["PIQA"]),
        ("PIQUA", ["PIQA"]),
        ("zzz", []),
        ("", []),
    ],
)
def test_near_names_are_those_that_hold_what_was_typed_before_those_spelled_like_it(
    typed: str, near: list[str]
) -> None:
    assert near_names(typed, ["GPQA diamond", "PIQA", "MMLU", "Winogrande"]) == near


LONG = "a" * 5000


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("fit", LONG), "File name too long"),
        (("suites", LONG), "File name too long"),
        (("export", LONG), "File name too long"),
        (("store", "export", LONG), "File name too long"),
        (("research", "show", "x"), "there is no study yet"),
        (("queue", "park", "x"), "there is no model in the queue yet"),
        (("index", "fit", "--draws", "9" * 26), "must be from 2 to 100,000"),
        (("frontier", "--fits-gb", "nan"), "example: `--fits-gb 24`"),
        (("frontier", "--as-of", "0001-01-01"), "no open model is left"),
    ],
)
def test_an_impossible_value_is_one_sentence_with_a_hint(arguments: tuple[str, ...], says: str) -> None:
    done = tracker(*arguments)
    assert done.returncode == 1
    assert says in done.stderr
    assert "\nhint: " in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr) < 600


@pytest.mark.usefixtures("home")
def test_a_folder_that_may_not_be_read_is_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object) -> object:
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "closed"))

    monkeypatch.setattr("pathlib.Path.iterdir", refuse)  # root may read everything
    with pytest.raises(SystemExit) as end:
        main(["import", str(tmp_path), "--dry-run"])
    assert end.value.code == 1
    assert f"`{tmp_path / 'closed'}`: Permission denied" in capsys.readouterr().err


@pytest.mark.usefixtures("home")
def test_a_digest_of_the_first_days_of_the_calendar_is_empty() -> None:
    done = tracker("digest", "--until", "0001-01-01")
    assert (done.returncode, "Nothing changed." in done.stdout) == (0, True)
