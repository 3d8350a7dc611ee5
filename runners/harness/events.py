"""What a worker tells its parent: one JSON object per line on its standard output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tracker.codec import dump_json, load_json

EventName = Literal[
    "loading",  # the engine is being started
    "ready",  # the engine answers
    "heartbeat",  # the process lives; says nothing of progress
    "task",  # a task begins: n_total items, n_done of them reused
    "unavailable",  # a task cannot be run; the others go on
    "progress",  # items were answered
    "run",  # a run has ended; its `run.json` is final
    "warning",
]


@dataclass(frozen=True, slots=True)
class Event:
    """One line from a worker."""

    event: EventName
    run_id: str | None = None
    task: str | None = None
    n_done: int = 0
    n_total: int = 0
    output_tokens: int = 0
    prompt_tokens: int = 0
    message: str = ""
    duration_s: float | None = None


def encode(event: Event) -> bytes:
    """The event as one line."""
    return dump_json(event) + b"\n"


def decode(line: bytes | str) -> Event:
    """The event in one line.

    Raises:
        TrackerError: it is no event.
    """
    return load_json(Event, line, where="worker")
