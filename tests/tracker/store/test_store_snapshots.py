"""Snapshots: what readers see is whole, never changes under them, and reaches nothing else."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pytest

from tests.builders.some_runs import (
    TASKS,
    run,
    store_runs,
    write_files,
)
from tracker.errors import StoreError, TrackerError
from tracker.settings import Settings
from tracker.store import Store, keep_open, open_snapshot, publish, snapshot_id, snapshots
from tracker.store.reading import query_names


@pytest.mark.parametrize("name", query_names())
def test_snapshots_before_the_first_publication_every_read_is_empty(settings: Settings, name: str) -> None:
    assert snapshot_id(settings) is None
    with open_snapshot(settings) as snapshot:
        assert snapshot.query(name) == []
        assert "model_id" in snapshot.select("select * from models").columns


def test_snapshots_a_reader_never_makes_a_file(settings: Settings) -> None:
    with open_snapshot(settings) as snapshot:
        snapshot.query("leaderboard")
    assert not settings.home.exists()


def test_a_snapshot_shows_what_was_published_and_no_more(settings: Settings) -> None:
    store_runs(settings, run(1))
    before = snapshot_id(settings)
    with Store.open(settings) as store:
        store.add_run(run(2))
    with open_snapshot(settings) as snapshot:
        assert len(snapshot.query("runs")) == 1
    publish(settings)
    assert snapshot_id(settings) != before
    with open_snapshot(settings) as snapshot:
        assert len(snapshot.query("runs")) == 2


def test_snapshots_a_reader_keeps_its_copy_while_newer_ones_are_published(settings: Settings) -> None:
    store_runs(settings, run(1))
    with open_snapshot(settings) as old:
        for number in range(2, 8):
            store_runs(settings, run(number))
        with open_snapshot(settings) as new:
            assert len(new.query("runs")) == 7
        assert len(old.query("runs")) == 1


def test_snapshots_a_process_that_keeps_the_newest_open_reads_the_same(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "_kept_open", snapshots._KeptOpen())
    keep_open()
    store_runs(settings, run(1))
    with open_snapshot(settings) as first:
        with open_snapshot(settings) as beside:
            assert beside.select("select current_setting('TimeZone')").rows == [("UTC",)]
        assert len(first.query("runs")) == 1, "the end of one reader is not that of another"
        store_runs(settings, run(2))
        with ThreadPoolExecutor(4) as readers:
            counts = list(readers.map(lambda _: _n_runs(settings), range(12)))
        assert counts == [2] * 12
        assert len(first.query("runs")) == 1, "a newer snapshot does not end the readers of the older one"
    with open_snapshot(settings) as last, pytest.raises(TrackerError, match="only a single SELECT"):
        last.select("attach 'other.duckdb'")


def test_snapshots_a_process_that_keeps_the_newest_open_reads_an_empty_home_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "_kept_open", snapshots._KeptOpen())
    keep_open()
    with ThreadPoolExecutor(4) as readers:
        counts = list(readers.map(lambda _: _n_runs(settings), range(12)))
    assert counts == [0] * 12
    with open_snapshot(settings) as empty, open_snapshot(settings) as beside:
        for one in (empty, beside):
            assert one.select("select count(*) from items").rows == [(0,)]
            assert one.select("select comment from duckdb_tables() where table_name = 'runs'").rows
        store_runs(settings, run(1))
        assert _n_runs(settings) == 1
        assert not empty.query("runs")


def test_snapshots_listing_tables_between_two_reads_of_items_changes_neither(settings: Settings) -> None:
    store_runs(settings, run(1))
    with open_snapshot(settings) as snapshot:
        for _ in range(2):
            (n_items,) = snapshot.select("select count(*) from items").rows
            assert n_items[0] > 0
            assert snapshot.select("select * from duckdb_columns() where table_name = 'items'").rows


def _n_runs(settings: Settings) -> int:
    with open_snapshot(settings) as snapshot:
        return len(snapshot.query("runs"))


def test_the_last_three_snapshots_are_kept(settings: Settings) -> None:
    names = [publish(settings) for _ in range(5)]
    assert sorted(path.stem for path in settings.snapshots_path.glob("*.duckdb")) == names[-3:]
    assert snapshot_id(settings) == names[-1]


def test_snapshots_reading_continues_while_the_store_is_open_for_writing(settings: Settings) -> None:
    store_runs(settings, run(1))
    with Store.open(settings) as store, open_snapshot(settings) as snapshot:
        store.add_run(run(2))
        assert len(snapshot.query("runs")) == 1


def test_snapshots_a_moved_home_keeps_its_items(settings: Settings, tmp_path: Path) -> None:
    store_runs(settings, run(1))
    moved = Settings(home=tmp_path / "it's moved")
    shutil.move(settings.home, moved.home)
    with open_snapshot(moved) as snapshot:
        assert len(snapshot.query("items_page", run_id=run(1).run_id)) == 10 * len(TASKS)


def test_snapshots_items_are_read_live_and_once(settings: Settings) -> None:
    store_runs(settings, run(1))
    write_files(settings, run(2))  # the same fingerprints: every item is there twice
    with open_snapshot(settings) as snapshot:
        assert snapshot.select("select count(*), min(run_id), max(run_id) from items").rows == [
            (10 * len(TASKS), run(1).run_id, run(1).run_id)
        ]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot read"), (b"no database", "cannot read")],
    ids=["missing", "broken"],
)
def test_a_lost_snapshot_says_how_to_publish(settings: Settings, content: bytes | None, message: str) -> None:
    path = settings.snapshots_path / f"{publish(settings)}.duckdb"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StoreError, match=message) as caught:
        open_snapshot(settings)
    assert "tracker store publish" in caught.value.hint


def test_a_snapshot_of_a_newer_version_says_what_to_do(settings: Settings) -> None:
    with duckdb.connect(settings.snapshots_path / f"{publish(settings)}.duckdb") as connection:
        connection.execute("insert into migrations values (9999, 'from_the_future', now())")
    with pytest.raises(StoreError, match="newer version") as caught:
        open_snapshot(settings)
    assert "upgrade" in caught.value.hint


def test_the_first_reader_after_an_upgrade_publishes_the_snapshot_again(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with Store.open(settings) as store:
        store.add_run(run(1))
    old = publish(settings)
    with duckdb.connect(settings.snapshots_path / f"{old}.duckdb") as connection:
        connection.execute("delete from migrations where version > 1")
    with open_snapshot(settings) as snapshot:
        assert [row["run_id"] for row in snapshot.query("runs")] == [run(1).run_id]
    assert snapshot_id(settings) != old
    assert "by an older version; publishing a new one" in caplog.text
    settings.db_path.unlink()
    with duckdb.connect(settings.snapshots_path / f"{snapshot_id(settings)}.duckdb") as connection:
        connection.execute("delete from migrations where version > 1")
    with open_snapshot(settings) as snapshot:  # without a database, it is rebuilt from the snapshot
        assert [row["run_id"] for row in snapshot.query("runs")] == [run(1).run_id]


@pytest.mark.parametrize(
    "sql",
    [
        "insert into models (model_id) values ('x')",
        "drop table runs",
        "create table x (a integer)",
        "attach 'x.duckdb'",
        "copy runs to 'x.csv'",
        "copy (select 1) to 'x.csv'",
        "install httpfs",
        "load httpfs",
        "set enable_external_access = true",
        "pragma version",
        "begin",
        "select 1; select 2",
        "",
        "-- nothing",
    ],
)
def test_snapshots_only_one_select_is_answered(settings: Settings, sql: str) -> None:
    with open_snapshot(settings) as snapshot, pytest.raises(TrackerError, match="only a single SELECT"):
        snapshot.select(sql)


@pytest.mark.parametrize(
    "source",
    [
        "read_text('/etc/hostname')",
        "read_csv('/etc/hostname')",
        "read_blob('{home}/items/../../secret.txt')",
        "'{home}/../secret.txt'",
        "glob('/etc/*')",
        "read_json('{home}/tracker.duckdb')",
        "'https://example.org/x.parquet'",
        "read_csv('s3://bucket/x.csv')",
        "secret_frame",
    ],
)
def test_snapshots_a_select_reaches_no_other_file_and_no_network(settings: Settings, source: str) -> None:
    store_runs(settings, run(1))
    (settings.home.parent / "secret.txt").write_text("secret")
    secret_frame = {"a": [1]}
    with open_snapshot(settings) as snapshot, pytest.raises(TrackerError, match=r"^SQL: "):
        snapshot.select(f"select * from {source.format(home=settings.home)}")
    assert secret_frame


@pytest.mark.parametrize(
    ("sql", "message", "hint"),
    [
        ("selec 1", 'syntax error at or near "selec"', "tables: models"),
        ("select modelid from runs", '"modelid" not found', "describe runs"),
        ("select * from runz", "runz does not exist", "did you mean `runs`?"),
        ("select 1 / 'a'", "Could not convert string 'a'", "tables"),
        ("select $1", "parameter", "tables"),
    ],
)
def test_snapshots_a_mistake_in_sql_is_said_in_a_sentence(
    settings: Settings, sql: str, message: str, hint: str
) -> None:
    with open_snapshot(settings) as snapshot, pytest.raises(TrackerError, match=message) as caught:
        snapshot.select(sql)
    assert hint in caught.value.hint


def test_snapshots_control_c_stops_a_long_statement(settings: Settings) -> None:
    with open_snapshot(settings) as snapshot:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            snapshot.select("select sum(a.range * b.range) from range(10000000) a, range(10000000) b")
        assert snapshot.select("select 1").rows == [(1,)]
