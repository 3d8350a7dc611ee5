"""Help: every flag explained, in groups, without defaults that say nothing, filled to 80 columns."""

from __future__ import annotations

import inspect
import io
import itertools
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from cyclopts import App
from rich.console import Console

from tracker.cli.command_line import command_line
from tracker.cli.help import shown_default

WIDTH = 80
TITLES = {
    "Arguments", "Commands", "Options", "Data", "Filters", "Axis", "Tasks", "Agent", "Engine", "Budget",
    "Queue", "Speed", "Output",
}  # fmt: skip
NEGATIVES = {  # others would mean nothing
    "--no-thinking", "--no-browser", "--no-sandbox", "--no-token", "--no-transfer",
}  # fmt: skip


def every_command(parent: App = command_line, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name in sorted(name for name in parent if not name.startswith("-")):
        yield (*path, name)
        yield from every_command(parent[name], (*path, name))


def help_text(path: tuple[str, ...]) -> str:
    out = Console(file=io.StringIO(), width=WIDTH, force_terminal=False)
    command_line([*path, "--help"], console=out, exit_on_error=False)
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


@pytest.fixture(scope="module")
def texts() -> dict[tuple[str, ...], str]:
    return {path: help_text(path) for path in every_command()}


def test_help_of_every_command_shows_no_default_and_no_negative_form_that_says_nothing(
    texts: dict[tuple[str, ...], str],
) -> None:
    for path, text in texts.items():
        flat = re.sub(r"[│\s]+", " ", text)
        assert not re.search(r"default: (\(|\[\]|None|True|False|\])", flat), path
        assert set(re.findall(r"--(?:no|empty)-[a-z-]+", flat)) <= NEGATIVES, path


def test_help_of_every_flag_says_what_it_does() -> None:
    bare = []
    for path in every_command():
        command = command_line
        for name in path:
            command = command[name]
        if command.default_command is not None:
            found = command.assemble_argument_collection(parse_docstring=True)
            bare += [(path, each.name) for each in found if each.show and not each.parameter.help]
    assert bare == []


def test_help_lists_every_command_with_a_sentence() -> None:
    script = """
from tracker.cli import COMMANDS
from tracker.cli.command_line import command_line
for command in (command for group in COMMANDS.values() for command in group):
    command_line([command.name, "--help"], exit_on_error=False)
"""  # in a process of its own: here other tests have loaded commands that are loaded when they run
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    listed = re.findall(r"^│ ([a-z][a-z-]+)  +(.*?) *│$", shown, re.MULTILINE)
    assert {"improve-program", "serve", "compact"} <= {name for name, _ in listed}
    assert [name for name, said in listed if not said] == []


def test_help_groups_have_titles_from_one_small_set(texts: dict[tuple[str, ...], str]) -> None:
    titles = {title for text in texts.values() for title in re.findall(r"^╭─ ([\w ]+) ─", text, re.MULTILINE)}
    assert titles == TITLES


def test_help_fills_its_lines_and_breaks_no_word(texts: dict[tuple[str, ...], str]) -> None:
    for path, text in texts.items():
        lines = [line.rstrip() for line in text.splitlines()]
        assert max(map(len, lines)) <= WIDTH, path
        for first, second in itertools.pairwise(lines):
            if first and second and first[0] not in "│╭╰" and second[0] not in "│╭╰":
                assert len(first) + 1 + len(second.split()[0]) > WIDTH, (path, first)
            if first.startswith("│") and second.startswith("│   "):  # a word that was cut goes on below
                assert not re.search(r"\w{55,}", first), (path, first)


def test_help_of_one_command_shows_its_whole_docstring(texts: dict[tuple[str, ...], str]) -> None:
    assert "Repeating the same command resumes it" in texts[("bench",)]
    for path, text in texts.items():
        command = command_line
        for name in path:
            command = command[name]
        if command.default_command is not None:
            doc = inspect.getdoc(command.default_command) or ""
            description = " ".join(re.split(r"\n(?:Parameters|Raises)\n?[-:]", doc)[0].split())
            assert description in " ".join(text.split()), path


@pytest.mark.parametrize(
    ("typed", "old"),
    [("fit demo --vram 24", "vram"), ("research run --optimiser cma", "optimiser")],
)
def test_a_flag_that_was_renamed_is_still_taken_but_no_longer_shown(
    typed: str, old: str, texts: dict[tuple[str, ...], str]
) -> None:
    _, bound, _ = command_line.parse_args(typed, exit_on_error=False)
    assert old in bound.arguments
    path = tuple(itertools.takewhile(lambda word: not word.startswith("-") and word != "demo", typed.split()))
    assert f"--{old} " not in texts[path]


@pytest.mark.parametrize(
    ("default", "shown"),
    [(None, None), (False, None), (True, None), ((), None), (("a", "b"), "a b"), (600.0, "600"), (0, "0")],
)
def test_shown_default_is_none_for_what_says_nothing(default: object, shown: str | None) -> None:
    assert shown_default(default) == shown
