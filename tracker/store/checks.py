"""What is wrong with the store and its files: reads everything, changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tracker.errors import StoreError
from tracker.items import PART_GLOB, RUN_FILE
from tracker.records import Run, RunStatus
from tracker.settings import Settings
from tracker.store.database import REBUILD_HINT, change_id, open_database, store_errors
from tracker.store.locks import writing
from tracker.store.parts import unreadable_parts
from tracker.store.repair import is_alive, leftovers, run_files, settled
from tracker.store.snapshots import PUBLISH_HINT, open_snapshot, snapshot_id
from tracker.store.study_repair import StudyFolder, read_studies, stale_studies
from tracker.store.writing import WAIT_S

LEFTOVER_HINT = "a killed process left it; delete it"
PART_HINT = "delete it; repeating the bench asks its items again"
STUDY_FILE_HINT = "put it back if you have it, or delete the folder of the study"
RUN_FILE_HINT = "repeat the bench, which still uses its items, then delete the folder"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and what to do about it."""

    kind: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Stored:
    """What the database says, as far as a check needs it."""

    statuses: dict[str, str]  # by run_id
    study_statuses: dict[str, str]  # by study_id
    n_trials: dict[str, int]  # by study_id
    change_id: str


def check(settings: Settings, *, wait_s: float = WAIT_S) -> list[Problem]:
    """Everything that is wrong; nothing is if the list is empty.

    Raises:
        BusyError: another process writes for longer than `wait_s`.
    """
    with writing(settings.db_path, wait_s=wait_s):  # so that nothing half done is taken for broken
        runs: list[Run] = []
        problems: list[Problem] = []
        for file in run_files(settings.items_path):
            if file.run is None:
                problems.append(Problem("broken_run_file", file.problem, RUN_FILE_HINT))
            else:
                runs.append(file.run)
        studies = list(read_studies(settings.studies_path))
        problems += [
            Problem("broken_study_file", found.problem, STUDY_FILE_HINT)
            for found in studies
            if found.study is None
        ]
        busy = {run.run_id for run in runs if run.status is RunStatus.RUNNING and is_alive(run)}
        problems += _item_problems(settings.items_path, busy=busy)
        problems += [
            Problem("leftover", f"{path}: is unfinished", LEFTOVER_HINT) for path in leftovers(settings)
        ]
        try:
            settled_runs = [run for run in runs if run.run_id not in busy]
            problems += _database_problems(settings, settled_runs, studies)
        except StoreError as error:
            problems.append(Problem("unreadable", str(error), error.hint))
    return problems


def _item_problems(items_path: Path, *, busy: set[str]) -> Iterator[Problem]:
    for folder in sorted(path for path in items_path.glob("*") if path.is_dir()):
        if not (folder / RUN_FILE).exists():
            yield Problem("no_run_file", f"{folder}: has no {RUN_FILE}", RUN_FILE_HINT)
        for path, why in unreadable_parts(sorted(folder.glob(PART_GLOB))).items():
            yield Problem("corrupt_part", f"{path}: {why}", PART_HINT)
        if folder.name not in busy:
            for path in sorted([*folder.glob("*.tmp"), *folder.glob(".*")]):
                yield Problem("leftover", f"{path}: is unfinished", LEFTOVER_HINT)


def _database_problems(
    settings: Settings, runs: Sequence[Run], studies: Sequence[StudyFolder]
) -> Iterator[Problem]:
    if not settings.db_path.exists():
        if runs or studies:
            yield Problem("no_database", f"{settings.db_path}: is missing", REBUILD_HINT)
        return
    stored = _stored(settings)
    for run in map(settled, runs):
        status = stored.statuses.get(run.run_id)
        if status is None:
            yield Problem("missing_run", f"run {run.run_id}: is not in the database", REBUILD_HINT)
        elif status != run.status:
            message = f"run {run.run_id}: is {run.status} in its folder and {status} in the database"
            yield Problem("stale_run", message, REBUILD_HINT)
    for run_id in sorted(stored.statuses):
        if not (settings.items_path / run_id / RUN_FILE).exists():
            hint = "a rebuild would drop it; put its folder back if you have it"
            yield Problem("missing_folder", f"run {run_id}: its folder is gone", hint)
    for message in stale_studies(studies, stored.study_statuses, stored.n_trials):
        yield Problem("stale_study", message, REBUILD_HINT)
    yield from _snapshot_problems(settings, stored)


def _snapshot_problems(settings: Settings, stored: Stored) -> Iterator[Problem]:
    if snapshot_id(settings) is None and not stored.statuses and not stored.study_statuses:
        return
    try:
        with open_snapshot(settings) as snapshot:
            published = snapshot.change_id()
    except StoreError as error:
        yield Problem("unreadable_snapshot", str(error), PUBLISH_HINT)
        return
    if published != stored.change_id:
        message = f"{settings.snapshots_path}: the newest snapshot lacks the last changes"
        yield Problem("unpublished", message, "`tracker store publish` shows them")


def _stored(settings: Settings) -> Stored:
    connection = open_database(settings.db_path, wait_s=WAIT_S)
    try:
        with store_errors(settings.db_path):
            rows = connection.execute("select run_id, status from runs").fetchall()
            studies = connection.execute("select study_id, status from studies").fetchall()
            counts = connection.execute("select study_id, count(*) from trials group by study_id").fetchall()
            return Stored(dict(rows), dict(studies), dict(counts), change_id(connection))
    finally:
        connection.close()
