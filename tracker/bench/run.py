"""`bench`: resolve a model, check that it fits, run it in a child process, store and publish its runs.

May import everything but the command line and the app.
"""

from __future__ import annotations

import errno
import math
import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from runners.card_support import can_use_card
from runners.engines import choose_engine, is_served
from runners.executors import EXECUTORS, Executor, open_executor
from runners.executors.jobs import JobEnd, end_job, forget_job, reap_orphans, run_job
from runners.hardware import Hardware, describe_hardware
from runners.harness.events import Event
from runners.harness.sample import SAMPLE_SEED
from runners.harness.task_index import folders_of, tasks_that_run_code
from runners.memory.fit import changes, plan_fit
from runners.models.hub import has_data_set
from runners.models.resolve import DEMO, resolve_model, stored_model_id, weights_format
from runners.sandbox import run as sandbox
from tracker.answers.models import known_id
from tracker.bench.workers import (
    Workers,
    card_groups,
    check_memory,
    check_shareable,
    count_workers,
    least_hardware,
    worker_count,
)
from tracker.errors import (
    BusyError,
    DiskFullError,
    FieldError,
    ModelError,
    StoreError,
    TrackerError,
    UnknownNameError,
    UsageError,
)
from tracker.files.items import write_run
from tracker.locks import exclusive_lock
from tracker.logs import get_logger, start_logging
from tracker.private_home import create_home
from tracker.records import (
    MOST_ITEMS,
    MOST_OUTPUT_TOKENS,
    MOST_REPEATS,
    SAMPLING,
    EngineSettings,
    Job,
    Model,
    Run,
    RunRequest,
    RunStatus,
    Suite,
    Task,
    is_count,
)
from tracker.records.paired import PairedReference
from tracker.serialization import dump, write_atomically
from tracker.settings import Settings
from tracker.store import WRITABLE_HINT, Store, clean_up, open_snapshot, publish, snapshot_id
from tracker.suites import LOOSE, get_suite

PLACING_SUITE = "place"  # by default, where its data sets can be had
OFFLINE_SUITE = "quick"  # by default elsewhere, and for the embedded model
FIRST_DATA_SET = "cais/mmlu"  # of the suite that places
MOST_HALF_WIDTH = 50.0  # percentage points: an interval that is as wide as the scale
MOST_DIGITS = len(str(MOST_OUTPUT_TOKENS))
UNRESOLVED = "unresolved"  # revision of a model that was refused before it could be pinned


PROTOCOL = (
    "num_fewshot",
    "metric",
    "filter",
    "chat",
    "system",
)  # of tasks: fields of `Task` and of a request


@dataclass(frozen=True, slots=True)
class BenchRequest:
    """A model and the suites, tasks and limits to measure it with."""

    model: str  # "org/name[@revision]", a local folder, or "demo"
    engine: EngineSettings
    suites: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    include_path: Path | None = None
    num_fewshot: int | None = None  # these five of the tasks, not of suites, whose protocol is fixed
    metric: str | None = None
    filter: str | None = None
    chat: bool | None = None
    system: str | None = None
    sampling: str | None = None  # one of `SAMPLING`; None: as the suite says
    repeats: int | None = None  # None: as the suite says
    thinking_budgets: tuple[int, ...] = ()  # tokens of each written answer, one run for each; empty: as is
    limit: int | None = None
    until_half_width: float | None = None
    until_better_than: str | None = None  # a model measured here, as people name it
    minutes: float | None = None
    executor: str | None = None  # None: that of the settings
    data_parallel: Workers = 1  # workers that share the job

    def __post_init__(self) -> None:
        """Refuse a blank model name, a limit that is not positive, and task files without a task."""
        if not self.model or self.model != self.model.strip():
            raise TrackerError(
                f"`{self.model}` is not a model name: it is empty or has spaces around it",
                hint="use `org/name`, a folder, or `demo`",
            )
        for field, value, example in (("limit", self.limit, 100), ("minutes", self.minutes, 30)):
            if value is not None and not 0 < value < math.inf:
                raise FieldError(field, f"must be more than 0, got {value:g}", example=example)
        if self.include_path is not None and not self.tasks:
            raise TrackerError(
                "`--include-path` needs `--task`", hint="name one of its tasks with `--task NAME`"
            )
        for field in PROTOCOL:
            if getattr(self, field) is not None and (not self.tasks or self.suites):
                flag = f"--{field.replace('_', '-')}"
                raise UsageError(
                    f"`{flag}` applies only to `--task`; the protocol of a suite is fixed",
                    hint=f"name the task: `--task NAME {flag} …`, without `--suite`",
                )
        if self.num_fewshot is not None and self.num_fewshot < 0:
            raise FieldError("num_fewshot", f"must be 0 or more, got {self.num_fewshot}", example=5)
        if self.num_fewshot is not None:
            _check_count("num_fewshot", self.num_fewshot, least=0, most=MOST_ITEMS, example=5)
        if self.sampling is not None and self.sampling not in SAMPLING:
            raise UnknownNameError("sampling", self.sampling, known=SAMPLING)
        if self.limit is not None:
            _check_count("limit", self.limit, most=MOST_ITEMS, example=100)
        if self.repeats is not None:
            _check_count("repeats", self.repeats, most=MOST_REPEATS, example=4)
        for budget in self.thinking_budgets:
            _check_count("thinking_budget", budget, most=MOST_OUTPUT_TOKENS, example=4096)
        _check_until(self.repeats or 1, self.until_half_width)
        _check_reference(self, self.repeats or 1)
        _check_workers(self)


