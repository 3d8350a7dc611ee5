"""`export`: tables of this home as Parquet, CSV or JSON Lines, with a data dictionary.

Rows of sources whose terms do not allow passing them on are never written; the dictionary says how many were
held back, and why. Paths of this machine are left out.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from tracker.answers.asked import FrontierOptions, answer_asked
from tracker.answers.vintages import tables_for
from tracker.errors import UnknownNameError
from tracker.foreign_text import csv_cell, json_text
from tracker.frontier.dataset import newest_vintage
from tracker.frontier.facts import Redistribution
from tracker.frontier.licenses import terms_of
from tracker.settings import Settings
from tracker.store import MissingItems, Snapshot, open_snapshot

FORMATS = ("parquet", "csv", "jsonl")
TABLES = ("runs", "scores", "metrics", "items", "frontier", "published", "shipped")
ROWS_AT_ONCE = 4096
OF_THE_MACHINE = ("path", "pid", "settings", "hardware", "warnings", "detail", "fit")  # of a run
HELD = "source `{}`: {}"
SQL = {
    "runs": f"select * exclude ({', '.join(OF_THE_MACHINE)}) from runs",  # noqa: S608 - the columns are ours
    "scores": "select * from task_scores",
    "metrics": "select * from task_metrics",
    "items": "select * from items",
    "published": """select current_scores.*, sources.title, sources.license, sources.attribution
        from current_scores join sources using (source)
        where not sources.is_private and not current_scores.is_withdrawn""",
}
ORIGINS = {
    "runs": "runs", "scores": "task_scores", "metrics": "task_metrics", "items": "items",
    "published": "published_scores",
}  # fmt: skip
TEXTS = {
    "runs": "One row per run, measured here or imported (`origin`), without what names this machine",
    "scores": "One row per score of a run; joins to runs by run_id",
    "metrics": "One row per metric of a task of a run",
    "items": "One row per question with the model's answer; joins to scores by fingerprint",
    "frontier": "One row per definition of the gap between open and closed models, with 90% intervals",
    "published": "Published scores of the sources whose terms allow passing them on",
    "shipped": "Scores behind the index whose license allows redistribution",
}
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Rows that were not exported."""

    table: str
    n_rows: int
    why: str


@dataclass(frozen=True, slots=True)
class ExportedTable:
    """One table of an export; `columns` are name, type, and what it means where that is described."""

    name: str
    text: str
    n_rows: int
    columns: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class ExportedTables:
    """The tables and what was held back of each."""

    tables: tuple[ExportedTable, ...]
    held_back: tuple[HeldBack, ...]


def check_tables(names: Sequence[str]) -> tuple[str, ...]:
    """The tables by these names; all of them if there are none.

    Raises:
        UnknownNameError: there is no such table.
    """
    for name in names:
        if name not in TABLES:
            raise UnknownNameError("table", name, known=TABLES)
    return tuple(dict.fromkeys(names)) or TABLES


def write_tables(folder: Path | None, names: Sequence[str], kind: str, settings: Settings) -> ExportedTables:
    """Write these tables into a folder; None: count only.

    Raises:
        TrackerError: a table cannot be read.
    """
    found: list[ExportedTable] = []
    held: list[HeldBack] = []
    comments = _comments(settings)
    with open_snapshot(settings) as snapshot:
        for name in names:
            path = None if folder is None else folder / f"{name}.{kind}"
            if name in SQL:
                table, missing = _from_store(name, snapshot, path, kind, comments)
                found.append(table)
                held += [HeldBack(name, missing.n_parts, missing.sentence)] if missing else []
            else:
                found.append(_from_frontier(name, settings, path, kind))
        if "published" in names:
            held += _private_rows(snapshot)
    if "shipped" in names:
        held += _shipped(settings)[1]
    return ExportedTables(tuple(found), tuple(held))


def _comments(settings: Settings) -> dict[str, dict[str, str]]:
    """What each column means, by table."""
    found: dict[str, dict[str, str]] = {}
    with open_snapshot(settings) as snapshot:
        told = snapshot.select(
            "select table_name, column_name, comment from duckdb_columns() where comment is not null"
        )
    for table, column, text in told.rows:
        found.setdefault(str(table), {})[str(column)] = str(text)
    return found


