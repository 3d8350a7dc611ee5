"""Find problems in the store and its files: reads everything, changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import duckdb

from tracker.errors import NewerFormatError, StoreError, TrackerError
from tracker.files.items import RUN_FILE
from tracker.files.parts import PART_GLOB, part_fingerprint, read_table
from tracker.files.removed import read_removed
from tracker.files.studies import read_suite_run, suite_run_paths
from tracker.records import Run, RunStatus
from tracker.settings import Settings
from tracker.store.alive import is_alive, settled
from tracker.store.database import (
    REPAIR_HINT,
    change_id,
    damaged_indexes,
    damaged_tables,
    open_database,
    store_errors,
)
from tracker.store.item_parts import unreadable_parts
from tracker.store.leftovers import (
    is_unwritten_run,
    item_leftovers,
    junk_locks,
    leftovers,
    replaced_leftovers,
)
from tracker.store.locks import WAIT_S, write_lock
from tracker.store.reconstruction import is_lost, run_files, unowned_folders
from tracker.store.snapshot_files import POINTER, preferred_paths, read_pointer, snapshot_paths
from tracker.store.speeds import read_speeds
from tracker.store.study_repair import StudyFolder, read_studies, stale_studies
from tracker.wording import counted

# None of these says "delete": what looks broken may be the only copy of an answer.
LEFTOVER_HINT = "a killed process left it behind; `tracker store repair` deletes it"
LOCK_HINT = "`tracker store repair` moves it to `aside/`"
SNAPSHOT_HINT = "`tracker store repair` moves it to `aside/` and publishes a new one"
PART_HINT = (
    "restore it from a backup, or `tracker store repair` moves it to `aside/`: repeating the bench runs its"
    " items again"
)
MISSING_ITEMS_HINT = (
    "restore the folder that had them, or repeat the bench: it measures the missing items again"
)
STUDY_FILE_HINT = (
    "`tracker store repair` writes it again if the database has the study; otherwise restore it from a"
    " backup, or move the study's folder elsewhere"
)
ATTACKS_FILE_HINT = (
    "`tracker store repair` writes it again if the database has it; otherwise restore it from a backup, or"
    " move it elsewhere"
)
SPEED_FILE_HINT = "its rows stay in the database; `tracker bench MODEL --speed` measures it once more"
RUN_FILE_HINT = (
    "`tracker store repair` writes it again if the database has the run; otherwise restore it from a backup,"
    " and keep the folder: repeating the bench reuses its items"
)
FOLDER_HINT = "a rebuild would drop this run; restore its folder if you have a copy"


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem and its remedy."""

    kind: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Stored:
    """The parts of the database that a check compares with the files."""

    statuses: dict[str, str]  # by run_id
    study_statuses: dict[str, str]  # by study_id
    n_trials: dict[str, int]  # by study_id
    change_id: str


def check(settings: Settings, *, wait_s: float = WAIT_S) -> list[Problem]:
    """Find all problems; the list is empty if there are none.

    Raises:
        BusyError: another process writes for longer than `wait_s`.
    """
    with write_lock(settings.db_path, wait_s=wait_s):  # so that an unfinished write does not look broken
        return find_problems(settings)


def find_problems(settings: Settings) -> list[Problem]:
    """The check itself; the caller holds the lock."""
    runs: list[Run] = []
    problems: list[Problem] = []
    for file in run_files(settings.items_path):
        if file.run is None:
            problems.append(_file_problem("broken_run_file", file.problem, RUN_FILE_HINT, file.newer))
        else:
            runs.append(file.run)
    studies = list(read_studies(settings.studies_path))
    problems += [
        _file_problem("broken_study_file", found.problem, STUDY_FILE_HINT, found.newer)
        for found in studies
        if found.study is None
    ]
    problems += _attack_problems(settings.attacks_path)
    problems += _speed_problems(settings.speeds_path)
    busy = {run.run_id for run in runs if run.status is RunStatus.RUNNING and is_alive(run)}
    items = StoredItems()
    problems += _item_problems(settings.items_path, items)
    settled_runs = [run for run in runs if run.run_id not in busy]
    problems += _missing_items(settled_runs, items, read_removed(settings.items_path))
    problems += [
        Problem("leftover", f"`{path}` is an unfinished write", LEFTOVER_HINT)
        for path in (*leftovers(settings), *item_leftovers(settings))
    ]
    problems += [
        Problem("leftover", f"`{path}` has been joined into another part", LEFTOVER_HINT)
        for path in replaced_leftovers(settings)
    ]
    problems += [
        Problem("broken_lock", f"`{path}` cannot be read", LOCK_HINT) for path in junk_locks(settings)
    ]
    try:
        problems += _database_problems(settings, settled_runs, studies)
    except StoreError as error:
        problems.append(Problem("unreadable", str(error), error.hint))
    return problems


