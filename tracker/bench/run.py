"""`bench`: resolve a model, check that it fits, run it in a child process, store and publish its runs.

May import everything but the command line and the app.
"""

from __future__ import annotations

import errno
import os
import secrets
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from runners.card_support import can_use_card
from runners.engines import choose_engine
from runners.executors import Executor, open_executor
from runners.executors.jobs import JobEnd, end_job, forget_job, reap_orphans, run_job
from runners.hardware import Hardware, describe_hardware
from runners.harness.events import Event
from runners.harness.sample import SAMPLE_SEED
from runners.harness.task_index import folders_of, tasks_that_run_code
from runners.memory.fit import changes, plan_fit
from runners.models.resolve import resolve_model, stored_model_id, weights_format
from runners.sandbox import run as sandbox
from tracker.answers.models import known_id
from tracker.bench.expected_tokens import expected_tokens
from tracker.bench.request import (
    BenchRequest,
    check_mean,
    check_mean_of,
    check_reference,
    check_until,
    in_turn,
    suites_of,
    with_suite,
)
from tracker.bench.seats import Seat
from tracker.bench.workers import (
    card_groups,
    check_memory,
    check_shareable,
    count_workers,
    least_hardware,
)
from tracker.errors import (
    BusyError,
    DiskFullError,
    ModelError,
    StoreError,
    TrackerError,
)
from tracker.files.items import write_run
from tracker.locks import exclusive_lock
from tracker.logs import get_logger, start_logging
from tracker.private_home import create_home
from tracker.records import (
    EngineSettings,
    Job,
    Model,
    Run,
    RunRequest,
    RunStatus,
    Suite,
)
from tracker.records.paired import PairedReference
from tracker.serialization import dump, write_atomically
from tracker.settings import Settings
from tracker.store import WRITABLE_HINT, Store, clean_up, open_snapshot, publish, snapshot_id

UNRESOLVED = "unresolved"  # revision of a model that was refused before it could be pinned


@dataclass(frozen=True, slots=True)
class Refusal(JobEnd):
    """The end of a job that never started: its failed runs and the error. There is no worker log."""

    error: ModelError


def bench(
    request: BenchRequest,
    settings: Settings,
    on_event: Callable[[Event], None],
    *,
    seat: Seat | None = None,
    interrupts: Sequence[float] | None = None,
) -> JobEnd:
    """Measure one model; every run is stored and published before this returns.

    A model that must not or cannot be run ends in a `Refusal`, whose runs are stored like any others.

    `seat`: what it may use while others are measured; who gives one holds the lock of benches. `interrupts`:
    as for `run_job`.

    Raises:
        TrackerError: a clear user error, before anything was loaded.
        StoreError: the home cannot be written.
        UnreachableError: the Hub or the server is down.
    """
    start_logging(settings.log_level)
    request = with_suite(request, on_event)
    suites = suites_of(request, own=settings.suites_path)
    check_home(settings)
    _check_tasks(suites, settings)
    executor = request.executor or settings.executor
    place = open_executor(executor, settings)
    hardware, has_gpu = _place_of(place, request.engine)
    if seat is not None and seat.hardware is not None:
        hardware = seat.hardware
    weights = weights_format(request.model)
    request = replace(request, engine=choose_engine(request.engine, has_gpu=has_gpu, weights=weights))
    runs = _run_requests(request, suites)
    reference = paired_reference(request, suites, settings)
    check_shareable(request.engine, request.data_parallel, in_turn=in_turn(request))
    n_workers = count_workers(
        request.data_parallel, request.engine, hardware, has_gpu=has_gpu, place=place, name=executor
    )
    with bench_lock(settings, what=request.model) if seat is None else nullcontext():
        if seat is None:
            store_orphans(settings)
        model = None
        try:
            model = resolve_named(request.model, request.engine, settings)
            job = replace(_job(request, model, runs, settings), reference=reference)
            job = replace(job, expected_tokens=expected_tokens(job, settings))
            job = _fitted(job, hardware, place, n_workers)
            job = job if seat is None else seat.seated(job)
        except ModelError as error:
            return _refuse(request, model, runs, error, settings)
        cards = card_groups(job.settings, hardware, n_workers) if n_workers > 1 else ((),)
        return _run(job, settings, on_event, executor=executor, cards=cards, interrupts=interrupts)


def _place_of(place: Executor, engine: EngineSettings) -> tuple[Hardware, bool]:
    """The hardware where the executor runs the job, and whether a card is used there."""
    describe = getattr(place, "describe", None)
    if describe is None:
        hardware = describe_hardware()
        return hardware, can_use_card(hardware, engine=engine.engine)
    hardware = describe(engine)
    return hardware, hardware.has_gpu


