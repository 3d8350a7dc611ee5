"""An old database or snapshot that rows are carried over from, however much of it can be read."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from tracker.errors import BusyError, StoreError
from tracker.settings import Settings
from tracker.store.database import check_version, first_line, is_held_elsewhere, log_path, table_names
from tracker.store.snapshot_files import day_of, preferred_paths, snapshot_paths

N_ROWS = 2048  # rows that DuckDB reads at once: of a damaged table, the groups that can be read are saved
_POSITION = re.compile(r"WAL.*byte position (\d+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class TableRows:
    """The rows of a table that could be read, and how many it has; None: not known."""

    rows: pa.Table | None
    n_rows: int | None
    problem: str = ""  # why the rest cannot be read


class OldFile:
    """A file that nobody writes meanwhile; a read that fails opens it again, as a damage may close it."""

    def __init__(self, path: Path, *, called: str) -> None:
        """Open it once.

        Raises:
            StoreError: a newer version wrote it.
            duckdb.Error: it cannot be opened, or is not a database of this program.
        """
        self.path = path
        self.called = called  # in a sentence: "the database", "the snapshot `s00000003-0a1b2c` of 2026-11-28"
        self.log_problem = ""  # why its last changes are missing
        self._opened = path
        self._connection_kept: duckdb.DuckDBPyConnection | None = None
        try:
            self.tables = self._tables()
        except duckdb.Error as error:
            if not log_path(path).is_file() or is_held_elsewhere(error):
                raise
            self._open_without_damaged_log(error)
            self.tables = self._tables()
        if "migrations" not in self.tables:
            raise duckdb.IOException(f"`{path}` is not a tracker database")

    def read(self, table: str) -> TableRows:
        """The rows of a table, in groups where the whole of it cannot be read; none of an unknown one."""
        if table not in self.tables:
            return TableRows(None, 0)
        n_rows: int | None = None
        try:
            with self._connection() as connection:
                rows = connection.sql(f'from "{table}"').to_arrow_table()
            return TableRows(rows, len(rows))
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            problem = first_line(error)
        with suppress(duckdb.Error), self._connection() as connection:
            ((n_rows,),) = connection.execute(f'select count(*) from "{table}"').fetchall()  # noqa: S608
        groups = [group for start in range(0, n_rows or 0, N_ROWS) for group in self._group(table, start)]
        return TableRows(pa.concat_tables(groups) if groups else None, n_rows, problem)

    def records(self, table: str, column: str, value: str) -> list[dict[str, Any]] | None:
        """The rows of a table in which `column` is `value`; None where they cannot be read."""
        if table not in self.tables:
            return []
        # An expression, not the column: an index, which may be damaged too, is not asked then.
        sql = f"select * from \"{table}\" where concat({column}, '') = $value"  # noqa: S608
        with suppress(duckdb.Error), self._connection() as connection:
            rows = connection.sql(sql, params={"value": value}).to_arrow_table()
            return [dict(row) for row in rows.to_pylist()]
        return None

    def close(self) -> None:
        """Close it, and remove what was made to read it."""
        self._disconnect()
        if self._opened != self.path:
            for path in (self._opened, log_path(self._opened)):
                path.unlink(missing_ok=True)

    def _group(self, table: str, start: int) -> Iterator[pa.Table]:
        sql = f'select * from "{table}" where rowid >= {start} and rowid < {start + N_ROWS}'  # noqa: S608
        with suppress(duckdb.Error), self._connection() as connection:
            yield connection.sql(sql).to_arrow_table()

    def _tables(self) -> frozenset[str]:
        with self._connection() as connection:
            tables = frozenset(table_names(connection))
            if "migrations" in tables:
                with suppress(duckdb.Error):  # the table of versions may be the damaged one
                    check_version(connection, where=str(self.path))
        return tables

    def _open_without_damaged_log(self, error: duckdb.Error) -> None:
        """Read the file under a second name, with the changes of its log before the damage."""
        self.log_problem = first_line(error)
        self._opened = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}.tmp")
        try:
            os.link(self.path, self._opened)
        except OSError:  # a file system without links
            shutil.copyfile(self.path, self._opened)
        if position := _POSITION.search(str(error)):
            content = log_path(self.path).read_bytes()[: int(position.group(1))]
            log_path(self._opened).write_bytes(content)
            try:
                self._tables()
            except duckdb.Error:
                log_path(self._opened).unlink()

    @contextmanager
    def _connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        if self._connection_kept is None:
            self._connection_kept = duckdb.connect(self._opened, read_only=True)
        try:
            yield self._connection_kept
        except BaseException:
            self._disconnect()
            raise

    def _disconnect(self) -> None:
        if self._connection_kept is not None:
            self._connection_kept.close()
            self._connection_kept = None


@contextmanager
def old_files(settings: Settings) -> Iterator[OldFiles]:
    """The old database and its snapshots; the caller holds the lock.

    Raises:
        BusyError: another program has the database open.
        StoreError: a newer version wrote the database, or the newest snapshot where there is no database.
    """
    found = OldFiles(settings)
    try:
        yield found
    finally:
        found.close()


class OldFiles:
    """The database, if it can be opened, and the snapshots, in the order in which rows are taken."""

    def __init__(self, settings: Settings) -> None:
        """Open each of them once; `problems` says which cannot be opened."""
        self.database: OldFile | None = None
        self.snapshots: list[OldFile] = []
        self.problems: list[str] = []
        path = settings.db_path
        if path.is_file():
            self.database = self._open(path, "the database")
            if self.database is not None and self.database.log_problem:
                self.problems.append(
                    f"the last changes in `{log_path(path)}` cannot be read: {self.database.log_problem}"
                )
        for path in _snapshots(settings):
            called = f"the snapshot `{path.stem}` of {day_of(path)}"
            try:
                snapshot = self._open(path, called)
            except StoreError:
                if self.database is None and not self.snapshots:
                    raise
                continue  # of a newer version, beside files that this one reads
            if snapshot is not None:
                self.snapshots.append(snapshot)

    def __iter__(self) -> Iterator[OldFile]:
        """The database first, then the snapshots, the newest first."""
        if self.database is not None:
            yield self.database
        yield from self.snapshots

    def close(self) -> None:
        """Remove what was made to read them."""
        for file in self:
            file.close()

    def _open(self, path: Path, called: str) -> OldFile | None:
        try:
            return OldFile(path, called=called)
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            if is_held_elsewhere(error):
                message = f"another program has `{path}` open"
                raise BusyError(message, hint="close it there") from error
            self.problems.append(f"`{path}` cannot be read: {first_line(error)}")
            return None


def _snapshots(settings: Settings) -> list[Path]:
    try:
        return preferred_paths(settings.snapshots_path)
    except StoreError:  # the pointer is a folder
        return snapshot_paths(settings.snapshots_path)[::-1]
