"""`tracker store repair`: everything that the check advises, in the right order."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from tracker.errors import NewerFormatError, StoreError
from tracker.files.parts import PART_ERRORS, PART_GLOB
from tracker.settings import Settings
from tracker.store.aside import move_aside
from tracker.store.checks import Problem, find_problems
from tracker.store.database import NewerSchemaError, check_version, damaged_tables, open_to_read
from tracker.store.item_parts import unreadable_parts
from tracker.store.leftovers import junk_locks, remove_item_leftovers, remove_leftovers, replaced_leftovers
from tracker.store.locks import WAIT_S, write_lock
from tracker.store.old_files import old_files
from tracker.store.reconstruction import is_lost, rebuild_database
from tracker.store.research_repair import restore_research_files
from tracker.store.run_repair import restore_run_files
from tracker.store.snapshot_files import POINTER, snapshot_paths
from tracker.store.snapshots import publish_database, snapshot_id
from tracker.wording import agreeing, counted

NEEDS_REBUILD = {
    "unreadable", "damaged_table", "damaged_index", "no_database", "missing_run", "stale_run", "stale_study",
}  # fmt: skip
BROKEN_FILE = {"broken_run_file", "no_run_file", "broken_study_file", "broken_attacks_file"}
NEEDS_PUBLICATION = {"unpublished", "unreadable_snapshot", "lost_pointer"}


@dataclass(slots=True)
class Repaired:
    """What a repair did, in sentences, and what is still wrong."""

    restored: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)  # files that were replaced, as they are called now
    snapshot: str | None = None  # the one that was published
    problems: tuple[Problem, ...] = ()

    @property
    def is_idle(self) -> bool:
        """Whether there was nothing to do."""
        return not (self.restored or self.missing or self.aside or self.snapshot or self.problems)


def repair(settings: Settings, *, wait_s: float = WAIT_S) -> Repaired:
    """Repair what `check` finds, as far as it can be, and check again; safe to repeat after a kill.

    Nothing that may be the only copy of an answer is deleted: what is replaced is moved to `aside/`.

    Raises:
        BusyError: another process writes for longer than `wait_s`.
        NewerFormatError: a newer version wrote one of the files from which the database is rebuilt.
        StoreError: a newer version wrote the database, which is left as it is, or the disk is full or
            failing.
    """
    done = Repaired()
    with write_lock(settings.db_path, wait_s=wait_s):
        _refuse_newer_database(settings)
        _clear(settings, done)
        kinds = {problem.kind for problem in find_problems(settings)}
        _set_parts_aside(settings, done)
        if not kinds & NEEDS_REBUILD and kinds & BROKEN_FILE:
            with old_files(settings) as old:
                done.restored += restore_run_files(settings, old)
                done.restored += restore_research_files(settings, old, also_missing=True)
            kinds |= {problem.kind for problem in find_problems(settings)}
        if kinds & NEEDS_REBUILD:
            _rebuild(settings, done)
            kinds |= {"unpublished"}
        _set_snapshots_aside(settings, done, named=False)
        if kinds & NEEDS_PUBLICATION:
            done.snapshot = publish_database(settings)
        _set_snapshots_aside(settings, done, named=True)
        if kinds or not done.is_idle:
            done.problems = tuple(find_problems(settings))
    return done


def _refuse_newer_database(settings: Settings) -> None:
    """Change nothing beside a database of a newer version.

    Raises:
        NewerSchemaError: it is one.
    """
    if is_lost(settings.db_path):
        return
    try:
        with open_to_read(settings.db_path) as connection:
            check_version(connection, where=str(settings.db_path))
    except NewerSchemaError:
        raise
    except StoreError:  # it cannot be read: that is what the repair is for
        return


def _clear(settings: Settings, done: Repaired) -> None:
    """Delete unfinished writes, and move what stands where a file of ours belongs out of the way."""
    removed = [*remove_leftovers(settings), *remove_item_leftovers(settings)]
    if removed:
        writes, were = counted(len(removed), "unfinished write"), agreeing(len(removed), "was", "were")
        done.restored.append(f"{writes} of killed processes {were} deleted")
    if joined := replaced_leftovers(settings):
        for path in joined:
            path.unlink(missing_ok=True)
        parts, were = counted(len(joined), "part"), agreeing(len(joined), "was", "were")
        done.restored.append(f"{parts}, whose items others have since a compaction, {were} deleted")
    for path in junk_locks(settings):
        _set_aside(settings, path, done)
        done.restored.append(f"`{path}` could not be read and is out of the way")
    for path in (settings.snapshots_path / POINTER, settings.db_path):
        if path.is_dir():
            _set_aside(settings, path, done)
            done.restored.append(f"`{path}` was a folder and is out of the way")


def _set_parts_aside(settings: Settings, done: Repaired) -> None:
    for path in sorted(settings.items_path.glob(f"*/{PART_GLOB}")):
        try:
            if not unreadable_parts([path]):
                continue
        except NewerFormatError:
            continue
        n_items = _n_items(path)
        target = _set_aside(settings, path, done)
        what = "its items" if n_items is None else f"its {counted(n_items, 'item')}"
        done.missing.append(
            f"`{path}` is damaged and is now `{target}`: {what} are missing until they are measured again"
        )


def _n_items(path: Path) -> int | None:
    try:
        return int(pq.read_metadata(path).num_rows)
    except PART_ERRORS:
        return None


def _rebuild(settings: Settings, done: Repaired) -> None:
    rebuilt = rebuild_database(settings, keeps_rows=True)
    studies = f", {counted(rebuilt.n_studies, 'study', 'studies')}" if rebuilt.n_studies else ""
    done.restored += [
        f"the database was rebuilt: {counted(rebuilt.n_runs, 'run')}{studies}",
        *rebuilt.restored,
    ]
    done.missing += [*rebuilt.lost, *(f"skipped: {problem}" for problem in rebuilt.skipped)]
    if rebuilt.aside is not None:
        done.aside.append(rebuilt.aside)


def _set_snapshots_aside(settings: Settings, done: Repaired, *, named: bool) -> None:
    """Move snapshots that cannot be read in full: the newest last, when readers have another."""
    newest = snapshot_id(settings)
    for path in snapshot_paths(settings.snapshots_path):
        if path.stem == newest and not named:
            continue
        try:
            if not damaged_tables(path):
                continue
        except StoreError:
            pass
        if _is_newer(path):
            continue
        _set_aside(settings, path, done)
        done.restored.append(f"the snapshot `{path.stem}` is damaged and is out of the way")


def _is_newer(path: Path) -> bool:
    try:
        with open_to_read(path) as connection:
            check_version(connection, where=str(path))
    except NewerSchemaError:
        return True
    except StoreError:
        return False
    return False


def _set_aside(settings: Settings, path: Path, done: Repaired) -> Path:
    target = move_aside(settings, path)
    done.aside.append(str(target))
    return target
