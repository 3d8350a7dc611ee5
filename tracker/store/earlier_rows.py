"""Rows of an old database that a replay of raw answers starts from: those of the time before its logs.

Also what is in no log at all: the queue, and which benchmarks are which tasks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from tracker.settings import Settings
from tracker.store.database import open_database, transaction
from tracker.store.ingests import utc
from tracker.store.locks import WAIT_S, write_lock
from tracker.store.snapshot_files import snapshot_paths

EARLIER = "not list_contains($sources, source) or {id} < $firsts[list_position($sources, source)]"
CONDITIONS = {
    "sources": "true",
    "ingests": EARLIER.format(id="ingest_id"),
    "model_snapshots": EARLIER.format(id="ingest_id"),
    "published_scores": EARLIER.format(id="ingest_id"),
    "dated_values": EARLIER.format(id="ingest_id"),
    "held_rows": "not list_contains($sources, source)",
    "weights": "true",
    "aliases": "basis = 'person' or $began_at is null or added_at < $began_at",
    "vintages": EARLIER.format(id="vintage_id"),
    "vintage_models": "vintage_id in (select vintage_id from vintages where {earlier})",
    "vintage_scores": "vintage_id in (select vintage_id from vintages where {earlier})",
    "vintage_benchmarks": "vintage_id in (select vintage_id from vintages where {earlier})",
    "benchmark_tasks": "true",
    "jobs": "true",
}


@dataclass(frozen=True, slots=True)
class EarlierRows:
    """The file that the rows come from, and what of it could be read."""

    path: Path | None = None
    sources: frozenset[str] = frozenset()  # with at least one earlier ingest
    has_jobs: bool = False
    later: tuple[tuple[str, str], ...] = ()  # source and id of each ingest that is left to the replay
    problems: tuple[str, ...] = ()


def copy_earlier_rows(
    target: Settings, home: Settings, firsts: Mapping[str, str], *, began_at: datetime | None
) -> EarlierRows:
    """Copy to the database of `target` the rows of `home` from before the ingests in `firsts`, by source.

    Of a source that is not in `firsts`, everything is copied. The rows come from the database or the snapshot
    with the most ingests. `began_at`: start of the first ingest that is replayed.

    Raises:
        BusyError: another process writes for longer than ten seconds.
    """
    with write_lock(home.db_path, wait_s=WAIT_S):
        path = _fullest(home)
        if path is None:
            return EarlierRows()
        params: dict[str, object] = {
            "sources": list(firsts),
            "firsts": list(firsts.values()),
            "began_at": utc(began_at),
        }
        tables: dict[str, pa.Table] = {}
        later: list[tuple[str, str]] = []
        problems = []
        with suppress(duckdb.Error), duckdb.connect(path, read_only=True) as old:
            found = old.execute("select source, ingest_id from ingests order by ingest_id").fetchall()
            later = [(source, one) for source, one in found if source in firsts and one >= firsts[source]]
        for name, condition in CONDITIONS.items():
            where = condition.format(earlier=EARLIER.format(id="vintage_id"))
            used = {key: value for key, value in params.items() if f"${key}" in where}
            try:
                with duckdb.connect(path, read_only=True) as old:
                    tables[name] = _rows(old, f"from {name} where {where}", used)
            except duckdb.CatalogException:  # a table that its version did not have
                continue
            except duckdb.Error:
                problems.append(
                    f"`{path}`: the table {name} cannot be read, and its rows are not carried over"
                )
    connection = open_database(target.db_path, wait_s=WAIT_S)
    with connection, transaction(connection):
        for name, rows in tables.items():
            connection.register("earlier", rows)
            connection.execute(f"insert into {name} by name from earlier")
            connection.unregister("earlier")
    ingests = tables["ingests"].column("source").to_pylist() if "ingests" in tables else []
    return EarlierRows(path, frozenset(ingests), "jobs" in tables, tuple(later), tuple(problems))


def _rows(connection: duckdb.DuckDBPyConnection, query: str, params: dict[str, object]) -> pa.Table:
    return connection.sql(query, params=params).to_arrow_table()


def _fullest(home: Settings) -> Path | None:
    counts = dict(_n_ingests(home))
    return max(counts, key=lambda path: counts[path]) if counts else None


def _n_ingests(home: Settings) -> Iterator[tuple[Path, int]]:
    """The number of ingests in each file that can be opened: the database, then the newest snapshot first."""
    snapshots = snapshot_paths(home.snapshots_path)[::-1]
    for path in [*([home.db_path] if home.db_path.is_file() else []), *snapshots]:
        with suppress(duckdb.Error), duckdb.connect(path, read_only=True) as old:
            ((n,),) = old.execute("select count(*) from ingests").fetchall()
            yield path, int(n)
