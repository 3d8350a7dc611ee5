"""`bench`: joins the runners and the store. Resolve, fit, run in a child process, store, publish.

May import everything but the command line and the app.
"""

from __future__ import annotations

import errno
import math
import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from runners.engines import choose_engine
from runners.engines.fit import changes, plan_fit
from runners.engines.vllm_args import QUANTIZATIONS
from runners.executors.local import JobEnd, forget_job, reap_orphans, run_job
from runners.hardware import Hardware, describe_hardware
from runners.harness.events import Event
from runners.harness.task_index import folders_of
from runners.resolve import named_id, resolve_model, server_model
from tracker.codec import dump, write_atomically
from tracker.errors import (
    DiskFullError,
    ModelError,
    StoreError,
    TrackerError,
    UnknownNameError,
)
from tracker.held import held
from tracker.items import write_run
from tracker.logs import get_logger, start_logging
from tracker.records import EngineSettings, Job, Model, Run, RunRequest, RunStatus, Suite, Task
from tracker.settings import Settings
from tracker.store import WRITABLE_HINT, Store, open_snapshot, publish, snapshot_id
from tracker.suites import get_suite

DEFAULT_SUITE = "quick"
UNRESOLVED = "unresolved"  # revision of a model that was refused before it could be pinned


@dataclass(frozen=True, slots=True)
class BenchRequest:
    """What is to be measured."""

    model: str  # "org/name[@revision]", a local folder, or "demo"
    engine: EngineSettings
    suites: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    include_path: Path | None = None
    limit: int | None = None
    until_half_width: float | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        """Refuse a model without a name, a budget of nothing, and task files that nothing is taken from."""
        if not self.model or self.model != self.model.strip():
            raise TrackerError(f"`{self.model}` cannot be the name of a model", hint="a name is `org/name`")
        for flag, value, example in (("--limit", self.limit, 100), ("--minutes", self.minutes, 30)):
            if value is not None and not 0 < value < math.inf:
                raise TrackerError(f"`{flag} {value:g}` must be more than 0", hint=f"{flag} {example}")
        if self.include_path is not None and not self.tasks:
            raise TrackerError("`--include-path` needs `--task`", hint="--task NAME asks one of its tasks")


@dataclass(frozen=True, slots=True)
class Refusal(JobEnd):
    """How a job ended that never began: its failed runs, and why. No worker wrote the log."""

    error: ModelError


def suites_of(request: BenchRequest) -> tuple[Suite, ...]:
    """The suites asked for; loose tasks make one of their own, called `tasks`.

    Raises:
        UnknownNameError: there is no such suite.
        TrackerError: the include path is no folder.
    """
    if request.include_path is not None and not request.include_path.is_dir():
        raise TrackerError(
            f"`{request.include_path}` is no folder", hint="--include-path names a folder of task YAMLs"
        )
    names = request.suites or (() if request.tasks else (DEFAULT_SUITE,))
    suites = tuple(get_suite(name) for name in dict.fromkeys(names))
    if not request.tasks:
        return suites
    tasks = tuple(Task(task=name) for name in dict.fromkeys(request.tasks))
    include = str(request.include_path.resolve()) if request.include_path else None
    loose = Suite(name="tasks", version=1, description="Tasks named one by one", tasks=tasks, chat=True)
    return (*suites, replace(loose, include_path=include))


def bench(request: BenchRequest, settings: Settings, on_event: Callable[[Event], None]) -> JobEnd:
    """Measure one model; every run is stored and published before this returns.

    A model that may not or cannot be run ends in a `Refusal`, whose runs are kept like any others.

    Raises:
        TrackerError: a clear user error, before anything was loaded.
        StoreError: the home cannot be written.
        UnreachableError: the Hub or the server is down.
    """
    start_logging(settings.log_level)
    suites = suites_of(request)
    check_home(settings)
    _check_tasks(suites, settings)
    hardware = describe_hardware()
    request = replace(request, engine=chosen_engine(request.engine, hardware))
    runs = tuple(RunRequest(new_run_id(), suite) for suite in suites)
    with bench_lock(settings, what=request.model):
        _store_orphans(settings)
        model = None
        try:
            model = resolve_named(request.model, request.engine, settings)
            job = _fitted(_job(request, model, runs, settings), hardware)
        except ModelError as error:
            return _refuse(request, model, runs, error, settings)
        return _run(job, settings, on_event)


def check_home(settings: Settings) -> None:
    """Make the home and try whether it can be written, before anything takes its time.

    Raises:
        DiskFullError: there is no room.
        StoreError: it cannot be written.
    """
    try:
        settings.locks_path.mkdir(parents=True, exist_ok=True)
        write_atomically(settings.locks_path / f"try-{os.getpid()}", b"-")
        (settings.locks_path / f"try-{os.getpid()}").unlink()
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFullError(str(settings.home)) from error
        message = f"{settings.home}: cannot be written: {error.strerror}"
        raise StoreError(message, hint=WRITABLE_HINT) from error


