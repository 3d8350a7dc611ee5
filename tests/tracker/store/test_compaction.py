"""Compaction: fewer files, the same items for every reader, and kill -9 at any moment costs none of them."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from tests.builders.some_runs import TASKS, items, model, parts_of, run
from tests.conftest import ROOT
from tracker.errors import BusyError
from tracker.files.items import read_doc_ids, read_items, stored_parts, write_part, write_run
from tracker.files.parts import (
    JOINING,
    PART_FORMAT,
    SCHEMA,
    part_bytes,
    part_name,
    read_table,
    replaced_names,
)
from tracker.locks import exclusive_lock
from tracker.records import Run, RunStatus
from tracker.serialization import VERSION_KEY
from tracker.settings import Settings
from tracker.store import Store, check, compact, open_snapshot, publish, reading, rebuild, repair
from tracker.store import compaction as compaction_module
from tracker.store.archive import export_home, import_home
from tracker.store.item_parts import wanted_parts
from tracker.store.locks import write_lock

N_CHUNKS, CHUNK = 7, 5
N_ITEMS = N_CHUNKS * CHUNK
ALL = "select * from items order by all"
# Imports once and forks a compaction for each line `HOME STEP WHEN`, which is killed at the n-th step that
# changes files, before or after it.
KILLED = """
import os, signal, sys
from pathlib import Path
from tracker.settings import Settings
from tracker.store import compact
def work(home, left, is_before):
    def dying(step):
        def kill(*words, **named):
            nonlocal left
            left -= 1
            if not left and is_before:
                os.kill(os.getpid(), signal.SIGKILL)
            found = step(*words, **named)
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            return found
        return kill
    Path.replace, Path.unlink, os.fsync = dying(Path.replace), dying(Path.unlink), dying(os.fsync)
    compact(Settings(home=Path(home)))
    os._exit(0)
for line in sys.stdin:
    home, step, when = line.split()
    child = os.fork() or work(home, int(step), when == "before")
    print(os.waitpid(child, 0)[1], flush=True)
