"""The process that benchmarks one model: `python -m runners.harness job.json`.

It loads the engine, walks the suites, appends items in chunks, and tells its parent what happens in JSON
lines on standard output; everything that libraries print goes to standard error. SIGTERM and SIGINT stop it
after the answer under way; its parent's death is a SIGTERM to it. What it leaves is complete at any moment.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from runners.engines import Engine, open_engine
from runners.hardware import MemoryWatch
from runners.harness.begin import begun
from runners.harness.events import Event, encode
from runners.harness.walk import Prepared, Walk, prepare
from runners.hub import download_model
from runners.worker_pipe import Pipe, heartbeat, own_stdout
from tracker.codec import load_json
from tracker.errors import DiskFullError, ModelError, TrackerError, UnreachableError
from tracker.items import write_run
from tracker.records import Cost, Job, Run, RunStatus

EXIT_INTERRUPTED = 130


@dataclass(slots=True)
class Stop:
    """Whether somebody asked us to end."""

    asked: bool = False
    is_urgent: bool = False

    def __call__(self) -> bool:
        """Whether to end after the answer under way."""
        return self.asked

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        """End after the answer under way; at once while nothing can be lost."""
        self.asked = True
        if self.is_urgent:
            raise KeyboardInterrupt

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within this a signal, or one that came before, ends us at once: nothing can be lost."""
        self.is_urgent = True
        try:
            if self.asked:
                raise KeyboardInterrupt
            yield
        finally:
            self.is_urgent = False


class Reporter:
    """Tells the parent what happens."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe

    def emit(self, event: Event) -> None:
        """Write one line; a parent that is gone is no reason to stop."""
        self.pipe.send(encode(event))


def main(argv: list[str]) -> int:
    """Work off the job file; the exit code follows the contract of the command line."""
    job = load_json(Job, Path(argv[1]).read_bytes(), where=argv[1])
    reporter, stop = Reporter(Pipe(own_stdout())), Stop()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # its advice is for its own command line
    signal.signal(signal.SIGTERM, stop.on_signal)
    signal.signal(signal.SIGINT, stop.on_signal)
    with heartbeat(reporter.pipe, encode(Event("heartbeat"))):
        try:
            return work(job, reporter, stop)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            reporter.emit(Event("warning", message=str(DiskFullError(job.items_path))))
            return DiskFullError.exit_code  # not even `run.json` could be written: the parent will see to it


def work(job: Job, reporter: Reporter, stop: Stop) -> int:
    """Load the model, walk its runs; every run ends with a final `run.json`."""
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
    with MemoryWatch() as watch:
        started = time.monotonic()
        try:
            with stop.at_once():
                engine = session.load()
        except (TrackerError, KeyboardInterrupt) as error:
            for run in session.runs.values():
                session.end(failed(run, error))
            return exit_code(error)
        load_s = time.monotonic() - started
        reporter.emit(Event("ready", duration_s=load_s, message=engine.info.device))
        try:
            return session.walk_all(engine, watch, load_s=load_s)
        finally:
            engine.close()


@dataclass(slots=True)
class Session:
    """One job under way in this process."""

    job: Job
    reporter: Reporter
    stop: Stop
    runs: dict[str, Run] = field(default_factory=dict)
    tasks: dict[str, tuple[Prepared, ...]] = field(default_factory=dict)

    @property
    def items_path(self) -> Path:
        """Folder of all item files."""
        return Path(self.job.items_path)

    def begin(self) -> None:
        """Write each run's `run.json`, and get the tasks' data before the engine takes its minutes."""
        cache_path = self.items_path.parent / "cache"
        for request in self.job.runs:
            self.runs[request.run_id] = begun(self.job, request, pid=os.getpid())
            write_run(self.items_path, self.runs[request.run_id])
        for request in self.job.runs:
            self.tasks[request.run_id] = prepare(request.suite, cache_path=cache_path)

    def load(self) -> Engine:
        """The engine with the model; a signal meanwhile ends us at once.

        Raises:
            ModelError: the model cannot be run here.
        """
        self.reporter.emit(Event("loading", message=self.job.model.model_id))
        model = self.job.model
        if model.path is None and self.job.settings.engine != "server":
            model = replace(model, path=str(download_model(model)))
        return open_engine(model, self.job.settings)

    def walk_all(self, engine: Engine, watch: MemoryWatch, *, load_s: float) -> int:
        """Walk the runs one after the other; once the engine has died, the rest fail for the same reason."""
        deadline = time.monotonic() + self.job.minutes * 60 if self.job.minutes else None
        fatal: BaseException | None = None
        code = 0
        for request in self.job.runs:
            run = replace(self.runs[request.run_id], engine=engine.info)
            if fatal is None and self.stop():
                fatal = KeyboardInterrupt()
            if fatal is not None:
                self.end(failed(run, fatal))
                continue
            write_run(self.items_path, run)
            tasks = self.tasks[request.run_id]
            run, fatal = _walk(
                Walk(engine, self.job, request, tasks, self.reporter.emit, self.stop, deadline), run
            )
            cost = replace(run.cost, load_s=load_s, peak_memory_bytes=watch.peak_memory_bytes)
            self.end(replace(run, cost=cost))
            if run.reason == "no_tasks":
                code = UnreachableError.exit_code
        return exit_code(fatal) if fatal is not None else code

    def end(self, run: Run) -> None:
        """Make the run's `run.json` final, and tell the parent."""
        write_run(self.items_path, replace(run, ended_at=datetime.now(UTC)))
        self.reporter.emit(Event("run", run.run_id, message=run.status.value))