def _check_workers(request: BenchRequest) -> None:
    if request.executor is not None:
        EXECUTORS.place(request.executor)  # a wrong name costs nothing
    worker_count(request.data_parallel)
    is_paired = request.until_better_than is not None
    check_shareable(request.engine, request.data_parallel, is_paired=is_paired)


def _check_count(field: str, value: object, *, least: int = 1, most: int, example: object) -> None:
    if not is_count(value, least=least, most=most):
        problem = f"must be a whole number from {least:,} to {most:,}, got {value!r}"
        raise FieldError(field, problem, example=example)


def _check_reference(request: BenchRequest, repeats: int) -> None:
    """Refuse what cannot go with a reference.

    Raises:
        UsageError: the precision of the score, or repeats, are asked for as well.
    """
    if request.until_better_than is None:
        return
    if request.until_half_width is not None:
        raise UsageError("`--until-better-than` cannot be combined with `--until`", hint="choose one of them")
    if repeats > 1:
        raise UsageError(
            "`--until-better-than` cannot be combined with repeats, which are no independent items",
            hint="`--repeats 1`, or measure all and use `tracker compare`",
        )


def _check_until(repeats: int, until_half_width: float | None) -> None:
    if repeats > 1 and until_half_width is not None:
        raise UsageError(
            "`--repeats` cannot be combined with `--until`, which draws single questions",
            hint="limit the questions with `--limit N`, or the time with `--minutes N`",
        )


@dataclass(frozen=True, slots=True)
class Refusal(JobEnd):
    """The end of a job that never started: its failed runs and the error. There is no worker log."""

    error: ModelError


def half_width(until: float | None) -> float | None:
    """`--until`, which is in percentage points, as a fraction of 1.

    Raises:
        FieldError: it is out of range.
    """
    if until is not None and not 0 < until < MOST_HALF_WIDTH:
        raise FieldError("until", f"must be between 0 and 50 percentage points, got {until:g}", example=1.5)
    return None if until is None else until / 100


def suites_of(request: BenchRequest, *, own: Path | None = None) -> tuple[Suite, ...]:
    """The requested suites; separate tasks form a suite called `tasks`.

    Raises:
        UnknownNameError: there is no such suite.
        TrackerError: the include path is not a folder.
    """
    if request.include_path is not None and not request.include_path.is_dir():
        raise TrackerError(
            f"`{request.include_path}` is not a folder",
            hint="`--include-path` takes a folder of task YAML files",
        )
    names = request.suites or (() if request.tasks else (OFFLINE_SUITE,))
    suites = tuple(get_suite(name, own=own) for name in dict.fromkeys(names))
    if not request.tasks:
        return suites
    protocol = {field: getattr(request, field) for field in PROTOCOL}
    tasks = tuple(Task(task=name, **protocol) for name in dict.fromkeys(request.tasks))
    include = str(request.include_path.resolve()) if request.include_path else None
    loose = Suite(name=LOOSE, version=1, description="Tasks given by `--task`", tasks=tasks, chat=True)
    return (*suites, replace(loose, include_path=include))


