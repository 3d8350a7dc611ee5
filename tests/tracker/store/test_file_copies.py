"""Publishing a large database: an old snapshot becomes the new one, unless somebody still reads it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import duckdb
import pytest

from tests.builders.some_runs import run, store_runs
from tracker.settings import Settings
from tracker.store import Store, file_copies, open_snapshot, publish
from tracker.store.file_copies import BLOCK_BYTES, HEADER_BYTES, copy_file

READER = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=True)
print("open", flush=True)
sys.stdin.read()
"""
KILLED = """
import os, signal, sys
from pathlib import Path
from tracker.settings import Settings
from tracker.store import file_copies, publish

file_copies.RECYCLED_FROM_BYTES = 0
inner = file_copies._write_differences
def and_die(source, file):
    inner(source, file)
    os.kill(os.getpid(), signal.SIGKILL)
file_copies._write_differences = and_die
publish(Settings(home=Path(sys.argv[1])))
"""


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A database of a few blocks, and a copy of its state before the last rows."""
    source, old = tmp_path / "tracker.duckdb", tmp_path / "old.duckdb"
    with duckdb.connect(source) as connection:
        connection.execute("create table rows as select range as id, random() as x from range(300000)")
        connection.execute("checkpoint")
    if copy_file(source, old).method == "shared":
        pytest.skip("this file system shares blocks, so nothing is recycled")
    with duckdb.connect(source) as connection:
        connection.execute("create table more as select range as id from range(100)")
    return source, old


def copied(source: Path, target: Path, old: Path) -> tuple[str, int]:
    done = copy_file(source, target, recycled=old, least_bytes=0)
    assert target.read_bytes() == source.read_bytes()
    assert not target.with_suffix(".tmp").exists()
    return done.method, done.n_written_bytes


def test_a_recycled_copy_is_equal_and_only_changed_blocks_are_written(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    source, old = pair
    method, n_bytes = copied(source, tmp_path / "new.duckdb", old)
    assert method == "recycled"
    assert 0 < n_bytes <= HEADER_BYTES + 4 * BLOCK_BYTES < source.stat().st_size / 2
    assert not old.exists()


@pytest.mark.parametrize("change", ["longer", "shorter", "empty"])
def test_a_recycled_copy_of_any_length_becomes_equal(
    pair: tuple[Path, Path], tmp_path: Path, change: str
) -> None:
    source, old = pair
    size = old.stat().st_size
    os.truncate(old, {"longer": size + BLOCK_BYTES + 5, "shorter": size // 2 + 1, "empty": 0}[change])
    assert copied(source, tmp_path / "new.duckdb", old)[0] == "recycled"


def test_below_the_limit_or_without_an_old_copy_everything_is_copied(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    source, old = pair
    assert copy_file(source, tmp_path / "a.duckdb", recycled=old).method == "full"
    assert old.exists()
    assert copied(source, tmp_path / "b.duckdb", tmp_path / "missing.duckdb")[0] == "full"


@contextmanager
def reader_elsewhere(path: Path) -> Iterator[None]:
    with subprocess.Popen(
        [sys.executable, "-c", READER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield
        process.communicate()


@contextmanager
def reader_here(path: Path) -> Iterator[None]:
    with duckdb.connect(path, read_only=True):
        yield


@contextmanager
def second_name(path: Path) -> Iterator[None]:
    os.link(path, path.with_name("backup"))
    yield


@pytest.mark.parametrize("held", [reader_elsewhere, reader_here, second_name])
def test_an_old_copy_that_is_still_read_or_has_a_second_name_is_left_alone(
    pair: tuple[Path, Path], tmp_path: Path, held: Callable[[Path], AbstractContextManager[None]]
) -> None:
    source, old = pair
    before = old.read_bytes()
    with held(old):
        assert copied(source, tmp_path / "new.duckdb", old)[0] == "full"
        assert old.read_bytes() == before
        # the check has not released the reader's lock: a second one sees it too
        assert copied(source, tmp_path / "newer.duckdb", old)[0] == "full"


def test_a_publication_killed_while_it_recycles_leaves_the_others_readable(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        store_runs(settings, run(number))
    with Store.open(settings) as store:
        store.add_run(run(4))
    done = subprocess.run([sys.executable, "-c", KILLED, str(settings.home)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(settings.snapshots_path.glob("*.duckdb"))) == 2
    with open_snapshot(settings) as snapshot:
        assert len(snapshot.query("runs")) == 3
    monkeypatch.setattr(file_copies, "RECYCLED_FROM_BYTES", 0)
    for _ in range(4):
        publish(settings)
        with open_snapshot(settings) as snapshot:
            assert len(snapshot.query("runs")) == 4
    assert len(list(settings.snapshots_path.glob("*.duckdb"))) == 3
    assert not list(settings.snapshots_path.glob("*.tmp"))