def _from_store(
    name: str, snapshot: Snapshot, path: Path | None, kind: str, comments: Mapping[str, Mapping[str, str]]
) -> tuple[ExportedTable, MissingItems]:
    def take(cursor: duckdb.DuckDBPyConnection) -> tuple[int, pa.Schema]:
        reader: Any = cursor.sql(SQL[name]).to_arrow_reader(ROWS_AT_ONCE)
        return _write(path, kind, reader.schema, reader), reader.schema

    bound = f"select * from ({SQL[name]}) limit 0"  # noqa: S608 - ours; `take` reads the rows as they come
    (n_rows, schema), missing = snapshot.select_into(take, bound)
    told = comments.get(ORIGINS[name], {})
    columns = tuple((one.name, str(one.type), told.get(one.name, "")) for one in schema)
    return ExportedTable(name, TEXTS[name], n_rows, columns), missing


def _from_frontier(name: str, settings: Settings, path: Path | None, kind: str) -> ExportedTable:
    rows = _gaps(settings) if name == "frontier" else _shipped(settings)[0]
    table = pa.Table.from_pylist(rows)
    n_rows = _write(path, kind, table.schema, iter(table.to_batches(ROWS_AT_ONCE)))
    columns = tuple((one.name, str(one.type), "") for one in table.schema)
    return ExportedTable(name, TEXTS[name], n_rows, columns)


def _gaps(settings: Settings) -> list[Row]:
    answer = answer_asked(FrontierOptions(), settings)
    known = {
        "as_of": answer.as_of, "vintage": answer.vintage, "axis": answer.axis, "intervals": answer.intervals,
        "attribution": "; ".join(answer.attribution),
    }  # fmt: skip
    return [asdict(gap) | known for gap in answer.gaps]


def _shipped(settings: Settings) -> tuple[list[Row], list[HeldBack]]:
    """The scores behind the index that may be passed on, and the others by their terms."""
    tables = tables_for(settings)
    vintage = newest_vintage(tables, None)
    rows: list[Row] = []
    held: dict[str, int] = {}
    for score in tables.scores:
        if score.vintage != vintage:
            continue
        terms = terms_of(score)
        if terms.redistribution is Redistribution.ALLOWED:
            rows.append(asdict(score) | {"measured_by": terms.measured_by, "license": terms.license})
        else:
            why = f"{terms.measured_by}: {terms.license} ({terms.redistribution.value.replace('_', ' ')})"
            held[why] = held.get(why, 0) + 1
    return rows, [HeldBack("shipped", n, why) for why, n in sorted(held.items())]


def _private_rows(snapshot: Snapshot) -> Iterator[HeldBack]:
    answer = snapshot.select(
        "select source, coalesce(any_value(sources.license), 'its terms are not known'), count(*)"
        " from current_scores left join sources using (source)"
        " where coalesce(sources.is_private, true) group by source order by source"
    )
    for source, terms, n_rows in answer.rows:
        yield HeldBack("published", int(n_rows), HELD.format(source, terms))


def _write(path: Path | None, kind: str, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> int:
    """Write the batches, and count their rows."""
    if path is None:
        return sum(batch.num_rows for batch in batches)
    if kind == "parquet":
        n_rows = 0
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(batch)
                n_rows += batch.num_rows
        return n_rows
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        write = (
            _csv_rows(csv.writer(file, lineterminator="\n"), schema) if kind == "csv" else _json_rows(file)
        )
        return sum(write(batch.to_pylist()) for batch in batches)


def _csv_rows(writer: Any, schema: pa.Schema) -> Callable[[list[Mapping[str, Any]]], int]:
    writer.writerow(schema.names)

    def write(rows: list[Mapping[str, Any]]) -> int:
        for row in rows:
            writer.writerow([csv_cell(_plain(value)) for value in row.values()])
        return len(rows)

    return write


def _json_rows(file: Any) -> Callable[[list[Mapping[str, Any]]], int]:
    def write(rows: list[Mapping[str, Any]]) -> int:
        for row in rows:
            file.write(json_text({name: _json_value(value) for name, value in row.items()}) + "\n")
        return len(rows)

    return write


def _plain(value: Any) -> Any:
    return json.dumps(value, default=str) if isinstance(value, list | dict) else value


def _json_value(value: Any) -> Any:
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None  # noqa: PLR0124
    if isinstance(value, list):
        return [_json_value(one) for one in value]
    return value if value is None or isinstance(value, str | int | bool) else str(value)
