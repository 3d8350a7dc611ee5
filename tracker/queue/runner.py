"""`queue run`: measure one model after another, within a budget of time, downloads and disk space."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from runners.card_support import can_use_card
from runners.engines import AUTO, SAFETENSORS, choose_engine, engine_spec
from runners.hardware import describe_hardware
from runners.harness.events import Event
from runners.memory.fit import plan_fit
from runners.models.hub import hub_answers
from runners.models.resolve import bytes_to_download, weights_format
from tracker.bench.request import BenchRequest
from tracker.bench.run import bench, resolve_named
from tracker.bench.workers import HERE, Where
from tracker.errors import (
    EXIT_INTERRUPTED,
    BusyError,
    FieldError,
    ModelError,
    NotServedError,
    TrackerError,
    UnreachableError,
    describe_failure,
    is_failure,
)
from tracker.logs import get_logger
from tracker.queue import hub_cache
from tracker.queue.jobs import (
    ATTEMPTS,
    DEFAULT_SUITE,
    TRIED,
    is_at_work,
    job_of,
    require,
)
from tracker.records import EngineSettings, Run, RunStatus
from tracker.settings import Settings
from tracker.store import JobRow, Store, publish

MINUTE_S = 60.0
GB = 1e9
STOPPING = (UnreachableError.exit_code, EXIT_INTERRUPTED)
DOWN = 2  # unreachable models in a row after which the source itself counts as down
PARKING = (  # reasons for which repeating does not help
    "gated", "pickle_weights", "needs_remote_code", "missing_weights", "broken_weights", "unsupported",
    "does_not_fit", "out_of_memory",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits: wall-clock minutes, gigabytes to download, models; None: no limit."""

    minutes: float | None = None
    max_gb: float | None = None
    max_models: int | None = None

    def __post_init__(self) -> None:
        """Refuse a limit that is not positive."""
        for name in ("minutes", "max_gb", "max_models"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise FieldError(name, f"must be more than 0, got {value:g}")


@dataclass(frozen=True, slots=True)
class Worked:
    """The outcome of one job; its runs are in the store."""

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
    where: Where = HERE,
) -> Iterator[Worked]:
    """Measure queued models, highest priority first, until the queue is empty or the budget is spent.

    Ctrl-C, or a source that is down for two models in a row, ends it; the queue is left unchanged. Whatever
    else goes wrong with a model is kept with its job, which is parked after three attempts, and the next one
    follows.

    Raises:
        BusyError: another bench is running.
        UnknownNameError: there is no such engine.
        FieldError: the engine does not support a setting.
    """
    ends_at_s = time.monotonic() + budget.minutes * MINUTE_S if budget.minutes else None
    left_bytes = math.inf if budget.max_gb is None else budget.max_gb * GB
    asked = engine or EngineSettings(engine=AUTO)
    engine = _engine_for(asked, SAFETENSORS)
    if not engine_spec(engine.engine).loads_weights:
        left_bytes = math.inf  # nothing is downloaded
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
        try:
            own = engine_of(job.model_id, asked, engine)
        except TrackerError as error:  # llama.cpp does not take a setting that is meant for the others
            _put(settings, replace(job, status="queued", lease_pid=None))
            get_logger("queue").warning("model left in the queue", model_id=job.model_id, error=str(error))
            continue
        request = BenchRequest(
            model=job.model_id,
            engine=own,
            suites=(suite,),
            minutes=minutes,
            executor=where.executor,
            data_parallel=where.data_parallel,
        )
        worked, n_bytes = _work(settings, job, request, on_event, left_bytes=left_bytes)
        if worked is None:
            continue
        n_worked += 1
        left_bytes -= n_bytes
        yield worked
        n_down = n_down + 1 if worked.exit_code == UnreachableError.exit_code else 0
        if worked.exit_code == EXIT_INTERRUPTED or n_down == DOWN:
            return


def engine_of(model_id: str, asked: EngineSettings, default: EngineSettings) -> EngineSettings:
    """The engine for one job: `default`, or with `auto` one that reads the format of its weights.

    Raises:
        TrackerError: that engine does not accept a setting.
    """
    format_ = weights_format(model_id)
    return default if format_ == SAFETENSORS or asked.engine != AUTO else _engine_for(asked, format_)


def _engine_for(asked: EngineSettings, weights: str) -> EngineSettings:
    """The engine for models whose weights have this format."""
    has_gpu = can_use_card(describe_hardware(), engine=asked.engine)
    return choose_engine(asked, has_gpu=has_gpu, weights=weights)


def _work(
    settings: Settings,
    job: JobRow,
    request: BenchRequest,
    on_event: Callable[[Event], None],
    *,
    left_bytes: float,
) -> tuple[Worked | None, int]:
    """Measure one job; returns its outcome and the bytes to download.

    The outcome is None, and the job stays queued, if the download is too large or the server has no
    model of this name.
    """
    began_s = time.monotonic()
    back, n_bytes = replace(job, status="queued", lease_pid=None), 0
    try:
        back, n_bytes = foreseen(back, request, settings)
        if n_bytes > left_bytes:
            _put(settings, back)
            return None, 0
        if n_bytes:
            hub_cache.make_room(settings, n_bytes, keep=job.model_id)
        end = bench(request, settings, on_event)
        after = _after_bench(back, end.runs[0])
    except NotServedError:
        _put(settings, back)
        return None, 0
    except BaseException as error:
        if isinstance(error, BusyError) or not is_failure(error):
            _put(settings, back)
            raise
        return _failed(settings, back, request, error, began_s), n_bytes
    _put(settings, after)
    if engine_spec(request.engine.engine).loads_weights:
        _keep_quota(settings, keep=job.model_id)
    ids = tuple(one.run_id for one in end.runs)
    worked = _worked(after, end.runs[0].detail or end.runs[0].reason, began_s, end.exit_code)
    return replace(worked, run_ids=ids), n_bytes


