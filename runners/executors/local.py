"""The default executor: one child process on this machine per job.

The child leads a process group of its own and carries a mark in its environment, so that everything it
starts can be found and ended, even after it, or we, were killed (vLLM's engine processes outlive a parent
that gets SIGKILL).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

from runners.executors.children import (
    GRACE_S,
    INTERRUPTED,
    end_child,
    end_marked,
    follow,
    last_lines,
    listening,
    lives,
    start_child,
)
from runners.harness.__main__ import EXIT_INTERRUPTED
from runners.harness.begin import begun
from runners.harness.events import Event, decode
from tracker.codec import dump_json, write_atomically
from tracker.errors import DiskFullError, TrackerError
from tracker.items import read_run, remove_unfinished, write_run
from tracker.records import Job, Run, RunStatus
from tracker.settings import Settings

SILENCE_S = 120.0  # a worker sends a heartbeat every 5 s
LOADING_S = 3600.0  # a 400 GB download and load; progress is not told meanwhile


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job ended: its exit code by the contract, its runs as stored, its log."""

    exit_code: int
    runs: tuple[Run, ...]
    log_path: Path


@dataclass(slots=True)
class _Watch:
    """Notices a worker that hangs."""

    hang_s: float
    loading: bool = True
    last_sign: float = field(default_factory=time.monotonic)
    last_progress: float = field(default_factory=time.monotonic)

    def saw(self, event: Event) -> None:
        """Take note of an event."""
        self.last_sign = time.monotonic()
        if event.event != "heartbeat":
            self.last_progress = self.last_sign
        if event.event in {"ready", "run"}:
            self.loading = False

    def verdict(self) -> str | None:
        """Why the worker must be ended, or None."""
        now = time.monotonic()
        if now - self.last_sign > SILENCE_S:
            return f"the worker gave no sign of life for {SILENCE_S:.0f} s"
        limit = LOADING_S if self.loading else self.hang_s
        if now - self.last_progress > limit:
            return f"no progress for {limit:.0f} s"
        return None


def run_job(job: Job, settings: Settings, on_event: Callable[[Event], None]) -> JobEnd:
    """Run the job in a child process; every run has a final `run.json` afterwards.

    Once the runs are stored elsewhere, `forget_job`: until then a next start finds them again.

    Ctrl-C and SIGTERM stop the worker after the answer under way, a second one at once; the runs are then
    `interrupted` and the exit code is 130.
    """
    first = job.runs[0].run_id
    log_path = settings.home / "jobs" / first / "worker.log"
    with listening() as interrupts:
        write_atomically(_pid_file(settings, first), json.dumps(_pid_entry(job)).encode())
        for request in job.runs:  # under our own id until the worker lives
            _write(Path(job.items_path), begun(job, request, pid=os.getpid()))
        worker = _start(job, log_path)
        watch = _Watch(settings.heartbeat_timeout_s)

        def on_line(line: bytes) -> None:
            event = decode(line)
            watch.saw(event)
            on_event(event)

        try:
            why = follow(worker, on_line, interrupts, watch)
            if why is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    worker.wait(timeout=GRACE_S)  # it has said its last word, and puts its things away
        finally:
            end_child(worker, mark=job_mark(job.items_path, first))
        return _end(job, worker.returncode, why=why, log_path=log_path)


def _start(job: Job, log_path: Path) -> subprocess.Popen[bytes]:
    job_path = log_path.with_name("job.json")
    write_atomically(job_path, dump_json(job))
    mark = job_mark(job.items_path, job.runs[0].run_id)
    return start_child("runners.harness", [str(job_path)], mark=mark, log_path=log_path)


def forget_job(settings: Settings, runs: Sequence[Run]) -> None:
    """The job's runs are safe in the store; nothing is left to be found at the next start."""
    for run in runs:
        _pid_file(settings, run.run_id).unlink(missing_ok=True)


def _pid_file(settings: Settings, first_run_id: str) -> Path:
    return settings.locks_path / f"worker-{first_run_id}.json"


def _pid_entry(job: Job) -> dict[str, object]:
    """What the next start needs to know if we are killed; a process id alone may be used again."""
    return {
        "parent": os.getpid(),
        "parent_started_at": psutil.Process().create_time(),
        "runs": [request.run_id for request in job.runs],
    }


def _end(job: Job, returncode: int, *, why: str | None, log_path: Path) -> JobEnd:
    """Give a final status to every run that its worker could not end itself."""
    runs = []
    exit_code = returncode if returncode >= 0 else 3
    for request in job.runs:
        folder = Path(job.items_path) / request.run_id
        run = read_run(folder)
        if run.status is RunStatus.RUNNING:
            remove_unfinished(Path(job.items_path), run.run_id)
            run = _abandoned(run, returncode, why=why, log_path=log_path)
            _write(Path(job.items_path), run)
        runs.append(run)
    if why == INTERRUPTED:
        exit_code = EXIT_INTERRUPTED
    return JobEnd(exit_code, tuple(runs), log_path)


def _write(items_path: Path, run: Run) -> None:
    try:
        write_run(items_path, run)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFullError(str(items_path)) from error
        raise


def _abandoned(run: Run, returncode: int, *, why: str | None, log_path: Path) -> Run:
    ended = replace(run, ended_at=datetime.now(UTC))
    if why == INTERRUPTED:
        return replace(ended, status=RunStatus.INTERRUPTED, reason="interrupted")
    if why is not None:
        return replace(ended, status=RunStatus.FAILED, reason="hang", detail=why)
    if returncode == -signal.SIGKILL:
        detail = "the worker was killed by signal 9, as the kernel does when memory runs out"
        return replace(ended, status=RunStatus.FAILED, reason="killed", detail=detail)
    detail = last_lines(log_path, 1) or f"the worker ended with code {returncode}"
    return replace(ended, status=RunStatus.FAILED, reason="engine_died", detail=detail)


def job_mark(items_path: Path | str, run_id: str) -> str:
    """What the processes of a job carry: its first run, in this home."""
    return f"{items_path}/{run_id}"


def reap_orphans(settings: Settings) -> list[Run]:
    """End the workers whose parent is gone; their runs, with a final status, to be stored, then forgotten."""
    runs = []
    for pid_file in sorted(settings.locks_path.glob("worker-*.json")):
        entry = json.loads(pid_file.read_bytes())
        if lives(entry["parent"], entry["parent_started_at"]):
            continue
        end_marked(job_mark(settings.items_path, entry["runs"][0]))
        found = False
        for run_id in entry["runs"]:
            with contextlib.suppress(TrackerError):  # it had not begun
                run = read_run(settings.items_path / run_id)
                remove_unfinished(settings.items_path, run_id)
                if run.status is RunStatus.RUNNING:
                    run = replace(
                        run, status=RunStatus.INTERRUPTED, reason="interrupted", ended_at=datetime.now(UTC)
                    )
                    write_run(settings.items_path, run)
                runs.append(run)
                found = True
        if not found:
            pid_file.unlink(missing_ok=True)
    return runs
