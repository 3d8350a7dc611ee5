"""No state of the machine outlives a sandbox: a table of ways to leave a message, each tried for real.

Marked `sandbox`. `channels.py.txt` runs in one sandbox to leave a message and, when that one has ended, in
another to find it. The same table without the filter and with files on the disk shows that the ways are real.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from runners.sandbox import run as sandboxes
from runners.sandbox.limits import Limits
from runners.sandbox.run import Sandbox, SandboxSpec
from runners.sandbox.seccomp import Calls
from tracker.interpreter import python_command

CHANNELS = Path(__file__).with_name("channels.py.txt")
MESSAGE = 48_611
LIMITS = Limits(cpu_s=30.0, wall_s=90.0, memory_bytes=2**30, file_bytes=2**22, n_processes=64)
# What remains: numbers of new pipes, sockets and files, where a program needs some
NUMBERS = {"number of a pipe", "number of a socket"}
REMAINING: dict[Calls, set[str]] = {
    Calls.COMPUTING: set(),
    Calls.ON_CARD: {*NUMBERS, "number of a file in memory"},
    Calls.PROGRAMS: {*NUMBERS, "number of a file"},  # its folder is one of ours, on the disk
}
# What carries where nothing is filtered, on every kernel: the table tries real ways
REAL = {"number of a pipe", "number of a socket", "load", "counters", "sysinfo"}
# A limit of one's own process and the fixed name of the sandbox are no message of somebody else
HARMLESS = {"limits": 8 * 2**20, "host name": "sandbox"}


def run_channels(
    sandbox: Sandbox, what: str, folder: Path, *, env: dict[str, str], calls: Calls
) -> dict[str, object]:
    """What one program left, or found."""
    folder.mkdir()
    spec = SandboxSpec(
        {"channels.py": CHANNELS},
        folder,
        LIMITS,
        env,
        packages=(),
        needs_gpu=calls is Calls.ON_CARD,
        runs_programs=calls is Calls.PROGRAMS,
    )
    end = sandbox.run(python_command(sandbox.inside("channels.py", CHANNELS), what), spec)
    assert end.returncode == 0, end.stderr_tail
    return dict(json.loads(end.stdout_tail.splitlines()[-1]))


def found_after(sandbox: Sandbox, folder: Path, *, calls: Calls = Calls.COMPUTING) -> dict[str, object]:
    """What a sandbox finds after another one left all that it could."""
    run_channels(sandbox, "leave", folder / "leaves", env={"MESSAGE": str(MESSAGE)}, calls=calls)
    found = run_channels(sandbox, "look", folder / "looks", env={}, calls=calls)
    return {name: value for name, value in found.items() if value is not None and value != HARMLESS.get(name)}


@pytest.mark.sandbox
@pytest.mark.parametrize("calls", Calls)
def test_channels_nothing_that_one_sandbox_left_is_found_by_the_next(calls: Calls, tmp_path: Path) -> None:
    sandbox = sandboxes.find()
    assert sandbox.lacks == ()
    assert found_after(sandbox, tmp_path, calls=calls).keys() == REMAINING[calls]


@pytest.mark.sandbox
def test_channels_are_real_where_nothing_is_filtered(tmp_path: Path) -> None:
    sandbox = sandboxes.find()
    is_open = replace(sandbox, variant=replace(sandbox.variant, is_filtered=False, is_in_memory=False))
    assert found_after(is_open, tmp_path).keys() >= REAL
