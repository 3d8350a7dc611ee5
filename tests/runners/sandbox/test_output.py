"""The writable folder of a sandbox: memory of its own, of which a copy is kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runners.sandbox import run as sandboxes
from runners.sandbox.limits import Limits
from runners.sandbox.output import fetch_output, opened_output, setup_pipes
from runners.sandbox.run import EndStatus, SandboxSpec
from tracker.interpreter import python_command

LIMITS = Limits(cpu_s=20.0, wall_s=40.0, memory_bytes=2**29, file_bytes=2**20, n_processes=24)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "a/b").mkdir(parents=True)
    (folder / "a/b/file").write_bytes(b"x" * 1000)
    (folder / "link").symlink_to("/etc/hostname")
    os.mkfifo(folder / "pipe")
    return folder


def below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_output_files_folders_and_links_are_copied_as_they_are(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    source.chmod(0o1777)
    assert fetch_output(source, target, most_bytes=1000)
    assert below(target) == {
        "a",
        "a/b",
        "a/b/file",
        "link",
    }
    assert (target / "link").readlink() == Path("/etc/hostname")
    assert (target / "a/b/file").read_bytes() == b"x" * 1000
    assert target.stat().st_mode & 0o7777 == 0o755


def test_output_of_more_bytes_than_allowed_is_too_much(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    with (source / "sparse").open("wb") as file:
        file.truncate(10**12)
    assert not fetch_output(source, target, most_bytes=10**6)
    assert (
        sum(path.stat().st_size for path in target.rglob("*") if path.is_file() and not path.is_symlink())
        <= 1000
    )


def test_output_of_a_sandbox_that_ended_before_it_was_set_up_is_none() -> None:
    with setup_pipes() as pipes:
        assert opened_output(pipes, "/out") is None
        assert pipes.waits.read(1) == b"\n"


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("code", "status", "kept"),
    [
        (
            "open('a', 'w').write('x'); import os; os.mkdir('d'); open('d/b', 'w')",
            EndStatus.ENDED,
            {"a", "d", "d/b"},
        ),
        ("open('a', 'w').write('x'); import sys; sys.exit(3)", EndStatus.ENDED, {"a"}),
        ("for i in range(9): open(str(i), 'wb').write(bytes(1 << 19))", EndStatus.DISK_LIMIT, set()),
        ("for i in range(2500): open(str(i), 'wb')", EndStatus.DISK_LIMIT, set()),
        ("import os\nfor i in range(60): os.mkdir('d'); os.chdir('d')", EndStatus.DISK_LIMIT, set()),
        ("open('a', 'w'); import time; time.sleep(60)", EndStatus.TIMED_OUT, set()),
    ],
    ids=["ends", "fails", "too many bytes", "too many files", "too deep", "killed"],
)
def test_output_is_kept_if_the_program_ended_within_its_limits(
    code: str, status: EndStatus, kept: set[str], tmp_path: Path
) -> None:
    limits = LIMITS if status is not EndStatus.TIMED_OUT else Limits(20.0, 1.0, 2**29, 2**20, 24)
    end = sandboxes.find().run(python_command("-c", code), SandboxSpec({}, tmp_path, limits, packages=()))
    assert end.status is status, end.stderr_tail
    assert below(tmp_path) == kept
