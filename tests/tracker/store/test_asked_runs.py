"""A statement about one run opens only that run's parts, and sees what it saw before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import duckdb
import pytest

from tests.builders.some_runs import TASKS, items, key_of, model, run, store_runs
from tracker.files.items import stored_parts, write_part
from tracker.settings import Settings
from tracker.store import Snapshot, open_snapshot
from tracker.store.asked_runs import asked_runs

FIRST, SECOND, THIRD = (run(number).run_id for number in (1, 2, 3))
KEY = key_of(TASKS[0], model())


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as made:
        yield made


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select * from items where run_id = 'a'", ("a",)),
        ("select * from ITEMS as i where 'a' = i.RUN_ID and score = 0", ("a",)),
        ("select * from items where run_id in ('b', 'a')", ("a", "b")),
        ("select * from items where run_id in ('b', 'a') and run_id = 'a'", ("a",)),
        ("with x as (select * from items where run_id = 'a') select count(*) from x", ("a",)),
        (
            "select 1 from items where run_id = 'a' union all select 2 from items where run_id = 'b'",
            ("a", "b"),
        ),
        ("select * from runs join items i using (fingerprint) where i.run_id = 'a'", ("a",)),
        ("select * from runs left join items i on true where i.run_id = 'a'", ("a",)),
        ("select (select count(*) from items where run_id = 'a') as n, * from runs", ("a",)),
        ("select * from runs, items where items.run_id = 'a'", ("a",)),
        # nothing below names the runs for every row that is read
        ("select * from items", None),
        ("select run_id from items", None),
        ("select * from items where run_id = 'a' or score = 0", None),
        ("select * from items where not run_id = 'a'", None),
        ("select * from items where run_id <> 'a'", None),
        ("select * from items where run_id = doc_hash", None),
        ("select * from items where lower(run_id) = 'a'", None),
        ("select * from items where run_id like 'a%'", None),
        ("select * from items where doc_id = 'a' and run_id is not null", None),
        ("select * from items where run_id = 1", None),
        ("select run_id = 'a' from items", None),
        ("select * from items having run_id = 'a'", None),
        ("select * from items as i(run_id, other) where run_id = 'a'", None),
        ("select * from items tablesample 10% where run_id = 'a'", None),
        ("select * from items where run_id = 'a' using sample 10%", None),
        ("select * from items as one join items as two using (doc_id) where one.run_id = 'a'", None),
        ("select * from runs join items using (run_id) where run_id = 'a'", None),
        ("select * from items right join runs on true where items.run_id = 'a'", None),
        ("select * from items full join runs on true where items.run_id = 'a'", None),
        ("select * from runs anti join items using (run_id) where runs.run_id = 'a'", None),
        ("select * from runs positional join items where items.run_id = 'a'", None),
        ("select * from items where run_id = 'a' union all select * from items", None),
        ("with a as (select * from items) select * from a where run_id = 'a'", None),
        ("from items select * qualify run_id = 'a'", None),
        ("pivot items on score using count(*) group by run_id", None),
        ("describe items", None),
        ("select run_id from", None),
    ],
)
def test_asked_runs_are_those_that_every_row_must_belong_to(
    connection: duckdb.DuckDBPyConnection, sql: str, expected: tuple[str, ...] | None
) -> None:
    assert asked_runs(connection, sql) == expected


@pytest.fixture
def three_runs(settings: Settings) -> Settings:
    """The second answered some items of the first again, of which it had refused one; the third all."""
    store_runs(settings, run(1), run(2), run(3))
    refused = replace(items(TASKS[0], 11)[10], finish_reason="refused", response="")
    write_part(settings.items_path, FIRST, KEY, [refused])
    write_part(settings.items_path, SECOND, KEY, items(TASKS[0], 12)[10:])
    return settings


SELECTED = (
    "select count(*), sum(doc_id), count(distinct task) from items where {run}",
    "select doc_id, task, finish_reason from items where {run} and score > 0 order by all limit 20",
    "select task, count(*) from items join runs using (run_id) where {items} group by task order by task",
    "select run_id, (select count(*) from items where {run}) from runs order by run_id",
    "with own as (select * from items where {run}) select min(doc_id), max(doc_id) from own",
)


@pytest.mark.parametrize("run_id", [FIRST, SECOND, THIRD, "none", "../items"])
@pytest.mark.parametrize("sql", SELECTED)
def test_asked_runs_change_no_answer(three_runs: Settings, sql: str, run_id: str) -> None:
    plain = sql.format(run=f"run_id = '{run_id}'", items=f"items.run_id = '{run_id}'")
    hidden = sql.format(run=f"run_id || '' = '{run_id}'", items=f"items.run_id || '' = '{run_id}'")
    with open_snapshot(three_runs) as snapshot:
        assert snapshot.select(plain).rows == snapshot.select(hidden).rows


def test_asked_runs_of_others_are_not_opened(three_runs: Settings) -> None:
    other = replace(run(4, of=model("borealis/nimbus-4b")))
    store_runs(three_runs, other)
    for part in (three_runs.items_path / other.run_id).glob("*.parquet"):
        part.write_bytes(b"no Parquet")

    def asked(snapshot: Snapshot, run_id: str) -> tuple[int, int]:
        found = snapshot.select(f"select count(*) from items where run_id = '{run_id}'")
        return found.rows[0][0], found.missing.n_parts

    with open_snapshot(three_runs) as snapshot:
        assert asked(snapshot, FIRST) == (30, 0)
        assert asked(snapshot, other.run_id) == (0, 3)
        assert snapshot.select("select count(*) from items where score >= 0").missing.n_parts == 3
    assert len(stored_parts(three_runs.items_path, KEY)) == 5


@pytest.mark.parametrize(("first", "second"), [("", "acme/other-1b"), ("acme/other-1b", ""), ("", "")])
def test_asked_runs_of_a_model_with_an_empty_name_are_none(
    three_runs: Settings, first: str, second: str
) -> None:
    with open_snapshot(three_runs) as snapshot:
        assert not snapshot.query("paired_items", first=first, second=second, suite=None, task=None)
