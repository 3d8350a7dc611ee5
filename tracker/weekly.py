"""What the timer calls: ingest, then the queue within a budget, then the digest. One at a time in a home."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from runners.harness.events import Event
from tracker import queue
from tracker.bench import bench_lock
from tracker.digest import Digest, digest
from tracker.digest_forms import keep, kept
from tracker.errors import BusyError
from tracker.held import held
from tracker.ingest import exit_code, ingest
from tracker.ingested import IngestOutcome
from tracker.settings import Settings
from tracker.working_off import STOPPING, Budget, Worked, work_off

WEEK = timedelta(days=7)
PATIENCE_S = 6 * 3600.0  # for a bench under way: longer than most, and the timer fires once a week


@dataclass(slots=True)
class Week:
    """What one weekly run did."""

    outcomes: tuple[IngestOutcome, ...] = ()
    refreshed: queue.Refreshed | None = None
    worked: list[Worked] = field(default_factory=list)
    digest: Digest | None = None
    paths: list[Path] = field(default_factory=list)
    exit_code: int = 0


def weekly(
    settings: Settings,
    budget: Budget,
    on_event: Callable[[Event], None],
    *,
    suite: str = queue.DEFAULT_SUITE,
    on_worked: Callable[[Worked], None] = lambda worked: None,
) -> Week:
    """One week: whatever a source or a model does, the digest is written.

    Raises:
        BusyError: another weekly run is under way in this home, or a bench that does not end.
    """
    week = Week()
    with held(settings, "weekly", busy="another weekly run is under way", hint="let it finish"):
        since = last_digest(settings) or datetime.now(UTC) - WEEK
        with bench_lock(settings, what="ingest", wait_s=PATIENCE_S):
            week.outcomes = ingest([], settings)
        week.exit_code = exit_code(week.outcomes)
        week.refreshed = queue.refresh(settings, suite=suite)
        try:
            for worked in work_off(settings, budget, on_event, suite=suite):
                week.worked.append(worked)
                on_worked(worked)
                week.exit_code = worked.exit_code if worked.exit_code in STOPPING else week.exit_code
        except BusyError as error:  # somebody began a bench of their own: theirs goes on, ours is next week
            week.exit_code = error.exit_code
        queue.refresh(settings, suite=suite)
        week.digest = digest(settings, since=since, until=datetime.now(UTC))
        week.paths = keep(week.digest, settings.digests_path)
    return week


def last_digest(settings: Settings) -> datetime | None:
    """Until when the last kept digest reaches."""
    ends = [datetime.fromisoformat(one["until"]) for one in kept(settings.digests_path)]
    return max(ends, default=None)
