"""Write broken files of studies and of the attack suite again, from the old database or a snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tracker.errors import NewerFormatError, TrackerError
from tracker.files.studies import STUDY_FILE, Ledger, read_suite_run, suite_run_paths, write_suite_run
from tracker.files.workers import WorkKind, worker_files
from tracker.records.studies import Study, SuiteRun, Trial
from tracker.settings import Settings
from tracker.store.aside import copy_aside
from tracker.store.attacks import suite_run_of_rows
from tracker.store.old_files import OldFile, OldFiles
from tracker.store.studies import FINAL_SLOT, study_of_rows, trial_of_rows

SETTINGS_LOST = "; settings of its engine that change no answer are the defaults now"
Rows = list[dict[str, Any]]


def restore_research_files(settings: Settings, old: OldFiles, *, also_missing: bool) -> list[str]:
    """Restore every `study.json`, trial and run of the attack suite that is broken; a sentence for each.

    A broken file is kept in `aside/`. With `also_missing`, trials that the old files have and the folder of
    their study lacks are written too; a missing `study.json` always is. The caller holds the lock.
    """
    sentences: list[str] = []
    for folder in _idle_study_folders(settings):
        ledger = Ledger(folder)
        if _is_broken(_own_study, ledger):
            sentences += _restore_study(settings, ledger, old)
        sentences += _restore_trials(settings, ledger, old, also_missing=also_missing)
    for path in suite_run_paths(settings.attacks_path):
        if _is_broken(read_suite_run, path):
            sentences += _restore_suite_run(settings, path, old)
    return sentences


def _idle_study_folders(settings: Settings) -> Iterator[Path]:
    """Folders of studies that no living process is working on."""
    held = {file.study_id for file in worker_files(settings, WorkKind.STUDY) if file.is_held}
    for folder in sorted(path for path in settings.studies_path.glob("*") if path.is_dir()):
        if folder.name not in held:
            yield folder


def _is_broken(read: Callable[..., object], *arguments: object) -> bool:
    """Whether a file cannot be read, other than for being of a newer version."""
    try:
        read(*arguments)
    except NewerFormatError:
        return False
    except TrackerError:
        return True
    return False


def _own_study(ledger: Ledger) -> None:
    study_id = ledger.read_study().study_id
    if study_id != ledger.folder.name:
        raise TrackerError(f"`{ledger.folder / STUDY_FILE}` belongs to study `{study_id}`")


def _restore_study(settings: Settings, ledger: Ledger, old: OldFiles) -> Iterator[str]:
    path = ledger.folder / STUDY_FILE
    for file in old:
        if (study := _study_in(file, ledger.folder.name)) is not None:
            _keep(settings, path)
            ledger.write_study(study)
            lost = SETTINGS_LOST if study.agent.settings is not None else ""
            yield f"`{path}` was written again from {file.called}{lost}"
            return


def _study_in(file: OldFile, study_id: str) -> Study | None:
    rows = file.records("studies", "study_id", study_id)
    trainings = file.records("trainings", "study_id", study_id)
    if not rows or trainings is None:
        return None
    model_id, revision = rows[0]["model_id"], rows[0]["revision"]
    models = file.records("models", "model_id", model_id) if model_id else []
    model = next((each for each in models or [] if each["revision"] == revision), None)
    try:
        return study_of_rows(rows[0], _of_slot(trainings, FINAL_SLOT), model)
    except TrackerError:  # a value of an older version that is no longer allowed: the row itself is kept
        return None


def _restore_trials(
    settings: Settings, ledger: Ledger, old: OldFiles, *, also_missing: bool
) -> Iterator[str]:
    there = {int(path.stem) for path in ledger.trial_paths() if path.stem.isdigit()}
    whole = {slot for slot in there if not _is_broken(ledger.trial, slot)}
    if whole == there and not also_missing:
        return
    for file in old:
        for trial in _trials_in(file, ledger.folder.name):
            if trial.slot in whole or not (also_missing or trial.slot in there):
                continue
            _keep(settings, ledger.trial_path(trial.slot))
            ledger.write_trial(trial)
            whole.add(trial.slot)
            yield f"`{ledger.trial_path(trial.slot)}` was written again from {file.called}"


def _trials_in(file: OldFile, study_id: str) -> Iterator[Trial]:
    rows, exchanges, trainings = (
        file.records(table, "study_id", study_id) for table in ("trials", "proposals", "trainings")
    )
    if exchanges is None or trainings is None:
        return
    for row in rows or []:
        with suppress(TrackerError):  # a value of an older version that is no longer allowed
            yield trial_of_rows(row, _of_slot(exchanges, row["slot"]), _of_slot(trainings, row["slot"]))


def _restore_suite_run(settings: Settings, path: Path, old: OldFiles) -> Iterator[str]:
    for file in old:
        if (run := _suite_run_in(file, path.stem)) is not None:
            _keep(settings, path)
            write_suite_run(settings.attacks_path, run)
            yield f"`{path}` was written again from {file.called}"
            return


def _suite_run_in(file: OldFile, suite_run_id: str) -> SuiteRun | None:
    rows = file.records("attacks", "suite_run_id", suite_run_id)
    try:
        return suite_run_of_rows(rows) if rows else None
    except TrackerError:  # a value of an older version that is no longer allowed: the rows are kept
        return None


def _keep(settings: Settings, path: Path) -> None:
    if path.is_file():
        copy_aside(settings, path)


def _of_slot(rows: Rows, slot: int) -> Rows:
    return [row for row in rows if row["slot"] == slot]
