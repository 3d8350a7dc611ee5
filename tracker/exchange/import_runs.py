"""`import`: runs that other programs measured become runs of this home, marked as imported.

A run is written to `imports/` first, and appears in `items/` whole by one rename; then it is stored as any
run is. The same content is taken once: its hash is part of the `run_id`. Whatever is interrupted is done
again by the next import, or read from the folder that appeared.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tracker.errors import TrackerError
from tracker.exchange.imported_scores import ScoreTally, group_score, task_metrics, task_score
from tracker.files.items import read_run, write_fingerprint, write_part, write_run
from tracker.formats.bounded import DAMAGED_HINT, MAX_ITEMS, ForeignFileError, sha256_of
from tracker.formats.detection import (
    UNKNOWN_HINT,
    UnknownFormatError,
    candidates,
    check_format,
    read_foreign,
)
from tracker.formats.foreign_run import ForeignRun, ForeignTask
from tracker.locks import exclusive_lock
from tracker.private_home import create_home
from tracker.records import EngineSettings, Item, Model, Run, RunStatus, TaskMetric, TaskScore, fingerprint
from tracker.records.origins import SUITE_PREFIX, Origin, imported_id
from tracker.settings import Settings
from tracker.store import Store, open_snapshot, publish, snapshot_id

STAGED = "imports"  # folder of the home; what lies there was never imported
PART_ITEMS = 2_000
PART_CHARS = 16_000_000
HASH_DIGITS = 12  # of the `run_id`
UNVERIFIED = "unverified"  # revision of a model whose file names no commit
SAMPLES_HINT = {
    "lm-eval": "run lm-eval with `--log_samples`, and import the folder with the samples",
    "inspect": "log the samples, which is the default",
    "every-eval-ever": "`tracker ingest every-eval-ever` reads aggregate records as published scores",
}
IMPORTED, KNOWN, FOUND = "imported", "already imported", "would be imported"


@dataclass(frozen=True, slots=True)
class ImportedRun:
    """A run and what became of it: `imported`, `already imported`, or with a dry run `would be imported`."""

    state: str
    file: str
    run: Run


@dataclass(frozen=True, slots=True)
class RefusedFile:
    """A file of which nothing was imported."""

    file: str
    error: str
    hint: str


@dataclass(frozen=True, slots=True)
class ImportOutcome:
    """What an import found."""

    runs: tuple[ImportedRun, ...]
    refused: tuple[RefusedFile, ...]
    n_unknown: int  # files of a folder that are in no format that is read
    is_dry_run: bool


def import_results(
    path: Path, settings: Settings, *, name: str | None = None, is_dry_run: bool = False
) -> ImportOutcome:
    """Take over the results in a file or folder; a file is imported whole or not at all.

    `name`: the format, instead of finding it by the content.

    Raises:
        UnknownNameError: there is no such format.
        ForeignFileError: the file, or each of the folder, is none that is read, or contradicts itself.
        BusyError: another import is running in this home.
        StoreError: the home cannot be written.
    """
    check_format(name)
    if is_dry_run:
        return _import(path, settings, name=name, is_dry_run=True)
    create_home(settings.home)
    hint = "wait for it, or set TRACKER_HOME to another folder"
    with exclusive_lock(settings, "import", busy="another import is running", hint=hint, what=path.name):
        shutil.rmtree(settings.home / STAGED, ignore_errors=True)  # of a killed import
        if not settings.db_path.exists():
            with Store.open(settings):  # a new home has its database before it has runs
                pass
        return _import(path, settings, name=name, is_dry_run=False)


def _import(path: Path, settings: Settings, *, name: str | None, is_dry_run: bool) -> ImportOutcome:
    runs: list[ImportedRun] = []
    errors: list[tuple[Path, TrackerError]] = []
    n_unknown = 0
    for file in candidates(path):
        try:
            runs.append(_imported(read_foreign(file, name=name), settings, is_dry_run=is_dry_run))
        except UnknownFormatError as error:
            n_unknown += 1
            if file == path:
                raise
            del error
        except ForeignFileError as error:
            if file == path:
                raise
            errors.append((file, error))
    if not runs and len(errors) == 1:
        raise errors[0][1]
    if not runs and not errors:
        raise UnknownFormatError(f"`{path}` holds no results that are read", hint=UNKNOWN_HINT)
    if not is_dry_run:
        _store(runs, settings)
    refused = tuple(RefusedFile(str(file), str(error), error.hint) for file, error in errors)
    return ImportOutcome(tuple(runs), refused, n_unknown, is_dry_run)


def _store(runs: Sequence[ImportedRun], settings: Settings) -> None:
    """Store the runs that the database lacks: the new ones, and one whose import was killed before that."""
    known: set[str] = set()
    if snapshot_id(settings) is not None:
        with open_snapshot(settings) as snapshot:
            known = {str(row["run_id"]) for row in snapshot.query("runs")}
    new = [one.run for one in runs if one.run.run_id not in known]
    if new:
        with Store.open(settings) as store:
            store.add_runs(new)
        publish(settings)


def _imported(found: ForeignRun, settings: Settings, *, is_dry_run: bool) -> ImportedRun:
    sha256 = sha256_of(found.files)
    if (known := _known(settings.items_path, sha256)) is not None:
        return ImportedRun(KNOWN, str(found.path), known)
    imported_at = datetime.now(UTC)
    started_at = found.started_at or _changed_at(found.path)
    if not datetime(2015, 1, 1, tzinfo=UTC) <= started_at <= imported_at + timedelta(days=1):
        problem = f"`{found.path}` says that it was measured on {started_at:%Y-%m-%d}"
        raise ForeignFileError(problem, hint="that cannot be; correct the date in the file")
    origin = Origin(found.tool, found.tool_version, found.path.name, sha256, imported_at, found.evaluated_by)
    run_id = f"{started_at:%Y%m%d-%H%M%S}-{sha256[:HASH_DIGITS]}"
    staged = None if is_dry_run else settings.home / STAGED
    try:
        run = _run(found, origin, run_id, started_at, staged)
    except BaseException:
        if staged is not None:
            shutil.rmtree(staged / run_id, ignore_errors=True)
        raise
    if staged is None:
        return ImportedRun(FOUND, str(found.path), run)
    write_run(staged, run)
    settings.items_path.mkdir(parents=True, exist_ok=True)
    (staged / run_id).rename(settings.items_path / run_id)
    return ImportedRun(IMPORTED, str(found.path), run)


def _known(items_path: Path, sha256: str) -> Run | None:
    """The run with this content, if it was imported before."""
    for folder in items_path.glob(f"*-{sha256[:HASH_DIGITS]}"):
        try:
            run = read_run(folder)
        except TrackerError:  # `tracker store repair` restores it; it is not imported twice
            continue
        if run.origin is not None and run.origin.sha256 == sha256:
            return run
    return None


def _changed_at(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _run(found: ForeignRun, origin: Origin, run_id: str, started_at: datetime, staged: Path | None) -> Run:
    """The run, whose items are written below `staged`; None: nothing is written.

    Raises:
        ForeignFileError: the file contradicts itself, or has no items.
    """
    warnings = [origin.sentence, *found.warnings]
    tallies: dict[str, ScoreTally] = {}
    scores: list[TaskScore] = []
    metrics: list[TaskMetric] = []
    for task in found.tasks:
        if task.items is None:
            continue
        key = fingerprint({"imported": origin.sha256, "task": task.name})
        tally = tallies[task.name] = _written(task, key, run_id, staged, where=str(found.path))
        score = task_score(task, tally, key=key, where=str(found.path), warnings=warnings)
        if not tally.n_items:
            warnings.append(f"{task.name}: it has no items, so its score is left out")
            continue
        if staged is not None:
            parts = {"imported": origin.sha256, "task": task.name, "tool": origin.tool}
            write_fingerprint(staged, run_id, key, parts)
        scores += [] if score is None else [score]
        metrics += task_metrics(task, tally.n_items)
    n_items = sum(tally.n_items for tally in tallies.values())
    if not n_items:
        raise ForeignFileError(f"`{found.path}` has no samples", hint=SAMPLES_HINT[found.tool])
    for task in found.tasks:
        inner = [score for score in scores if score.task in task.parts]
        if task.items is None and task.parts:
            whole = group_score(task, inner, tallies, where=str(found.path), warnings=warnings)
            scores = [*([] if whole is None else [whole]), *scores]
        if task.items is None and (not task.parts or task.name not in {one.task for one in scores}):
            warnings.append(f"{task.name}: its samples are missing, so its score is left out")
    groups = {score.task for score in scores if score.group is None}
    return Run(
        run_id=run_id,
        model=Model(imported_id(found.model), found.revision or UNVERIFIED, n_params=found.n_params),
        suite=f"{SUITE_PREFIX}{found.tool}",
        suite_version=1,
        settings=EngineSettings(engine=found.tool),
        status=RunStatus.COMPLETE,
        started_at=started_at,
        ended_at=max(found.ended_at or started_at, started_at),
        pid=os.getpid(),
        scores=tuple(_in_known_group(score, groups) for score in scores),
        metrics=tuple(metrics),
        n_items=n_items,
        warnings=tuple(dict.fromkeys(warnings)),
        harness_version=f"{origin.tool} {origin.tool_version or ''}".strip(),
        origin=origin,
    )


def _in_known_group(score: TaskScore, groups: set[str]) -> TaskScore:
    """The score; one whose group has none of its own stands by itself."""
    return score if score.group is None or score.group in groups else replace(score, group=None)


def _written(task: ForeignTask, key: str, run_id: str, staged: Path | None, *, where: str) -> ScoreTally:
    """Read the items of a task, and write them in parts."""
    tally = ScoreTally()
    assert task.items is not None
    for items in _chunks(task.items()):
        for item in items:
            try:
                tally.add(item, task.score)
            except ValueError as error:
                raise ForeignFileError(f"`{where}`: {task.name}: {error}", hint=DAMAGED_HINT) from error
        if tally.n_items > MAX_ITEMS:
            problem = f"`{where}`: {task.name} has more than {MAX_ITEMS:,} items"
            raise ForeignFileError(problem, hint="split it; nothing of it was imported")
        if staged is not None:
            write_part(staged, run_id, key, items)
    return tally


def _chunks(items: Iterator[Item]) -> Iterator[list[Item]]:
    """The items in lists whose texts fit in memory."""
    chunk: list[Item] = []
    n_chars = 0
    for item in items:
        chunk.append(item)
        n_chars += len(item.prompt) + len(item.response) + len(item.target) + len(item.thinking or "")
        if len(chunk) >= PART_ITEMS or n_chars >= PART_CHARS:
            yield chunk
            chunk, n_chars = [], 0
    if chunk:
        yield chunk
