"""Snapshots for readers: read-only copies under unique names, and a pointer to the newest.

A process that reopens a path may get the old content from DuckDB's cache of open databases; a unique name
rules that out, and lets a page that is still rendering finish on its copy.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import pyarrow as pa

from tracker.errors import StoreError, TrackerError
from tracker.serialization import write_atomically
from tracker.settings import Settings
from tracker.store.database import (
    REPAIR_HINT,
    NewerSchemaError,
    add_comments,
    change_id,
    check_version,
    damaged_tables,
    is_damage,
    migrate,
    migrations,
    open_database,
    set_up,
    store_errors,
)
from tracker.store.file_copies import copy_file
from tracker.store.item_parts import MissingItems
from tracker.store.leftovers import remove_leftovers
from tracker.store.locks import WAIT_S, write_lock
from tracker.store.reading import Answer, T, Take, read, read_table, select, select_into
from tracker.store.relations import Relation, lists_tables
from tracker.store.repair import is_lost, restore_lost_database, unowned_folders
from tracker.store.snapshot_files import (
    POINTER,
    REFUSAL,
    SUFFIX,
    day_of,
    drop_old,
    next_name,
    read_pointer,
    recyclable,
    snapshot_paths,
    write_pointer,
)

PUBLISH_HINT = "`tracker store publish` creates a new one"


_log = logging.getLogger(__name__)
_told: set[str] = set()  # warnings of this process: a page or a command opens the snapshot many times


class OutdatedError(StoreError):
    """The snapshot lacks tables or columns that this version reads."""


def snapshot_id(settings: Settings) -> str | None:
    """The name of the newest snapshot, which changes with every publication; None before the first.

    It is the one that the pointer names; without a pointer to a file that is there, the newest that is.

    Raises:
        StoreError: the pointer cannot be read.
    """
    folder = settings.snapshots_path
    named = read_pointer(folder).name
    if named is not None and (folder / f"{named}{SUFFIX}").is_file():
        return named
    there = snapshot_paths(folder)
    return there[-1].stem if there else named


def published_at(settings: Settings) -> datetime | None:
    """Time at which the newest snapshot was written; None before the first.

    Raises:
        StoreError: the file is missing.
    """
    name = snapshot_id(settings)
    if name is None:
        return None
    path = settings.snapshots_path / f"{name}{SUFFIX}"
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError as error:
        raise StoreError(f"cannot read `{path}`: {error.strerror}", hint=PUBLISH_HINT) from error


def publish(settings: Settings, *, wait_s: float = WAIT_S) -> str:
    """Publish a new snapshot, delete all but the last three, and return its id.

    Every table of the copy is read before it becomes the newest. A database that is gone is rebuilt first.

    Raises:
        BusyError: another process writes for longer than `wait_s`.
        StoreError: the database is damaged, unreadable or the disk is full; the previous snapshot is kept.
    """
    with write_lock(settings.db_path, wait_s=wait_s):
        return publish_database(settings, wait_s=wait_s)


def publish_database(settings: Settings, *, wait_s: float = WAIT_S) -> str:
    """The publication itself; the caller holds the lock."""
    folder = settings.snapshots_path
    with store_errors(folder):
        remove_leftovers(settings)
        restore_lost_database(settings)
        open_database(settings.db_path, wait_s=wait_s).close()  # closing writes the log into the file
        folder.mkdir(parents=True, exist_ok=True)
        name = next_name(folder)
        unread = folder / f".{name}.unread"
        try:
            _copy(settings.db_path, unread)
            _refuse_damaged(unread, settings)
            unread.replace(folder / f"{name}{SUFFIX}")
        finally:
            unread.unlink(missing_ok=True)
        write_pointer(folder, name)
        (folder / REFUSAL).unlink(missing_ok=True)
        drop_old(folder, named=name)
    return name


def _refuse_damaged(copy: Path, settings: Settings) -> None:
    """Refuse a copy of which a table cannot be read, and leave a note for the readers of the last snapshot.

    Raises:
        StoreError: it is damaged.
    """
    damaged = damaged_tables(copy)
    if not damaged:
        return
    tables = ", ".join(f"`{name}`" for name in sorted(damaged))
    message = f"`{settings.db_path}` is damaged and is not published: cannot read {tables}"
    write_atomically(settings.snapshots_path / REFUSAL, message.encode())
    why = damaged[min(damaged)]
    raise StoreError(f"{message} ({why}); the last snapshot is kept", hint=REPAIR_HINT)


class Snapshot:
    """A published copy of the store, open for reading; it can access no files except the item files."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        *,
        path: Path | None,
        items_path: Path,
    ) -> None:
        self.connection = connection
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
        """The rows of `queries/<name>.sql`, which reads no items, as one table: for many thousand rows."""
        with store_errors(self._path):
            return read_table(self.connection, name, params)

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

    def change_id(self) -> str:
        """Id of the last write that the snapshot contains."""
        return change_id(self.connection)

    def close(self) -> None:
        """Close the file; optional, since nothing ever writes to it."""
        self.connection.close()


