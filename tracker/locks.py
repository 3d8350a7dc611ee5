"""File locks in TRACKER_HOME that record their holder and start time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import filelock

from tracker.errors import BusyError, StoreError
from tracker.private_home import create_home
from tracker.serialization import write_atomically
from tracker.settings import Settings

JUST_STARTED = "it has just started"


@contextmanager
def exclusive_lock(
    settings: Settings, name: str, *, busy: str, hint: str, what: str = "", wait_s: float = 0.0
) -> Iterator[None]:
    """Hold the lock `name`; the system releases it whenever the process ends, even if it is killed.

    Raises:
        BusyError: another process still holds it after `wait_s`; its message starts with `busy`.
        StoreError: the lock file cannot be written.
    """
    lock = filelock.FileLock(settings.locks_path / f"{name}.lock")
    holder = settings.locks_path / f"{name}.json"
    try:
        create_home(settings.home)
        settings.locks_path.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=wait_s)
    except filelock.Timeout as error:
        raise BusyError(f"{busy}: {_holder(holder)}", hint=hint) from error
    except OSError as error:
        message = f"cannot lock `{lock.lock_file}`: {error.strerror}"
        raise StoreError(message, hint="set TRACKER_HOME to a writable folder") from error
    try:
        entry = {"pid": os.getpid(), "what": what, "started_at": datetime.now(UTC).isoformat()}
        write_atomically(holder, json.dumps(entry).encode())
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _holder(path: Path) -> str:
    try:
        entry = json.loads(path.read_bytes())
        name = f"`{entry['what']}` " if entry["what"] else ""
        return f"{name}(process {entry['pid']}, since {entry['started_at'][:19]} UTC)"
    except (OSError, ValueError, KeyError, TypeError):
        return JUST_STARTED
