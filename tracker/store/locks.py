"""Allow one writer at a time: a file lock beside the database that records its holder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from tracker.errors import BusyError, StoreError
from tracker.store.database import WRITABLE_HINT

POLL_S = 0.02  # a write takes a few milliseconds
WAIT_S = 10.0  # many times the duration of one write


@contextmanager
def write_lock(db_path: Path, *, wait_s: float) -> Iterator[None]:
    """Hold the lock for writing `db_path`; the system releases it even if the process is killed.

    Raises:
        BusyError: another process still holds it after `wait_s`; the message names that process.
        StoreError: the folder cannot be created or written.
    """
    holder = db_path.with_name(f"{db_path.name}.pid")
    lock = filelock.FileLock(f"{db_path}.lock", timeout=wait_s, poll_interval=POLL_S)
    try:
        db_path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout as error:
        hint = "wait for it to finish, or stop it, and repeat the command"
        raise BusyError(f"{_name(holder)} is writing to `{db_path}`", hint=hint) from error
    except OSError as error:
        raise StoreError(f"cannot lock `{db_path}`: {error.strerror}", hint=WRITABLE_HINT) from error
    try:
        _sign(holder)
        yield
    finally:
        lock.release()


def _sign(holder: Path) -> None:
    try:
        holder.write_text(str(os.getpid()))
    except OSError:  # a full disk: the lock works without the holder's name
        holder.unlink(missing_ok=True)


def _name(holder: Path) -> str:
    try:
        pid = int(holder.read_text())
    except (OSError, ValueError):
        return "another process"
    return "this process" if pid == os.getpid() else f"process {pid}"