def _walk(walk: Walk, run: Run) -> tuple[Run, BaseException | None]:
    """Walk one suite; the run with its status, and what ended the whole job, if something did."""
    prefilled, cut = walk.engine.prefilled_tokens, walk.engine.cut_requests
    error: BaseException | None = None
    with MemoryWatch() as watch:
        try:
            walk.all_tasks()
        except (TrackerError, OSError) as caught:
            error = caught
    if n_cut := walk.engine.cut_requests - cut:
        limit = walk.engine.info.max_model_len
        walk.warn(f"{n_cut} prompts were cut at their beginning: they are longer than {limit} tokens")
    tally = walk.tally
    cost = Cost(
        duration_s=tally.answering_s,
        prompt_tokens=tally.prompt_tokens,
        prefilled_tokens=walk.engine.prefilled_tokens - prefilled,
        output_tokens=tally.output_tokens,
        tokens_per_s=tally.generated_tokens / tally.generation_s if tally.generated_tokens else None,
        ttft_s=statistics.median(tally.ttfts_s) if tally.ttfts_s else None,
        energy_j=watch.energy_j,
    )
    run = replace(
        run,
        scores=tuple(tally.scores),
        warnings=(*run.warnings, *tally.warnings),
        n_items=tally.n_items,
        n_reused_items=tally.n_reused_items,
        cost=cost,
    )
    if error is not None:
        return failed(run, error), error
    if walk.stopped():
        return failed(run, KeyboardInterrupt()), KeyboardInterrupt()
    return replace(run, **_ending(walk)), None


def _ending(walk: Walk) -> dict[str, Any]:
    """Status, reason and detail of a run that nothing went wrong with."""
    tally = walk.tally
    if walk.out_of_time:
        return {"status": RunStatus.PARTIAL, "reason": "time_budget"}
    if not tally.n_items:
        detail = "; ".join(tally.warnings) or "nothing was asked"
        return {"status": RunStatus.FAILED, "reason": "no_tasks", "detail": detail}
    if tally.unavailable:
        detail = "unavailable: " + ", ".join(tally.unavailable)
        return {"status": RunStatus.PARTIAL, "reason": "tasks_unavailable", "detail": detail}
    return {"status": RunStatus.COMPLETE}


def _without_tasks(run: Run, tasks: Sequence[Prepared]) -> Run:
    """The run of a suite none of whose tasks can be had: the engine need not even be loaded."""
    errors = [task.error for task in tasks if task.error]
    said = [f"{error} ({error.hint})" if error.hint else str(error) for error in errors]
    return replace(
        run, status=RunStatus.FAILED, reason="no_tasks", detail="; ".join(said), warnings=tuple(said)
    )


def failed(run: Run, error: BaseException) -> Run:
    """The run as it ended by this error."""
    if isinstance(error, KeyboardInterrupt):
        return replace(run, status=RunStatus.INTERRUPTED, reason="interrupted")
    if isinstance(error, ModelError):
        reason = error.reason
    elif isinstance(error, UnreachableError):
        reason = "unreachable"
    elif isinstance(error, OSError) and error.errno == errno.ENOSPC:
        reason = "disk_full"
    else:
        reason = "error"
    hint = getattr(error, "hint", "")
    detail = f"{error} ({hint})" if hint else str(error)
    return replace(run, status=RunStatus.FAILED, reason=reason, detail=detail)


def exit_code(error: BaseException) -> int:
    """The exit code of the contract for this error."""
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    return error.exit_code if isinstance(error, TrackerError) else 1
