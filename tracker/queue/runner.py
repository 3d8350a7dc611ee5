"""`queue run`: measure the queued models, within a budget of time, downloads and disk space."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from runners.card_support import can_use_card
from runners.engines import AUTO, SAFETENSORS, choose_engine, engine_spec
from runners.executors.supervisor import catch_interrupts
from runners.hardware import describe_hardware
from runners.harness.events import Event
from runners.memory.fit import plan_fit
from runners.models.hub import hub_answers
from runners.models.resolve import bytes_to_download, weights_format
from tracker.bench.request import BenchRequest
from tracker.bench.run import bench, bench_lock, resolve_named, store_orphans
from tracker.bench.seats import Seat, find_seats
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
LOOK_S = 0.2  # how soon an interrupt is seen while models are measured at once
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

    With several cards each model has its own, and as many are measured at once (`tracker.bench.seats`).

    Ctrl-C, or a source that is down for two models in a row, ends it; the queue is left unchanged. Whatever
    else goes wrong with a model is kept with its job, which is parked after three attempts, and the next one
    follows.

    Raises:
        BusyError: another bench is running.
        UnknownNameError: there is no such engine.
        FieldError: the engine does not support a setting.
        UsageError: several models at once are asked for where that cannot be.
    """
    asked = engine or EngineSettings(engine=AUTO)
    work = _Work(settings, suite, budget, on_event, asked, _engine_for(asked, SAFETENSORS), where)
    seats = find_seats(where, work.engine, settings)
    _take_back(settings, suite)
    if len(seats) > 1:
        yield from _side_by_side(work, seats)
        if not work.too_large:
            return
        work.tried -= work.too_large
        work.only = frozenset(work.too_large)
    yield from _one_by_one(work)


def _one_by_one(work: _Work) -> Iterator[Worked]:
    while not work.is_over and (taken := work.take()) is not None:
        worked = work.measure(*taken)
        work.note(worked)
        if worked is not None:
            yield worked


def _side_by_side(work: _Work, seats: Sequence[Seat]) -> Iterator[Worked]:
    """Measure as many models at once as there are seats; an interrupt ends all of them."""
    free = list(seats)
    running: dict[Future[Worked | None], Seat] = {}
    with (
        bench_lock(work.settings, what="queue run"),
        catch_interrupts() as interrupts,
        ThreadPoolExecutor(len(seats), thread_name_prefix="queue") as pool,
    ):
        store_orphans(work.settings)
        try:
            while True:
                while free and not work.is_over and not interrupts and (taken := work.take()) is not None:
                    seat = free.pop(0)
                    running[pool.submit(work.measure, *taken, seat=seat, interrupts=interrupts)] = seat
                if not running:
                    return
                for future in wait(running, timeout=LOOK_S, return_when=FIRST_COMPLETED).done:
                    free.append(running.pop(future))
                    worked = future.result()
                    work.note(worked)
                    if worked is not None:
                        yield worked
        finally:
            if running:  # the caller wants no more, or something is wrong with the home
                interrupts.append(time.monotonic())


