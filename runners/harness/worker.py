"""The process that benchmarks one model: `python -m runners.harness job.json`.

It loads the engine, runs the suites, appends items in chunks, and reports to its parent in JSON lines on
standard output; all output of libraries goes to standard error. SIGTERM and SIGINT stop it after the current
answer; it gets SIGTERM when its parent dies. Files on disk are complete at any moment.
"""

from __future__ import annotations

import errno
import gc
import logging
import os
import signal
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from runners.child import Pipe, heartbeat, own_stdout
from runners.engines import Engine, open_engine, runs_remote_code
from runners.engines.pairs_ahead import PAIRS_AHEAD
from runners.engines.steps import n_steps
from runners.hardware import MemoryWatch
from runners.harness.begin import new_run
from runners.harness.endings import exit_code, expected, failed
from runners.harness.events import Event, encode, read_job
from runners.harness.prompts_ahead import prompts_ahead
from runners.harness.shared_job import OtherWorkers, SharedJob, with_others
from runners.harness.suite_stream import ask_suites_together
from runners.harness.walk import PreparedTask, RunningSuite, prepare, wanted_docs
from runners.models.consent import code_files
from runners.models.resolve import fetch_model
from tracker.errors import (
    EXIT_INTERRUPTED,
    DiskFullError,
    EngineError,
    ModelError,
    TrackerError,
    UnreachableError,
)
from tracker.files.items import read_run, write_run
from tracker.records import Cost, Job, Reuse, Run, RunStatus
from tracker.records.shards import WorkerCost
from tracker.wording import agreeing, counted

# Of the garbage collector, for its three generations: new objects, or collections of the one before. Python's
# own are 700, 10 and 10, with which it took a tenth of the time of choices that a card answers at once.
COLLECTED = (10_000, 20, 20)


@dataclass(slots=True)
class JobStop:
    """Whether a stop was requested."""

    asked: bool = False
    is_urgent: bool = False

    def __call__(self) -> bool:
        """Whether to stop after the current answer."""
        return self.asked

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        """Stop after the current answer, or at once while nothing can be lost."""
        self.asked = True
        if self.is_urgent:
            raise KeyboardInterrupt

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Let an earlier or later signal end this block at once, for work that loses nothing."""
        self.is_urgent = True
        try:
            if self.asked:
                raise KeyboardInterrupt
            yield
        finally:
            self.is_urgent = False


class Reporter:
    """Sends events to the parent."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe

    def emit(self, event: Event) -> None:
        """Send one event; a closed pipe is ignored."""
        self.pipe.send(encode(event))


def main(argv: list[str]) -> int:
    """Run the job in the given file; returns an exit code of the command line."""
    job = read_job(Path(argv[1]))
    reporter, stop = Reporter(Pipe(own_stdout())), JobStop()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # its advice concerns its own command line
    signal.signal(signal.SIGTERM, stop.on_signal)
    signal.signal(signal.SIGINT, stop.on_signal)
    with heartbeat(reporter.pipe, lambda: encode(Event("heartbeat", n_steps=n_steps()))):
        try:
            return run_suites(job, reporter, stop)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            reporter.emit(Event("warning", message=str(DiskFullError(job.items_path))))
            return DiskFullError.exit_code  # `run.json` could not be written either: the parent handles that


