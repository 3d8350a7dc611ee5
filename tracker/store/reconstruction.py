"""Rebuild the database from the item files, studies and attacks, which are the primary data."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from tracker.errors import NewerFormatError, TrackerError
from tracker.files.items import RUN_FILE, read_run, run_folders
from tracker.files.speeds import speed_paths
from tracker.files.studies import study_folders, suite_run_paths
from tracker.files.workers import WorkKind, worker_files
from tracker.records import Run
from tracker.settings import Settings
from tracker.store.alive import is_alive, settled
from tracker.store.aside import drop_whole_databases, keep_database
from tracker.store.attacks import rebuild_attacks
from tracker.store.database import log_path, mark_change, new_database, transaction
from tracker.store.kept_rows import keep_rows
from tracker.store.leftovers import remove_leftovers
from tracker.store.locks import WAIT_S, write_lock
from tracker.store.old_files import old_files
from tracker.store.preserve import copy_preserved_rows
from tracker.store.research_repair import restore_research_files
from tracker.store.run_repair import restore_run_files
from tracker.store.runs import UnstorableError, check_run, number_columns, write_checked_runs
from tracker.store.snapshot_files import snapshot_paths
from tracker.store.speeds import rebuild_speeds
from tracker.store.study_repair import read_studies, rebuild_studies, study_lives
from tracker.wording import counted

_log = logging.getLogger(__name__)
RUNS_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The result of a rebuild."""

    n_runs: int
    interrupted: tuple[str, ...]  # runs whose process had ended
    skipped: tuple[str, ...]  # unreadable run files, and why
    ingests_from: str | None = None  # the file that ingested data was copied from
    n_studies: int = 0
    restored: tuple[str, ...] = ()  # sentences: what came from elsewhere
    lost: tuple[str, ...] = ()  # sentences: what is missing
    aside: str | None = None  # the old database


@dataclass(frozen=True, slots=True)
class RunFile:
    """One `run.json`: its run, or why it cannot be read."""

    path: Path
    run: Run | None
    problem: str = ""
    newer: NewerFormatError | None = None  # it is whole, and this program is too old for it