def _check_tasks(suites: Sequence[Suite], settings: Settings) -> None:
    """Tell a typo before anything is loaded."""
    for suite in suites:
        names = [task.task for task in suite.tasks]
        folders_of(names, include_path=suite.include_path, cache_path=settings.home / "cache")


def chosen_engine(asked: EngineSettings, hardware: Hardware) -> EngineSettings:
    """The settings with an engine that this machine has, where `auto` was asked for.

    Raises:
        UnknownNameError: the engine cannot quantize so.
    """
    engine = replace(asked, engine=choose_engine(asked.engine, has_gpu=hardware.has_gpu))
    if engine.engine == "vllm" and engine.quantization not in (None, *QUANTIZATIONS):
        raise UnknownNameError("quantization of vLLM", engine.quantization or "", known=QUANTIZATIONS)
    return engine


def _store_orphans(settings: Settings) -> None:
    reaped = reap_orphans(settings)
    get_logger("bench").info("orphans reaped", runs=[run.run_id for run in reaped])
    store_runs(settings, reaped)
    forget_job(settings, reaped)


def _job(request: BenchRequest, model: Model, runs: tuple[RunRequest, ...], settings: Settings) -> Job:
    return Job(
        model=model,
        settings=request.engine,
        runs=runs,
        items_path=str(settings.items_path),
        limit=request.limit,
        until_half_width=request.until_half_width,
        minutes=request.minutes,
        flush_s=settings.flush_s,
    )


def _fitted(job: Job, hardware: Hardware) -> Job:
    """The job under the settings that fit; what they change is among its warnings.

    Raises:
        ModelError: none fit.
    """
    engine, fit = plan_fit(job.model, job.settings, hardware)
    if fit is None:
        return replace(job, settings=engine)
    told = changes(job.settings, engine, fit, hardware=hardware)
    return replace(job, settings=engine, fit=dump(fit), warnings=told)


def _run(job: Job, settings: Settings, on_event: Callable[[Event], None]) -> JobEnd:
    for warning in job.warnings:
        on_event(Event("warning", message=warning))
    log = get_logger("bench")
    log.info(
        "job begins", model_id=job.model.model_id, revision=job.model.revision, engine=job.settings.engine
    )
    end = run_job(job, settings, on_event)
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
    """Keep that the model may not or cannot be run; it may be refused before its commit is known."""
    if model is None:
        model = Model(named_id(request.model, engine=request.engine.engine), UNRESOLVED)
    get_logger("bench").info("refused", model_id=model.model_id, reason=error.reason)
    refused = tuple(_refused_run(run, model, request, error) for run in runs)
    for run in refused:
        write_run(settings.items_path, run)
    store_runs(settings, refused)
    log_path = settings.home / "jobs" / runs[0].run_id / "worker.log"
    return Refusal(error.exit_code, refused, log_path, error)


def _refused_run(run: RunRequest, model: Model, request: BenchRequest, error: ModelError) -> Run:
    now = datetime.now(UTC)
    return Run(
        run_id=run.run_id,
        model=model,
        suite=run.suite.name,
        suite_version=run.suite.version,
        settings=request.engine,
        status=RunStatus.FAILED,
        reason=error.reason,
        detail=f"{error} ({error.hint})" if error.hint else str(error),
        started_at=now,
        ended_at=now,
        pid=os.getpid(),
        hardware=dump(describe_hardware()),
        limit=request.limit,
    )


def new_run_id() -> str:
    """A run id that sorts by time: `20261124-091500-1f3a9c`."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def store_runs(settings: Settings, runs: Sequence[Run]) -> None:
    """Put the runs into the database and publish a snapshot with them."""
    if not runs:
        return
    with Store.open(settings) as store:
        store.add_runs(runs)
    publish(settings)


def resolve_named(name: str, engine: EngineSettings, settings: Settings) -> Model:
    """The model that MODEL means, pinned; names that are known here are suggested for a typo.

    Raises:
        ModelError: it may not or cannot be run here.
        TrackerError: there is none.
        UnreachableError: the Hub or the server is down.
    """
    if engine.engine == "server" and engine.base_url:
        return server_model(name, engine.base_url, settings)
    known: list[str] = []
    if snapshot_id(settings) is not None:
        with open_snapshot(settings) as snapshot:
            known = [str(row["model_id"]) for row in snapshot.query("models", license=None, max_params=None)]
    return resolve_model(name, settings, trust_remote_code=engine.trust_remote_code, known=known)


def bench_lock(settings: Settings, *, what: str, wait_s: float = 0.0) -> AbstractContextManager[None]:
    """One bench at a time in this home: two models on one card would falsify each other's cost.

    Raises:
        BusyError: another bench still runs after `wait_s`; names it.
        StoreError: the lock file cannot be written.
    """
    hint = "wait for it, or give this one a home of its own with TRACKER_HOME"
    return held(settings, "bench", busy="another bench is running", hint=hint, what=what, wait_s=wait_s)