def run_suites(job: Job, reporter: Reporter, stop: JobStop) -> int:
    """Load the model and run every suite of the job; every run ends with a final `run.json`."""
    session = Session(job, reporter, stop)
    try:
        with stop.at_once():
            session.begin()
    except KeyboardInterrupt as error:
        for run in session.runs.values():
            session.end(failed(run, error))
        return EXIT_INTERRUPTED
    if all(task.loaded is None for prepared in session.tasks.values() for task in prepared):
        for run_id in session.runs:
            session.end(_without_tasks(session.runs[run_id], session.tasks[run_id]))
        return UnreachableError.exit_code
    if refusal := session.nothing_to_speculate():
        for run in session.runs.values():
            session.end(failed(run, refusal))
        return exit_code(refusal)
    with MemoryWatch() as watch, session.prompts_ahead():
        started = time.monotonic()
        try:
            with stop.at_once():
                engine = session.load()
        except (TrackerError, KeyboardInterrupt) as error:
            for run in session.runs.values():
                session.end(failed(run, error))
            return exit_code(error)
        load_s = time.monotonic() - started
        PAIRS_AHEAD.forget_offers()
        forget_loaded()
        reporter.emit(Event("ready", duration_s=load_s, message=engine.info.device))
        try:
            return session.run_all(engine, watch, load_s=load_s)
        finally:
            engine.close()


def forget_loaded() -> None:
    """Let the garbage collector pass over what is loaded: some millions of objects that stay to the end.

    What is answered stays too, and is no garbage: it is looked at more rarely than by default.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTED)


@dataclass(slots=True)
class Session:
    """The job in progress in this process."""

    job: Job
    reporter: Reporter
    stop: JobStop
    runs: dict[str, Run] = field(default_factory=dict)
    tasks: dict[str, tuple[PreparedTask, ...]] = field(default_factory=dict)
    writes_runs: bool = False  # although it is not the first of several workers

    @property
    def items_path(self) -> Path:
        """Folder of all item files."""
        return Path(self.job.items_path)

    def begin(self) -> None:
        """Write each run's `run.json`, and load the tasks' data before the engine, which takes minutes."""
        cache_path = self.items_path.parent / "cache"
        for request in self.job.runs:
            self.runs[request.run_id] = new_run(self.job, request, pid=os.getpid())
            self.keep(self.runs[request.run_id])
        for request in self.job.runs:
            self.tasks[request.run_id] = prepare(request.suite, cache_path=cache_path)

    def nothing_to_speculate(self) -> EngineError | None:
        """Why speculative decoding can change nothing: no task of the job writes a text."""
        prepared = [task for tasks in self.tasks.values() for task in tasks if task.error is None]
        leaves = [leaf for one in prepared if one.loaded for leaf in one.loaded.leaves]
        may_write = any(one.loaded is None for one in prepared) or any(leaf.has_texts for leaf in leaves)
        if self.job.settings.speculative is None or may_write:
            return None
        names = ", ".join(f"`{one.spec.task}`" for one in prepared)
        message = f"no text is written for {names}, so there is nothing to speculate"
        hint = "leave out `--speculative`, or choose a task with written answers, such as `--task gsm8k`"
        return EngineError(message, reason="unsupported", hint=hint)

    def prompts_ahead(self) -> AbstractContextManager[None]:
        """What builds prompts while the engine loads."""
        return prompts_ahead(
            [
                (leaf, docs[leaf.name] if docs else None)
                for request in self.job.runs
                for task in self.tasks[request.run_id]
                if task.loaded is not None
                for docs in [wanted_docs(self.job, request.suite, task.loaded)]
                for leaf in task.loaded.leaves
            ]
        )

    def load(self) -> Engine:
        """Load the model into the engine.

        Raises:
            ModelError: the model cannot be run here.
        """
        self.reporter.emit(Event("loading", message=self.job.model.model_id))
        model = fetch_model(self.job.model, self.job.settings)
        if runs_remote_code(model, self.job.settings):
            names = ", ".join(code_files(Path(model.path or ".")))
            self.warn(f"running Python code of `{model.model_id}` at {model.revision}: {names}")
        try:
            return open_engine(model, self.job.settings)
        except BaseException as error:
            known = expected(error, f"`{model.model_id}` cannot be loaded", "unsupported")
            if known is error:
                raise
            raise known from error

    def warn(self, message: str) -> None:
        """Record the warning with every run and report it at once."""
        for run_id, run in self.runs.items():
            self.runs[run_id] = replace(run, warnings=(*run.warnings, message))
            self.keep(self.runs[run_id])
        self.reporter.emit(Event("warning", message=message))

    def run_all(self, engine: Engine, watch: MemoryWatch, *, load_s: float) -> int:
        """Run the suites one by one, or this worker's part of them."""
        deadline = time.monotonic() + self.job.minutes * 60 if self.job.minutes else None
        if self.job.shard is not None:
            return SharedJob(self, engine, self.job.shard, deadline, load_s).run(watch)
        return self.score_all(engine, watch, load_s=load_s, deadline=deadline)

    def score_all(
        self,
        engine: Engine,
        watch: MemoryWatch,
        *,
        load_s: float,
        deadline: float | None,
        others: OtherWorkers | None = None,
    ) -> int:
        """Ask what is missing in each suite and score it; once the engine has died, the rest fail alike."""
        fatal: BaseException | None = None
        code = 0
        suites = [
            RunningSuite(
                engine, self.job, one, self.tasks[one.run_id], self.reporter.emit, self.stop, deadline
            )
            for one in self.job.runs
        ]
        if len(suites) > 1 and others is None and not self.stop():
            for known in self.runs.values():
                self.keep(replace(known, engine=engine.info))
            ask_suites_together(suites)
        for suite in suites:
            run = replace(self.runs[suite.run.run_id], engine=engine.info)
            if fatal is None and self.stop():
                fatal = KeyboardInterrupt()
            if fatal is not None and not suite.certain:
                self.end(failed(run, fatal))
                continue
            if fatal is not None and not isinstance(fatal, KeyboardInterrupt):
                suite.fatal = fatal
            self.keep(run)
            run, fatal = _run_suite(suite, run, None if others is None else others.of_run(run.run_id))
            cost = with_memory(replace(run.cost, load_s=load_s), engine, watch, fit=self.job.fit)
            if others is not None:
                cost, run = others.with_memory(cost), others.with_warnings(run)
            self.end(replace(run, cost=cost))
            if run.reason == "no_tasks":
                code = UnreachableError.exit_code
            elif run.reason == "unsupported":
                code = ModelError.exit_code
        return exit_code(fatal) if fatal is not None else code

    def keep(self, run: Run) -> None:
        """Write `run.json`; of several workers, only the first one does, and the one that scores."""
        if self.writes_runs or self.job.shard is None or self.job.shard.is_lead:
            write_run(self.items_path, run)

    def end(self, run: Run) -> None:
        """Write the final `run.json` and notify the parent."""
        self.keep(replace(run, ended_at=datetime.now(UTC)))
        self.reporter.emit(Event("run", run.run_id, message=run.status.value))


