"""A lock of this home that says who holds it, and since when."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import filelock

from tracker.codec import write_atomically
from tracker.errors import BusyError, StoreError
from tracker.settings import Settings

BEGUN = "it has just begun"


@contextmanager
def held(
    settings: Settings, name: str, *, busy: str, hint: str, what: str = "", wait_s: float = 0.0
) -> Iterator[None]:
    """Hold the lock `name`; the system gives it back when the process ends, however it ends.

    Raises:
        BusyError: another process still holds it after `wait_s`: `busy`, and who that is.
        StoreError: the lock file cannot be written.
    """
    lock = filelock.FileLock(settings.locks_path / f"{name}.lock")
    holder = settings.locks_path / f"{name}.json"
    try:
        settings.locks_path.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=wait_s)
    except filelock.Timeout as error:
        raise BusyError(f"{busy}: {_holder(holder)}", hint=hint) from error
    except OSError as error:
        message = f"{lock.lock_file}: cannot be locked: {error.strerror}"
        raise StoreError(message, hint="set TRACKER_HOME to a folder that you can write to") from error
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
        return BEGUN
