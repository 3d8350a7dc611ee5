"""Rows that no item file holds, carried over from the old database and its snapshots during a rebuild.

Each table is carried over for itself: from the database where it can be read, and what is missing there from
the newest snapshot that has it. What could not be carried over is said, per table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa

from tracker.store.database import primary_keys
from tracker.store.old_files import OldFile, OldFiles, TableRows
from tracker.wording import agreeing, counted

PRESERVED = (
    "sources", "ingests", "model_snapshots", "published_scores", "aliases", "benchmark_tasks", "jobs",
    "weights", "vintages", "vintage_models", "vintage_scores", "vintage_benchmarks", "held_rows",
    "dated_values",
)  # fmt: skip
OBSERVED = {
    "model_snapshots",
    "published_scores",
    "dated_values",
}  # what an ingest adds only where it changed
CONTENTS = {"vintages", "vintage_models", "vintage_scores", "vintage_benchmarks"}
# A source is asked for changes since the last ingest: where rows are lost, for everything.
ALL_AGAIN = (
    "the next `tracker ingest` asks every source for everything again;"
    " `tracker store rebuild --from-raw` reads what they said before from the raw answers"
)
ASK_AGAIN = "update ingests set watermark = null, resume = null"
DOUBT_VINTAGES = """
update vintages set is_accepted = false, reason = 'a part of it was lost with a damaged database'
where n_models <> (select count(*) from vintage_models as rows where rows.vintage_id = vintages.vintage_id)
or n_scores <> (select count(*) from vintage_scores as rows where rows.vintage_id = vintages.vintage_id)
or n_benchmarks <> (
    select count(*) from vintage_benchmarks as rows where rows.vintage_id = vintages.vintage_id
)
"""


@dataclass(slots=True)
class Preserved:
    """What was carried over."""

    origin: str | None = None  # the file that most of it came from
    restored: list[str] = field(default_factory=list)  # sentences: which rows came from elsewhere
    lost: list[str] = field(default_factory=list)  # sentences: which rows are missing


def copy_preserved_rows(connection: duckdb.DuckDBPyConnection, old: OldFiles) -> Preserved:
    """Copy the rows into a new database, inside its transaction."""
    preserved = Preserved(lost=list(old.problems))
    first = next(iter(old), None)
    if first is None:
        if preserved.lost:
            preserved.lost.append(f"no readable file has what was ingested: {ALL_AGAIN}")
        return preserved
    preserved.origin = str(first.path)
    if old.database is None:
        preserved.restored.append(f"what was ingested was taken from {first.called}")
    keys = primary_keys(connection)
    known = {table: first.read(table) for table in PRESERVED}
    others = [snapshot for snapshot in old.snapshots if snapshot is not first]
    is_replaced = _is_replaced(known, others)
    damaged = set()
    for table, found in known.items():
        if found.rows is not None:
            _insert(connection, table, found.rows, has_key=table in keys)
        if not found.problem and not is_replaced:
            continue
        n_first = _count(connection, table)
        sources = _add_missing(connection, table, others, has_key=table in keys)
        n_rows = _count(connection, table)
        why = f"table `{table}` {'cannot be read' if found.problem else 'was incomplete'} in {first.called}"
        if sources:
            kept = [f"{counted(n_first, 'row')} from {first.called}"] if n_first else []
            preserved.restored.append(f"{why}; it now has {' and '.join([*kept, *sources])}")
        if found.problem and (lost := _loss(n_rows, found)):
            preserved.lost.append(f"{why}: {lost}")
            damaged.add(table)
        elif found.problem and not sources:
            preserved.restored.append(f"{why} as a whole; all of its rows ({n_rows:,}) were saved")
    if damaged & OBSERVED:
        connection.execute(ASK_AGAIN)
        preserved.lost.append(ALL_AGAIN)
    if damaged & CONTENTS:
        connection.execute(DOUBT_VINTAGES)
    return preserved


def _is_replaced(known: Mapping[str, TableRows], others: Sequence[OldFile]) -> bool:
    """Whether the first file is a new database in the place of the one that was published.

    It then lacks an ingest that a snapshot has: ingests are never deleted.
    """
    if known["ingests"].problem:
        return False
    there = _ingest_ids(known["ingests"])
    is_empty = not any(found.n_rows or found.problem for found in known.values())
    return any(
        _ingest_ids(snapshot.read("ingests")) - there
        or (is_empty and any(snapshot.read(table).n_rows for table in PRESERVED))
        for snapshot in others
    )


def _ingest_ids(found: TableRows) -> set[str]:
    return set() if found.rows is None else set(found.rows.column("ingest_id").to_pylist())


def _add_missing(
    connection: duckdb.DuckDBPyConnection, table: str, others: Sequence[OldFile], *, has_key: bool
) -> list[str]:
    """Add what the table lacks from the newest file that has it as a whole; how many rows from where."""
    sources = []
    for file in others:
        found = file.read(table)
        if found.rows is None or not len(found.rows):
            continue
        n_before = _count(connection, table)
        _insert(connection, table, found.rows, has_key=has_key)
        if n_more := _count(connection, table) - n_before:
            sources.append(f"{counted(n_more, 'row')} from {file.called}")
        if not found.problem:
            break
    return sources


def _loss(n_rows: int, found: TableRows) -> str:
    """How many rows are missing, in words; empty for none."""
    if found.n_rows is None:
        return f"{counted(n_rows, 'row')} {agreeing(n_rows, 'was', 'were')} restored, and more may be missing"
    if n_rows >= found.n_rows:
        return ""
    return f"{found.n_rows - n_rows:,} of its {counted(found.n_rows, 'row')} could not be restored"


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    ((n_rows,),) = connection.execute(f'select count(*) from "{table}"').fetchall()  # noqa: S608
    return int(n_rows)


def _insert(connection: duckdb.DuckDBPyConnection, table: str, rows: pa.Table, *, has_key: bool) -> None:
    """Insert the rows that are not there yet: by the primary key of the table, or whole rows without one."""
    columns = ", ".join(f'"{name}"' for name in rows.column_names)
    connection.register("preserved", rows)
    selected = f"select {columns} from preserved"  # noqa: S608 - names from the catalog
    try:
        if has_key:
            connection.execute(f'insert or ignore into "{table}" by name ({selected})')
            return
        if _count(connection, table):
            selected += f' except all select {columns} from "{table}"'  # noqa: S608
        connection.execute(f'insert into "{table}" by name ({selected})')
    finally:
        connection.unregister("preserved")
