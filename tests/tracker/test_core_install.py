"""Every command in the core install: an answer, or one sentence that says which extra is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.core_install import in_core, link_core, python_in_core


@pytest.fixture(scope="session")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("core")
    link_core(folder)
    return folder


SCRIPTED = "research run --agent scripted --proposals /dev/null --tier smoke --trials 1"


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("bench demo --suite smoke", ""),  # the embedded model comes first, and is not there either
        ("bench demo --task arc_easy", "cpu"),
        ("bench demo --suite anchor-small", "cpu"),
        (SCRIPTED, "research"),
        ("research baseline --tier smoke --trials 1", "research"),
        ("weekly --notify ntfy://nobody", "notify"),
    ],
)
def test_core_install_says_which_extra_a_command_needs(
    core: Path, tmp_path: Path, command: str, extra: str
) -> None:
    done = in_core(core, *command.split(), home=tmp_path / "home")
    error, _, hint = done.stderr.partition("\n\nhint: ")
    assert (done.returncode, error[:7], error.count("\n")) == (1, "error: ", 0), done.stderr
    assert hint.startswith("pip install ")
    assert f"[{extra}]" in hint or not extra


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["frontier", "--as-of", "2025-12-01"],
        ["index", "show"],
        ["suites", "quick"],
        ["query", "select 1"],
        ["digest"],
    ],
    ids=" ".join,
)
def test_core_install_answers_without_torch(core: Path, tmp_path: Path, command: list[str]) -> None:
    done = in_core(core, *command, home=tmp_path / "home")
    assert (done.returncode, done.stdout != "", "Traceback" in done.stderr) == (0, True, False), done.stderr


FROM_PYTHON = """
import tracker
home = tracker.open_home()
gaps = home.frontier(as_of="2025-12-01").gaps
print([gap.id for gap in gaps][:2], home.query("select 1 as one").shape, len(home.runs()))
try:
    home.bench("demo", suite="smoke")
except tracker.TrackerError as error:
    print(error.hint)
"""


def test_core_install_answers_from_python_without_torch(core: Path, tmp_path: Path) -> None:
    done = python_in_core(core, "-c", FROM_PYTHON, home=tmp_path / "home")
    assert done.stderr == ""
    answers, hint = done.stdout.splitlines()
    assert answers == "['G1', 'G2'] (1, 1) 0"
    assert hint.startswith("pip install ")
