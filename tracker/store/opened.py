"""One file that is open for reading, and nothing else: what a process needs that answers a SELECT.

Which file that is, and how it came to be, is `snapshots.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import pyarrow as pa

from tracker.errors import StoreError, TrackerError
from tracker.store.database import (
    REPAIR_HINT,
    add_comments,
    change_id,
    check_version,
    is_damage,
    migrate,
    migrations,
    set_up,
    store_errors,
)
from tracker.store.item_parts import MissingItems
from tracker.store.reading import Answer, T, Take, query_sql, read, read_table, select, select_into
from tracker.store.relations import Relation, lists_tables
from tracker.store.table_states import table_hash, tables_of

PUBLISH_HINT = "`tracker store publish` creates a new one"
USE = "use snapshot"


class OutdatedError(StoreError):
    """The snapshot lacks tables or columns that this version reads."""


class Snapshot:
    """A published copy of the store, open for reading; it can access no files except the item files."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        *,
        path: Path | None,
        items_path: Path,
        shared: Snapshot | None = None,
    ) -> None:
        self.connection = connection
        self._shared = shared  # whose instance of DuckDB this is; it ends once nobody refers to it
        self.path = path  # None: an empty in-memory database
        self.items_path = items_path
        self._path = path or items_path  # for errors
        self._has_comments = path is not None  # on columns: the in-memory database gets them on demand

    def __enter__(self) -> Snapshot:
        """This snapshot."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def query(self, name: str, **params: Any) -> list[dict[str, Any]]:
        """The rows of `queries/<name>.sql`; times are aware, JSON is parsed, a missing parameter is null."""
        return self.read(name, **params).records()

    def read(self, name: str, **params: Any) -> Answer:
        """What `query` gives, with the columns and their types, also where there are no rows."""
        with store_errors(self._path):
            return read(self.connection, name, params, items_path=self.items_path)

    def table(self, name: str, **params: Any) -> pa.Table:
        """The rows of `queries/<name>.sql` as one table, for many thousand rows; times have no zone."""
        with store_errors(self._path):
            return read_table(self.connection, name, params, items_path=self.items_path)

    def select(self, sql: str, relations: Sequence[Relation] = ()) -> Answer:
        """The answer to one SELECT, DESCRIBE or similar over the tables, `items` and these relations.

        Raises:
            TrackerError: it is anything else, or DuckDB cannot answer it.
            StoreError: the file is damaged.
        """
        with store_errors(self._path):
            self._add_comments(sql)
            with self._damage():
                return select(self.connection, sql, items_path=self.items_path, relations=relations)

    def select_into(
        self, take: Take[T], sql: str, relations: Sequence[Relation] = ()
    ) -> tuple[T, MissingItems]:
        """What `take` makes of the rows of one SELECT as for `select`, and the items that they lack.

        Raises:
            TrackerError: it is anything else, or DuckDB cannot answer it.
            StoreError: the file is damaged.
        """
        with store_errors(self._path):
            self._add_comments(sql)
            with self._damage():
                return select_into(
                    take, self.connection, sql, items_path=self.items_path, relations=relations
                )

    @contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except TrackerError as error:
            if not is_damage(error.__cause__):
                raise
            raise StoreError(f"`{self._path}` is damaged: {error}", hint=REPAIR_HINT) from error

    def _add_comments(self, sql: str) -> None:
        if not self._has_comments and lists_tables(sql):
            add_comments(self.connection)
            self._has_comments = True

    def beside(self) -> Snapshot:
        """Another connection to the same open file, for another reader: 0.3 ms, where opening it takes 20."""
        connection = self.connection.cursor()
        try:
            if self.path is not None:
                connection.execute(USE)
        except BaseException:
            connection.close()
            raise
        return Snapshot(connection, path=self.path, items_path=self.items_path, shared=self)

    def tables_of(self, *names: str) -> frozenset[str]:
        """The tables that these named reads use; that they may read items too is not said."""
        with store_errors(self._path):
            return frozenset().union(*(tables_of(self.connection, query_sql(name)) for name in names))

    def table_hash(self, table: str) -> str:
        """The hash of the rows of a table: the same in two snapshots, unless a row differs."""
        with store_errors(self._path):
            return table_hash(self.connection, table)

    def change_id(self) -> str:
        """Id of the last write that the snapshot contains."""
        return change_id(self.connection)

    def close(self) -> None:
        """Close the file; optional, since nothing ever writes to it."""
        self.connection.close()


def open_copy(path: Path | None, items_path: Path, *, config: Mapping[str, Any] | None = None) -> Snapshot:
    """Open that file, or an empty snapshot; `config` are settings of DuckDB that a statement cannot change.

    Raises:
        StoreError: it is missing, unreadable, or of another version than this program.
    """
    # A separate in-memory instance with the file attached, so that its settings are separate too.
    doors: dict[str, Any] = {"python_enable_replacements": False, "temp_directory": ""}
    connection = duckdb.connect(config=doors | dict(config or {}))
    try:
        set_up(connection)
        if path is None:
            migrate(connection, where="memory", has_comments=False)
        else:
            _attach(connection, path)
        _close_doors(connection, items_path)
    except BaseException:
        connection.close()
        raise
    return Snapshot(connection, path=path, items_path=items_path)


def _attach(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    try:
        connection.execute("attach $path as snapshot (read_only)", {"path": str(path)})
        connection.execute(USE)
        done = check_version(connection, where=str(path))
    except duckdb.Error as error:
        message = f"cannot read `{path}`: {str(error).splitlines()[0]}"
        raise StoreError(message, hint=PUBLISH_HINT) from error
    if done < migrations()[-1].version:
        raise OutdatedError(f"`{path}` was written by an older version", hint=PUBLISH_HINT)


def _close_doors(connection: duckdb.DuckDBPyConnection, items_path: Path) -> None:
    """Permanently forbid network access, extensions and all files except the items."""
    connection.execute("set allowed_directories = $folders", {"folders": [str(items_path)]})
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")
