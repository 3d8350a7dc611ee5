"""What is being measured at this moment, from the files that a worker leaves: its lock, its run, its items.

The database does not know of a run before it ends; the item files grow every few seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq

from tracker.errors import TrackerError
from tracker.items import PART_ERRORS, PART_GLOB, RUN_FILE, read_run, stored_parts
from tracker.records import Run, RunStatus
from tracker.settings import Settings

LOCKS = "worker-*.json"  # one per job, see `runners.executors.local`
KEPT_TASKS = 1024  # numbers; looking for one lists the folder of every run
SAME_START_S = 1.0  # as the system tells it, a start is never off by more


@dataclass(frozen=True, slots=True)
class Running:
    """One run under way."""

    run_id: str
    model_id: str
    suite: str
    suite_version: int
    limit: int | None
    engine: str
    is_loaded: bool  # whether the engine answers
    started_at: datetime
    n_items: int  # answered by this run; those reused from earlier ones are not in its folder
    n_reused_items: int  # of the tasks begun so far; 0 also where a limit leaves open which of them count
    last_item_at: datetime | None


def running(settings: Settings) -> list[Running]:
    """The runs of every job whose process lives, in the order in which they will be done."""
    found = []
    for lock in sorted(settings.locks_path.glob(LOCKS)):
        for run_id in _runs_of(lock):
            run = _run(settings.items_path / run_id)
            if run is not None and run.status is RunStatus.RUNNING:
                found.append(_progress(run, settings.items_path / run_id))
    return found


def _runs_of(lock: Path) -> list[str]:
    """The runs of a lock whose process lives; a lock that is half written or gone has none."""
    try:
        entry = json.loads(lock.read_bytes())
        return [str(run_id) for run_id in entry["runs"]] if is_held(entry) else []
    except (OSError, ValueError, KeyError, TypeError):
        return []


def is_held(entry: Mapping[str, Any]) -> bool:
    """Whether the process that wrote a lock still lives; another one may have got its number since.

    The same test as when a next start looks for orphans, `runners.executors.children.lives`.

    Raises:
        KeyError: the entry is of no lock.
    """
    try:
        began_at_s = psutil.Process(int(entry["parent"])).create_time()
    except psutil.Error:
        return False
    return bool(abs(began_at_s - float(entry["parent_started_at"])) < SAME_START_S)


def _run(folder: Path) -> Run | None:
    try:
        return read_run(folder)
    except TrackerError:
        return None  # not written yet


def _progress(run: Run, folder: Path) -> Running:
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
    )


def _fingerprints(folder: Path) -> list[str]:
    """Those of the tasks that the run has begun; it writes one file each before the first question."""
    return [path.stem for path in folder.glob("*.json") if path.name != RUN_FILE]


@lru_cache(maxsize=KEPT_TASKS)
def _n_earlier(folder: Path, fingerprint: str) -> int:
    """How many items of a task earlier runs had answered; the run in `folder` adds none to them."""
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