class StoredItems:
    """Which items the parts hold: the numbers by fingerprint."""

    def __init__(self) -> None:
        self._doc_ids: dict[str, set[int]] = {}
        self.unreadable: set[str] = (
            set()
        )  # fingerprints with a part that cannot be read, which is said already

    def add(self, path: Path) -> None:
        """Count the items of a part that can be read."""
        fingerprint = part_fingerprint(path)
        doc_ids = read_table(path, columns=["doc_id"])["doc_id"].to_pylist()
        self._doc_ids.setdefault(fingerprint, set()).update(doc_ids)

    def count(self, fingerprint: str) -> int:
        """How many different items there are of this fingerprint."""
        return len(self._doc_ids.get(fingerprint, ()))


def _file_problem(kind: str, problem: str, hint: str, newer: NewerFormatError | None) -> Problem:
    """A file that is broken, or one that this program is too old for."""
    return Problem(kind, problem, hint) if newer is None else Problem("newer_format", problem, newer.hint)


def _attack_problems(attacks_path: Path) -> Iterator[Problem]:
    for path in suite_run_paths(attacks_path):
        try:
            read_suite_run(path)
        except NewerFormatError as error:
            yield Problem("newer_format", str(error), error.hint)
        except TrackerError as error:
            yield Problem("broken_attacks_file", str(error), ATTACKS_FILE_HINT)


def _speed_problems(speeds_path: Path) -> Iterator[Problem]:
    for found in read_speeds(speeds_path):
        if isinstance(found, NewerFormatError):
            yield Problem("newer_format", str(found), found.hint)
        elif isinstance(found, TrackerError):
            yield Problem("broken_speed_file", str(found), SPEED_FILE_HINT)


def _item_problems(items_path: Path, items: StoredItems) -> Iterator[Problem]:
    for folder in sorted(path for path in items_path.glob("*") if path.is_dir()):
        if not (folder / RUN_FILE).exists() and not is_unwritten_run(folder):
            yield Problem("no_run_file", f"`{folder}` has no {RUN_FILE}", RUN_FILE_HINT)
        for path in sorted(folder.glob(PART_GLOB)):
            try:
                problems = unreadable_parts([path])
                if not problems:
                    items.add(path)
                for why in problems.values():
                    items.unreadable.add(part_fingerprint(path))
                    yield Problem("corrupt_part", f"{path}: {why}", PART_HINT)
            except NewerFormatError as error:
                items.unreadable.add(part_fingerprint(path))
                yield Problem("newer_format", str(error), error.hint)


def _missing_items(
    runs: Sequence[Run], items: StoredItems, removed: Collection[tuple[str, str]]
) -> Iterator[Problem]:
    """Scores whose answers are in no folder: the number cannot be followed any more."""
    for run in runs:
        groups = {score.group for score in run.scores}
        for score in run.scores:
            if score.task in groups:  # the mean of its parts, which have scores of their own
                continue
            if score.fingerprint in items.unreadable or (score.fingerprint, run.run_id) in removed:
                continue
            n_there = items.count(score.fingerprint)
            if n_there < score.n_items:
                message = (
                    f"run `{run.run_id}` has a score of {run.model.model_id} on `{score.task}` from"
                    f" {counted(score.n_items, 'item')}, of which {n_there:,} are stored"
                )
                yield Problem("missing_items", message, MISSING_ITEMS_HINT)


