"""A user's suites and tasks: the example of `docs/own-tasks.md`, run for real, and the names allowed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.doubles.openai_double import running_server
from tests.tracker.cli.test_commands import tracker
from tracker.errors import TrackerError, UnknownNameError
from tracker.settings import Settings
from tracker.suites import get_suite, stored_suite, suite_names

EXAMPLE = ROOT / "docs" / "examples" / "own-tasks"
PAGE = (ROOT / "docs" / "own-tasks.md").read_text(encoding="utf-8")
ANSWERS = {"France": "Paris", "Italy": "Rome", "Norway": "Oslo"}


def answer(prompt: str) -> str:
    """What a model writes that knows three capitals."""
    last = prompt.rpartition("The capital of ")[2]
    return next((capital for country, capital in ANSWERS.items() if last.startswith(country)), "London")


@pytest.fixture
def stored(settings: Settings) -> Settings:
    """The example in the folder of the home."""
    shutil.copytree(EXAMPLE, settings.suites_path)
    return settings


@pytest.mark.parametrize("path", sorted(EXAMPLE.rglob("*.toml")) + sorted(EXAMPLE.rglob("*.yaml")))
def test_own_tasks_page_shows_the_files_as_they_are(path: Path) -> None:
    assert path.read_text(encoding="utf-8") in PAGE


def test_own_tasks_page_shows_the_function_as_it_is() -> None:
    code = (EXAMPLE / "capitals" / "capitals.py").read_text(encoding="utf-8")
    assert code[code.index("def splits") :] in PAGE


@pytest.mark.usefixtures("home")
def test_own_suite_by_path_is_measured_and_keeps_its_name(tmp_path: Path) -> None:
    with running_server(reply=answer) as server:
        done = tracker(
            "bench",
            "acme/bigram",
            "--base-url",
            server.url,
            "--suite",
            str(EXAMPLE / "geography.toml"),
            "--json",
        )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["suite"], document["status"], document["n_items"]) == ("geography", "complete", 8)
    (score,) = document["scores"]
    assert (score["task"], score["value"], score["filter"]) == ("my_capitals", 3 / 8, "first_word")


@pytest.mark.usefixtures("stored")
def test_own_suite_in_the_home_is_listed_and_found_by_name() -> None:
    listed = json.loads(tracker("suites", "--json").stdout)["suites"]
    assert [suite["name"] for suite in listed if suite["is_own"]] == ["geography"]
    assert tracker("queue", "add", "org/name", "--suite", "geography").returncode == 0


def test_own_suite_has_an_absolute_include_path(stored: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(stored.suites_path)
    by_path = get_suite("./geography.toml", own=stored.suites_path)
    assert by_path == get_suite("geography", own=stored.suites_path)
    assert by_path.include_path == str((stored.suites_path / "capitals").resolve())
    assert suite_names(stored.suites_path) == [*suite_names(), "geography"]


@pytest.mark.parametrize("name", ["quick", "tasks", "my suite", "a@7"])
def test_own_suite_may_not_have_a_name_that_means_something_else(
    stored: Settings, tmp_path: Path, name: str
) -> None:
    path = tmp_path / f"{name}.toml"
    path.write_text((EXAMPLE / "geography.toml").read_text().replace('"capitals"', '"."'))
    with pytest.raises(TrackerError, match="cannot use") as caught:
        get_suite(str(path), own=stored.suites_path)
    assert caught.value.hint == "rename the file"


def test_own_suite_that_is_another_one_of_a_name_in_the_home_is_refused(
    stored: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "geography.toml"
    path.write_text((EXAMPLE / "geography.toml").read_text().replace('"capitals"', '"."'))
    with pytest.raises(TrackerError, match="a different suite with the same name"):
        get_suite(str(path), own=stored.suites_path)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("./none.toml", "cannot read `none.toml`"),
        ("folder.toml", "cannot read"),
        ("lost/geography.toml", "include_path: .*capitals` is not a folder"),
    ],
)
def test_own_suite_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, says: str
) -> None:
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "lost").mkdir()
    shutil.copy(EXAMPLE / "geography.toml", tmp_path / "lost")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrackerError, match=says) as caught:
        get_suite(name)
    assert caught.value.hint


def test_own_suite_is_offered_for_a_typo(stored: Settings) -> None:
    with pytest.raises(UnknownNameError) as caught:
        get_suite("geografy", own=stored.suites_path)
    assert "`geography`" in caught.value.hint


def test_a_queue_takes_a_suite_by_name_alone(stored: Settings) -> None:
    assert stored_suite("geography", own=stored.suites_path).version == 1
    assert stored_suite("quick@7", own=stored.suites_path).seed == 7
    for command in (["queue", "add", "org/name"], ["weekly"], ["schedule", "print"], ["bench", "--queue"]):
        done = tracker(*command, "--suite", str(EXAMPLE / "geography.toml"))
        assert (done.returncode, "needs the name of a suite" in done.stderr) == (1, True), command
        assert str(stored.suites_path) in done.stderr
