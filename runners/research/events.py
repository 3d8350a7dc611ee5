"""Events from the worker of a study to its parent: one JSON object per line on its standard output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tracker.serialization import dump_json, load_json

EventName = Literal[
    "opening",  # the agent is being started
    "ready",  # the agent can be asked
    "baseline",  # the tier's defaults were trained
    "asking",  # the agent is asked for proposals
    "training",  # a training ended
    "trial",  # a trial has its verdict; its file is written
    "test",  # the final comparison begins
    "transfer",  # the final change is tried at a larger size
    "ended",  # `study.json` is final for this process
    "heartbeat",  # the process lives; says nothing of progress
    "warning",
]


@dataclass(frozen=True, slots=True)
class StudyEvent:
    """One line from a worker."""

    event: EventName
    slot: int | None = None
    n_done: int = 0  # of the agent's trials
    n_total: int = 0
    verdict: str | None = None
    is_placebo: bool = False
    val_bpb: float | None = None
    status: str | None = None  # of a training, or of the study
    seed: int | None = None
    duration_s: float | None = None
    message: str = ""


def encode(event: StudyEvent) -> bytes:
    """The event as one line."""
    return dump_json(event) + b"\n"


def decode(line: bytes | str) -> StudyEvent:
    """The event in one line.

    Raises:
        TrackerError: it is no event.
    """
    return load_json(StudyEvent, line, where="worker")
