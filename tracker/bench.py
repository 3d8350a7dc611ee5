"""`bench`: joins the runners and the store. Resolve, fit, run in a child process, store, publish.

May import everything but the command line and the app.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import filelock

from runners.engines import choose_engine
from runners.engines.fit import plan_fit
from runners.executors.local import JobEnd, reap_orphans, run_job
from runners.hardware import describe_hardware
from runners.harness.events import Event
from runners.harness.task_index import folders_of
from runners.resolve import resolve_model, server_model
from tracker.codec import dump, write_atomically
from tracker.errors import BusyError, ModelError, TrackerError
from tracker.items import write_run
from tracker.logs import get_logger, start_logging
from tracker.records import EngineSettings, Job, Model, Run, RunRequest, RunStatus, Suite, Task
from tracker.settings import Settings
from tracker.store import Store, open_snapshot, publish, snapshot_id
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
        """Refuse a budget of nothing."""
        for flag, value in (("--limit", self.limit), ("--minutes", self.minutes)):
            if value is not None and value <= 0:
                raise TrackerError(f"`{flag} {value:g}` must be more than 0")


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

    Raises:
        TrackerError: a clear user error, before anything was loaded.
        ModelError: the model was refused; that is recorded as a failed run.
    """
    suites = suites_of(request)
    for suite in suites:  # a typo is told before anything is loaded
        names = [task.task for task in suite.tasks]
        folders_of(names, include_path=suite.include_path, cache_path=settings.home / "cache")
    runs = tuple(RunRequest(new_run_id(), suite) for suite in suites)
    hardware = describe_hardware()
    name = choose_engine(request.engine.engine, has_gpu=hardware.has_gpu)
    engine = replace(request.engine, engine=name)
    start_logging(settings.log_level)
    log = get_logger("bench")
    with bench_lock(settings, what=request.model):
        reaped = reap_orphans(settings)
        log.info("orphans reaped", runs=[run.run_id for run in reaped])
        store_runs(settings, reaped)
        model = None
        try:
            model = _resolve(request.model, engine, settings)
            engine, fit = plan_fit(model, engine, hardware)
        except ModelError as error:
            refused = model or Model(model_id=request.model, revision=UNRESOLVED)
            record_refusal(settings, refused, engine, runs, error)
            log.warning("refused", model_id=refused.model_id, reason=error.reason)
            raise
        job = Job(
            model=model,
            settings=engine,
            runs=runs,
            items_path=str(settings.items_path),
            limit=request.limit,
            until_half_width=request.until_half_width,
            minutes=request.minutes,
            fit=dump(fit) if fit is not None else None,
            flush_s=settings.flush_s,
        )
        log.info("job begins", model_id=model.model_id, revision=model.revision, engine=engine.engine)
        end = run_job(job, settings, on_event)
        store_runs(settings, end.runs)
        log.info("job ended", exit_code=end.exit_code, runs={r.run_id: r.status for r in end.runs})
        return end


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


def _resolve(name: str, engine: EngineSettings, settings: Settings) -> Model:
    if engine.engine == "server" and engine.base_url:
        return server_model(name, engine.base_url, settings)
    known: list[str] = []
    if snapshot_id(settings) is not None:
        with open_snapshot(settings) as snapshot:
            known = [str(row["model_id"]) for row in snapshot.query("models", license=None, max_params=None)]
    return resolve_model(name, settings, trust_remote_code=engine.trust_remote_code, known=known)


def record_refusal(
    settings: Settings,
    model: Model,
    engine: EngineSettings,
    runs: Sequence[RunRequest],
    error: ModelError,
) -> None:
    """Keep that the model could not be run, and why."""
    now = datetime.now(UTC)
    failed = [
        Run(
            run_id=request.run_id,
            model=model,
            suite=request.suite.name,
            suite_version=request.suite.version,
            settings=engine,
            status=RunStatus.FAILED,
            reason=error.reason,
            detail=f"{error} ({error.hint})" if error.hint else str(error),
            started_at=now,
            ended_at=now,
            pid=os.getpid(),
            hardware=dump(describe_hardware()),
        )
        for request in runs
    ]
    for run in failed:
        write_run(settings.items_path, run)
    store_runs(settings, failed)


@contextmanager
def bench_lock(settings: Settings, *, what: str, wait_s: float = 0.0) -> Iterator[None]:
    """One bench at a time in this home: two models on one card would falsify each other's cost.

    Raises:
        BusyError: another bench still runs after `wait_s`; names it.
    """
    settings.locks_path.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(settings.locks_path / "bench.lock")
    holder = settings.locks_path / "bench.json"
    try:
        lock.acquire(timeout=wait_s)
    except filelock.Timeout as error:
        raise BusyError(
            f"another bench is running: {_holder(holder)}",
            hint="wait for it, or give this one a home of its own with TRACKER_HOME",
        ) from error
    try:
        entry = {"pid": os.getpid(), "model": what, "started_at": datetime.now(UTC).isoformat()}
        write_atomically(holder, json.dumps(entry).encode())
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _holder(path: Path) -> str:
    try:
        entry = json.loads(path.read_bytes())
        return f"`{entry['model']}` (process {entry['pid']}, since {entry['started_at'][:19]} UTC)"
    except (OSError, ValueError, KeyError):
        return "it has just begun"
