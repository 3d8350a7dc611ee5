"""The process that benchmarks one model: `python -m runners.harness.worker job.json`.

It loads the engine, walks the suites, appends items in chunks, and tells its parent what happens in JSON
lines on standard output; everything that libraries print goes to standard error. SIGTERM and SIGINT stop it
after the answer under way; if its parent dies it gets SIGTERM. What it leaves is complete at any moment.
"""

from __future__ import annotations

import ctypes
import errno
import importlib.metadata
import os
import signal
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from runners.engines import Engine, open_engine
from runners.hardware import MemoryWatch, describe_hardware
from runners.harness.events import Event, encode
from runners.harness.walk import Walk  # lm-eval takes seconds to import: before the engine, not after
from runners.hub import download_model
from tracker.codec import dump, load_json
from tracker.errors import DiskFullError, ModelError, TrackerError, UnreachableError
from tracker.items import write_run
from tracker.records import Cost, Job, Run, RunRequest, RunStatus

HEARTBEAT_S = 5.0
PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(slots=True)
class Stop:
    """Whether somebody asked us to end."""

    asked: bool = False
    loading: bool = False

    def __call__(self) -> bool:
        """Whether to end after the answer under way."""
        return self.asked

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        """End after the answer under way; at once while nothing can be lost."""
        self.asked = True
        if self.loading:
            raise KeyboardInterrupt


@dataclass(slots=True)
class Reporter:
    """Writes events to the parent; a lock keeps the lines whole."""

    pipe: BinaryIO
    lock: threading.Lock = field(default_factory=threading.Lock)

    def emit(self, event: Event) -> None:
        """Write one line; a parent that is gone is no reason to stop."""
        with self.lock:
            try:
                self.pipe.write(encode(event))
                self.pipe.flush()
            except (BrokenPipeError, ValueError):
                pass


def main(argv: list[str]) -> int:
    """Work off the job file; the exit code follows the contract of the command line."""
    job = load_json(Job, Path(argv[1]).read_bytes(), where=argv[1])
    reporter, stop = Reporter(_own_stdout()), Stop()
    _die_with_parent()
    signal.signal(signal.SIGTERM, stop.on_signal)
    signal.signal(signal.SIGINT, stop.on_signal)
    with _heartbeat(reporter):
        try:
            return work(job, reporter, stop)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            reporter.emit(Event("warning", message=str(DiskFullError(job.items_path))))
            return DiskFullError.exit_code  # not even `run.json` could be written: the parent will see to it


def work(job: Job, reporter: Reporter, stop: Stop) -> int:
    """Load the model, walk its runs; every run ends with a final `run.json`."""
    items_path = Path(job.items_path)
    runs = {request.run_id: _begun(job, request) for request in job.runs}
    for run in runs.values():
        write_run(items_path, run)
    deadline = time.monotonic() + job.minutes * 60 if job.minutes else None
    with MemoryWatch() as watch:
        started = time.monotonic()
        try:
            engine = _load(job, reporter, stop)
        except (TrackerError, KeyboardInterrupt) as error:
            for request in job.runs:
                _end(items_path, failed(runs[request.run_id], error), reporter)
            return 130 if isinstance(error, KeyboardInterrupt) else getattr(error, "exit_code", 1)
        load_s = time.monotonic() - started
        reporter.emit(Event("ready", duration_s=load_s, message=engine.info.device))
        code = 0
        try:
            for request in job.runs:
                run = replace(runs[request.run_id], engine=engine.info)
                write_run(items_path, run)
                run, code = _walk(WalkContext(engine, job, request, reporter, stop, deadline), run)
                cost = replace(run.cost, load_s=load_s, peak_memory_bytes=watch.peak_memory_bytes)
                _end(items_path, replace(run, cost=cost), reporter)
                if code:
                    break
        finally:
            engine.close()
        return code


@dataclass(frozen=True, slots=True)
class WalkContext:
    """What one run needs."""

    engine: Engine
    job: Job
    request: RunRequest
    reporter: Reporter
    stop: Stop
    deadline: float | None


def _load(job: Job, reporter: Reporter, stop: Stop) -> Engine:
    reporter.emit(Event("loading", message=job.model.model_id))
    stop.loading = True
    model = job.model
    try:
        if model.path is None and job.settings.engine != "server":
            model = replace(model, path=str(download_model(model)))
        return open_engine(model, job.settings)
    finally:
        stop.loading = False


def _walk(context: WalkContext, run: Run) -> tuple[Run, int]:
    """Walk one suite; the run with its status, and the exit code."""
    walk = Walk(
        engine=context.engine,
        job=context.job,
        run=context.request,
        emit=context.reporter.emit,
        stopped=context.stop,
        deadline=context.deadline,
    )
    prefilled = context.engine.prefilled_tokens
    error: BaseException | None = None
    with MemoryWatch() as watch:
        try:
            walk.all_tasks()
        except (TrackerError, OSError) as caught:
            error = caught
    tally = walk.tally
    cost = Cost(
        duration_s=tally.answering_s,
        prompt_tokens=tally.prompt_tokens,
        prefilled_tokens=context.engine.prefilled_tokens - prefilled,
        output_tokens=tally.output_tokens,
        tokens_per_s=tally.generated_tokens / tally.generation_s if tally.generation_s > 0 else None,
        ttft_s=statistics.median(tally.ttfts_s) if tally.ttfts_s else None,
        energy_j=watch.energy_j,
    )
    run = replace(
        run,
        scores=tuple(tally.scores),
        warnings=tuple(tally.warnings),
        n_items=tally.n_items,
        n_reused_items=tally.n_reused_items,
        cost=cost,
    )
    if error is not None:
        return failed(run, error), exit_code(error)
    if context.stop.asked:
        return replace(run, status=RunStatus.INTERRUPTED, reason="interrupted"), 130
    if not tally.n_items:
        detail = "; ".join(tally.warnings) or "nothing was asked"
        return replace(run, status=RunStatus.FAILED, reason="no_tasks", detail=detail), 4
    if walk.out_of_time:
        return replace(run, status=RunStatus.PARTIAL, reason="time_budget"), 0
    if tally.unavailable:
        detail = "unavailable: " + ", ".join(tally.unavailable)
        return replace(run, status=RunStatus.PARTIAL, reason="tasks_unavailable", detail=detail), 0
    return replace(run, status=RunStatus.COMPLETE), 0


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
    return error.exit_code if isinstance(error, TrackerError) else 1


def _begun(job: Job, request: RunRequest) -> Run:
    return Run(
        run_id=request.run_id,
        model=job.model,
        suite=request.suite.name,
        suite_version=request.suite.version,
        settings=job.settings,
        status=RunStatus.RUNNING,
        started_at=datetime.now(UTC),
        pid=os.getpid(),
        fit=job.fit,
        hardware=dump(describe_hardware()),
        limit=job.limit,
        harness_version=importlib.metadata.version("lm_eval"),
    )


def _end(items_path: Path, run: Run, reporter: Reporter) -> None:
    write_run(items_path, replace(run, ended_at=datetime.now(UTC)))
    reporter.emit(Event("run", run.run_id, message=run.status.value))


def _own_stdout() -> BinaryIO:
    """The pipe to the parent; from here on whatever prints to standard output prints to standard error."""
    pipe = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return pipe


def _die_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent dies, so that nothing keeps a card busy for nobody."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def _heartbeat(reporter: Reporter) -> Iterator[None]:
    done = threading.Event()

    def beat() -> None:
        while not done.wait(HEARTBEAT_S):
            reporter.emit(Event("heartbeat"))

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


if __name__ == "__main__":
    sys.exit(main(sys.argv))
