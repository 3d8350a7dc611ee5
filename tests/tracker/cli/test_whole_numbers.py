"""Flags that take a whole number refuse any other one, on every command."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import pytest
from cyclopts import Argument, CoercionError

from tests.tracker.cli.test_help import every_command
from tracker.cli.command_line import command_line

WHOLE = {"30": 30, "30.0": 30, "2.": 2, "1_000": 1000, "0x10": 16, "-3": -3}


def whole_number_flags() -> Iterator[tuple[tuple[str, ...], Argument, list[str]]]:
    """The command, the flag, and the arguments that the command needs besides."""
    for path in every_command():
        command = command_line
        for name in path:
            command = command[name]
        if command.default_command is None:
            continue
        found = command.assemble_argument_collection()
        needed = ["x" for each in found if each.required and each.field_info.is_positional]
        for each in found:
            if int in (set(get_args(each.hint)) or {each.hint}) and not each.field_info.is_positional:
                yield path, each, needed


def test_every_whole_number_flag_refuses_a_fraction() -> None:
    refused = []
    for path, flag, needed in whole_number_flags():
        with pytest.raises(CoercionError) as refusal:
            command_line.parse_args(
                [*path, *needed, flag.name, "2.5"], exit_on_error=False, print_error=False
            )
        assert f'Invalid value for {flag.name}: unable to convert "2.5" into int.' in str(refusal.value)
        refused.append(flag.name)
    assert {"--limit", "--repeats", "--num-fewshot", "--trials", "--max-model-len"} <= set(refused)


@pytest.mark.parametrize("text", ["2.5", "-0.5", "1e3.5", "0.999", "1.0.5"])
def test_a_fraction_is_refused_however_it_is_written(text: str) -> None:
    with pytest.raises(CoercionError):
        _limit(text)


@pytest.mark.parametrize(("text", "value"), WHOLE.items())
def test_a_whole_number_is_taken_as_it_is_written(text: str, value: int) -> None:
    assert _limit(text) == value


def test_a_flag_that_takes_fractions_still_takes_them() -> None:
    _, bound, _ = command_line.parse_args(
        ["bench", "demo", "--minutes", "2.5"], exit_on_error=False, print_error=False
    )
    assert bound.arguments["budget"].minutes == 2.5


def _limit(text: str) -> object:
    _, bound, _ = command_line.parse_args(
        ["bench", "demo", f"--limit={text}"], exit_on_error=False, print_error=False
    )
    return bound.arguments["limit"]