def retold(rebuilt: Rebuilt, *, built_in: Path, home: Path) -> Rebuilt:
    """The result of a rebuild in a temporary folder, in the words of the home that the folder becomes."""

    def moved(texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(text.replace(str(built_in), str(home)) for text in texts)

    return replace(
        rebuilt,
        skipped=moved(rebuilt.skipped),
        restored=moved(rebuilt.restored),
        lost=moved(rebuilt.lost),
        ingests_from=None if rebuilt.ingests_from is None else moved((rebuilt.ingests_from,))[0],
        aside=None,  # it was in the temporary folder
    )


def rebuild(
    settings: Settings, on_run: Callable[[int, int], None] = lambda *_: None, *, wait_s: float = WAIT_S
) -> Rebuilt:
    """Replace the database by one built from every `run.json`, study and attack, atomically at the end.

    Ingested data is in no item file: it is copied from the old database, table by table, and what cannot be
    read there from the newest snapshot that has it. The old database is kept in `aside/`.

    A run that says `running` without a process becomes `interrupted`. A broken `run.json` or
    file of a study or of the attack suite is written again from the old database where that has its rows, and
    otherwise skipped and reported. A run without a folder is gone. `on_run` is told after each run how many
    are done, of how many.

    Raises:
        BusyError: another process writes for longer than `wait_s`.
        NewerFormatError: a newer version wrote one of the files; the old database is kept.
        StoreError: a newer version wrote the old database, or the disk is full or failing; the old database
            is kept.
    """
    with write_lock(settings.db_path, wait_s=wait_s):
        return rebuild_database(settings, keeps_rows=False, on_run=on_run)


def rebuild_database(
    settings: Settings,
    *,
    keeps_rows: bool,
    kept_from: Settings | None = None,
    on_run: Callable[[int, int], None] = lambda *_: None,
) -> Rebuilt:
    """The rebuild itself; the caller holds the lock.

    With `keeps_rows`, a run or study whose folder is gone keeps its rows. `kept_from`: the home whose old
    database and snapshots have the rows of broken files, if it is another one than that of the ingested rows.
    """
    n_runs, interrupted, skipped = 0, [], []
    remove_leftovers(settings)
    _fold_log(settings.db_path)
    n_files = 0
    for file in run_files(settings.items_path):
        n_files += 1
        if file.newer is not None:
            raise file.newer
    with ExitStack() as stack:
        old = stack.enter_context(old_files(settings))
        before = old if kept_from is None else stack.enter_context(old_files(kept_from))
        files_restored = [
            *restore_run_files(kept_from or settings, before),
            *restore_research_files(kept_from or settings, before, also_missing=keeps_rows),
        ]
        with new_database(settings.db_path) as connection:
            with transaction(connection):
                preserved = copy_preserved_rows(connection, old)
                columns = number_columns(connection)
                waiting: list[Run] = []
                for n_done, file in enumerate(run_files(settings.items_path)):
                    on_run(n_done, n_files)
                    if file.newer is not None:
                        raise file.newer
                    if file.run is None:
                        skipped.append(file.problem)
                        continue
                    run = settled(file.run)
                    try:
                        check_run(run, columns)
                    except UnstorableError as error:
                        skipped.append(f"{file.path}: {error}")
                        continue
                    n_runs += 1
                    if run is not file.run:
                        interrupted.append(run.run_id)
                    waiting.append(run)
                    if len(waiting) == RUNS_AT_ONCE:
                        write_checked_runs(connection, waiting)
                        waiting = []
                write_checked_runs(connection, waiting)
                n_studies, broken = rebuild_studies(connection, settings.studies_path)
                broken += rebuild_attacks(connection, settings.attacks_path)
                broken += rebuild_speeds(connection, settings.speeds_path)
                kept = keep_rows(connection, before, settings, keeps_all=keeps_rows)
                mark_change(connection)
            is_whole = not (preserved.lost or preserved.restored or kept.lost)
            aside = keep_database(settings, is_whole=is_whole)
    drop_whole_databases(settings)
    return Rebuilt(
        n_runs,
        tuple(interrupted),
        (*skipped, *broken),
        preserved.origin,
        n_studies,
        restored=(*files_restored, *preserved.restored, *kept.restored),
        lost=(*preserved.lost, *kept.lost),
        aside=None if aside is None else str(aside),
    )


def restore_lost_database(settings: Settings) -> None:
    """Rebuild the database if it is gone or empty although this home had one; the caller holds the lock.

    Before the first write of a new home there is nothing to rebuild; the run that is about to be stored, or
    is under way, does not count.
    """
    if not is_lost(settings.db_path):
        return
    snapshots = bool(snapshot_paths(settings.snapshots_path))
    if not snapshots and not any(_folders(settings)):
        if settings.db_path.exists() or log_path(settings.db_path).exists():
            keep_database(settings, is_whole=False)
            settings.db_path.unlink(missing_ok=True)
            log_path(settings.db_path).unlink(missing_ok=True)
        return
    is_new = not snapshots and not settings.db_path.exists() and not any(unowned_folders(settings))
    what = f"`{settings.db_path}` is {'empty' if settings.db_path.exists() else 'missing'}"
    if not snapshots and not settings.db_path.exists():
        what = f"`{settings.home}` has folders of runs or studies, but no database"
    rebuilt = rebuild_database(settings, keeps_rows=True)
    if is_new:
        return
    for sentence in (
        f"{what}; it was rebuilt from the files of the home: {counted(rebuilt.n_runs, 'run')}",
        *rebuilt.restored,
        *rebuilt.lost,
        *rebuilt.skipped,
    ):
        _log.warning("%s", sentence)
    if not snapshots:
        _log.warning("what was ingested was only in the database: `tracker ingest` fetches it again")


def is_lost(db_path: Path) -> bool:
    """Whether the database is gone, or has no content."""
    try:
        return db_path.stat().st_size == 0
    except FileNotFoundError:
        return True


def unowned_folders(settings: Settings) -> Iterator[Path]:
    """Folders of runs and studies that no living process is about to store: what a lost database had."""
    held = [file for kind in WorkKind for file in worker_files(settings, kind) if file.is_held]
    ids = {run_id for file in held for run_id in file.run_ids} | {file.study_id for file in held}
    for run_file in run_files(settings.items_path):
        if run_file.path.parent.name not in ids and not (run_file.run and is_alive(run_file.run)):
            yield run_file.path.parent
    for found in read_studies(settings.studies_path):
        is_ours = found.study is not None and (found.study.pid == os.getpid() or study_lives(found.study))
        if found.path.parent.name not in ids and not is_ours:
            yield found.path.parent


def _folders(settings: Settings) -> Iterator[Path]:
    """Everything that a database can be rebuilt from."""
    yield from run_folders(settings.items_path)
    yield from study_folders(settings.studies_path)
    yield from suite_run_paths(settings.attacks_path)
    yield from speed_paths(settings.speeds_path)


def run_files(items_path: Path) -> Iterator[RunFile]:
    """Read every `run.json`, oldest run first; one whose folder has another name counts as broken."""
    for folder in run_folders(items_path):
        path = folder / RUN_FILE
        try:
            run = read_run(folder)
        except TrackerError as error:
            newer = error if isinstance(error, NewerFormatError) else None
            yield RunFile(path, run=None, problem=str(error), newer=newer)
            continue
        if run.run_id != folder.name:
            yield RunFile(path, run=None, problem=f"`{path}` belongs to run `{run.run_id}`")
            continue
        yield RunFile(path, run=run)


def _fold_log(db_path: Path) -> None:
    """Write the commits of DuckDB's log into the database, if both can be read."""
    if log_path(db_path).is_file() and not is_lost(db_path):
        try:
            duckdb.connect(db_path).close()
        except duckdb.Error as error:
            _log.info("the log of `%s` is not folded in: %s", db_path, error)