def _database_problems(
    settings: Settings, runs: Sequence[Run], studies: Sequence[StudyFolder]
) -> Iterator[Problem]:
    if is_lost(settings.db_path):
        if settings.db_path.exists():
            yield Problem("unreadable", f"`{settings.db_path}` is empty", REPAIR_HINT)
        elif snapshot_paths(settings.snapshots_path) or any(True for _ in unowned_folders(settings)):
            yield Problem("no_database", f"`{settings.db_path}` is missing", REPAIR_HINT)
        yield from _snapshot_problems(settings, None)
        return
    damaged = damaged_tables(settings.db_path)
    for table, why in damaged.items():
        yield Problem("damaged_table", f"table `{table}` of `{settings.db_path}`: {why}", REPAIR_HINT)
    if damaged:
        yield from _snapshot_problems(settings, None)
        return
    stored, indexes = _stored(settings)
    for table, why in indexes.items():
        yield Problem("damaged_index", f"index of `{table}` in `{settings.db_path}`: {why}", REPAIR_HINT)
    for run in map(settled, runs):
        status = stored.statuses.get(run.run_id)
        if status is None:
            yield Problem("missing_run", f"run `{run.run_id}` is not in the database", REPAIR_HINT)
        elif status != run.status:
            message = f"run `{run.run_id}` is {run.status} in its folder and {status} in the database"
            yield Problem("stale_run", message, REPAIR_HINT)
    for run_id in sorted(stored.statuses):
        if not (settings.items_path / run_id / RUN_FILE).exists():
            yield Problem("missing_folder", f"the folder of run `{run_id}` is missing", FOLDER_HINT)
    for message in stale_studies(studies, stored.study_statuses, stored.n_trials):
        yield Problem("stale_study", message, REPAIR_HINT)
    yield from _snapshot_problems(settings, stored)


def _snapshot_problems(settings: Settings, stored: Stored | None) -> Iterator[Problem]:
    """Problems of the snapshots and their pointer; `stored` is None where the database cannot be read."""
    folder = settings.snapshots_path
    pointer = read_pointer(folder)
    there = snapshot_paths(folder)
    if not there and pointer.name is None:
        if stored is not None and (stored.statuses or stored.study_statuses):
            message = f"{folder}: nothing is published"
            yield Problem("unpublished", message, "`tracker store publish` publishes what was measured")
        return
    if pointer.name is None:
        message = f"`{folder / POINTER}`, which names the newest snapshot, is {pointer.problem}"
        yield Problem("lost_pointer", message, REPAIR_HINT)
    elif pointer.name not in {path.stem for path in there}:
        message = f"`{folder / POINTER}` names `{pointer.name}`, which is missing"
        yield Problem("unreadable_snapshot", message, REPAIR_HINT)
    for path in there:
        yield from _one_snapshot(path)
    newest = preferred_paths(folder)[:1]
    if stored is not None and newest and _published(newest[0]) not in {stored.change_id, None}:
        message = f"the newest snapshot in `{folder}` lacks the last changes"
        yield Problem("unpublished", message, "`tracker store publish` publishes them")


def _one_snapshot(path: Path) -> Iterator[Problem]:
    try:
        for table, why in damaged_tables(path).items():
            yield Problem("unreadable_snapshot", f"table `{table}` of `{path}`: {why}", SNAPSHOT_HINT)
    except StoreError as error:
        yield Problem("unreadable_snapshot", str(error), SNAPSHOT_HINT)


def _published(path: Path) -> str | None:
    """The last change that a snapshot contains; None where it cannot be read."""
    try:
        with duckdb.connect(path, read_only=True) as connection:
            return change_id(connection)
    except duckdb.Error:
        return None


def _stored(settings: Settings) -> tuple[Stored, Mapping[str, str]]:
    """What the check compares, and the tables whose index is damaged."""
    with (
        closing(open_database(settings.db_path, wait_s=WAIT_S)) as connection,
        store_errors(settings.db_path),
    ):
        rows = connection.execute("select run_id, status from runs").fetchall()
        studies = connection.execute("select study_id, status from studies").fetchall()
        counts = connection.execute("select study_id, count(*) from trials group by study_id").fetchall()
        stored = Stored(dict(rows), dict(studies), dict(counts), change_id(connection))
        return stored, damaged_indexes(connection)
