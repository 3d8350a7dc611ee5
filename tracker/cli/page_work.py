"""What the pages of `tracker app --allow-write` can start: our own commands, and changes of the queue."""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from app.data.work import StartedWork
from tracker.errors import TrackerError
from tracker.interpreter import python_command, python_environment
from tracker.private_home import create_home
from tracker.queue import jobs
from tracker.records import MOST_ITEMS, is_count
from tracker.settings import Settings
from tracker.suites import stored_suite

# a repository of the Hub, with a commit or the name of a copy; no folder, no option of the command line
MODEL = re.compile(r"demo|[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*([:@][\w./-]+)?", re.ASCII)
KEPT = 20  # of the commands that have ended; their logs stay
LOG_LINES = 6  # of a command that failed, shown on the page
LOG_BYTES = 4000
SUITE = "--suite"
LOGS = Path("cache", "pages")  # in the home


class Child(Protocol):
    """A process, as far as its end is of interest."""

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        ...


class StartChild(Protocol):
    """Starts a command with its messages in a file."""

    def __call__(self, command: Sequence[str], log_path: Path) -> Child:
        """The process."""
        ...


@dataclass(frozen=True, slots=True)
class _Started:
    words: tuple[str, ...]
    started_at: datetime
    child: Child
    log_path: Path


def start_tracker(command: Sequence[str], log_path: Path) -> Child:
    """Start one of our commands in a session of its own: Ctrl-C at the dashboard does not reach it."""
    with log_path.open("wb") as log:
        return subprocess.Popen(
            python_command("-m", "tracker", *command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=python_environment() | {"NO_COLOR": "1"},
            start_new_session=True,
        )


class PageWork:
    """Starts commands and changes the queue; sessions of several visitors may call it at the same time."""

    def __init__(self, settings: Settings, *, start: StartChild = start_tracker) -> None:
        self._settings = settings
        self._start_child = start
        self._lock = threading.Lock()
        self._started: list[_Started] = []
        self._numbers = itertools.count()  # of the commands of this server, so that no log is written over

    def start_bench(self, model_id: str, *, suite: str, limit: int | None) -> None:
        """Start `tracker bench`.

        Raises:
            TrackerError: the name is no Hub id, there is no such suite, or `limit` is no number of items.
        """
        checked = self._checked(model_id, suite)
        if limit is not None and not is_count(limit, least=1, most=MOST_ITEMS):
            raise TrackerError(f"a limit must be a whole number from 1 to {MOST_ITEMS:,}, got {limit!r}")
        at_most = [] if limit is None else ["--limit", str(limit)]
        self._start("bench", checked, SUITE, suite, *at_most)

    def start_queue(self, *, suite: str, minutes: float) -> None:
        """Start `tracker queue run` within a number of minutes.

        Raises:
            TrackerError: there is no such suite, or the number of minutes is not positive.
        """
        stored_suite(suite, own=self._settings.suites_path)
        if not minutes > 0:
            raise TrackerError(f"the minutes must be more than 0, got {minutes:g}")
        self._start("queue", "run", SUITE, suite, "--minutes", f"{minutes:g}")

    def started(self) -> list[StartedWork]:
        """The commands started here, the newest first, with the end of what a failed one wrote."""
        with self._lock:
            found = list(self._started)
        shown = []
        for one in reversed(found):
            code = one.child.poll()
            error = _last_lines(one.log_path) if code else ""
            shown.append(StartedWork(f"tracker {shlex.join(one.words)}", one.started_at, code, error))
        return shown

    def queue_model(self, model_id: str, *, suite: str, priority: float | None) -> None:
        """Add a model to the queue, unpark it, or set its priority, as `tracker queue add`."""
        with self._lock:
            jobs.add(self._settings, self._checked(model_id, suite), suite=suite, priority=priority)

    def park_model(self, model_id: str, *, suite: str) -> None:
        """Park a model, as `tracker queue park`."""
        with self._lock:
            jobs.park(self._settings, model_id, suite=suite, reason=jobs.PARKED_BY_USER)

    def remove_model(self, model_id: str, *, suite: str) -> None:
        """Remove a model from the queue, as `tracker queue remove`."""
        with self._lock:
            jobs.remove(self._settings, model_id, suite=suite)

    def _checked(self, model_id: str, suite: str) -> str:
        """The name, if both can be measured.

        Raises:
            TrackerError: the name is no Hub id, or there is no such suite.
        """
        if not MODEL.fullmatch(model_id):
            raise TrackerError(f"`{model_id}` is not a Hub id", hint="use `org/name`, or `demo`")
        stored_suite(suite, own=self._settings.suites_path)
        return model_id

    def _start(self, *words: str) -> None:
        started_at = self._settings.now()
        folder = self._settings.home / LOGS
        with self._lock:
            path = folder / f"{started_at:%Y%m%dT%H%M%S}-{next(self._numbers)}.log"
            try:
                create_home(self._settings.home)
                folder.mkdir(parents=True, exist_ok=True)
                child = self._start_child(words, path)
            except OSError as error:
                raise TrackerError(f"cannot start `tracker {words[0]}`: {error}") from error
            self._started = [*self._started, _Started(words, started_at, child, path)][-KEPT:]


def _last_lines(path: Path) -> str:
    """The end of a log, without empty lines; empty if it cannot be read."""
    try:
        text = path.read_bytes()[-LOG_BYTES:].decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join([line for line in text.splitlines() if line.strip()][-LOG_LINES:])
