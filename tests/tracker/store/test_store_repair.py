"""Rebuild and check: the item files are enough, and what is wrong is named."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.builders.some_runs import (
    dump,
    failed,
    model,
    parts_of,
    run,
    store_runs,
    write_files,
)
from tracker.errors import StoreError
from tracker.files.items import RUN_FILE, read_run, write_run
from tracker.records import RunStatus
from tracker.settings import Settings
from tracker.store import Store, check, open_snapshot, publish, rebuild

DEAD_PID = 2**22 + 1  # above the largest that Linux gives


def kinds(settings: Settings) -> list[str]:
    return sorted({problem.kind for problem in check(settings)})


def first(settings: Settings, pattern: str) -> Path:
    return sorted(settings.home.glob(pattern))[0]


def test_store_repair_a_rebuilt_database_equals_the_one_that_was_lost(settings: Settings) -> None:
    other = model("acme/other-1b", quantization="Q4_1", license=None)
    store_runs(
        settings, run(2), run(1), failed(3), run(4, of=other, ended_at=None), run(5, of=other, limit=3)
    )
    before = dump(settings)
    settings.db_path.unlink()
    assert rebuild(settings).n_runs == 5
    assert dump(settings) == before
    assert rebuild(settings).n_runs == 5
    assert dump(settings) == before


def test_store_repair_a_broken_database_is_replaced(settings: Settings) -> None:
    store_runs(settings, run(1))
    before = dump(settings)
    settings.db_path.write_bytes(b"broken")
    settings.db_path.with_name("tracker.duckdb.wal").write_bytes(b"broken too")
    rebuild(settings)
    assert dump(settings) == before


def test_store_repair_rows_without_a_folder_are_gone_after_a_rebuild(settings: Settings) -> None:
    with Store.open(settings) as store:
        store.add_run(run(1))
    assert rebuild(settings).n_runs == 0
    assert all(rows == [] for rows in dump(settings).values())


@pytest.mark.clock
def test_store_repair_a_run_whose_process_is_gone_becomes_interrupted(settings: Settings) -> None:
    now = datetime.now(UTC)
    running = {"status": RunStatus.RUNNING, "scores": (), "ended_at": None}
    write_run(settings.items_path, run(1, pid=DEAD_PID, **running))
    write_run(settings.items_path, run(2, pid=os.getpid(), **running | {"started_at": now}))
    write_run(settings.items_path, run(3, pid=os.getpid(), **running))  # before this process was born
    assert rebuild(settings).interrupted == (run(1).run_id, run(3).run_id)
    with Store.open(settings) as store:
        statuses = {row["run_id"]: (row["status"], row["reason"]) for row in store.query("runs")}
    assert statuses == {
        run(1).run_id: ("interrupted", "killed"),
        run(2).run_id: ("running", None),
        run(3).run_id: ("interrupted", "killed"),
    }


@pytest.mark.parametrize("content", [b"", b"{", b'{"run_id": 1}', b"\xff\xfe"])
def test_store_repair_a_broken_run_file_is_written_again_from_the_database(
    settings: Settings, content: bytes
) -> None:
    store_runs(settings, run(1), run(2, limit=3))
    path = settings.items_path / run(2).run_id / RUN_FILE
    whole, before = read_run(path.parent), dump(settings)
    path.write_bytes(content)
    rebuilt = rebuild(settings)
    assert (rebuilt.n_runs, rebuilt.skipped) == (2, ())
    assert [str(path) in sentence for sentence in rebuilt.restored] == [True]
    assert (read_run(path.parent), dump(settings)) == (whole, before)
    (kept,) = settings.home.glob(f"aside/items/*/{RUN_FILE}.old-1")
    assert kept.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"{", b'{"run_id": 1}', b"\xff\xfe"])
def test_store_repair_a_broken_run_file_is_passed_over_and_named(settings: Settings, content: bytes) -> None:
    store_runs(settings, run(1))
    write_files(settings, run(2, scores=()))
    path = settings.items_path / run(2).run_id / RUN_FILE
    path.write_bytes(content)
    rebuilt = rebuild(settings)
    assert rebuilt.n_runs == 1
    assert [str(path) in problem for problem in rebuilt.skipped] == [True]


@pytest.mark.parametrize("field", ["pid", "suite_version", "max_output_tokens", "repeats", "n_items"])
def test_store_repair_a_number_that_no_column_holds_is_named_and_passed_over(
    settings: Settings, field: str
) -> None:
    write_run(settings.items_path, run(1))
    path = settings.items_path / run(2).run_id / RUN_FILE
    write_run(settings.items_path, run(2))
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: 10**18 * 10}))
    rebuilt = rebuild(settings)
    assert rebuilt.n_runs == 1
    assert [str(path) in problem and field in problem for problem in rebuilt.skipped] == [True]


def test_store_repair_a_number_that_no_column_holds_is_not_stored(settings: Settings) -> None:
    with (
        Store.open(settings) as store,
        pytest.raises(StoreError, match="cannot hold suite_version 10000000000"),
    ):
        store.add_runs([run(1), run(2, suite_version=10**10)])
    with Store.open(settings) as store:
        store.add_run(run(3))
    publish(settings)
    with open_snapshot(settings) as snapshot:
        assert snapshot.select("select run_id from runs").rows == [(run(3).run_id,)]


def test_store_repair_a_copied_run_folder_counts_once(settings: Settings) -> None:
    store_runs(settings, run(1))
    write_run(settings.items_path, run(1))
    (settings.items_path / "copy").mkdir()
    content = (settings.items_path / run(1).run_id / RUN_FILE).read_bytes()
    (settings.items_path / "copy" / RUN_FILE).write_bytes(content)
    rebuilt = rebuild(settings)
    assert rebuilt.n_runs == 1
    assert [f"belongs to run `{run(1).run_id}`" in problem for problem in rebuilt.skipped] == [True]


def test_store_repair_an_empty_home_is_in_order(settings: Settings) -> None:
    assert check(settings) == []
    assert rebuild(settings).n_runs == 0
    assert check(settings) == []


def test_store_repair_a_store_in_order_has_no_problems(settings: Settings) -> None:
    store_runs(settings, run(1), failed(2))
    assert check(settings) == []


DAMAGES: dict[str, Callable[[Settings], object]] = {
    "corrupt_part": lambda s: parts_of(s)[0].write_bytes(parts_of(s)[0].read_bytes()[:-9]),
    "no_run_file": lambda s: first(s, f"items/*/{RUN_FILE}").unlink(),
    "broken_run_file": lambda s: first(s, f"items/*/{RUN_FILE}").write_bytes(b"{"),
    "missing_run": lambda s: write_run(s.items_path, run(9)),
    "stale_run": lambda s: write_run(s.items_path, replace(run(1), status=RunStatus.PARTIAL)),
    "missing_folder": lambda s: first(s, "items/*").rename(s.home / "elsewhere"),
    "no_database": lambda s: s.db_path.unlink(),
    "unreadable": lambda s: s.db_path.write_bytes(b"broken"),
    "unreadable_snapshot": lambda s: first(s, "snapshots/*.duckdb").unlink(),
    "leftover": lambda s: (s.snapshots_path / "x.tmp").write_bytes(b""),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_store_repair_each_damage_is_named_with_a_hint(settings: Settings, kind: str) -> None:
    store_runs(settings, run(1))
    DAMAGES[kind](settings)
    problems = [problem for problem in check(settings) if problem.kind == kind]
    assert problems
    assert all(problem.hint for problem in problems)


def test_store_repair_what_is_not_published_is_named(settings: Settings) -> None:
    store_runs(settings, run(1))
    with Store.open(settings) as store:
        store.add_run(write_files(settings, run(2)))
    assert kinds(settings) == ["unpublished"]
    publish(settings)
    assert kinds(settings) == []


@pytest.mark.clock
def test_store_repair_files_that_a_live_run_is_writing_are_no_leftovers(settings: Settings) -> None:
    running = run(1, status=RunStatus.RUNNING, pid=os.getpid(), started_at=datetime.now(UTC), scores=())
    write_run(settings.items_path, running)
    unfinished = settings.items_path / running.run_id / "part.tmp"
    unfinished.write_bytes(b"")
    assert kinds(settings) == []
    write_run(settings.items_path, replace(running, pid=DEAD_PID))
    assert "leftover" in kinds(settings)


def test_store_repair_a_check_changes_nothing(settings: Settings) -> None:
    store_runs(settings, run(1))
    for damage in ("corrupt_part", "no_run_file", "leftover"):
        DAMAGES[damage](settings)
    before = {path: path.read_bytes() for path in settings.home.rglob("*") if path.is_file()}
    check(settings)
    assert {path: path.read_bytes() for path in settings.home.rglob("*") if path.is_file()} == before
