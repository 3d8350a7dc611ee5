"""`bench --queue`: one model after the other, within a budget of minutes, gigabytes and disk."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from runners.harness.events import Event
from tracker import cache_care
from tracker.bench import BenchRequest, bench
from tracker.errors import BusyError, TrackerError, UnreachableError
from tracker.queue import ATTEMPTS, DEFAULT_SUITE, job_of, require
from tracker.records import EngineSettings, RunStatus
from tracker.settings import Settings
from tracker.store import JobRow, Store, publish

MINUTE_S = 60.0
GB = 1e9
EXIT_INTERRUPTED = 130
STOPPING = (UnreachableError.exit_code, EXIT_INTERRUPTED)
DOWN = 2  # models in a row of which nothing could be had: then it is the Hub, not the model
PARKING = (  # reasons that a repetition does not mend
    "gated", "pickle_weights", "needs_remote_code", "missing_weights", "broken_weights", "unsupported",
    "does_not_fit", "out_of_memory",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may be spent: wall-clock minutes and gigabytes to download; None: no limit."""

    minutes: float | None = None
    max_gb: float | None = None
    max_models: int | None = None

    def __post_init__(self) -> None:
        """Refuse a budget of nothing."""
        for name in ("minutes", "max_gb", "max_models"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise TrackerError(f"--{name.replace('_', '-')} must be more than 0, got {value:g}")


@dataclass(frozen=True, slots=True)
class Worked:
    """What became of one job; the ids of its runs are in the store."""

    model_id: str
    suite: str
    status: str  # of the job afterwards
    reason: str | None
    run_ids: tuple[str, ...]
    duration_s: float
    exit_code: int


def work_off(
    settings: Settings,
    budget: Budget,
    on_event: Callable[[Event], None],
    *,
    suite: str = DEFAULT_SUITE,
    engine: EngineSettings | None = None,
) -> Iterator[Worked]:
    """Measure the queued models, the most important first, until the queue or the budget is spent.

    Ctrl-C, and a source that is down for two models in a row, end it; the queue is as it was.

    Raises:
        BusyError: another bench runs.
    """
    ends_at_s = time.monotonic() + budget.minutes * MINUTE_S if budget.minutes else None
    left_bytes = budget.max_gb * GB if budget.max_gb else None
    engine = engine or EngineSettings(engine="auto")
    tried: set[str] = set()
    n_down = 0
    while budget.max_models is None or len(tried) < budget.max_models:
        left_s = None if ends_at_s is None else ends_at_s - time.monotonic()
        if left_s is not None and left_s <= 0:
            return
        job = _take(settings, suite, tried, left_bytes)
        if job is None:
            return
        tried.add(job.model_id)
        minutes = None if left_s is None else left_s / MINUTE_S
        request = BenchRequest(model=job.model_id, engine=engine, suites=(suite,), minutes=minutes)
        worked = _work(settings, job, request, on_event)
        if left_bytes is not None and job.weights_bytes:
            left_bytes -= job.weights_bytes
        yield worked
        n_down = n_down + 1 if worked.exit_code == UnreachableError.exit_code else 0
        if worked.exit_code == EXIT_INTERRUPTED or n_down == DOWN:
            return


def _work(
    settings: Settings, job: JobRow, request: BenchRequest, on_event: Callable[[Event], None]
) -> Worked:
    began_s = time.monotonic()
    back = replace(job, status="queued", lease_pid=None)
    try:
        cache_care.make_room(settings, job.weights_bytes or 0, keep=job.model_id)
        end = bench(request, settings, on_event)
    except UnreachableError as error:
        _put(settings, back)
        return Worked(job.model_id, job.suite, "queued", str(error), (), _since(began_s), error.exit_code)
    except (BusyError, KeyboardInterrupt):
        _put(settings, back)
        raise
    except TrackerError as error:  # of this one model: a full disk, a repository that is gone
        after = _after_failure(back, "bench", str(error))
        _put(settings, after)
        return Worked(job.model_id, job.suite, after.status, str(error), (), _since(began_s), error.exit_code)
    run = end.runs[0]
    reason = run.detail or run.reason
    if run.status is RunStatus.COMPLETE or (run.status is RunStatus.PARTIAL and run.reason != "time_budget"):
        after = replace(back, status="done", run_id=run.run_id)
    elif run.status is RunStatus.FAILED:
        after = _after_failure(back, run.reason or "failed", reason or "failed")
    else:
        after = replace(back, run_id=run.run_id)  # it goes on next time, where it stopped
    _put(settings, after)
    cache_care.keep_quota(settings, keep=job.model_id)
    ids = tuple(one.run_id for one in end.runs)
    return Worked(job.model_id, job.suite, after.status, reason, ids, _since(began_s), end.exit_code)


def _take(settings: Settings, suite: str, tried: set[str], left_bytes: float | None) -> JobRow | None:
    """The next job, marked as ours; one that is too large for the rest of the budget is passed over."""
    with Store.open(settings) as store:
        for row in store.query("jobs", suite=suite, status="queued"):
            job = job_of(row)
            too_large = left_bytes is not None and (job.weights_bytes or 0) > left_bytes
            if job.model_id in tried or too_large:
                continue
            ours = replace(require(store, job.model_id, suite), status="running", lease_pid=os.getpid())
            store.put_jobs([replace(ours, updated_at=datetime.now(UTC))])
            return ours
    return None


def _after_failure(job: JobRow, reason: str, detail: str) -> JobRow:
    """Parked if trying again cannot help, back in line while attempts are left, failed otherwise."""
    if reason in PARKING:
        return replace(job, status="parked", parked_reason=f"bench: {reason}: {detail}")
    attempts = job.attempts + 1
    return replace(job, attempts=attempts, status="queued" if attempts < ATTEMPTS else "failed")


def _put(settings: Settings, job: JobRow) -> None:
    with Store.open(settings) as store:
        store.put_jobs([replace(job, updated_at=datetime.now(UTC))])
    publish(settings)


def _since(began_s: float) -> float:
    return round(time.monotonic() - began_s, 3)
