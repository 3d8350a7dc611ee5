"""Temporary files that killed writes left behind, and lock files with unreadable content.

A file is a leftover only if nobody can be writing it: the caller holds the lock of the database, and what
others write beside it is theirs while they hold the lock of its name or while their process lives.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

import filelock
import psutil

from tracker.errors import TrackerError
from tracker.files.items import read_run
from tracker.files.parts import JOINING, PART_GLOB
from tracker.files.workers import WorkKind, worker_files
from tracker.records import RunStatus
from tracker.settings import Settings
from tracker.store.alive import is_alive
from tracker.store.aside import ASIDE
from tracker.store.item_parts import replaced_parts
from tracker.store.locks import WAIT_S, write_lock

HISTORY = "history"  # name of the lock that a rebuild from the raw answers holds
SCRATCH = ".history-"  # how its temporary folder begins
BENCH = "bench"  # name of the lock that a bench holds
ITEM_FILES = "item-files"  # name of the lock that a compaction, a removal of items and an export hold
# With which a bench tests that a home can be written
TRY_FILE = re.compile(r"\.?try-(\d+)(-\d+)?(\.[0-9a-f]+)?")
TEMPORARY_LOCK = re.compile(r"\.(?P<name>.+)\.json\.[0-9a-f]+")


def leftovers(settings: Settings, *, holding: Collection[str] = ()) -> list[Path]:
    """Temporary files of killed writes beside the database, the snapshots and the locks.

    `holding` names the locks in `locks/` that the caller itself holds.
    """
    home, snapshots = settings.home, settings.snapshots_path
    found = [*home.glob(f".{settings.db_path.name}.*"), *snapshots.glob("*.tmp"), *snapshots.glob(".*")]
    found += (home / ASIDE).glob(".*")
    found += _lock_leftovers(settings, holding=holding)
    folders = home.glob(f"{SCRATCH}*") if _is_free(settings, HISTORY, holding) else iter(())
    return sorted([*(path for path in found if path.is_file()), *folders])


def item_leftovers(settings: Settings, *, holding: Collection[str] = ()) -> list[Path]:
    """Temporary files in the folders of runs, jobs and studies that nobody works on.

    A folder of a run with nothing else in it is one as a whole: the run was killed before it was written.
    """
    found: list[Path] = []
    is_benching = not _is_free(settings, BENCH, holding)
    is_joining = not _is_free(settings, ITEM_FILES, holding)
    held = {
        run_id for file in worker_files(settings, WorkKind.BENCH) if file.is_held for run_id in file.run_ids
    }
    for folder in _folders(settings.items_path):
        temporary, is_unwritten = _temporary(folder), is_unwritten_run(folder)
        if not (temporary or is_unwritten) or folder.name in held:
            continue
        if not _is_busy(folder, is_benching=is_benching):
            found += [folder] if is_unwritten else temporary
            if is_joining:
                found = [path for path in found if not path.name.endswith(JOINING)]
    named = {run_id for file in worker_files(settings, WorkKind.BENCH) for run_id in file.run_ids}
    if not is_benching:
        jobs = (folder for folder in _folders(settings.home / "jobs") if folder.name not in named)
        found += (path for folder in jobs for path in folder.rglob(".*"))
    for folder in _folders(settings.studies_path):
        temporary = [*folder.glob(".*"), *folder.glob("*/.*")]
        if temporary and _is_free(settings, f"{WorkKind.STUDY}-{folder.name}", holding):
            found += temporary
    return sorted(path for path in found if path.is_file() or is_unwritten_run(path))


def replaced_leftovers(settings: Settings) -> list[Path]:
    """Parts that a killed compaction had joined into others and did not get to delete; reads every part."""
    if not _is_free(settings, ITEM_FILES, ()):
        return []
    parts = settings.items_path.glob(f"*/{PART_GLOB}")
    return sorted(path for path in replaced_parts(parts) if path.exists())


def is_unwritten_run(folder: Path) -> bool:
    """Whether this is a folder in which nothing has been written to its end."""
    return folder.is_dir() and not {*folder.iterdir()} - {*_temporary(folder)}


def _temporary(folder: Path) -> list[Path]:
    return [*folder.glob("*.tmp"), *folder.glob(".*")]


def junk_locks(settings: Settings) -> list[Path]:
    """Lock files whose content names no work; nothing can be found by them."""
    found = []
    for kind in WorkKind:
        for path in sorted(settings.locks_path.glob(f"{kind}-*.json")):
            try:
                content = json.loads(path.read_bytes())
            except FileNotFoundError:
                continue
            except (OSError, ValueError, RecursionError):
                content = None
            wanted = "runs" if kind is WorkKind.BENCH else "study"
            if not isinstance(content, dict) or not {"parent", wanted} <= set(content):
                found.append(path)
    return found


def remove_leftovers(settings: Settings, *, holding: Collection[str] = ()) -> list[Path]:
    """Delete those beside the database, the snapshots and the locks; the caller holds the lock."""
    return _deleted(leftovers(settings, holding=holding))


def remove_item_leftovers(settings: Settings, *, holding: Collection[str] = ()) -> list[Path]:
    """Delete those in the folders of runs and studies; the caller holds the lock."""
    return _deleted(item_leftovers(settings, holding=holding))


def clean_up(settings: Settings, *, holding: Collection[str], wait_s: float = WAIT_S) -> None:
    """Delete all leftovers; `holding` names the locks in `locks/` that the caller holds.

    Raises:
        BusyError: another process writes for longer than `wait_s`.
        StoreError: the home cannot be written.
    """
    with write_lock(settings.db_path, wait_s=wait_s):
        remove_leftovers(settings, holding=holding)
        remove_item_leftovers(settings, holding=holding)


def _deleted(paths: list[Path]) -> list[Path]:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return paths


def _lock_leftovers(settings: Settings, *, holding: Collection[str]) -> Iterator[Path]:
    for path in settings.locks_path.glob("*"):
        if match := TRY_FILE.fullmatch(path.name):
            if not psutil.pid_exists(int(match.group(1)[:9])):
                yield path
        elif match := TEMPORARY_LOCK.fullmatch(path.name):
            name = match.group("name")
            lock = BENCH if name.startswith(f"{WorkKind.BENCH}-") else name
            if _is_free(settings, lock, holding):
                yield path


def _is_free(settings: Settings, name: str, holding: Collection[str]) -> bool:
    """Whether nobody but the caller holds this lock in `locks/`."""
    path = settings.locks_path / f"{name}.lock"
    if name in holding or not path.exists():
        return True
    lock = filelock.FileLock(path, timeout=0)
    try:
        lock.acquire()
    except (filelock.Timeout, OSError):
        return False
    lock.release()
    return True


def _is_busy(folder: Path, *, is_benching: bool) -> bool:
    with suppress(TrackerError):
        run = read_run(folder)
        return run.status is RunStatus.RUNNING and is_alive(run)
    return is_benching  # a run that has just begun has no file yet


def _folders(path: Path) -> list[Path]:
    return sorted(folder for folder in path.glob("*") if folder.is_dir()) if path.is_dir() else []
