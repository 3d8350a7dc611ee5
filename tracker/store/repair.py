"""The database made anew from the item files, the studies and the attacks, which are the truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from tracker.errors import TrackerError
from tracker.items import RUN_FILE, read_run, run_folders
from tracker.records import Run, RunStatus
from tracker.settings import Settings
from tracker.store.attacks import rebuild_attacks
from tracker.store.carrying import carry_over
from tracker.store.database import new_database, transaction
from tracker.store.locks import writing
from tracker.store.runs import write_run
from tracker.store.study_repair import rebuild_studies
from tracker.store.writing import WAIT_S, mark_change

CLOCK_SLACK_S = 60.0  # a process may look a little younger than the run that it started


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild found."""

    n_runs: int
    interrupted: tuple[str, ...]  # runs whose process was gone
    skipped: tuple[str, ...]  # run files that could not be read, and why
    ingests_from: str | None = None  # the file that what the sources said was taken over from
    n_studies: int = 0


@dataclass(frozen=True, slots=True)
class RunFile:
    """One `run.json`: the run in it, or why it cannot be read."""

    path: Path
    run: Run | None
    problem: str = ""


def rebuild(settings: Settings, *, wait_s: float = WAIT_S) -> Rebuilt:
    """Replace the database by one made from every `run.json`, study and attack, in one step at the end.

    What the sources said stands in no item file: it is taken over from the old database, or from the newest
    snapshot that can be read.

    A run that says `running` without a process becomes `interrupted`; a broken file is passed over and named.

    Raises:
        BusyError: another process writes for longer than `wait_s`.
        StoreError: the disk is full or failing; the old database stays.
    """
    n_runs, interrupted, skipped = 0, [], []
    with writing(settings.db_path, wait_s=wait_s):
        remove_leftovers(settings)
        with new_database(settings.db_path) as connection, transaction(connection):
            carried = carry_over(connection, settings)
            for file in run_files(settings.items_path):
                if file.run is None:
                    skipped.append(file.problem)
                    continue
                run = settled(file.run)
                if run is not file.run:
                    interrupted.append(run.run_id)
                write_run(connection, run)
                n_runs += 1
            n_studies, broken = rebuild_studies(connection, settings.studies_path)
            broken += rebuild_attacks(connection, settings.attacks_path)
            mark_change(connection)
    return Rebuilt(n_runs, tuple(interrupted), (*skipped, *broken), carried, n_studies)


def run_files(items_path: Path) -> Iterator[RunFile]:
    """Every `run.json`, oldest run first; one that stands in a folder of another name counts as broken."""
    for folder in run_folders(items_path):
        path = folder / RUN_FILE
        try:
            run = read_run(folder)
        except TrackerError as error:
            yield RunFile(path, run=None, problem=str(error))
            continue
        if run.run_id != folder.name:
            yield RunFile(path, run=None, problem=f"{path}: belongs to run `{run.run_id}`")
            continue
        yield RunFile(path, run=run)


def settled(run: Run) -> Run:
    """The run itself; or, if it says `running` and its process is gone, the same run as interrupted."""
    if run.status is not RunStatus.RUNNING or is_alive(run):
        return run
    detail = f"process {run.pid} ended without a result; repeat the command to go on"
    return replace(run, status=RunStatus.INTERRUPTED, reason="killed", detail=detail)


def is_alive(run: Run) -> bool:
    """Whether the process that wrote `running` still runs: the same pid, and not started after the run."""
    try:
        born_at_s = psutil.Process(run.pid).create_time()
    except (psutil.NoSuchProcess, ValueError):
        return False
    return bool(born_at_s < run.started_at.timestamp() + CLOCK_SLACK_S)


def leftovers(settings: Settings) -> list[Path]:
    """Temporary files of killed writes beside the database and the snapshots."""
    home, snapshots = settings.home, settings.snapshots_path
    found = [*home.glob(f".{settings.db_path.name}.*"), *snapshots.glob("*.tmp"), *snapshots.glob(".*")]
    return sorted(found)


def remove_leftovers(settings: Settings) -> None:
    """Delete them; the caller holds the lock, so no one is writing them now."""
    for path in leftovers(settings):
        path.unlink(missing_ok=True)
