"""Snapshots for readers: read-only copies under unique names, and a pointer to the newest.

A process that reopens a path may get the old content from DuckDB's cache of open databases; a unique name
rules that out, and lets a page that is still rendering finish on its copy.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from tracker.errors import StoreError
from tracker.serialization import write_atomically
from tracker.settings import Settings
from tracker.store.database import (
    REPAIR_HINT,
    NewerSchemaError,
    damaged_tables,
    open_database,
    store_errors,
)
from tracker.store.file_copies import copy_file
from tracker.store.leftovers import remove_leftovers
from tracker.store.locks import WAIT_S, write_lock
from tracker.store.opened import PUBLISH_HINT, OutdatedError, Snapshot, open_copy
from tracker.store.reconstruction import is_lost, restore_lost_database, unowned_folders
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

_log = logging.getLogger(__name__)
_told: set[str] = set()  # warnings of this process: a page or a command opens the snapshot many times


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
    return _kept_open.reader(path, settings.items_path)


def keep_open() -> None:
    """From now on keep the newest snapshot that this process opens open, as a server does.

    Its readers share one instance of DuckDB, each with a connection of its own. The file of a snapshot that
    is kept open is not recycled by the next publications.
    """
    _kept_open.is_on = True


class _KeptOpen:
    """The snapshot that was opened last; the one before is closed when its last reader is gone."""

    def __init__(self) -> None:
        self.is_on = False
        self._lock = threading.Lock()
        self._newest: Snapshot | None = None

    def reader(self, path: Path | None, items_path: Path) -> Snapshot:
        """A snapshot of that file for one reader; None: an empty one, which takes 0.1 s to set up.

        Raises:
            StoreError: it is missing, unreadable, or of another version than this program.
        """
        if not self.is_on:
            return open_copy(path, items_path)
        with self._lock:
            newest = self._newest
            if newest is not None and (newest.path, newest.items_path) == (path, items_path):
                with suppress(duckdb.Error):  # invalidated by a damaged block: opened anew
                    return newest.beside()
            self._newest = open_copy(path, items_path)
            return self._newest.beside()


_kept_open = _KeptOpen()


def _copy(source: Path, target: Path) -> None:
    """Copy the database; the oldest snapshot, which is dropped anyway, may become the copy."""
    copy_file(source, target, recycled=recyclable(target.parent))