def open_snapshot(settings: Settings) -> Snapshot:
    """Open the newest snapshot; without a database, an empty one, so that every read has its columns.

    A database without a snapshot, or with one of an older version, is published first, and so is a home that
    has runs but lost its database. Where the newest snapshot cannot be opened, an older one is, with a
    warning.

    Raises:
        BusyError: it must be published first, but another process is writing.
        StoreError: none can be read, or the newest is of a newer version than this program.
    """
    name = snapshot_id(settings)
    if name is None and _has_data(settings):
        if not is_lost(settings.db_path):
            _tell("the database has no snapshot yet; publishing one")
        name = publish(settings)
    _tell_problems(settings, name)
    try:
        return _open(settings, name)
    except OutdatedError:
        _tell("the snapshot was written by an older version; publishing a new one")
        return _open(settings, publish(settings))
    except StoreError as error:
        newer = snapshot_id(settings)
        if newer != name:
            return _open(settings, newer)  # several snapshots were published meanwhile, and ours was deleted
        if isinstance(error, NewerSchemaError):
            raise
        return _open_another(settings, name, error)


def _has_data(settings: Settings) -> bool:
    """Whether there is anything to publish: a database, or the folders of one that was lost."""
    return not is_lost(settings.db_path) or any(True for _ in unowned_folders(settings))


def _open_another(settings: Settings, name: str | None, error: StoreError) -> Snapshot:
    """Open the newest of the other snapshots that can be read.

    Raises:
        StoreError: none can be; `error` is what was wrong with the newest.
    """
    for path in snapshot_paths(settings.snapshots_path)[::-1]:
        if path.stem == name:
            continue
        try:
            snapshot = _open(settings, path.stem)
        except StoreError:
            continue
        _tell(f"{error}; reading the one before it, of {day_of(path)}")
        return snapshot
    raise error


def _tell_problems(settings: Settings, name: str | None) -> None:
    """Warn of a lost pointer, and of a database that was not published."""
    folder = settings.snapshots_path
    pointer = read_pointer(folder)
    path = folder / f"{name}{SUFFIX}"
    if name is not None and pointer.name != name:
        what = (
            f"is {pointer.problem}" if pointer.name is None else f"names `{pointer.name}`, which is missing"
        )
        _tell(f"`{folder / POINTER}` {what}; reading the newest snapshot that is there, of {day_of(path)}")
    with suppress(OSError):
        refusal = (folder / REFUSAL).read_text(errors="replace").strip()
        _tell(f"{refusal}; reading the last good snapshot, of {day_of(path)}: {REPAIR_HINT}")


def _tell(sentence: str) -> None:
    if sentence not in _told:
        _told.add(sentence)
        _log.warning("%s", sentence)


def _open(settings: Settings, name: str | None) -> Snapshot:
    path = None if name is None else settings.snapshots_path / f"{name}{SUFFIX}"
    return open_copy(path, settings.items_path)


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
        connection.execute("use snapshot")
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


def _copy(source: Path, target: Path) -> None:
    """Copy the database; the oldest snapshot, which is dropped anyway, may become the copy."""
    copy_file(source, target, recycled=recyclable(target.parent))
