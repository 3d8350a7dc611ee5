"""The log of ingests: what an ingest rests on besides its answers, so that it can be replayed.

`raw/<source>/ingests.jsonl` has one line per event of an ingest: how it began, each answer or failure in
order, when what was read was written, how an index was refitted, and how it ended. The answers themselves are
beside it. Each line has the version of the format; a line that a kill cut off is left out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from tracker.errors import TrackerError
from tracker.serialization import VERSION_KEY, DiskFormat, append_line, dump, load_json, read_lines

LOG = "ingests.jsonl"
FORMAT = DiskFormat()


@dataclass(frozen=True, slots=True)
class Begun:
    """The start of an ingest, with everything that it was asked."""

    asked_as: str  # name of the source, or `package.module:Class`
    started_at: datetime
    now: datetime  # the moment that ages and days were counted from
    version: str  # of this program
    endpoint: str  # address of the Hub
    hub_page: int
    source_url: str | None = None  # mirror
    since: datetime | None = None
    resume: str | None = None
    watched: tuple[tuple[str, str | None], ...] = ()
    accept: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer, also one that was stored before and had not changed."""

    url: str  # as it was asked for, without user and password
    sha256: str
    next_url: str | None = None
    final_url: str | None = None  # if it is not the one asked for


@dataclass(frozen=True, slots=True)
class Failed:
    """A request that failed in the end; `error` is the class of the exception."""

    url: str
    error: str
    message: str
    hint: str = ""
    status: int | None = None
    next_url: str | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """The first `n_batches` of the source are being written, as far as they were not before."""

    n_batches: int


@dataclass(frozen=True, slots=True)
class Refitted:
    """The result of refitting the index; without an error, it was not refitted."""

    vintage_id: str
    is_refitted: bool
    reason: str | None = None
    n: int | None = None
    mean_error: float | None = None
    max_error: float | None = None


@dataclass(frozen=True, slots=True)
class IngestEnd:
    """The end of an ingest; there is none after a kill."""

    ended_at: datetime
    status: str
    reason: str | None
    n_seen: int
    n_new: int
    n_changed: int
    n_gone: int
    is_interrupted: bool = False


Event: TypeAlias = Begun | Answered | Failed | Written | Refitted | IngestEnd
KINDS: dict[str, type[Event]] = {
    "begun": Begun,
    "answered": Answered,
    "failed": Failed,
    "written": Written,
    "refitted": Refitted,
    "ended": IngestEnd,
}
NAMES = {kind: name for name, kind in KINDS.items()}


@dataclass(slots=True)
class LoggedIngest:
    """One ingest as its log describes it."""

    ingest_id: str
    begun: Begun
    answers: list[Answered | Failed] = field(default_factory=list)
    writes: list[int] = field(default_factory=list)  # numbers of batches
    refits: list[Refitted] = field(default_factory=list)
    ended: IngestEnd | None = None


@dataclass(frozen=True, slots=True)
class LoggedIngests:
    """The ingests of a source in the order in which they began, and what of its log cannot be read."""

    ingests: tuple[LoggedIngest, ...] = ()
    problems: tuple[str, ...] = ()


class IngestLog:
    """The log of one running ingest."""

    def __init__(self, folder: Path, ingest_id: str) -> None:
        self._path = folder / LOG
        self._ingest_id = ingest_id

    def add(self, event: Event) -> None:
        """Append one event."""
        head = {VERSION_KEY: FORMAT.version, "ingest_id": self._ingest_id, "kind": NAMES[type(event)]}
        append_line(self._path, json.dumps(head | dump(event)))


def read_ingests(folder: Path) -> LoggedIngests:
    """The logged ingests of a source; a damaged line costs the event in it."""
    found: dict[str, LoggedIngest] = {}
    problems = []
    path = folder / LOG
    for number, line in read_lines(path, FORMAT):
        if isinstance(line, str):
            problems.append(line)
            continue
        where = f"`{path}`, line {number}"
        ingest_id, kind = str(line.pop("ingest_id", "")), str(line.pop("kind", ""))
        if kind not in KINDS:
            problems.append(f"{where} is damaged: `{kind}` is no event")
            continue
        try:
            event = load_json(KINDS[kind], json.dumps(line), where=where)
        except TrackerError as error:
            problems.append(f"{error}")
            continue
        if isinstance(event, Begun):
            found[ingest_id] = LoggedIngest(ingest_id, event)
        elif ingest_id not in found:
            problems.append(f"{where}: the start of ingest `{ingest_id}` is missing")
        else:
            _add(found[ingest_id], event)
    return LoggedIngests(tuple(found.values()), tuple(dict.fromkeys(problems)))


def _add(ingest: LoggedIngest, event: Event) -> None:
    match event:
        case Answered() | Failed():
            ingest.answers.append(event)
        case Written():
            ingest.writes.append(event.n_batches)
        case Refitted():
            ingest.refits.append(event)
        case IngestEnd():
            ingest.ended = event
