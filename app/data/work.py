"""Work that a page may start: benches, and changes of the queue. Off unless the server was given it.

The app does not import what measures: the command line hands it over (`tracker app --allow-write`), and its
functions are those of `tracker bench` and `tracker queue`. Without it every attempt is refused here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tracker.errors import TrackerError
from tracker.settings import load_settings
from tracker.suites import suite_names

NOT_ALLOWED = "this dashboard only shows results: it was started without `--allow-write`"
HOW_TO_ALLOW = (
    "start it with `tracker app --allow-write` to start benches and change the queue from its pages"
)


@dataclass(frozen=True, slots=True)
class StartedWork:
    """A command that was started from a page."""

    command: str  # as it would be typed
    started_at: datetime
    exit_code: int | None  # None: it runs
    error: str  # the last lines of its messages, if it ended with an exit code other than 0


class Work(Protocol):
    """Starts work and changes the queue; each call raises a `TrackerError` if that cannot be done."""

    def start_bench(self, model_id: str, *, suite: str, limit: int | None) -> None:
        """Start `tracker bench` as a process of its own, which outlives the dashboard."""
        ...

    def start_queue(self, *, suite: str, minutes: float) -> None:
        """Start `tracker queue run` as a process of its own."""
        ...

    def started(self) -> Sequence[StartedWork]:
        """The commands started from pages of this server, the newest first."""
        ...

    def queue_model(self, model_id: str, *, suite: str, priority: float | None) -> None:
        """Add a model to the queue, unpark it, or set its priority."""
        ...

    def park_model(self, model_id: str, *, suite: str) -> None:
        """Park a model of the queue."""
        ...

    def remove_model(self, model_id: str, *, suite: str) -> None:
        """Remove a model from the queue."""
        ...


_allowed: list[Work] = []


def allow(work: Work | None) -> None:
    """Let the pages of this server start work, or with None nothing any more."""
    _allowed[:] = [] if work is None else [work]


def is_allowed() -> bool:
    """Whether the pages may start work."""
    return bool(_allowed)


def allowed_work() -> Work:
    """What starts the work.

    Raises:
        TrackerError: the server was started without `--allow-write`.
    """
    if not _allowed:
        raise TrackerError(NOT_ALLOWED, hint=HOW_TO_ALLOW)
    return _allowed[0]


def suites() -> list[str]:
    """The suites that can be measured, those of the home too."""
    return suite_names(load_settings().suites_path)
