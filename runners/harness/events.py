"""The job file that starts a worker, and the events that it sends its parent as JSON lines."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tracker.records import Job
from tracker.redaction import masked
from tracker.serialization import (
    DiskFormat,
    dump_json,
    dump_versioned,
    load_json,
    load_versioned,
    write_atomically,
)

JOB_FORMAT = DiskFormat()

EventName = Literal[
    "loading",  # the engine is being started
    "ready",  # the engine is loaded
    "heartbeat",  # the process is alive; progress only if `n_steps` has grown
    "task",  # a task starts: n_total items, n_done of them reused
    "unavailable",  # a task cannot be run; the others continue
    "progress",  # items were answered
    "waiting",  # a worker of several has asked its part of round `n_done`
    "run",  # a run has ended; its `run.json` is final
    "warning",
]


@dataclass(frozen=True, slots=True)
class Event:
    """One event from a worker."""

    event: EventName
    run_id: str | None = None
    task: str | None = None
    n_done: int = 0
    n_total: int = 0
    output_tokens: int = 0
    prompt_tokens: int = 0
    message: str = ""
    duration_s: float | None = None
    n_steps: int = 0  # that the engine has computed, finished answers or not


def write_job(path: Path, job: Job) -> None:
    """Write the job file of a worker."""
    write_atomically(path, dump_versioned(job, JOB_FORMAT))


def read_job(path: Path) -> Job:
    """Read the job file of a worker.

    Raises:
        TrackerError: the file is broken, or written by a newer version.
    """
    return load_versioned(Job, path.read_bytes(), JOB_FORMAT, where=str(path))


def encode(event: Event) -> bytes:
    """The event as one line; its message repeats no secret."""
    if event.message:
        event = replace(event, message=masked(event.message))
    return dump_json(event) + b"\n"


def decode(line: bytes | str) -> Event:
    """The event in one line.

    Raises:
        TrackerError: it is not an event.
    """
    return load_json(Event, line, where="worker")
