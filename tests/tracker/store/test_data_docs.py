"""`docs/data.md`: its tables are those of the database, and its examples run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from tests.builders.data_reference import page
from tests.builders.some_runs import model, run, store_runs
from tests.conftest import ROOT
from tracker.answers.shipped import shipped_relations
from tracker.errors import TrackerError
from tracker.settings import Settings
from tracker.store import open_snapshot, snapshot_id

PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
UNEXPLAINED = (
    "select table_name, column_name from duckdb_columns() where not internal and coalesce(comment, '') = ''"
)


@pytest.fixture
def filled(settings: Settings) -> Settings:
    store_runs(settings, run(1), run(2, of=model("baichuan-inc/Baichuan-7B")))
    return settings


def test_data_docs_every_column_has_a_comment_in_an_empty_home(settings: Settings) -> None:
    with open_snapshot(settings) as snapshot:
        assert snapshot.select(UNEXPLAINED, shipped_relations(settings)).rows == []


def test_data_docs_every_column_has_a_comment_in_the_published_file(filled: Settings) -> None:
    path = filled.snapshots_path / f"{snapshot_id(filled)}.duckdb"
    with duckdb.connect(path, read_only=True) as connection:
        assert connection.execute(UNEXPLAINED).fetchall() == []
        ((text,),) = connection.execute(
            "select comment from duckdb_columns() where table_name = 'runs' and column_name = 'limit'"
        ).fetchall()
    assert text == "Only N items of each task, see sample_seed; null: all"


def test_data_page_lists_every_table_and_column(tmp_path: Path) -> None:
    assert page(tmp_path) == PAGE, "python -m tests.builders.data_reference"


@pytest.mark.parametrize("sql", re.findall(r"```sql\n(.+?)```", PAGE, re.DOTALL))
def test_data_page_examples_in_sql_run(filled: Settings, sql: str) -> None:
    with open_snapshot(filled) as snapshot:
        answer = snapshot.select(sql, shipped_relations(filled))
    assert answer.columns


@pytest.mark.usefixtures("filled")
def test_data_page_example_in_python_runs() -> None:
    (code,) = re.findall(r"```python\n(.+?)```", PAGE, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code + "print(len(runs), len(items))"],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (done.stderr, done.stdout) == ("", "2 60\n")


def test_show_tables_lists_items_and_what_is_shipped(settings: Settings) -> None:
    with open_snapshot(settings) as snapshot:
        names = {name for (name,) in snapshot.select("show tables", shipped_relations(settings)).rows}
    assert {"runs", "task_scores", "items", "shipped_scores", "index_values"} <= names
    assert names == {name for name in names if f"### `{name}`" in PAGE}


def test_data_docs_items_can_be_listed_and_then_read_in_one_snapshot(filled: Settings) -> None:
    with open_snapshot(filled) as snapshot:
        snapshot.select("show tables")
        assert snapshot.select("select count(*) from items").rows == [(60,)]


def test_data_docs_shipped_relations_hold_the_index_that_is_shown_and_join_to_runs(filled: Settings) -> None:
    relations = shipped_relations(filled)
    with open_snapshot(filled) as snapshot:
        ((n_models, n_open),) = snapshot.select(
            "select count(*), count(*) filter (access = 'open') from index_values", relations
        ).rows
        joined = snapshot.select(
            "select distinct r.model_id, m.organization"
            " from runs r join shipped_models m on m.hub_id = r.model_id",
            relations,
        )
    assert (n_models, n_open > 50) == (222, True)
    assert joined.rows == [("baichuan-inc/Baichuan-7B", "Baichuan")]


@pytest.mark.parametrize("sql", ["describe runs", "show runs", "summarize runs", "pragma table_info('runs')"])
def test_data_docs_statements_that_describe_a_table_are_answered(filled: Settings, sql: str) -> None:
    with open_snapshot(filled) as snapshot:
        assert "model_id" in str(snapshot.select(sql).rows)


@pytest.mark.parametrize(
    "sql",
    [
        "pragma enable_profiling",
        "pragma threads=1",
        "pragma table_info('runs'); select 1",
        "explain select 1",
    ],
)
def test_data_docs_statements_that_change_the_session_are_refused(filled: Settings, sql: str) -> None:
    with open_snapshot(filled) as snapshot, pytest.raises(TrackerError, match="only a single SELECT"):
        snapshot.select(sql)


@pytest.mark.parametrize(
    ("table", "meant"),
    [("scores", "`task_scores`"), ("item", "`items`"), ("index", "`index_values`"), ("run", "`runs`")],
)
def test_data_docs_an_unknown_table_is_answered_with_one_of_ours(
    filled: Settings, table: str, meant: str
) -> None:
    with open_snapshot(filled) as snapshot, pytest.raises(TrackerError) as caught:
        snapshot.select(f'select * from "{table}"', shipped_relations(filled))
    assert meant in caught.value.hint
    assert "pg_" not in caught.value.hint
