"""The log of decisions that are in no answer of a source: a person's matches and changes of the queue.

`raw/decisions.jsonl` has one line per decision, and one for each time that names were matched, in order. It
is only ever appended to. What ingestion was asked (`--accept`, `--since`) is in the log of each ingest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from tracker.errors import TrackerError
from tracker.serialization import VERSION_KEY, DiskFormat, append_line, dump, load_json, read_lines
from tracker.settings import Settings
from tracker.store.ingests import Alias
from tracker.store.jobs import JobRow
from tracker.store.writing import Store

LOG = "decisions.jsonl"
FORMAT = DiskFormat()


@dataclass(frozen=True, slots=True)
class NamesMatched:
    """All names were matched to repositories by the rules."""

    at: datetime


@dataclass(frozen=True, slots=True)
class AliasSet:
    """A person said which repository a name means."""

    at: datetime
    source: str
    name: str
    model_id: str


@dataclass(frozen=True, slots=True)
class JobSet:
    """A person added, changed or parked a job of the queue."""

    at: datetime
    job: JobRow


@dataclass(frozen=True, slots=True)
class JobRemoved:
    """A person removed a job from the queue."""

    at: datetime
    model_id: str
    suite: str


Decision: TypeAlias = NamesMatched | AliasSet | JobSet | JobRemoved
KINDS: dict[str, type[Decision]] = {
    "names_matched": NamesMatched,
    "alias_set": AliasSet,
    "job_set": JobSet,
    "job_removed": JobRemoved,
}
NAMES = {kind: name for name, kind in KINDS.items()}


def log_names(settings: Settings, *, at: datetime) -> None:
    """Log that names are matched."""
    _append(settings, NamesMatched(at))


def log_aliases(settings: Settings, aliases: Iterable[Alias], *, at: datetime) -> None:
    """Log a person's matches."""
    for alias in aliases:
        _append(settings, AliasSet(at, alias.source, alias.name, alias.model_id))


def log_job(settings: Settings, job: JobRow) -> None:
    """Log a job as a person has set it."""
    _append(settings, JobSet(job.updated_at, job))


def log_removal(settings: Settings, model_id: str, suite: str) -> None:
    """Log that a person removed a job."""
    at = datetime.now(UTC)
    _append(settings, JobRemoved(at, model_id, suite))


def seed_decisions(settings: Settings) -> None:
    """Log the decisions that an older version kept in the database alone; once per home."""
    if _path(settings).exists():
        return
    with Store.open(settings) as store:
        aliases = store.query("aliases", basis="person")
        rows = store.query("jobs")
    for row in aliases:
        _append(settings, AliasSet(row["added_at"], row["source"], row["name"], row["model_id"]))
    for row in rows:
        names = [name for name in JobRow.__slots__ if name != "reasons"]
        job = JobRow(**{name: row[name] for name in names}, reasons=tuple(row["reasons"]))
        _append(settings, JobSet(job.updated_at, job))


def read_decisions(settings: Settings) -> tuple[tuple[Decision, ...], tuple[str, ...]]:
    """The decisions in order, and the lines that cannot be read."""
    found: list[Decision] = []
    problems = []
    path = _path(settings)
    for number, line in read_lines(path, FORMAT):
        if isinstance(line, str):
            problems.append(line)
            continue
        kind = str(line.pop("kind", ""))
        where = f"`{path}`, line {number}"
        if kind not in KINDS:
            problems.append(f"{where} is damaged: `{kind}` is no decision")
            continue
        try:
            found.append(load_json(KINDS[kind], json.dumps(line), where=where))
        except (TrackerError, ValueError) as error:
            problems.append(str(error))
    return tuple(found), tuple(problems)


def _append(settings: Settings, decision: Decision) -> None:
    head = {VERSION_KEY: FORMAT.version, "kind": NAMES[type(decision)]}
    append_line(_path(settings), json.dumps(head | dump(decision)))


def _path(settings: Settings) -> Path:
    return settings.raw_path / LOG
