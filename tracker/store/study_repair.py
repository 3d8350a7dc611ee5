"""Rebuild studies in the store from their files, and compare the two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import psutil

from tracker.errors import NewerFormatError, TrackerError
from tracker.files.studies import STUDY_FILE, Ledger, folders_without_study, study_folders
from tracker.records.studies import Study, StudyStatus, Trial
from tracker.store.studies import write_study, write_trial
from tracker.wording import counted


@dataclass(frozen=True, slots=True)
class StudyFolder:
    """One study as read from its files, or why they cannot be read."""

    path: Path
    study: Study | None
    trials: tuple[Trial, ...] = ()
    problem: str = ""
    newer: NewerFormatError | None = None  # it is whole, and this program is too old for it


def read_studies(studies_path: Path) -> Iterator[StudyFolder]:
    """Read every study, oldest first; one whose folder has another name counts as broken."""
    for folder in sorted({*study_folders(studies_path), *folders_without_study(studies_path)}):
        ledger = Ledger(folder)
        path = folder / STUDY_FILE
        try:
            study, trials = ledger.read_study(), ledger.trials()
        except TrackerError as error:
            newer = error if isinstance(error, NewerFormatError) else None
            yield StudyFolder(path, study=None, problem=str(error), newer=newer)
            continue
        if study.study_id != folder.name:
            problem = f"`{path}` belongs to study `{study.study_id}`"
            yield StudyFolder(path, study=None, problem=problem)
            continue
        yield StudyFolder(path, study, trials)


def rebuild_studies(connection: duckdb.DuckDBPyConnection, studies_path: Path) -> tuple[int, list[str]]:
    """Write every study; return their number and the problems of skipped ones, inside a transaction."""
    n_studies, skipped = 0, []
    for found in read_studies(studies_path):
        if found.newer is not None:
            raise found.newer
        if found.study is None:
            skipped.append(found.problem)
            continue
        write_study(connection, settled_study(found.study))
        for trial in found.trials:
            write_trial(connection, trial)
        n_studies += 1
    return n_studies, skipped


def settled_study(study: Study) -> Study:
    """Return the study, marked as interrupted if it says `running` but its process is gone."""
    if study.status is not StudyStatus.RUNNING or study_lives(study):
        return study
    detail = f"process {study.pid} ended without a result; `tracker research resume` continues the study"
    return replace(study, status=StudyStatus.INTERRUPTED, reason="killed", detail=detail)


def study_lives(study: Study) -> bool:
    """Whether the process that wrote `running` still runs and is a research worker."""
    try:
        process = psutil.Process(study.pid)
        is_ours = any("research" in word for word in process.cmdline())  # the id may have been reused by now
        return is_ours and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, ValueError):
        return False


def stale_studies(
    found: Sequence[StudyFolder], statuses: dict[str, str], n_trials: dict[str, int]
) -> Iterator[str]:
    """Differences between the files and the database, whose values are `statuses` and `n_trials` by study."""
    for folder in found:
        if folder.study is None or study_lives(folder.study):
            continue
        study = settled_study(folder.study)
        status = statuses.get(study.study_id)
        if status is None:
            yield f"study `{study.study_id}` is not in the database"
        elif status != study.status:
            yield f"study `{study.study_id}` is {study.status} in its folder and {status} in the database"
        elif n_trials.get(study.study_id, 0) != len(folder.trials):
            stored = n_trials.get(study.study_id, 0)
            trials = counted(len(folder.trials), "trial")
            yield f"study `{study.study_id}` has {trials} in its folder and {stored} in the database"