def with_memory(cost: Cost, engine: Engine, watch: MemoryWatch, *, fit: Mapping[str, Any] | None) -> Cost:
    """The cost with the peak memory: without what the engine had reserved and never used.

    Where that cannot be read, the prediction made before loading stands for the peak.
    """
    taken = watch.peak_memory_bytes
    if watch.peak_vram_bytes is None or not hasattr(engine, "unused_memory_bytes"):
        return replace(cost, peak_memory_bytes=taken)
    unused = engine.unused_memory_bytes
    if unused is not None and 0 <= unused < taken:
        return replace(cost, peak_memory_bytes=taken - unused, memory_basis="used")
    predicted = (fit or {}).get("total_bytes")
    if isinstance(predicted, int):
        return replace(cost, peak_memory_bytes=predicted, memory_basis="predicted")
    return replace(cost, peak_memory_bytes=taken)


def _run_suite(
    suite_run: RunningSuite, run: Run, others: WorkerCost | None = None
) -> tuple[Run, BaseException | None]:
    """Run one suite; returns the run with its status, and the error that ends the job, if any.

    `others`: what several workers have spent on it until now.
    """
    prefilled, cut = suite_run.engine.prefilled_tokens, suite_run.engine.cut_requests
    error: BaseException | None = None
    with MemoryWatch() as watch:
        try:
            suite_run.run_tasks()
        except BaseException as caught:
            error = expected(caught, "the run failed", "engine_died")
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
    n_cut = suite_run.engine.cut_requests - cut + (others.n_cut if others else 0)
    if n_cut:
        limit = suite_run.engine.info.max_model_len
        prompts = f"{counted(n_cut, 'prompt')} {agreeing(n_cut, 'was', 'were')} truncated"
        suite_run.warn(f"{prompts} on the left to the model's {limit} tokens")
    tally, joules = suite_run.tally, watch.energy_j
    spoke = tally.generated_tokens and tally.generation_s
    cost = Cost(
        duration_s=tally.answering_s,
        prompt_tokens=tally.prompt_tokens,
        prefilled_tokens=suite_run.engine.prefilled_tokens - prefilled + tally.prefilled_tokens,
        output_tokens=tally.output_tokens,
        tokens_per_s=tally.generated_tokens / tally.generation_s if spoke else None,
        ttft_s=statistics.median(tally.ttfts_s) if tally.ttfts_s else None,
        energy_j=joules if tally.energy_j is None else tally.energy_j + (joules or 0.0),
    )
    run = replace(
        run,
        scores=tuple(tally.scores),
        metrics=tuple(tally.metrics),
        warnings=(*run.warnings, *tally.warnings),
        n_items=tally.n_items,
        n_reused_items=tally.n_reused_items,
        reused=_reuses(suite_run),
        prompts=tuple(tally.prompts),
        against=tuple(tally.against),
        suite_mean=tally.suite_mean,
        thinks=suite_run.thinks,
        sampling_values=suite_run.sampling or {},
        cost=_told(cost, suite_run.job) if others is None else with_others(cost, others),
    )
    if error is not None:
        return failed(run, error), error
    if suite_run.stopped():
        return failed(run, KeyboardInterrupt()), KeyboardInterrupt()
    return replace(run, **_ending(suite_run)), None


