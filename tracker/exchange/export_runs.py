"""`export`: what this home holds, for other programs: tables, records of Every Eval Ever, Hub results.

Everything is written to a folder that appears whole, or not at all. Nothing is sent anywhere.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tracker
from tracker.answers.models import known_id
from tracker.answers.tables import read_items
from tracker.errors import StoreError, TrackerError, UnknownNameError, UsageError
from tracker.exchange.export_tables import FORMATS, ExportedTables, HeldBack, check_tables, write_tables
from tracker.exchange.hub_results import HUB_TASKS, hub_file, hub_result
from tracker.files.items import read_run
from tracker.foreign_text import json_text
from tracker.formats.eee_record import SAMPLES_END
from tracker.formats.eee_writer import CHECKSUM, check_record, check_samples, eee_record, eee_sample
from tracker.records import Run, RunStatus
from tracker.records.origins import IMPORTED, named_id
from tracker.settings import Settings
from tracker.store import open_snapshot

DICTIONARY = "dictionary.json"
EEE, HUB = "every-eval-ever", "hub"
KINDS = (*FORMATS, EEE, HUB)
UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
SCORED = (RunStatus.COMPLETE, RunStatus.PARTIAL)


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to export; empty tuples and None narrow nothing."""

    kind: str = "parquet"  # one of `KINDS`
    tables: tuple[str, ...] = ()
    model: str | None = None
    suite: str | None = None
    organization: str | None = None  # who measured the runs, for records
    is_dry_run: bool = False

    def __post_init__(self) -> None:
        """Refuse an unknown format, and what does not go together."""
        if self.kind not in KINDS:
            raise UnknownNameError("format", self.kind, known=KINDS)
        is_table = self.kind in FORMATS
        if is_table and (self.model or self.suite):
            hint = "`tracker query` selects rows"
            raise UsageError("tables are exported whole, without `--model` and `--suite`", hint=hint)
        if not is_table and self.tables:
            raise UsageError(f"`--table` does not apply to `{self.kind}`", hint=f"use {', '.join(FORMATS)}")


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A file of an export; `n_rows`: rows, or samples beside a record."""

    file: str
    n_rows: int
    content: str | None = None  # with a dry run of results for the Hub


@dataclass(frozen=True, slots=True)
class ExportOutcome:
    """What was exported, and what was held back."""

    folder: str
    files: tuple[ExportedFile, ...]
    held_back: tuple[HeldBack, ...]
    is_dry_run: bool


def export_results(folder: Path, request: ExportRequest, settings: Settings) -> ExportOutcome:
    """Write what is asked for to a new folder.

    Raises:
        UnknownNameError: there is no such table, model or suite.
        TrackerError: there is nothing to export.
        StoreError: the folder exists, or cannot be written.
    """
    names = check_tables(request.tables) if request.kind in FORMATS else ()
    if request.is_dry_run:
        files, held = _write(None, request, names, settings)
        return ExportOutcome(str(folder), tuple(files), tuple(held), is_dry_run=True)
    with _new_folder(folder) as unfinished:
        files, held = _write(unfinished, request, names, settings)
    return ExportOutcome(str(folder), tuple(files), tuple(held), is_dry_run=False)


def _write(
    folder: Path | None, request: ExportRequest, names: Sequence[str], settings: Settings
) -> tuple[list[ExportedFile], list[HeldBack]]:
    if names:
        found = write_tables(folder, names, request.kind, settings)
        if folder is not None:
            text = json.dumps(dictionary(found, settings), indent=1, ensure_ascii=False)
            (folder / DICTIONARY).write_text(text + "\n", encoding="utf-8")
        files = [ExportedFile(f"{one.name}.{request.kind}", one.n_rows) for one in found.tables]
        return files, list(found.held_back)
    runs = _runs(request, settings)
    if request.kind == EEE:
        return [file for run in runs for file in _records(folder, run, request, settings)], []
    return _hub_files(folder, runs)


def dictionary(found: ExportedTables, settings: Settings) -> dict[str, Any]:
    """The data dictionary: every table and column, and what was held back."""
    return {
        "exported_at": f"{settings.now():%Y-%m-%dT%H:%M:%SZ}",
        "program": f"open-weight-tracker {tracker.__version__}",
        "units": "scores and fractions are of 1, times are UTC, durations are seconds, sizes are bytes",
        "tables": [
            {
                "table": one.name,
                "description": one.text,
                "n_rows": one.n_rows,
                "columns": [
                    dict(zip(("name", "type", "description"), column, strict=True)) for column in one.columns
                ],
            }
            for one in found.tables
        ],
        "held_back": [asdict(one) for one in found.held_back],
    }


def _runs(request: ExportRequest, settings: Settings) -> list[Run]:
    """The runs with scores that are asked for, the oldest first."""
    with open_snapshot(settings) as snapshot:
        model = None if request.model is None else known_id(request.model, snapshot.query("models"))
        rows = snapshot.query("runs", model_id=model, suite=request.suite)
        suites = {str(row["suite"]) for row in snapshot.query("runs")}
    if request.suite is not None and request.suite not in suites:
        raise UnknownNameError("suite", request.suite, known=suites)
    ids = sorted(str(row["run_id"]) for row in rows if row["status"] in SCORED)
    runs = [run for run in (read_run(settings.items_path / run_id) for run_id in ids) if run.scores]
    if not runs:
        raise TrackerError("there is no run with scores to export", hint="`tracker bench demo` measures one")
    return runs


def _records(
    folder: Path | None, run: Run, request: ExportRequest, settings: Settings
) -> Iterator[ExportedFile]:
    """Write the record of a run and its samples, both held against their schema."""
    record = eee_record(run, version=tracker.__version__, organization=request.organization)
    by_task = {score.task: score for score in run.scores}
    rows = [row for row in read_items(settings, run.run_id).records() if row["task"] in by_task]
    samples = [eee_sample(row, run, by_task[row["task"]]) for row in rows if row["score"] is not None]
    check_samples(samples)
    lines = "".join(json_text(sample) + "\n" for sample in samples).encode(errors="backslashreplace")
    name = _record_path(run)
    record["detailed_evaluation_results"] = {
        "format": "jsonl",
        "file_path": f"{name}{SAMPLES_END}",
        "hash_algorithm": CHECKSUM,
        "checksum": hashlib.sha256(lines).hexdigest(),
        "total_rows": len(samples),
    }
    check_record(record)
    if folder is not None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        (folder / f"{name}{SAMPLES_END}").write_bytes(lines)
    yield ExportedFile(f"{name}.json", len(samples))


def _record_path(run: Run) -> str:
    """Where the schema wants a record, without its ending: `data/SUITE/DEVELOPER/MODEL/UUID`."""
    digest = hashlib.sha256(run.run_id.encode()).digest()
    developer, _, model = named_id(run.model.model_id).rpartition("/")
    parts = (run.suite, developer.rpartition("/")[2] or "local", model)
    return "/".join(("data", *map(_file_name, parts), str(uuid.UUID(bytes=digest[:16], version=4))))


def _file_name(name: str) -> str:
    return UNSAFE.sub("-", name).strip(".") or "unnamed"


def _hub_files(folder: Path | None, runs: Sequence[Run]) -> tuple[list[ExportedFile], list[HeldBack]]:
    """Write `.eval_results` of each model, the newest score of each task."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    n_imported = n_other = n_part = 0
    for run in runs:  # the oldest first, so that the newest stays
        for score in run.scores:
            if run.origin is not None:
                n_imported += 1
            elif score.task not in HUB_TASKS:
                n_other += 1
            elif score.n_total is None or score.n_items < score.n_total or run.model.path is not None:
                n_part += 1
            else:
                found.setdefault(run.model.model_id, {})[score.task] = hub_result(run, score)
    whys = (
        (n_imported, f"{IMPORTED}: only scores of this home are offered as its own"),
        (n_other, "the Hub has no benchmark for the task"),
        (n_part, "not all items of the task, or weights of a local folder"),
    )
    held = [HeldBack("scores", n, why) for n, why in whys if n]
    files = []
    for model_id, results in sorted(found.items()):
        for task, result in results.items():
            path = f"{_file_name(model_id)}/.eval_results/{_file_name(task)}.yaml"
            content = hub_file([result])
            if folder is not None:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_text(content, encoding="utf-8")
            files.append(ExportedFile(path, 1, content))
    return files, held


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A folder that gets its name when the block has ended well."""
    folder = folder.absolute()
    if folder.exists() or not folder.parent.is_dir():
        why = "already exists" if folder.exists() else "is in a folder that does not exist"
        raise StoreError(f"`{folder}` {why}", hint="name a new folder in an existing one")
    unfinished = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    try:
        unfinished.mkdir()
        yield unfinished
        unfinished.rename(folder)
    except OSError as error:
        raise StoreError(
            f"`{folder}` cannot be written: {error.strerror}", hint="name another folder"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