def with_suite(request: BenchRequest, on_event: Callable[[Event], None]) -> BenchRequest:
    """The request with the default suite if it names neither suite nor task.

    That is the one that places the model on the index; offline and for `demo`, the one without data sets, and
    for a server, the one that needs no log-probabilities of the prompt, which few servers give.
    """
    if request.suites or request.tasks:
        return request
    if request.model == DEMO:
        return replace(request, suites=(OFFLINE_SUITE,))
    if request.engine.base_url is not None or is_served(request.engine.engine):
        reason = (
            f"for a server that gives prompt log-probabilities, such as vLLM, add `--suite {PLACING_SUITE}`"
        )
    elif has_data_set(FIRST_DATA_SET):
        return replace(request, suites=(PLACING_SUITE,))
    else:
        reason = f"the data sets of `{PLACING_SUITE}` cannot be reached"
    message = f"suite `{OFFLINE_SUITE}`, which gives no place on the index: {reason}"
    on_event(Event("warning", message=message))
    return replace(request, suites=(OFFLINE_SUITE,))


def bench(request: BenchRequest, settings: Settings, on_event: Callable[[Event], None]) -> JobEnd:
    """Measure one model; every run is stored and published before this returns.

    A model that must not or cannot be run ends in a `Refusal`, whose runs are stored like any others.

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
    weights = weights_format(request.model)
    request = replace(request, engine=choose_engine(request.engine, has_gpu=has_gpu, weights=weights))
    runs = _run_requests(request, suites)
    reference = paired_reference(request, suites, settings)
    check_shareable(request.engine, request.data_parallel, is_paired=reference is not None)
    n_workers = count_workers(
        request.data_parallel, request.engine, hardware, has_gpu=has_gpu, place=place, name=executor
    )
    with bench_lock(settings, what=request.model):
        _store_orphans(settings)
        model = None
        try:
            model = resolve_named(request.model, request.engine, settings)
            job = replace(_job(request, model, runs, settings), reference=reference)
            job = _fitted(job, hardware, place, n_workers)
        except ModelError as error:
            return _refuse(request, model, runs, error, settings)
        cards = card_groups(job.settings, hardware, n_workers) if n_workers > 1 else ((),)
        return _run(job, settings, on_event, executor=executor, cards=cards)


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
        UsageError: a suite repeats its questions, and a precision is asked for.
    """
    runs = []
    for suite in suites:
        asked = replace(
            suite,
            sampling=suite.sampling if request.sampling is None else request.sampling,
            repeats=suite.repeats if request.repeats is None else request.repeats,
        )
        _check_until(asked.repeats, request.until_half_width)
        _check_reference(request, asked.repeats)
        for budget in request.thinking_budgets or (None,):
            tasks = (
                suite.tasks
                if budget is None
                else tuple(replace(task, max_output_tokens=budget) for task in suite.tasks)
            )
            runs.append(RunRequest(new_run_id(), replace(asked, tasks=tasks), max_output_tokens=budget))
    return tuple(runs)


def token_budgets(text: str | None) -> tuple[int, ...]:
    """The budgets in a text such as `1k,4k,16k`, where k is 1,024 tokens.

    Raises:
        FieldError: one of them is no such number.
    """
    found = []
    for word in (text or "").split(",") if text is not None else ():
        number, thousands = (
            (word.strip()[:-1], 1024) if word.strip().lower().endswith("k") else (word.strip(), 1)
        )
        is_number = number.isascii() and number.isdecimal()
        n_tokens = int(number[-MOST_DIGITS:]) * thousands if is_number else 0
        if len(number.lstrip("0")) > MOST_DIGITS or not is_count(n_tokens, most=MOST_OUTPUT_TOKENS):
            problem = f"must be numbers of tokens from 1 to {MOST_OUTPUT_TOKENS:,}, got `{text}`"
            raise FieldError("thinking_budget", problem, example="1k,4k,16k")
        found.append(n_tokens)
    return tuple(dict.fromkeys(found))


def check_home(settings: Settings) -> None:
    """Create the home and check that it can be written, before anything slow starts.

    Raises:
        DiskFullError: the disk is full.
        StoreError: it cannot be written.
    """
    try:
        create_home(settings.home)
        settings.locks_path.mkdir(parents=True, exist_ok=True)
        write_atomically(settings.locks_path / f"try-{os.getpid()}", b"-")
        (settings.locks_path / f"try-{os.getpid()}").unlink()
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


def _store_orphans(settings: Settings) -> None:
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
) -> JobEnd:
    for warning in job.warnings:
        on_event(Event("warning", message=warning))
    log = get_logger("bench")
    log.info(
        "job begins", model_id=job.model.model_id, revision=job.model.revision, engine=job.settings.engine
    )
    try:
        end = run_job(job, settings, on_event, executor=executor, cards=cards)
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
