"""Write a broken `run.json` again: from the old database, or from a run that reused its items."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from tracker.errors import NewerFormatError, TrackerError
from tracker.files.items import RUN_FILE, read_run, run_folders, write_run
from tracker.files.parts import PART_ERRORS, PART_GLOB, part_fingerprint, read_table
from tracker.files.workers import WorkKind, worker_files
from tracker.records import Cost, Run, RunStatus
from tracker.settings import Settings
from tracker.store.aside import copy_aside
from tracker.store.old_files import OldFile, OldFiles
from tracker.store.runs import run_of_rows


def restore_run_files(settings: Settings, old: OldFiles) -> list[str]:
    """Restore every `run.json` that is broken or missing, as far as possible; return a sentence for each.

    The broken file is kept in `aside/`. The caller holds the lock.
    """
    sentences = []
    for folder in broken_run_folders(settings):
        restored = _from_rows(folder.name, old) or _from_items(folder, settings)
        if restored is None:
            continue
        run, origin = restored
        if (folder / RUN_FILE).is_file():
            copy_aside(settings, folder / RUN_FILE)
        write_run(settings.items_path, run)
        sentences.append(f"`{folder / RUN_FILE}` was written again from {origin}")
    return sentences


def broken_run_folders(settings: Settings) -> Iterator[Path]:
    """The folders of runs that nobody is writing and whose `run.json` is missing or cannot be read."""
    if not settings.items_path.is_dir():
        return
    held = {
        run_id for file in worker_files(settings, WorkKind.BENCH) if file.is_held for run_id in file.run_ids
    }
    for folder in sorted(path for path in settings.items_path.glob("*") if path.is_dir()):
        if folder.name in held:
            continue
        try:
            read_run(folder)
        except NewerFormatError:
            continue
        except TrackerError:
            yield folder


def _from_rows(run_id: str, old: OldFiles) -> tuple[Run, str] | None:
    for file in old:
        if (run := _run_in(file, run_id)) is not None:
            return run, file.called
    return None


def _run_in(file: OldFile, run_id: str) -> Run | None:
    rows = file.records("runs", "run_id", run_id)
    scores = file.records("task_scores", "run_id", run_id)
    metrics = file.records("task_metrics", "run_id", run_id)
    if not rows or scores is None or metrics is None:
        return None
    try:
        return run_of_rows(rows[0], scores, metrics)
    except TrackerError:  # a value of an older version that is no longer allowed: the row itself is kept
        return None


def _from_items(folder: Path, settings: Settings) -> tuple[Run, str] | None:
    """The run as interrupted, without scores, if another run with the same items tells what it was."""
    parts = sorted(folder.glob(PART_GLOB))
    fingerprints = {part_fingerprint(path) for path in parts}
    like = _run_with(fingerprints, settings.items_path) if fingerprints else None
    times = [moment for path in parts for moment in _answer_times(path)]
    if like is None or not times:
        return None
    detail = f"its run.json was damaged; it was restored from its items and run `{like.run_id}`"
    run = replace(
        like,
        run_id=folder.name,
        status=RunStatus.INTERRUPTED,
        reason="restored",
        detail=detail,
        started_at=min(times).replace(tzinfo=UTC),
        ended_at=max(times).replace(tzinfo=UTC),
        scores=(),
        cost=Cost(),
        n_items=len(times),
        n_reused_items=0,
        reused=(),
        warnings=(),
    )
    return run, f"its items and run `{like.run_id}`, as interrupted; its scores are lost, its items are not"


def _run_with(fingerprints: set[str], items_path: Path) -> Run | None:
    for folder in run_folders(items_path):
        try:
            run = read_run(folder)
        except TrackerError:
            continue
        if any(score.fingerprint in fingerprints for score in run.scores):
            return run
    return None


def _answer_times(part: Path) -> list[datetime]:
    try:
        return [
            moment
            for moment in read_table(part, columns=["answered_at"])["answered_at"].to_pylist()
            if moment
        ]
    except (NewerFormatError, *PART_ERRORS):
        return []
