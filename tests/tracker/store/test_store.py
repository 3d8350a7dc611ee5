"""The store: whole runs, in UTC, one writer at a time, and every failure in words."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.builders.some_runs import (
    STARTED_AT,
    TASKS,
    failed,
    model,
    run,
    store_runs,
    write_files,
)
from tests.conftest import ROOT
from tracker.errors import BusyError, StoreError, UnknownNameError
from tracker.records import Cost, RunStatus, TaskScore
from tracker.settings import Settings
from tracker.store import Store
from tracker.store.database import migrations
from tracker.store.reading import query_names

OLD_DATABASES = sorted((ROOT / "tests" / "data").glob("store_*.duckdb"))
HOLDER = """
import sys
from tracker.settings import load_settings
from tracker.store import Store
with Store.open(load_settings()):
    print("open", flush=True)
    sys.stdin.read()
"""
SHELL = """
import duckdb, sys
connection = duckdb.connect(path)
print("open", flush=True)
sys.stdin.read()
"""
NEW_YORKER = """
from tests.builders.some_runs import run, write_files
from tracker.settings import load_settings
from tracker.store import Store
with Store.open(load_settings()) as store:
    store.add_run(run(1))
"""


def python(code: str, **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        **more,
    )


def reading_hint(settings: Settings) -> str | None:
    """The hint of the `StoreError` that reading ends in; None if it can be read."""
    try:
        with Store.open(settings) as store:
            store.query("runs")
    except StoreError as error:
        return error.hint
    return None


@pytest.mark.parametrize("name", query_names())
def test_store_every_query_runs_on_a_fresh_schema(settings: Settings, name: str) -> None:
    with Store.open(settings) as store:
        assert store.query(name) == []


def test_store_a_run_is_kept_with_its_scores_and_its_model(settings: Settings) -> None:
    with Store.open(settings) as store:
        store.add_run(run(1))
        (row,) = store.query("runs")
        scores = store.query("run_scores", run_id=run(1).run_id)
        (found,) = store.query("models")
    assert (row["status"], row["engine_version"], row["tokens_per_s"]) == ("complete", "5.19.0", 41.0)
    assert (row["versions"], row["warnings"]) == ({"torch": "2.13.0"}, ["`gpqa`: no network"])
    assert (row["fit"], row["settings"]["dtype"]) == ({"fits": True}, "auto")
    assert [score["task"] for score in scores] == list(TASKS)
    assert (found["model_id"], found["n_params"], found["n_runs"]) == ("acme/atlas-8b", 8_030_000_000, 1)


@pytest.mark.parametrize("order", [1, -1])
def test_store_scores_come_back_as_they_were_whatever_is_missing(settings: Settings, order: int) -> None:
    first, second, third = run(1).scores
    sparse = replace(first, stderr=None, ci_low=None, ci_high=None, n_total=None, value=1)
    part = replace(second, group="whole", unparsed_fraction=0.25, value=0.25)
    scores = (sparse, part, replace(third, unparsed_fraction=1))[::order]
    with Store.open(settings) as store:
        store.add_run(replace(run(1), scores=scores))
        rows = store.query("run_scores")
    names = {field.name for field in fields(TaskScore)}
    assert tuple(TaskScore(**{n: v for n, v in row.items() if n in names}) for row in rows) == scores


def test_store_a_run_that_never_loaded_names_the_engine_that_was_asked_for(settings: Settings) -> None:
    with Store.open(settings) as store:
        store.add_run(failed(1))
        (row,) = store.query("model_runs", model_id="acme/atlas-8b")
    assert (row["engine"], row["engine_version"], row["reason"]) == ("transformers", None, "does_not_fit")


def test_store_adding_a_run_again_replaces_it(settings: Settings) -> None:
    shorter = replace(run(1), status=RunStatus.PARTIAL, scores=run(1).scores[:1])
    with Store.open(settings) as store:
        for again in (run(1), run(1), shorter):
            store.add_run(again)
        assert [row["status"] for row in store.query("runs")] == ["partial"]
        assert [row["task"] for row in store.query("run_scores")] == [TASKS[0]]
        assert [row["n_runs"] for row in store.query("models")] == [1]


def test_store_a_run_that_cannot_be_kept_whole_is_not_kept_at_all(settings: Settings) -> None:
    nameless = replace(run(2).scores[0], task=None)  # type: ignore[arg-type]
    broken = replace(run(2), scores=(*run(2).scores, nameless))
    with Store.open(settings) as store:
        store.add_run(run(1))
        with pytest.raises(duckdb.Error):
            store.add_run(broken)
        assert [row["run_id"] for row in store.query("runs")] == [run(1).run_id]
        assert {row["run_id"] for row in store.query("run_scores")} == {run(1).run_id}


def test_store_a_model_does_not_depend_on_the_order_of_its_runs(settings: Settings, tmp_path: Path) -> None:
    runs = [run(1, of=model(license=None)), run(2), run(3, of=model(n_params=None))]
    found = []
    for place, order in enumerate([runs, runs[::-1]]):
        with Store.open(Settings(home=tmp_path / str(place))) as store:
            for a_run in order:
                store.add_run(a_run)
            found.append(store.query("models"))
    assert found[0] == found[1]
    assert (found[0][0]["license"], found[0][0]["n_params"]) == ("apache-2.0", 8_030_000_000)
    assert found[0][0]["first_run_at"] == run(1).started_at


@pytest.mark.clock
def test_store_times_survive_a_change_of_time_zone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    with python(NEW_YORKER) as writer:
        assert writer.wait() == 0
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    with Store.open(settings) as store:
        (row,) = store.query("runs")
    assert row["started_at"] == STARTED_AT.replace(minute=1)
    assert row["started_at"].tzinfo is UTC


def test_store_a_time_in_another_zone_is_kept_as_the_same_moment(settings: Settings) -> None:
    local = datetime.fromisoformat("2026-11-24T05:45:00+05:30")
    with Store.open(settings) as store:
        store.add_run(replace(run(1), started_at=local))
        (row,) = store.query("runs")
    assert row["started_at"] == local


def test_a_second_process_waits_and_then_says_who_holds_the_store(settings: Settings) -> None:
    with python(HOLDER) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with (
            pytest.raises(BusyError, match=f"process {holder.pid} is writing"),
            Store.open(settings, wait_s=0),
        ):
            pass
        holder.communicate("")
    with Store.open(settings, wait_s=0) as store:
        assert store.query("runs") == []


def test_store_another_program_with_the_database_open_is_named(settings: Settings) -> None:
    with Store.open(settings):
        pass
    with python(f"path = {str(settings.db_path)!r}{SHELL}") as other:
        assert other.stdout is not None
        other.stdout.readline()
        with (
            pytest.raises(BusyError, match=f"process {other.pid} has `.*` open"),
            Store.open(settings, wait_s=0),
        ):
            pass
        other.communicate("")


def test_store_a_database_of_a_newer_version_is_left_alone(settings: Settings) -> None:
    with Store.open(settings):
        pass
    with duckdb.connect(settings.db_path) as connection:
        connection.execute("insert into migrations values (9999, 'from_the_future', now())")
    with pytest.raises(StoreError, match="newer version") as caught, Store.open(settings):
        pass
    assert "upgrade tracker" in caught.value.hint


@pytest.mark.parametrize(
    "content",
    [b"this is no database", b"\0" * 8192],
    ids=["text", "zeros"],
)
def test_store_an_unreadable_database_says_how_to_rebuild_it(settings: Settings, content: bytes) -> None:
    settings.home.mkdir()
    settings.db_path.write_bytes(content)
    with pytest.raises(StoreError, match="cannot read") as caught, Store.open(settings):
        pass
    assert "tracker store repair" in caught.value.hint


def test_store_an_empty_file_is_no_database_yet(settings: Settings) -> None:
    settings.home.mkdir()
    settings.db_path.write_bytes(b"")
    with Store.open(settings) as store:
        store.add_run(run(1))
        assert len(store.query("runs")) == 1


@pytest.mark.parametrize("place", [0.0, 0.002, 0.01, 0.5])
def test_store_a_damaged_database_never_ends_in_a_traceback(settings: Settings, place: float) -> None:
    with Store.open(settings) as store:
        store.add_run(run(1))
    content = bytearray(settings.db_path.read_bytes())
    at = int(place * len(content))
    content[at : at + 4096] = b"\xa5" * len(content[at : at + 4096])
    settings.db_path.write_bytes(content)
    hint = reading_hint(settings)
    assert hint is None or "tracker store repair" in hint


def test_store_the_database_of_another_program_is_not_touched(settings: Settings) -> None:
    settings.home.mkdir()
    with duckdb.connect(settings.db_path) as connection:
        connection.execute("create table runs (a integer)")
    with pytest.raises(StoreError, match="not a tracker database"), Store.open(settings):
        pass


def test_store_a_home_that_is_a_file_is_refused(settings: Settings) -> None:
    settings.home.write_text("")
    with pytest.raises(StoreError, match="cannot lock") as caught, Store.open(settings):
        pass
    assert "TRACKER_HOME" in caught.value.hint


def test_store_a_database_of_every_migration_is_kept() -> None:
    assert [path.stem for path in OLD_DATABASES] == [f"store_{step.version:04d}" for step in migrations()]


@pytest.mark.parametrize("old", OLD_DATABASES, ids=lambda path: path.stem)
def test_store_an_old_database_still_opens_with_its_rows(settings: Settings, old: Path) -> None:
    settings.home.mkdir()
    settings.db_path.write_bytes(old.read_bytes())
    with Store.open(settings) as store:
        assert {row["status"] for row in store.query("runs")} >= {"complete", "failed"}
        assert {row["task"] for row in store.query("leaderboard")} == set(TASKS)


@pytest.mark.parametrize("old", OLD_DATABASES, ids=lambda path: path.stem)
def test_store_an_old_database_ends_with_the_schema_of_a_new_one(
    settings: Settings, tmp_path: Path, old: Path
) -> None:
    columns = (
        "select table_name, column_name, data_type, is_nullable from duckdb_columns() where not internal"
    )
    fresh = Settings(home=tmp_path / "fresh")
    settings.home.mkdir()
    settings.db_path.write_bytes(old.read_bytes())
    schemas = []
    for each in (settings, fresh):
        with Store.open(each):
            pass
        with duckdb.connect(each.db_path) as connection:
            schemas.append(connection.execute(f"{columns} order by table_name, column_index").fetchall())
    assert schemas[0] == schemas[1]


def test_store_an_unknown_query_or_parameter_is_named(settings: Settings) -> None:
    with Store.open(settings) as store:
        with pytest.raises(UnknownNameError, match="leaderbord"):
            store.query("leaderbord")
        with pytest.raises(UnknownNameError, match="model"):
            store.query("leaderboard", model="acme/atlas-8b")


def test_store_the_leaderboard_shows_the_newest_run_that_has_scores(settings: Settings) -> None:
    newer = replace(run(2), scores=tuple(replace(score, value=0.75) for score in run(2).scores))
    store_runs(settings, run(1), newer, failed(3), run(4, of=model("acme/other-1b"), suite="smoke"))
    with Store.open(settings) as store:
        rows = store.query("leaderboard")
        quick = store.query("leaderboard", suite="quick")
    assert {(row["model_id"], row["suite"], row["value"]) for row in rows} == {
        ("acme/atlas-8b", "quick", 0.75),
        ("acme/other-1b", "smoke", 0.5),
    }
    assert [row["task"] for row in quick] == list(TASKS)


def test_store_a_quick_look_does_not_hide_a_whole_measurement_of_the_same_version(settings: Settings) -> None:
    whole = replace(run(1), suite_version=1)
    look = replace(
        run(2), suite_version=1, scores=tuple(replace(s, value=1.0, n_items=2) for s in run(2).scores)
    )
    store_runs(settings, whole, look)
    with Store.open(settings) as store:
        assert {row["run_id"] for row in store.query("leaderboard")} == {whole.run_id}
        store.add_run(replace(look, run_id="20261126-000000-aaaaaa", suite_version=2))
        assert {row["suite_version"] for row in store.query("leaderboard")} == {2}


def test_store_the_prediction_stands_beside_the_measured_memory(settings: Settings) -> None:
    predicted = run(1, cost=Cost(peak_memory_bytes=900), fit={"fits": True, "total_bytes": 1_000})
    store_runs(settings, predicted, run(2, fit=None))
    with Store.open(settings) as store:
        rows = store.query("runs")
    assert [(row["peak_memory_bytes"], row["predicted_memory_bytes"]) for row in rows] == [
        (None, None),
        (900, 1_000),
    ]


def test_store_items_of_a_run_include_those_it_reuses_and_no_others(settings: Settings) -> None:
    write_files(settings, run(1))
    write_files(settings, run(3, of=model("acme/other-1b")))
    reused = replace(run(2), scores=run(1).scores[:1])
    with Store.open(settings) as store:
        for a_run in (run(1), reused, run(3, of=model("acme/other-1b"))):
            store.add_run(a_run)
        rows = store.query("items_page", run_id=reused.run_id)
    assert {(row["run_id"], row["task"]) for row in rows} == {(run(1).run_id, TASKS[0])}
    assert [row["doc_id"] for row in rows] == list(range(10))


def test_store_a_limited_run_shows_only_the_items_that_it_counted(settings: Settings) -> None:
    limited = write_files(settings, replace(run(1), limit=3))
    with Store.open(settings) as store:
        store.add_run(limited)
        rows = store.query("items_page", run_id=limited.run_id, task=TASKS[0])
    assert [row["doc_id"] for row in rows] == [0, 1, 2]


@pytest.mark.parametrize(
    ("only", "doc_ids"),
    [
        (None, list(range(10))),
        ("right", [0, 2, 4, 6, 8]),
        ("wrong", [1, 3, 5, 7, 9]),
        ("unparsed", [4, 9]),
        ("truncated", [6]),
    ],
)
def test_store_items_can_be_filtered_and_paged(
    settings: Settings, only: str | None, doc_ids: list[int]
) -> None:
    a_run = write_files(settings, run(1))
    with Store.open(settings) as store:
        store.add_run(a_run)
        where = {"run_id": a_run.run_id, "task": TASKS[0], "only": only}
        rows = [
            row for at in range(0, 10, 2) for row in store.query("items_page", **where, limit=2, offset=at)
        ]
    assert [row["doc_id"] for row in rows] == doc_ids
    assert {row["n_matching"] for row in rows} == {len(doc_ids)}


def test_store_a_corrupt_part_affects_only_its_own_items(settings: Settings) -> None:
    a_run = write_files(settings, run(1))
    first = next(settings.items_path.glob(f"*/{a_run.scores[0].fingerprint}-*"))
    content = first.read_bytes()
    for damage in (
        b"",
        content[: len(content) // 2],
        content[:4] + b"\xa5" * (len(content) - 8) + content[-4:],
    ):
        first.write_bytes(damage)
        with Store.open(settings) as store:
            store.add_run(a_run)
            rows = store.query("items_page", run_id=a_run.run_id)
        assert {row["task"] for row in rows} == set(TASKS[1:])