@dataclass(slots=True)
class _Work:
    """One working off of a queue: what is left of its budget, what was tried, what is being measured.

    One thread takes the jobs and notes their ends; several may measure.
    """

    settings: Settings
    suite: str
    budget: Budget
    on_event: Callable[[Event], None]
    asked: EngineSettings
    engine: EngineSettings  # for safetensors
    where: Where
    only: frozenset[str] | None = None  # models to take; None: all
    tried: set[str] = field(default_factory=set)
    too_large: set[str] = field(default_factory=set)  # models for their part of a card
    at_work: set[str] = field(default_factory=set)
    is_over: bool = False  # whether no further model is to be taken
    _n_open: int = 0  # jobs that were taken and whose end was not noted
    _n_worked: int = 0
    _n_down: int = 0
    _ends_at_s: float | None = None
    _left_bytes: float = math.inf
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Start the clock."""
        if self.budget.minutes:
            self._ends_at_s = time.monotonic() + self.budget.minutes * MINUTE_S
        if self.budget.max_gb is not None and engine_spec(self.engine.engine).loads_weights:
            self._left_bytes = self.budget.max_gb * GB

    def take(self) -> tuple[JobRow, BenchRequest] | None:
        """The next job, marked as running; None: the queue is empty, or the budget is spent."""
        while True:
            left_s = None if self._ends_at_s is None else self._ends_at_s - time.monotonic()
            if left_s is not None and left_s <= 0:
                return None
            most = self.budget.max_models
            if most is not None and self._n_worked + self._n_open >= most:
                return None
            job = _take(self.settings, self.suite, self.tried, self._left_bytes, only=self.only)
            if job is None:
                return None
            self.tried.add(job.model_id)
            try:
                own = engine_of(job.model_id, self.asked, self.engine)
            except TrackerError as error:  # llama.cpp does not take a setting that is meant for the others
                _put(self.settings, replace(job, status="queued", lease_pid=None))
                get_logger("queue").warning(
                    "model left in the queue", model_id=job.model_id, error=str(error)
                )
                continue
            self._n_open += 1
            with self._lock:
                self.at_work.add(job.model_id)
            return job, BenchRequest(
                model=job.model_id,
                engine=own,
                suites=(self.suite,),
                minutes=None if left_s is None else left_s / MINUTE_S,
                executor=self.where.executor,
                data_parallel=self.where.data_parallel,
            )

    def note(self, worked: Worked | None) -> None:
        """Note the end of a job; None: it was not measured."""
        self._n_open -= 1
        if worked is None:
            return
        self._n_worked += 1
        self._n_down = self._n_down + 1 if worked.exit_code == UnreachableError.exit_code else 0
        self.is_over = self.is_over or worked.exit_code == EXIT_INTERRUPTED or self._n_down == DOWN

    def measure(
        self,
        job: JobRow,
        request: BenchRequest,
        *,
        seat: Seat | None = None,
        interrupts: Sequence[float] | None = None,
    ) -> Worked | None:
        """Measure one job; returns its outcome.

        The outcome is None, and the job stays queued, if the download is too large, the server has no model
        of this name, or the model is too large for its part of a card.
        """
        try:
            return self._measured(job, request, seat, interrupts)
        finally:
            with self._lock:
                self.at_work.discard(job.model_id)

    def _measured(
        self, job: JobRow, request: BenchRequest, seat: Seat | None, interrupts: Sequence[float] | None
    ) -> Worked | None:
        settings, began_s = self.settings, time.monotonic()
        back = replace(job, status="queued", lease_pid=None)
        try:
            back, n_bytes = foreseen(back, request, settings)
            is_too_large = seat is not None and _is_too_large(request, settings, seat)
            if is_too_large or not self._may_load(n_bytes):
                if is_too_large:
                    self.too_large.add(job.model_id)
                _put(settings, back)
                return None
            if n_bytes:
                with self._lock:
                    hub_cache.make_room(settings, n_bytes, keep=job.model_id, at_work=frozenset(self.at_work))
            end = bench(request, settings, self._told(job, seat), seat=seat, interrupts=interrupts)
            after = _after_bench(back, end.runs[0])
        except NotServedError:
            _put(settings, back)
            return None
        except BaseException as error:
            if isinstance(error, BusyError) or not is_failure(error):
                _put(settings, back)
                raise
            return _failed(settings, back, request, error, began_s)
        _put(settings, after)
        if engine_spec(request.engine.engine).loads_weights:
            with self._lock:
                _keep_quota(settings, keep=job.model_id, at_work=frozenset(self.at_work))
        ids = tuple(one.run_id for one in end.runs)
        worked = _worked(after, end.runs[0].detail or end.runs[0].reason, began_s, end.exit_code)
        return replace(worked, run_ids=ids)

    def _may_load(self, n_bytes: int) -> bool:
        """Take the bytes from the budget, if they are left."""
        with self._lock:
            if n_bytes > self._left_bytes:
                return False
            self._left_bytes -= n_bytes
            return True

    def _told(self, job: JobRow, seat: Seat | None) -> Callable[[Event], None]:
        """What passes the events of a job on; of several at once, with the name of the model."""
        if seat is None:
            return self.on_event
        name = job.model_id.rpartition("/")[2]

        def tell(event: Event) -> None:
            said = event.message if event.event == "run" else event.message and f"{name}: {event.message}"
            named = replace(event, task=event.task and f"{name}: {event.task}", message=said)
            with self._lock:
                self.on_event(named)

        return tell


def _is_too_large(request: BenchRequest, settings: Settings, seat: Seat) -> bool:
    """Whether a model does not fit its part of a card or of the memory; alone it may fit."""
    if not seat.n_beside or seat.hardware is None:
        return False
    try:
        plan_fit(resolve_named(request.model, request.engine, settings), request.engine, seat.hardware)
    except ModelError as error:
        return error.reason == "does_not_fit"
    return False


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


def _keep_quota(settings: Settings, *, keep: str, at_work: Collection[str]) -> None:
    """Clean the Hub's cache; a folder in it that cannot be read must not end the queue."""
    try:
        hub_cache.keep_quota(settings, keep=keep, at_work=at_work)
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


def _take(
    settings: Settings,
    suite: str,
    tried: Collection[str],
    left_bytes: float,
    *,
    only: Collection[str] | None = None,
) -> JobRow | None:
    """The next job, of one of these models, marked as running; those too large for the budget are skipped."""
    with Store.open(settings) as store:
        for row in store.query("jobs", suite=suite, status="queued"):
            job = job_of(row)
            to_load = (job.weights_bytes or 0) - left_bytes
            is_wanted = job.model_id not in tried and (only is None or job.model_id in only)
            if not is_wanted or (to_load > 0 and _cached_bytes(job.model_id) < to_load):
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