def _fitted(job: Job, hardware: Hardware, place: Executor, n_workers: int) -> Job:
    """The job with settings that fit where it runs, for each of the workers.

    Raises:
        ModelError: no settings fit.
        TrackerError: they fit, but not as often.
    """
    if getattr(place, "is_unknown", False):
        unknown = ("fit: the hardware is chosen by the executor; it is tried as asked",)
        return replace(job, warnings=(*job.warnings, *unknown))
    job = with_fitting_settings(
        job, least_hardware(job.settings, hardware, n_workers) if n_workers > 1 else hardware
    )
    check_memory(job, hardware, n_workers)
    return job


def paired_reference(
    request: BenchRequest, suites: Sequence[Suite], settings: Settings
) -> PairedReference | None:
    """Where the answers of the reference to these suites are stored; None: none is named.

    Raises:
        UnknownNameError: nothing measured here is called so.
        TrackerError: it is the model itself, or was not measured on any of these suites.
    """
    if request.until_better_than is None:
        return None
    if snapshot_id(settings) is None:
        hint = f"`tracker bench {request.until_better_than} --suite {suites[0].name}` measures it"
        raise TrackerError("nothing has been measured here yet, so there is no reference", hint=hint)
    with open_snapshot(settings) as snapshot:
        model_id = known_id(request.until_better_than, snapshot.query("models"))
        rows = snapshot.query("comparable_runs", models=[model_id])
    if model_id == stored_model_id(request.model, engine=request.engine.engine):
        raise TrackerError(f"`{model_id}` cannot be its own reference", hint="name another model")
    wanted = {(suite.name, suite.version) for suite in suites}
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        if (row["suite"], row["suite_version"]) in wanted:
            found.setdefault(row["suite"], {})[row["task"]] = row["fingerprint"]
    if not found:
        names = ", ".join(f"`{suite.name}`" for suite in suites)
        hint = f"`tracker bench {model_id} --suite {suites[0].name}` first"
        raise TrackerError(f"the reference `{model_id}` was not measured on {names}", hint=hint)
    return PairedReference(model_id, found)


def _run_requests(request: BenchRequest, suites: Sequence[Suite]) -> tuple[RunRequest, ...]:
    """One run for each suite, or for each suite and token budget.

    Raises:
        UsageError: a suite repeats its questions or has no fixed mean, and a precision is asked for.
    """
    runs = []
    for suite in suites:
        asked = replace(
            suite,
            sampling=suite.sampling if request.sampling is None else request.sampling,
            repeats=suite.repeats if request.repeats is None else request.repeats,
        )
        check_until(asked.repeats, request.until_half_width)
        check_reference(request, asked.repeats)
        check_mean(request, asked.repeats)
        if request.until_mean_half_width is not None:
            check_mean_of(asked)
        for budget in request.thinking_budgets or (None,):
            tasks = (
                suite.tasks
                if budget is None
                else tuple(replace(task, max_output_tokens=budget) for task in suite.tasks)
            )
            runs.append(RunRequest(new_run_id(), replace(asked, tasks=tasks), max_output_tokens=budget))
    return tuple(runs)


def check_home(settings: Settings) -> None:
    """Create the home and check that it can be written, before anything slow starts.

    Raises:
        DiskFullError: the disk is full.
        StoreError: it cannot be written.
    """
    try:
        create_home(settings.home)
        settings.locks_path.mkdir(parents=True, exist_ok=True)
        tried = settings.locks_path / f"try-{os.getpid()}-{threading.get_ident()}"
        write_atomically(tried, b"-")
        tried.unlink()
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFullError(str(settings.home)) from error
        message = f"{settings.home}: cannot be written: {error.strerror}"
        raise StoreError(message, hint=WRITABLE_HINT) from error


def _check_tasks(suites: Sequence[Suite], settings: Settings) -> None:
    """Refuse unknown tasks, and suites whose scores need a sandbox where there is none, before all else."""
    cache_path = settings.home / "cache"
    for suite in suites:
        names = [task.task for task in suite.tasks]
        folders_of(names, include_path=suite.include_path, cache_path=cache_path)
        refused = tasks_that_run_code(names, include_path=suite.include_path, cache_path=cache_path)
        if len(refused) == len(names) and not (found := sandbox.probe()).is_trusted:  # others are asked
            raise TrackerError(
                f"suite `{suite.name}` is refused: scoring it runs programs that the model wrote, "
                f"which needs bubblewrap: {found.why or '; '.join(found.lacks)}",
                hint=sandbox.BUBBLEWRAP_HINT,
            )


def store_orphans(settings: Settings) -> None:
    """Store the runs of benches that were killed, and clean up after them; the caller holds the lock."""
    reaped = reap_orphans(settings)
    get_logger("bench").info("orphans reaped", runs=[run.run_id for run in reaped])
    store_runs(settings, reaped)
    forget_job(settings, reaped)
    with suppress(BusyError):  # the next one does it
        clean_up(settings, holding=("bench",))


