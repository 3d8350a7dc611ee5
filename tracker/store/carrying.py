"""What no item file holds, taken over when the database is made anew."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import duckdb

from tracker.settings import Settings

CARRIED = (
    "sources", "ingests", "model_snapshots", "published_scores", "aliases", "benchmark_tasks", "jobs",
    "weights",
)  # fmt: skip


def carry_over(connection: duckdb.DuckDBPyConnection, settings: Settings) -> str | None:
    """The file that the rows were taken from; None if no file that has them can be read.

    Read through a connection of its own, so that a file that turns out to be broken half way leaves nothing.
    """
    for path in _files(settings):
        with suppress(duckdb.Error), duckdb.connect(path, read_only=True) as old:
            there = {name for (name,) in old.execute("select table_name from duckdb_tables()").fetchall()}
            # an older version has fewer of them, and what it has is not to be lost
            tables = {name: old.sql(f"from {name}").to_arrow_table() for name in CARRIED if name in there}
            for name, rows in tables.items():
                connection.register("carried", rows)
                connection.execute(f"insert into {name} by name from carried")
                connection.unregister("carried")
            return str(path)
    return None


def _files(settings: Settings) -> Iterator[Path]:
    if settings.db_path.is_file():
        yield settings.db_path
    yield from sorted(settings.snapshots_path.glob("*.duckdb"), reverse=True)
