"""`tracker store prune`: remove the items of older runs to free the disk; runs and scores always stay.

Of each model and suite, asked for with the same settings, the newest runs keep their items, and so does
the newest complete one. Items on which a kept run rests are kept in whichever folder they are. Runs that are
under way, interrupted or failed are not touched: their items are what a repeated bench goes on with.

What is removed is written down in `items/removed.jsonl` before, so that no check takes it for a loss.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from tracker.errors import FieldError
from tracker.files.items import RUN_FILE, read_run
from tracker.files.parts import PART_ERRORS, PART_GLOB, part_fingerprint
from tracker.files.removed import Removed, add_removed
from tracker.locks import exclusive_lock
from tracker.records import Run, RunStatus
from tracker.serialization import dump
from tracker.settings import Settings
from tracker.store.compaction import ended_runs, item_files_lock, remove_parts
from tracker.store.database import store_errors
from tracker.store.leftovers import BENCH
from tracker.store.locks import WAIT_S

WITH_SCORES = (RunStatus.COMPLETE, RunStatus.PARTIAL)


@dataclass(frozen=True, slots=True)
class PrunedRun:
    """A run whose items are removed, or would be."""

    run_id: str
    model_id: str
    suite: str
    n_items: int
    n_parts: int
    n_bytes: int


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a removal of items frees; `is_applied`: it was done."""

    keep: int
    n_kept: int  # runs with scores whose items stay
    runs: tuple[PrunedRun, ...]
    is_applied: bool

    @property
    def n_bytes(self) -> int:
        """Bytes that are freed."""
        return sum(run.n_bytes for run in self.runs)

    @property
    def n_items(self) -> int:
        """Items that are removed."""
        return sum(run.n_items for run in self.runs)


def prune(settings: Settings, *, keep: int, is_applied: bool = False, wait_s: float = WAIT_S) -> Pruned:
    """Keep the items of the newest `keep` runs of each model and suite; without `is_applied` only say which.

    Raises:
        FieldError: `keep` is less than 1.
        BusyError: a bench, compaction or export is under way, or another process writes the database for
            longer than `wait_s`.
        StoreError: the disk is failing.
    """
    if keep < 1:
        raise FieldError("keep", f"must be at least 1, got {keep}", example=2)
    with item_files_lock(settings, what="store prune"), store_errors(settings.items_path):
        if not is_applied:
            return _planned(settings, keep)[0]
        with _no_bench(settings):
            found, parts, removed = _planned(settings, keep)
            add_removed(settings.items_path, removed)
            remove_parts(settings, parts, wait_s=wait_s)
            return Pruned(keep, found.n_kept, found.runs, is_applied=True)


def _no_bench(settings: Settings) -> AbstractContextManager[None]:
    hint = "wait for it: a bench may rest on the items of any earlier run"
    return exclusive_lock(settings, BENCH, busy="a bench is running", hint=hint, what="store prune")


def _planned(settings: Settings, keep: int) -> tuple[Pruned, list[Path], list[Removed]]:
    """What would be removed: in numbers, as files, and as it is written down."""
    scored = [run for run in _runs(ended_runs(settings)) if run.status in WITH_SCORES]
    kept = _newest(scored, keep)
    old = {run.run_id: run for run in scored if run.run_id not in kept}
    needed = {score.fingerprint for run in scored if run.run_id in kept for score in run.scores}
    for path in settings.items_path.glob("*/*.json"):  # each fingerprint has a file beside its items
        if path.parent.name not in old and path.name != RUN_FILE:
            needed.add(path.stem)
    needed |= {part_fingerprint(path) for path in _parts_outside(settings.items_path, old)}
    rests_on: dict[str, set[str]] = {}
    for run in old.values():
        for score in run.scores:
            rests_on.setdefault(score.fingerprint, set()).add(run.run_id)
    pruned, parts, removed = [], [], []
    for run_id, run in old.items():
        own = [
            path
            for path in sorted((settings.items_path / run_id).glob(PART_GLOB))
            if part_fingerprint(path) not in needed
        ]
        if not own:
            continue
        sizes = [path.stat().st_size for path in own]
        n_items = sum(map(_n_items, own))
        pruned.append(PrunedRun(run_id, run.model.model_id, run.suite, n_items, len(own), sum(sizes)))
        parts += own
        removed += [
            Removed(fingerprint, tuple(sorted(rests_on.get(fingerprint, {run_id}))))
            for fingerprint in sorted({part_fingerprint(path) for path in own})
        ]
    return Pruned(keep, len(kept), tuple(pruned), is_applied=False), parts, removed


def _runs(folders: Sequence[Path]) -> Iterator[Run]:
    for folder in folders:
        yield read_run(folder)


def _newest(runs: Sequence[Run], keep: int) -> set[str]:
    """The newest runs of each model and suite with the same settings, and the newest complete one."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(_question(run), []).append(run)
    kept = set()
    for group in groups.values():
        newest = sorted(group, key=lambda run: run.run_id, reverse=True)
        complete = [run for run in newest if run.status is RunStatus.COMPLETE]
        kept |= {run.run_id for run in (*newest[:keep], *complete[:1])}
    return kept


def _question(run: Run) -> str:
    """What was asked for: two runs that differ in it are two measurements, neither newer than the other."""
    model = run.model
    asked: list[object] = [
        model.model_id,
        model.quantization,
        model.path,
        run.suite,
        run.limit,
        run.sample_seed,
    ]
    asked += [run.sampling, dict(run.sampling_values), run.repeats, run.replicate, run.max_output_tokens]
    return json.dumps([*asked, dump(run.settings)], sort_keys=True)


def _parts_outside(items_path: Path, old: Mapping[str, Run]) -> Iterator[Path]:
    """Parts in the folders of all other runs: what they have themselves, and share with an old one."""
    for path in items_path.glob(f"*/{PART_GLOB}"):
        if path.parent.name not in old:
            yield path


def _n_items(path: Path) -> int:
    try:
        return int(pq.read_metadata(path).num_rows)
    except PART_ERRORS:
        return 0
