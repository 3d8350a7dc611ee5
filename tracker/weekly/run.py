"""The weekly run: ingest, then the queue within a budget, then the digest. One at a time per home."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from runners.card_support import can_use_card
from runners.engines import choose_engine
from runners.hardware import describe_hardware
from runners.harness.events import Event
from tracker.answers.digest import digest
from tracker.answers.digest_formats import keep, kept
from tracker.answers.digest_records import Digest
from tracker.bench.run import bench_lock
from tracker.errors import TrackerError, describe_failure, is_failure
from tracker.ingest.run import exit_code, ingest
from tracker.locks import exclusive_lock
from tracker.logs import get_logger
from tracker.queue import jobs as queue
from tracker.queue.runner import (
    STOPPING,
    Budget,
    Worked,
    work_off,
)
from tracker.records import EngineSettings
from tracker.records.published import IngestOutcome
from tracker.settings import Settings

WEEK = timedelta(days=7)
T = TypeVar("T")
PATIENCE_S = 6 * 3600.0  # wait for a running bench: longer than most of them, and the timer fires once a week


@dataclass(slots=True)
class Week:
    """The result of one weekly run."""

    outcomes: tuple[IngestOutcome, ...] = ()
    refreshed: queue.Refreshed | None = None
    worked: list[Worked] = field(default_factory=list)
    digest: Digest | None = None
    paths: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # of its own steps, one sentence each
    exit_code: int = 0

    def attempt(self, what: str, do: Callable[[], T]) -> T | None:
        """The result of one step; if it fails, that is a problem of this week, and the next step follows."""
        try:
            return do()
        except BaseException as error:
            if not is_failure(error):
                raise
            self.problems.append(f"{what}: {describe_failure(error)}")
            self.exit_code = error.exit_code if isinstance(error, TrackerError) else 1
            if not isinstance(error, TrackerError):
                get_logger("weekly").warning("step failed", step=what, exc_info=error)
            return None


def weekly(
    settings: Settings,
    budget: Budget,
    on_event: Callable[[Event], None],
    *,
    suite: str = queue.DEFAULT_SUITE,
    engine: EngineSettings | None = None,
    on_worked: Callable[[Worked], None] = lambda worked: None,
) -> Week:
    """Do one weekly run; the digest is written whatever a source, a model or another step does.

    Raises:
        BusyError: another weekly run is running in this home, or a bench that does not end.
        UnknownNameError: there is no such engine.
        FieldError: the engine does not support a setting.
    """
    week = Week()
    if engine is not None:  # report errors now, not after the ingest
        engine = choose_engine(engine, has_gpu=can_use_card(describe_hardware(), engine=engine.engine))
    with exclusive_lock(
        settings, "weekly", busy="another weekly run is in progress", hint="wait for it to finish"
    ):
        since = week.attempt("last digest", lambda: last_digest(settings)) or settings.now() - WEEK
        with bench_lock(settings, what="ingest", wait_s=PATIENCE_S):
            week.outcomes = week.attempt("ingest", lambda: ingest([], settings)) or ()
        week.exit_code = week.exit_code or exit_code(week.outcomes)
        week.refreshed = week.attempt("queue", lambda: queue.refresh(settings, suite=suite))

        def measure() -> None:
            for worked in work_off(settings, budget, on_event, suite=suite, engine=engine):
                week.worked.append(worked)
                on_worked(worked)
                week.exit_code = worked.exit_code if worked.exit_code in STOPPING else week.exit_code

        week.attempt("queue", measure)
        week.attempt("queue", lambda: queue.refresh(settings, suite=suite))
        until = settings.now()
        week.digest = week.attempt("digest", lambda: digest(settings, since=since, until=until))
        if week.digest is not None:
            made = week.digest
            week.paths = week.attempt("digest", lambda: keep(made, settings.digests_path)) or []
    return week


def last_digest(settings: Settings) -> datetime | None:
    """End of the period that the last stored digest covers."""
    ends = [datetime.fromisoformat(one["until"]) for one in kept(settings.digests_path)]
    return max(ends, default=None)