def _job(request: BenchRequest, model: Model, runs: tuple[RunRequest, ...], settings: Settings) -> Job:
    return Job(
        model=model,
        settings=request.engine,
        runs=runs,
        items_path=str(settings.items_path),
        limit=request.limit,
        sample_seed=None if request.limit is None else SAMPLE_SEED,
        until_half_width=request.until_half_width,
        until_mean_half_width=request.until_mean_half_width,
        replicate=request.replicate,
        minutes=request.minutes,
        flush_s=settings.flush_s,
    )


def with_fitting_settings(job: Job, hardware: Hardware) -> Job:
    """The job with settings that fit; the warnings list what was changed, or that nothing is known.

    Raises:
        ModelError: no settings fit.
    """
    plan = plan_fit(job.model, job.settings, hardware)
    if plan.fit is None:
        unknown = (f"fit: {plan.unknown}; it is tried as asked",) if plan.unknown else ()
        return replace(job, settings=plan.settings, warnings=(*job.warnings, *unknown))
    told = changes(job.settings, plan.settings, plan.fit, hardware=hardware)
    return replace(job, settings=plan.settings, fit=dump(plan.fit), warnings=(*job.warnings, *told))


def _run(
    job: Job,
    settings: Settings,
    on_event: Callable[[Event], None],
    *,
    executor: str,
    cards: Sequence[Sequence[str]],
    interrupts: Sequence[float] | None,
) -> JobEnd:
    for warning in job.warnings:
        on_event(Event("warning", message=warning))
    log = get_logger("bench")
    log.info(
        "job begins", model_id=job.model.model_id, revision=job.model.revision, engine=job.settings.engine
    )
    try:
        end = run_job(job, settings, on_event, executor=executor, cards=cards, interrupts=interrupts)
    except BaseException:  # such as what `on_event` raises: what was measured until then is kept
        runs = end_job(settings, job.runs[0].run_id)
        store_runs(settings, runs)
        forget_job(settings, runs)
        raise
    store_runs(settings, end.runs)
    forget_job(settings, end.runs)
    log.info("job ended", exit_code=end.exit_code, runs={r.run_id: r.status for r in end.runs})
    return end


def _refuse(
    request: BenchRequest,
    model: Model | None,
    runs: Sequence[RunRequest],
    error: ModelError,
    settings: Settings,
) -> Refusal:
    """Record failed runs for a model that must not or cannot be run; its commit may be unknown."""
    if model is None:
        model = Model(stored_model_id(request.model, engine=request.engine.engine), UNRESOLVED)
    get_logger("bench").info("refused", model_id=model.model_id, reason=error.reason)
    refused = tuple(_refused_run(run, model, request, error) for run in runs)
    for run in refused:
        write_run(settings.items_path, run)
    store_runs(settings, refused)
    log_path = settings.home / "jobs" / runs[0].run_id / "worker.log"
    return Refusal(error.exit_code, refused, log_path, error)


def _refused_run(run: RunRequest, model: Model, request: BenchRequest, error: ModelError) -> Run:
    refused_at = datetime.now(UTC)
    return Run(
        run_id=run.run_id,
        model=model,
        suite=run.suite.name,
        suite_version=run.suite.version,
        settings=request.engine,
        status=RunStatus.FAILED,
        reason=error.reason,
        detail=f"{error} ({error.hint})" if error.hint else str(error),
        started_at=refused_at,
        ended_at=refused_at,
        pid=os.getpid(),
        hardware=dump(describe_hardware()),
        limit=request.limit or run.suite.sample,
        sample_seed=None if (request.limit or run.suite.sample) is None else SAMPLE_SEED,
        sampling=run.suite.sampling,
        repeats=run.suite.repeats,
        replicate=request.replicate,
        max_output_tokens=run.max_output_tokens,
    )


def new_run_id() -> str:
    """A run id that sorts by time: `20261124-091500-1f3a9c`."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def store_runs(settings: Settings, runs: Sequence[Run]) -> None:
    """Store the runs and publish a snapshot."""
    if not runs:
        return
    with Store.open(settings) as store:
        store.add_runs(runs)
    publish(settings)


def resolve_named(name: str, engine: EngineSettings, settings: Settings) -> Model:
    """Resolve MODEL to a pinned model; for a typo, names known here are suggested.

    Raises:
        ModelError: it must not or cannot be run here.
        TrackerError: there is no such model.
        UnreachableError: the Hub or the server is down.
    """
    known: list[str] = []
    if snapshot_id(settings) is not None:
        with open_snapshot(settings) as snapshot:
            known = [str(row["model_id"]) for row in snapshot.query("models", license=None, max_params=None)]
    return resolve_model(name, engine, settings, known=known)


def bench_lock(settings: Settings, *, what: str, wait_s: float = 0.0) -> AbstractContextManager[None]:
    """Allow one bench at a time in this home: two models on one card would distort each other's cost.

    Raises:
        BusyError: another bench is still running after `wait_s`; the message names it.
        StoreError: the lock file cannot be written.
    """
    hint = "wait for it, or set TRACKER_HOME to another folder"
    return exclusive_lock(
        settings, "bench", busy="another bench is running", hint=hint, what=what, wait_s=wait_s
    )
