"""Item files: what a worker writes is whole, never changed, and found by its fingerprint."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.some_runs import items, run
from tests.conftest import ROOT
from tracker.errors import TrackerError
from tracker.files.items import (
    RUN_FILE,
    read_items,
    read_run,
    run_folders,
    stored_parts,
    write_part,
    write_run,
)
from tracker.files.parts import PART_ERRORS, SCHEMA, read_table

KEY = "f" * 32
WRITER = """
import itertools, sys
from pathlib import Path
from tests.builders.some_runs import items
from tracker.files.items import write_part
for n in itertools.count():
    print(n, flush=True)
    write_part(Path(sys.argv[1]), "run", "f" * 32, items("t", 10, start=10 * n))
"""


def test_items_file_items_come_back_as_they_were_written(tmp_path: Path) -> None:
    written = items("t", 10)
    write_part(tmp_path, "run", KEY, written)
    assert list(read_items(stored_parts(tmp_path, KEY)).values()) == written


def test_items_file_a_run_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_run(tmp_path, run(1))
    assert read_run(tmp_path / run(1).run_id) == run(1)


def test_items_file_a_run_file_that_is_no_run_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / RUN_FILE).write_text('{"run_id": "x"}')
    with pytest.raises(TrackerError, match=r"run\.json: model: Field required"):
        read_run(tmp_path)


def test_items_file_folders_come_oldest_first_and_only_with_a_run(tmp_path: Path) -> None:
    for number in (2, 1):
        write_run(tmp_path, run(number))
    (tmp_path / "empty").mkdir()
    assert [folder.name for folder in run_folders(tmp_path)] == [run(1).run_id, run(2).run_id]


def test_items_file_of_an_item_answered_twice_the_first_counts(tmp_path: Path) -> None:
    first = items("t", 1)
    write_part(tmp_path, "b", KEY, items("t", 2))
    write_part(tmp_path, "a", KEY, first)
    found = read_items(stored_parts(tmp_path, KEY))
    assert sorted(found) == [0, 1]
    assert found[0] == first[0]


def test_items_file_a_new_chunk_never_replaces_one_that_is_there(tmp_path: Path) -> None:
    first = write_part(tmp_path, "run", KEY, items("t", 1))
    second = write_part(tmp_path, "run", KEY, items("t", 1, start=1))
    first.unlink()
    third = write_part(tmp_path, "run", KEY, items("t", 1, start=2))
    assert third != second
    assert sorted(read_items(stored_parts(tmp_path, KEY))) == [1, 2]


@pytest.mark.parametrize("place", [0.05, 0.3, 0.5, 0.7, 0.99])
def test_items_file_a_broken_chunk_is_passed_over_and_named(tmp_path: Path, place: float) -> None:
    broken = write_part(tmp_path, "run", KEY, items("t", 200))
    write_part(tmp_path, "run", KEY, items("t", 5, start=200))
    content = bytearray(broken.read_bytes())
    at = int(place * len(content))
    content[at : at + 24] = b"\xa5" * 24
    broken.write_bytes(content)
    skipped: list[str] = []
    found = read_items(stored_parts(tmp_path, KEY), skipped=skipped)
    assert sorted(found) == list(range(200, 205))
    assert len(skipped) == 1
    assert broken.name in skipped[0]


def test_items_file_a_killed_writer_leaves_whole_chunks_only(tmp_path: Path) -> None:
    for n_lines in range(1, 6):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        ) as writer:
            assert writer.stdout is not None
            started = [int(writer.stdout.readline()) for _ in range(n_lines)]
            os.kill(writer.pid, signal.SIGKILL)
        skipped: list[str] = []
        found = read_items(stored_parts(tmp_path, KEY), skipped=skipped)
        assert skipped == []
        assert set(range(10 * started[-1])) <= set(found)


def test_items_file_no_byte_of_a_chunk_can_change_unseen(tmp_path: Path) -> None:
    part = write_part(tmp_path, "run", KEY, items("t", 3))
    whole = part.read_bytes()
    for at in range(0, len(whole), 7):
        part.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        with pytest.raises(PART_ERRORS):
            read_table(part, columns=SCHEMA.names)
    part.write_bytes(whole)
    assert read_table(part, columns=["score"]).num_rows == 3


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [(b"\x05score", b"\x05scoze", "unknown column 'scoze'"), (b"\x05score", b"\x05sc\x9are", "decode")],
    ids=["another name", "no name"],
)
def test_items_file_a_changed_name_of_a_column_is_found_in_chunks_without_a_checksum_in_their_name(
    tmp_path: Path, old: bytes, new: bytes, told: str
) -> None:
    part = write_part(tmp_path, "run", KEY, items("t", 3))
    written_before = part.rename(part.with_name(f"{KEY}-000000.parquet"))
    assert read_table(written_before, columns=["score"]).num_rows == 3
    written_before.write_bytes(part_bytes := written_before.read_bytes().replace(old, new))
    assert new in part_bytes
    with pytest.raises(PART_ERRORS, match=told):
        read_table(written_before, columns=["score"])
