"""What readers see: a read-only copy under a new name each time, and a pointer to the newest.

A process that opens a path twice may get the old file's content from DuckDB's cache of open databases;
a name that is never used again rules that out, and lets a page that is being shown finish on its copy.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import pyarrow as pa

from tracker.codec import write_atomically
from tracker.errors import StoreError
from tracker.settings import Settings
from tracker.store.database import (
    change_id,
    check_version,
    migrate,
    migrations,
    open_database,
    set_up,
    store_errors,
)
from tracker.store.locks import writing
from tracker.store.reading import Answer, read, read_table, select
from tracker.store.writing import WAIT_S

POINTER = "newest"
SUFFIX = ".duckdb"
KEPT = 3  # a reader that has just read the pointer still finds its file
PUBLISH_HINT = "`tracker store publish` makes a new one"


_log = logging.getLogger(__name__)


class OutdatedError(StoreError):
    """The snapshot lacks what this version reads."""


def snapshot_id(settings: Settings) -> str | None:
    """The name of the newest snapshot, which changes with every publication; None before the first."""
    try:
        return (settings.snapshots_path / POINTER).read_text().strip() or None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{settings.snapshots_path}: cannot be read: {error.strerror}") from error


def published_at(settings: Settings) -> datetime | None:
    """When the newest snapshot was written; None before the first.

    Raises:
        StoreError: it is gone.
    """
    name = snapshot_id(settings)
    if name is None:
        return None
    path = settings.snapshots_path / f"{name}{SUFFIX}"
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}", hint=PUBLISH_HINT) from error


def publish(settings: Settings, *, wait_s: float = WAIT_S) -> str:
    """Copy the database to a new snapshot, point to it, drop all but the last three; return its id.

    Raises:
        BusyError: another process writes for longer than `wait_s`.
        StoreError: the database is unreadable or the disk is full; the snapshot before stays.
    """
    folder = settings.snapshots_path
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(3)}"
    with writing(settings.db_path, wait_s=wait_s), store_errors(folder):
        open_database(settings.db_path, wait_s=wait_s).close()  # closing writes the log into the file
        folder.mkdir(parents=True, exist_ok=True)
        _copy(settings.db_path, folder / f"{name}{SUFFIX}")
        write_atomically(folder / POINTER, name.encode())
        _drop_old(folder)
    return name


class Snapshot:
    """A published copy of the store, open for reading; it can reach no file but the item files."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, *, path: Path, items_path: Path) -> None:
        self.connection = connection
        self._path = path
        self._items_path = items_path

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
        with store_errors(self._path):
            return read(self.connection, name, params, items_path=self._items_path)

    def table(self, name: str, **params: Any) -> pa.Table:
        """The rows of `queries/<name>.sql`, which reads no items, as one table: for many thousand rows."""
        with store_errors(self._path):
            return read_table(self.connection, name, params)

    def select(self, sql: str) -> Answer:
        """The answer to one SELECT over the tables and `items`.

        Raises:
            TrackerError: it is anything else, or DuckDB cannot answer it.
        """
        with store_errors(self._path):
            return select(self.connection, sql, items_path=self._items_path)

    def change_id(self) -> str:
        """The mark of the last write that it holds."""
        return change_id(self.connection)

    def close(self) -> None:
        """Give the file back; not needed for correctness, since nobody ever writes to it."""
        self.connection.close()


def open_snapshot(settings: Settings) -> Snapshot:
    """The newest snapshot; before the first publication an empty one, so that every read has its columns.

    One that was published before an upgrade is published anew.

    Raises:
        StoreError: it is missing, unreadable, or of another version than this program.
    """
    name = snapshot_id(settings)
    try:
        return _open(settings, name)
    except OutdatedError:
        if not settings.db_path.is_file():
            raise
        _log.warning("the snapshot is of an older version; publishing a new one")
        return _open(settings, publish(settings))
    except StoreError:
        newer = snapshot_id(settings)
        if newer == name:
            raise
        return _open(settings, newer)  # several publications while we looked: ours has been dropped


def _open(settings: Settings, name: str | None) -> Snapshot:
    # An instance of its own in memory, to which the file is attached: its settings are then its own too.
    connection = duckdb.connect(config={"python_enable_replacements": False, "temp_directory": ""})
    path = settings.snapshots_path / f"{name}{SUFFIX}"
    try:
        set_up(connection)
        if name is None:
            migrate(connection, where="memory")
        else:
            _attach(connection, path)
        _close_doors(connection, settings.items_path)
    except BaseException:
        connection.close()
        raise
    return Snapshot(connection, path=path, items_path=settings.items_path)


def _attach(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    try:
        connection.execute("attach $path as snapshot (read_only)", {"path": str(path)})
        connection.execute("use snapshot")
        done = check_version(connection, where=str(path))
    except duckdb.Error as error:
        message = f"{path}: cannot be read: {str(error).splitlines()[0]}"
        raise StoreError(message, hint=PUBLISH_HINT) from error
    if done < migrations()[-1].version:
        raise OutdatedError(f"{path}: made by an older version", hint=PUBLISH_HINT)


def _close_doors(connection: duckdb.DuckDBPyConnection, items_path: Path) -> None:
    """No file but the items, no network, no extension, and no way to open them again."""
    connection.execute("set allowed_directories = $folders", {"folders": [str(items_path)]})
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")


def _copy(source: Path, target: Path) -> None:
    temporary = target.with_suffix(".tmp")
    try:
        shutil.copyfile(source, temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _drop_old(folder: Path) -> None:
    """Delete all but the newest, and what a killed publication left; the lock is held."""
    for path in sorted(folder.glob(f"*{SUFFIX}"))[:-KEPT]:
        path.unlink(missing_ok=True)
    for path in [*folder.glob("*.tmp"), *folder.glob(".*")]:
        path.unlink(missing_ok=True)