"""
FULL = """
import resource, signal, sys
from tracker.errors import StoreError
from tracker.settings import load_settings
from tracker.store import compact
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
settings = load_settings()
settings.locks_path.mkdir(exist_ok=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
try:
    compact(settings)
except StoreError as error:
    print(error, "|", error.hint)
"""


def chunked(settings: Settings, a_run: Run, *, n_items: int = N_ITEMS) -> Run:
    """Write the run's folder as a worker does that flushes often."""
    write_run(settings.items_path, a_run)
    for score in a_run.scores:
        for start in range(n_items - CHUNK, -1, -CHUNK):  # the last questions first
            chunk = items(score.task, CHUNK, start=start)
            write_part(settings.items_path, a_run.run_id, score.fingerprint, chunk)
    return a_run


@pytest.fixture
def filled(settings: Settings) -> Settings:
    """Two models with three tasks of 35 items each in seven parts."""
    with Store.open(settings) as store:
        for a_run in (run(1), run(2, of=model("acme/other-1b"))):
            store.add_run(chunked(settings, a_run))
    publish(settings)
    return settings


def rows(settings: Settings) -> list[tuple[Any, ...]]:
    with open_snapshot(settings) as snapshot:
        answer = snapshot.select(ALL)
    assert not answer.missing
    return answer.rows


def pages(settings: Settings, run_id: str) -> list[dict[str, Any]]:
    with open_snapshot(settings) as snapshot:
        return snapshot.query("items_page", run_id=run_id, limit=1000)


@pytest.fixture
def compactor() -> Iterator[Callable[[Settings, int, str], bool]]:
    """Compact in another process that is killed at that step; False: it ended before."""
    with subprocess.Popen(
        [sys.executable, "-c", KILLED],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        told, heard = process.stdin, process.stdout

        def killed(settings: Settings, step: int, when: str) -> bool:
            print(settings.home, step, when, file=told, flush=True)
            status = int(heard.readline())
            assert status in (0, signal.SIGKILL)
            return status != 0

        yield killed
        told.close()


def test_compaction_leaves_one_file_per_task_and_every_reader_finds_the_same(filled: Settings) -> None:
    before, page = rows(filled), pages(filled, run(1).run_id)
    by_fingerprint = {
        score.fingerprint: read_items(stored_parts(filled.items_path, score.fingerprint))
        for score in run(1).scores
    }
    done = compact(filled)
    assert (done.n_runs, done.n_items, done.n_parts_before, done.n_parts_after) == (2, len(before), 42, 6)
    assert done.bytes_after < done.bytes_before / 3
    assert done.left == []
    assert len(parts_of(filled)) == 6
    assert rows(filled) == before
    assert pages(filled, run(1).run_id) == page
    for fingerprint, found in by_fingerprint.items():
        assert read_items(stored_parts(filled.items_path, fingerprint)) == found
    assert check(filled) == []


def test_compaction_twice_is_the_same_as_once(filled: Settings) -> None:
    compact(filled)
    content = {path: path.read_bytes() for path in parts_of(filled)}
    done = compact(filled)
    assert (done.n_runs, done.n_items, done.n_parts_before, done.n_parts_after) == (0, 0, 6, 6)
    assert {path: path.read_bytes() for path in parts_of(filled)} == content


def test_compaction_of_a_large_run_is_done_in_parts_of_bounded_size(
    filled: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows(filled)
    monkeypatch.setattr(compaction_module, "JOINED_ITEMS", 3 * CHUNK)
    assert compact(filled).n_parts_after == 18  # of seven parts: three, three and the last one
    names = [path.name for path in parts_of(filled)]
    assert rows(filled) == before
    assert compact(filled).n_runs == 0
    assert [path.name for path in parts_of(filled)] == names


def test_compaction_killed_at_every_step_loses_and_doubles_nothing(
    tmp_path: Path, compactor: Callable[[Settings, int, str], bool]
) -> None:
    (score,) = run(1).scores[:1]
    fresh = Settings(home=tmp_path / "fresh")
    with Store.open(fresh) as store:
        store.add_run(chunked(fresh, replace(run(1), scores=(score,)), n_items=15))
    publish(fresh)
    expected = rows(fresh)
    n_kills = 0
    for when in ("before", "after"):
        for step in itertools.count(1):
            home = Settings(home=tmp_path / f"{when}-{step}")
            shutil.copytree(fresh.home, home.home)
            was_killed = compactor(home, step, when)
            assert rows(home) == expected
            assert read_doc_ids(stored_parts(home.items_path, score.fingerprint)) == set(range(15))
            if step % 2:
                repair(home)
                assert (check(home), rows(home)) == ([], expected)
            compact(home)
            assert (len(parts_of(home)), rows(home)) == (1, expected)
            assert list(home.items_path.glob(f"*/*{JOINING}")) == []
            if not was_killed:
                break
            n_kills += 1
    assert n_kills > 2 * 8


def test_compaction_what_a_kill_left_is_said_and_repaired(filled: Settings) -> None:
    before, old = rows(filled), {path: path.read_bytes() for path in parts_of(filled)}
    compact(filled)
    for path, content in old.items():
        path.write_bytes(content)
    assert rows(filled) == before
    problems = check(filled)
    assert {problem.kind for problem in problems} == {"leftover"}
    assert len(problems) == 42
    assert "has been joined" in problems[0].message
    assert "42 parts" in repair(filled).restored[0]
    assert (len(parts_of(filled)), rows(filled), check(filled)) == (6, before, [])


def test_compaction_a_damaged_new_file_does_not_hide_the_old_ones(filled: Settings) -> None:
    before, old = rows(filled), {path: path.read_bytes() for path in parts_of(filled)}
    compact(filled)
    (joined, *_) = parts_of(filled)
    names = replaced_names(joined)
    content = bytearray(joined.read_bytes())
    content[len(content) // 2] ^= 1
    joined.write_bytes(bytes(content))
    for path, each in old.items():
        if path.name in names and path.parent == joined.parent:
            path.write_bytes(each)
    with open_snapshot(filled) as snapshot:
        answer = snapshot.select(ALL)
    assert answer.rows == before
    assert answer.missing.n_parts == 1
    repair(filled)
    compact(filled)
    assert rows(filled) == before


def test_compaction_on_a_full_disk_stops_without_loss(filled: Settings) -> None:
    before = rows(filled)
    smallest = min(path.stat().st_size for path in parts_of(filled))
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(smallest)],
        env=os.environ | {"TRACKER_HOME": str(filled.home), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "File too large" in done.stdout
    assert "free some disk space" in done.stdout
    assert len(parts_of(filled)) == 42
    assert (rows(filled), check(filled)) == (before, [])
    compact(filled)
    assert rows(filled) == before


def test_compaction_leaves_runs_that_are_under_way_alone(filled: Settings) -> None:
    going = replace(run(3, of=model("acme/third")), status=RunStatus.RUNNING, pid=os.getpid(), scores=())
    write_run(filled.items_path, going)
    for start in (0, CHUNK):
        write_part(filled.items_path, going.run_id, "e" * 32, items(TASKS[0], CHUNK, start=start))
    unfinished = filled.items_path / going.run_id / "half.tmp"
    unfinished.write_bytes(b"half")
    compact(filled)
    assert len(list((filled.items_path / going.run_id).glob("*.parquet"))) == 2
    assert unfinished.exists()


@pytest.mark.parametrize("how", ["damaged", "newer", "unknown column", "answered twice"])
def test_compaction_leaves_what_it_cannot_write_again_as_it_is(filled: Settings, how: str) -> None:
    first = parts_of(filled)[0]
    fingerprint = run(1).scores[0].fingerprint
    if how == "damaged":
        first.write_bytes(first.read_bytes()[:-30] + bytes(30))
    elif how == "answered twice":
        write_part(filled.items_path, first.parent.name, fingerprint, items(TASKS[0], 1))
    else:
        table = read_table(first, columns=SCHEMA.names)
        if how == "newer":
            table = table.replace_schema_metadata({VERSION_KEY: str(PART_FORMAT.version + 1)})
        else:
            table = table.append_column("mood", table["task"])
        first.unlink()
        pq.write_table(table, first.with_name(f"{first.name.split('.')[0]}.parquet"))
    group = first.name.split("-")[0]
    content = {path: path.read_bytes() for path in first.parent.glob(f"{group}-*.parquet")}
    done = compact(filled)
    assert len(done.left) == 1
    assert group in done.left[0]
    assert {path: path.read_bytes() for path in first.parent.glob(f"{group}-*.parquet")} == content
    assert done.n_parts_after == len(content) + 5


def test_compaction_a_reader_that_listed_the_old_files_still_answers(filled: Settings) -> None:
    before = rows(filled)
    fingerprint = run(1).scores[0].fingerprint
    listed = stored_parts(filled.items_path, fingerprint)
    items_before = read_items(listed)
    with open_snapshot(filled) as snapshot:
        found, _ = wanted_parts(snapshot.connection, snapshot.items_path, {})
        assert len(found) == 42
        compact(filled)
        skipped: list[str] = []
        assert (read_items(listed, skipped=skipped), skipped) == (items_before, [])
        assert read_doc_ids(listed) == set(items_before)
        assert snapshot.select(ALL).rows == before


def test_compaction_readers_beside_it_always_find_every_item(filled: Settings) -> None:
    with Store.open(filled) as store:
        for number in range(3, 15):
            store.add_run(chunked(filled, replace(run(number), scores=run(1).scores[:1])))
    publish(filled)
    expected = rows(filled)
    ended, answers = threading.Event(), list[bool]()

    def reading() -> None:
        while not ended.is_set():
            with open_snapshot(filled) as snapshot:
                answer = snapshot.select(ALL)
            answers.append(answer.rows == expected and not answer.missing)

    reader = threading.Thread(target=reading)
    reader.start()
    try:
        assert compact(filled).n_runs == 14
    finally:
        ended.set()
        reader.join()
    assert answers
    assert all(answers)


def test_compaction_a_reader_begins_again_as_often_as_its_parts_are_replaced(
    filled: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(filled) as store:
        for number in range(3, 15):
            store.add_run(chunked(filled, replace(run(number), scores=run(1).scores[:1])))
    publish(filled)
    expected = rows(filled)
    monkeypatch.setattr(compaction_module, "WAITING_BYTES", 0)
    bind, left = reading.bind_items, list(range(1, 15))

    def slowly(connection: duckdb.DuckDBPyConnection, parts: Sequence[Path]) -> None:
        bind(connection, parts)
        if left:  # between the listing of the parts and their reading another run is compacted
            number = left.pop()
            monkeypatch.setattr(
                compaction_module, "ended_runs", lambda settings: [settings.items_path / run(number).run_id]
            )
            assert compact(filled).n_runs == 1

    monkeypatch.setattr(reading, "bind_items", slowly)
    assert rows(filled) == expected
    assert not left


def test_compaction_replaced_parts_are_deleted_together(
    filled: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    compact(filled, lambda _: counts.append(len(parts_of(filled))))
    assert counts == [42 + 3, 42 + 6]
    assert len(parts_of(filled)) == 6
    with Store.open(filled) as store:
        for number in (3, 4):
            store.add_run(chunked(filled, replace(run(number), scores=run(1).scores[:1])))
    monkeypatch.setattr(compaction_module, "WAITING_BYTES", 1)  # as with a gigabyte of them
    counts.clear()
    compact(filled, lambda _: counts.append(len(parts_of(filled))))
    assert counts == [20, 20, 14, 8]


def test_compaction_a_busy_store_keeps_what_was_joined(filled: Settings) -> None:
    before = rows(filled)
    with write_lock(filled.db_path, wait_s=0), pytest.raises(BusyError):
        compact(filled, wait_s=0)
    assert len(parts_of(filled)) == 42 + 6
    assert rows(filled) == before
    assert compact(filled).n_parts_after == 6
    assert rows(filled) == before


def test_compaction_and_export_wait_for_each_other(filled: Settings, tmp_path: Path) -> None:
    with exclusive_lock(filled, "item-files", busy="the files", hint="wait", what="other"):
        with pytest.raises(BusyError, match="`other`"):
            compact(filled)
        with pytest.raises(BusyError, match="`other`"):
            export_home(filled, tmp_path / "home.tar.zst")
        half = filled.items_path / run(1).run_id / f"{'f' * 32}-000009{JOINING}"
        half.write_bytes(b"half")
        repair(filled)
        assert half.exists()
    assert [problem.kind for problem in check(filled)] == ["leftover"]
    repair(filled)
    assert not half.exists()


def test_compaction_a_compacted_home_is_rebuilt_exported_and_imported(
    filled: Settings, tmp_path: Path
) -> None:
    before = rows(filled)
    compact(filled)
    told: list[tuple[int, int]] = []
    rebuild(filled, lambda *step: told.append(step))
    assert told == [(0, 2), (1, 2)]
    publish(filled)
    assert rows(filled) == before
    export_home(filled, tmp_path / "home.tar.zst")
    there = Settings(home=tmp_path / "there")
    import_home(there, tmp_path / "home.tar.zst")
    assert (rows(there), check(there)) == (before, [])
    number = len(list((there.items_path / run(1).run_id).glob("*.parquet")))
    write_part(there.items_path, run(1).run_id, run(1).scores[0].fingerprint, items(TASKS[0], 1, start=99))
    assert len(list((there.items_path / run(1).run_id).glob("*.parquet"))) == number + 1


def test_compaction_a_text_of_a_model_cannot_claim_to_replace_others(filled: Settings) -> None:
    names = sorted(path.name for path in parts_of(filled))
    forged = [replace(item, response=f'replaces\x18{names}"') for item in items(TASKS[0], 3, start=500)]
    write_part(filled.items_path, run(1).run_id, run(1).scores[0].fingerprint, forged)
    assert len(rows(filled)) == 2 * 3 * N_ITEMS + 3


def test_compaction_large_files_are_read_by_ranges_of_doc_id(tmp_path: Path) -> None:
    path = write_part(tmp_path, "run", "f" * 32, items("t", 20_001))
    footer = pq.read_metadata(path)
    assert footer.num_row_groups == 3
    ids = [footer.row_group(place).column(SCHEMA.names.index("doc_id")).statistics for place in range(3)]
    assert [(one.min, one.max) for one in ids] == [(0, 9_999), (10_000, 19_999), (20_000, 20_000)]
    assert not footer.row_group(0).column(SCHEMA.names.index("response")).is_stats_set
    content = part_bytes(read_table(path, columns=SCHEMA.names), replaces=["a.parquet"])
    joined = tmp_path / part_name("f" * 32, 7, content)
    joined.write_bytes(content)
    assert replaced_names(joined) == {"a.parquet"}
    assert replaced_names(path) == frozenset()