def _told(cost: Cost, job: Job) -> Cost:
    """The cost without what other models on the same card or processor have changed."""
    return replace(cost, tokens_per_s=None, ttft_s=None, energy_j=None) if job.n_beside else cost


def _reuses(suite_run: RunningSuite) -> tuple[Reuse, ...]:
    """Where the reused items come from, the run with the most of them first."""
    found = []
    for run_id, n_items in suite_run.tally.reused.most_common():
        started_at = base_url = None
        with suppress(TrackerError):
            run = read_run(suite_run.items_path / run_id)
            started_at, base_url = run.started_at, run.settings.base_url
        found.append(Reuse(run_id, n_items, started_at, base_url))
    return tuple(found)


def _ending(suite_run: RunningSuite) -> dict[str, Any]:
    """Status, reason and detail of a run that ended without an error."""
    tally = suite_run.tally
    if suite_run.out_of_time:
        return {"status": RunStatus.PARTIAL, "reason": "time_budget"}
    if not tally.n_items:
        detail = "; ".join(tally.warnings) or "no question was asked"
        is_model = len(tally.refused) == len(tally.unavailable) > 0
        reason = "unsupported" if is_model else "no_tasks"
        return {"status": RunStatus.FAILED, "reason": reason, "detail": detail}
    if tally.unavailable:
        detail = "unavailable tasks: " + ", ".join(tally.unavailable)
        return {"status": RunStatus.PARTIAL, "reason": "tasks_unavailable", "detail": detail}
    return {"status": RunStatus.COMPLETE}


def _without_tasks(run: Run, tasks: Sequence[PreparedTask]) -> Run:
    """The failed run of a suite without any available task, for which the engine is not loaded."""
    errors = [task.error for task in tasks if task.error]
    messages = [f"{error} ({error.hint})" if error.hint else str(error) for error in errors]
    return replace(
        run, status=RunStatus.FAILED, reason="no_tasks", detail="; ".join(messages), warnings=tuple(messages)
    )
