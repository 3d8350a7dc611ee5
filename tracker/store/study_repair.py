"""Studies in the store made anew from their files, and what is wrong with either."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import psutil

from tracker.errors import TrackerError
from tracker.store.studies import write_study, write_trial
from tracker.studies import Study, StudyStatus, Trial
from tracker.study_files import STUDY_FILE, Ledger, study_folders


@dataclass(frozen=True, slots=True)
class StudyFolder:
    """One study as its files have it, or why they cannot be read."""

    path: Path
    study: Study | None
    trials: tuple[Trial, ...] = ()
    problem: str = ""


def read_studies(studies_path: Path) -> Iterator[StudyFolder]:
    """Every study, oldest first; one in a folder of another name counts as broken."""
    for folder in study_folders(studies_path):
        ledger = Ledger(folder)
        path = folder / STUDY_FILE
        try:
            study, trials = ledger.read_study(), ledger.trials()
        except TrackerError as error:
            yield StudyFolder(path, study=None, problem=str(error))
            continue
        if study.study_id != folder.name:
            problem = f"{path}: belongs to study `{study.study_id}`"
            yield StudyFolder(path, study=None, problem=problem)
            continue
        yield StudyFolder(path, study, trials)


def rebuild_studies(connection: duckdb.DuckDBPyConnection, studies_path: Path) -> tuple[int, list[str]]:
    """Write every study; how many there are, and what was passed over. The caller holds the transaction."""
    n_studies, skipped = 0, []
    for found in read_studies(studies_path):
        if found.study is None:
            skipped.append(found.problem)
            continue
        write_study(connection, settled_study(found.study))
        for trial in found.trials:
            write_trial(connection, trial)
        n_studies += 1
    return n_studies, skipped


def settled_study(study: Study) -> Study:
    """The study itself; or, if it says `running` and its process is gone, the same one as interrupted."""
    if study.status is not StudyStatus.RUNNING or study_lives(study):
        return study
    detail = f"process {study.pid} ended without a result; `tracker research resume` goes on"
    return replace(study, status=StudyStatus.INTERRUPTED, reason="killed", detail=detail)


def study_lives(study: Study) -> bool:
    """Whether the process that wrote `running` still runs and is a worker of auto-research."""
    try:
        process = psutil.Process(study.pid)
        is_ours = any("research" in word for word in process.cmdline())  # an id may be another's by now
        return is_ours and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, ValueError):
        return False


def stale_studies(
    found: Sequence[StudyFolder], statuses: dict[str, str], n_trials: dict[str, int]
) -> Iterator[str]:
    """What the files say and the database does not: `statuses` and `n_trials` by study, as stored."""
    for folder in found:
        if folder.study is None or study_lives(folder.study):
            continue
        study = settled_study(folder.study)
        status = statuses.get(study.study_id)
        if status is None:
            yield f"study {study.study_id}: is not in the database"
        elif status != study.status:
            yield f"study {study.study_id}: is {study.status} in its folder and {status} in the database"
        elif n_trials.get(study.study_id, 0) != len(folder.trials):
            stored = n_trials.get(study.study_id, 0)
            yield f"study {study.study_id}: {len(folder.trials)} trials in its folder, {stored} stored"
