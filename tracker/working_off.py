"""`bench --queue`: one model after the other, within a budget of minutes, gigabytes and disk."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from runners.engines import choose_engine
from runners.engines.fit import plan_fit
from runners.hardware import describe_hardware
from runners.harness.events import Event
from runners.hub import download_bytes
from runners.resolve import resolve_model
from tracker import cache_care
from tracker.bench import BenchRequest, bench
from tracker.errors import BusyError, ModelError, TrackerError, UnreachableError
from tracker.queue import ATTEMPTS, DEFAULT_SUITE, is_at_work, job_of, require
from tracker.records import EngineSettings, Run, RunStatus
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
    left_bytes = math.inf if budget.max_gb is None else budget.max_gb * GB
    engine = engine or EngineSettings(engine="auto")
    _take_back(settings, suite)
    tried: set[str] = set()
    n_worked, n_down = 0, 0
    while budget.max_models is None or n_worked < budget.max_models:
        left_s = None if ends_at_s is None else ends_at_s - time.monotonic()
        if left_s is not None and left_s <= 0:
            return
        job = _take(settings, suite, tried, left_bytes)
        if job is None:
            return
        tried.add(job.model_id)
        minutes = None if left_s is None else left_s / MINUTE_S
        request = BenchRequest(model=job.model_id, engine=engine, suites=(suite,), minutes=minutes)
        worked, n_bytes = _work(settings, job, request, on_event, left_bytes=left_bytes)
        if worked is None:
            continue
        n_worked += 1
        left_bytes -= n_bytes
        yield worked
        n_down = n_down + 1 if worked.exit_code == UnreachableError.exit_code else 0
        if worked.exit_code == EXIT_INTERRUPTED or n_down == DOWN:
            return


def _work(
    settings: Settings,
    job: JobRow,
    request: BenchRequest,
    on_event: Callable[[Event], None],
    *,
    left_bytes: float,
) -> tuple[Worked | None, int]:
    """What became of the job, and the bytes of it that were to be downloaded; None if those are too many."""
    began_s = time.monotonic()
    back, n_bytes = replace(job, status="queued", lease_pid=None), 0
    try:
        back, n_bytes = foreseen(back, request, settings)
        if n_bytes > left_bytes:
            _put(settings, back)
            return None, 0
        cache_care.make_room(settings, n_bytes, keep=job.model_id)
        end = bench(request, settings, on_event)
    except UnreachableError as error:
        _put(settings, back)
        return _worked(back, str(error), began_s, error.exit_code), n_bytes
    except (BusyError, KeyboardInterrupt):
        _put(settings, back)
        raise
    except TrackerError as error:  # of this one model: a full disk, a repository that is gone
        after = _after_failure(back, "bench", str(error))
        _put(settings, after)
        return _worked(after, str(error), began_s, error.exit_code), n_bytes
    after = _after_bench(back, end.runs[0])
    _put(settings, after)
    cache_care.keep_quota(settings, keep=job.model_id)
    ids = tuple(one.run_id for one in end.runs)
    worked = _worked(after, end.runs[0].detail or end.runs[0].reason, began_s, end.exit_code)
    return replace(worked, run_ids=ids), n_bytes


def foreseen(job: JobRow, request: BenchRequest, settings: Settings) -> tuple[JobRow, int]:
    """The job with what `tracker fit` reads of its model, and how many bytes are to be downloaded.

    A model that cannot be loaded or does not fit is left to the bench, which keeps that as a run.

    Raises:
        UnreachableError: the Hub is down.
    """
    hardware = describe_hardware()
    engine = replace(request.engine, engine=choose_engine(request.engine.engine, has_gpu=hardware.has_gpu))
    try:
        model = resolve_model(job.model_id, settings, trust_remote_code=engine.trust_remote_code)
        _, fit = plan_fit(model, engine, hardware)
        n_bytes = download_bytes(model)
    except ModelError:
        return job, 0
    if fit is not None:
        job = replace(
            job,
            revision=model.revision,
            weights_bytes=fit.weights_bytes,
            predicted_bytes=fit.total_bytes,
            predicted_by="fit",
        )
    return job, n_bytes


def _after_bench(job: JobRow, run: Run) -> JobRow:
    """The job after its model was benched."""
    if run.status is RunStatus.COMPLETE or (run.status is RunStatus.PARTIAL and run.reason != "time_budget"):
        return replace(job, status="done", run_id=run.run_id)
    if run.status is RunStatus.FAILED:
        return _after_failure(job, run.reason or "failed", run.detail or run.reason or "failed")
    return replace(job, run_id=run.run_id)  # it goes on next time, where it stopped


def _worked(job: JobRow, reason: str | None, began_s: float, exit_code: int) -> Worked:
    return Worked(job.model_id, job.suite, job.status, reason, (), _since(began_s), exit_code)


def _take_back(settings: Settings, suite: str) -> None:
    """Put what a process that is gone had taken back into the line."""
    with Store.open(settings) as store:
        running = [job_of(row) for row in store.query("jobs", suite=suite, status="running")]
        left = [job for job in running if not is_at_work(job)]
        if left:
            store.put_jobs([replace(job, status="queued", lease_pid=None) for job in left])


def _take(settings: Settings, suite: str, tried: set[str], left_bytes: float) -> JobRow | None:
    """The next job, marked as ours; one that is known to be too large for the budget is passed over."""
    with Store.open(settings) as store:
        for row in store.query("jobs", suite=suite, status="queued"):
            job = job_of(row)
            to_load = (job.weights_bytes or 0) - left_bytes
            if job.model_id in tried or (to_load > 0 and cache_care.cached_bytes(job.model_id) < to_load):
                continue
            ours = replace(require(store, job.model_id, suite), status="running", lease_pid=os.getpid())
            ours = replace(ours, updated_at=datetime.now(UTC))
            store.put_jobs([ours])
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
