"""Runs in progress, read from the worker's files: its lock, its run file, its items.

A run enters the database only when it ends; the item files grow every few seconds.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import pyarrow.parquet as pq

from tracker.answers.bench_progress import PartAnswers
from tracker.errors import TrackerError
from tracker.files.items import RUN_FILE, read_run, stored_parts
from tracker.files.parts import PART_ERRORS, PART_GLOB
from tracker.files.workers import WorkKind, worker_files
from tracker.records import Run, RunStatus
from tracker.settings import Settings

LOCAL = "local"  # the executor whose process a signal reaches
KEPT_PARTS = 4096  # chunks of running benches: one every five seconds
KEPT_TASKS = 1024  # counts; finding one lists the folder of every run


@dataclass(frozen=True, slots=True)
class Running:
    """One run in progress."""

    run_id: str
    model_id: str
    suite: str
    suite_version: int
    limit: int | None
    engine: str
    is_loaded: bool  # whether the engine is ready for requests
    started_at: datetime
    n_items: int  # answered by this run, without items reused from earlier runs
    n_reused_items: int  # in the tasks started so far; 0 with a limit, where it is unknown which count
    last_item_at: datetime | None
    parts: tuple[PartAnswers, ...]  # the answers of this run, by chunk
    process_id: int | None  # of the process that follows it, which a signal stops; None: not on this machine


def running_benches(settings: Settings) -> list[Running]:
    """The runs of every job whose process is alive, in order of execution."""
    found = []
    for file in worker_files(settings, WorkKind.BENCH):
        for run_id in file.run_ids if file.is_held else ():
            run = _run(settings.items_path / run_id)
            if run is not None and run.status is RunStatus.RUNNING:
                process_id = int(file.content["parent"]) if file.executor == LOCAL else None
                found.append(_progress(run, settings.items_path / run_id, process_id))
    return found


def ask_to_cancel(settings: Settings, run_id: str) -> None:
    """Ask a running bench to stop after its current answers, as Ctrl-C does; everything answered is kept.

    Raises:
        TrackerError: it is no longer running, or not ours to stop.
    """
    running = {one.run_id: one for one in running_benches(settings)}
    if run_id not in running:
        raise TrackerError(f"run `{run_id}` is no longer running")
    process_id = running[run_id].process_id
    if process_id is None:
        raise TrackerError(f"run `{run_id}` is not on this machine", hint="stop it where it was started")
    try:
        os.kill(process_id, signal.SIGTERM)
    except OSError as error:
        raise TrackerError(f"cannot stop run `{run_id}`: {error.strerror}") from error


def _run(folder: Path) -> Run | None:
    try:
        return read_run(folder)
    except TrackerError:
        return None  # not written yet


def _progress(run: Run, folder: Path, process_id: int | None) -> Running:
    own = sorted(folder.glob(PART_GLOB))
    n_reused = 0
    if run.limit is None:
        n_reused = sum(_n_earlier(folder, fingerprint) for fingerprint in _fingerprints(folder))
    newest = max(map(_written_at_s, own), default=0.0)
    return Running(
        run_id=run.run_id,
        model_id=run.model.model_id,
        suite=run.suite,
        suite_version=run.suite_version,
        limit=run.limit,
        engine=run.engine.engine if run.engine else run.settings.engine,
        is_loaded=run.engine is not None,
        started_at=run.started_at,
        n_items=sum(map(_n_rows, own)),
        n_reused_items=n_reused,
        last_item_at=datetime.fromtimestamp(newest, UTC) if newest else None,
        parts=tuple(part for part in map(_answers, own) if part is not None),
        process_id=process_id,
    )


@lru_cache(maxsize=KEPT_PARTS)
def _answers(path: Path) -> PartAnswers | None:
    """The answers of one chunk, which is never changed; None if it cannot be read."""
    try:
        rows = pq.read_table(path, columns=["task", "score"])
    except PART_ERRORS:
        return None
    scores = [score for score in rows["score"].to_pylist() if score is not None]
    task = rows["task"][0].as_py() if rows.num_rows else ""
    written_at = datetime.fromtimestamp(_written_at_s(path), UTC)
    return PartAnswers(str(task), tuple(scores), rows.num_rows, written_at)


def _fingerprints(folder: Path) -> list[str]:
    """The fingerprints of the tasks that the run has started; each has a file before its first item."""
    return [path.stem for path in folder.glob("*.json") if path.name != RUN_FILE]


@lru_cache(maxsize=KEPT_TASKS)
def _n_earlier(folder: Path, fingerprint: str) -> int:
    """The number of a task's items answered by earlier runs, without those of the run in `folder`."""
    parts = stored_parts(folder.parent, fingerprint)
    return sum(_n_rows(part) for part in parts if part.parent != folder)


def _n_rows(part: Path) -> int:
    try:
        return int(pq.read_metadata(part).num_rows)
    except PART_ERRORS:
        return 0


def _written_at_s(part: Path) -> float:
    try:
        return part.stat().st_mtime
    except OSError:
        return 0.0