def _failed(
    settings: Settings, back: JobRow, request: BenchRequest, error: BaseException, began_s: float
) -> Worked:
    """Record what went wrong with one model: a full disk, a repository that is gone, a bug of ours.

    It counts as an attempt unless the Hub, or the server, is down for every model.
    """
    said = describe_failure(error)
    if isinstance(error, UnreachableError) and _is_down(request.engine):
        _put(settings, back)
        return _worked(back, said, began_s, error.exit_code)
    code = ModelError.exit_code
    if isinstance(error, TrackerError) and not isinstance(error, UnreachableError):
        code = error.exit_code
    else:
        get_logger("queue").warning("model failed", model_id=back.model_id, error=said, exc_info=error)
    after = _after_failure(back, "error", said)
    _put(settings, after)
    return _worked(after, said, began_s, code)


def _is_down(engine: EngineSettings) -> bool:
    """Whether an `UnreachableError` is about every model: a server's, or a Hub's that does not answer."""
    return not engine_spec(engine.engine).loads_weights or not hub_answers()


def _keep_quota(settings: Settings, *, keep: str) -> None:
    """Clean the Hub's cache; a folder in it that cannot be read must not end the queue."""
    try:
        hub_cache.keep_quota(settings, keep=keep)
    except BaseException as error:
        if not is_failure(error):
            raise
        get_logger("queue").warning("the Hub's cache is not cleaned", error=describe_failure(error))


def _cached_bytes(model_id: str) -> int:
    """Bytes of this model in the Hub's cache; 0 if the cache cannot be read."""
    try:
        return hub_cache.cached_bytes(model_id)
    except BaseException as error:
        if not is_failure(error):
            raise
        get_logger("queue").warning("the Hub's cache cannot be read", error=describe_failure(error))
        return 0


def foreseen(job: JobRow, request: BenchRequest, settings: Settings) -> tuple[JobRow, int]:
    """The job with the prediction of `tracker fit`, and the number of bytes to download.

    A model that cannot be loaded or does not fit is left to the bench, which records a failed run.

    Raises:
        NotServedError: the server has no model of this name.
        UnreachableError: the Hub, or the model's server, is down.
    """
    try:
        model = resolve_named(job.model_id, request.engine, settings)
        fit = plan_fit(model, request.engine, describe_hardware()).fit
        n_bytes = bytes_to_download(model, request.engine)
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
    """The job after its model was measured."""
    if run.status is RunStatus.COMPLETE or (run.status is RunStatus.PARTIAL and run.reason != "time_budget"):
        return replace(job, status="done", run_id=run.run_id, parked_reason=None)
    if run.status is RunStatus.FAILED:
        return _after_failure(job, run.reason or "failed", run.detail or run.reason or "failed")
    return replace(job, run_id=run.run_id)  # it resumes next time


def _worked(job: JobRow, reason: str | None, began_s: float, exit_code: int) -> Worked:
    return Worked(job.model_id, job.suite, job.status, reason, (), _since(began_s), exit_code)


def _take_back(settings: Settings, suite: str) -> None:
    """Requeue the jobs of processes that have ended."""
    with Store.open(settings) as store:
        running = [job_of(row) for row in store.query("jobs", suite=suite, status="running")]
        left = [job for job in running if not is_at_work(job)]
        if left:
            store.put_jobs([replace(job, status="queued", lease_pid=None) for job in left])


def _take(settings: Settings, suite: str, tried: set[str], left_bytes: float) -> JobRow | None:
    """The next job, marked as running; jobs known to be too large for the budget are skipped."""
    with Store.open(settings) as store:
        for row in store.query("jobs", suite=suite, status="queued"):
            job = job_of(row)
            to_load = (job.weights_bytes or 0) - left_bytes
            if job.model_id in tried or (to_load > 0 and _cached_bytes(job.model_id) < to_load):
                continue
            ours = replace(require(store, job.model_id, suite), status="running", lease_pid=os.getpid())
            ours = replace(ours, updated_at=datetime.now(UTC))
            store.put_jobs([ours])
            return ours
    return None


def _after_failure(job: JobRow, reason: str, detail: str) -> JobRow:
    """The job with the reason: parked at once if repeating cannot help, else after its last attempt."""
    why = f"{reason}: {detail}"
    if reason in PARKING:
        return replace(job, status="parked", parked_reason=f"bench: {why}")
    attempts = job.attempts + 1
    if attempts < ATTEMPTS:
        return replace(job, attempts=attempts, parked_reason=f"bench: {why}")
    return replace(job, attempts=attempts, status="parked", parked_reason=f"{TRIED} {attempts} times: {why}")


def _put(settings: Settings, job: JobRow) -> None:
    with Store.open(settings) as store:
        store.put_jobs([replace(job, updated_at=datetime.now(UTC))])
    publish(settings)


def _since(began_s: float) -> float:
    return round(time.monotonic() - began_s, 3)
