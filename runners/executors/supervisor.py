"""The supervisor of child processes for benches and studies: start, follow, watch, stop, find orphans.

A child leads its own session and has a mark in its environment, so that all processes it starts can be found
and stopped, even after it or this process was killed (vLLM's engine processes outlive a parent that gets
SIGKILL). `runners.child` is the child's side.
"""

from __future__ import annotations

import contextlib
import math
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from runners.child import PARENT
from runners.step_limits import KILLED_BY
from tracker.errors import EXIT_INTERRUPTED
from tracker.interpreter import python_command, python_environment
from tracker.redaction import mask_file, masked

OF_SEVERAL = "#"  # in a mark: the job's, then the number of the worker
MARK = "TRACKER_WORKER"  # environment variable that names the job, inherited by all descendants of a worker
GRACE_S = 30.0  # to finish and write the current answer
SILENCE_S = 120.0  # a worker sends a heartbeat every 5 s
POLL_S = 0.5
MEMORY_S = 0.4  # between two readings of a worker's memory
NO_MEMORY = "memory allocation of"  # how a library in Rust says it before it aborts
GIB = 2**30
INTERRUPTED = "interrupted"
# A worker's environment unless the user sets another. torch's threads wait without spinning: on two cores
# with another busy process, spinning took five times the CPU time. Libraries print no progress bars.
QUIET = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
}


@dataclass(frozen=True, slots=True)
class Worker:
    """A child process to run: `python -m module argument`, with its mark and its log."""

    module: str
    argument: Path  # absolute: the child's working directory is the folder of its log
    mark: str
    log_path: Path
    env: Mapping[str, str] = field(default_factory=dict)  # beside ours: the cards that it may use


@dataclass(frozen=True, slots=True)
class WorkerEnd:
    """How a worker ended."""

    returncode: int  # negative: the signal that killed it
    log_path: Path
    stopped: str | None = None  # why we stopped it, `INTERRUPTED` or a sentence; None: it ended by itself
    stopped_for: str = "hang"  # machine-readable, if we stopped it with a sentence

    @property
    def is_interrupted(self) -> bool:
        """Whether the user stopped it."""
        return self.stopped == INTERRUPTED

    @property
    def detail(self) -> str:
        """A sentence on why the worker did not finish."""
        if self.stopped is not None:
            return self.stopped
        if self.returncode == -KILLED_BY:
            return "a tokenizer, a chat template or a task's filter took too much computing time"
        if self._lacked_memory:
            return "a library, such as the model's tokenizer, asked for more memory than it may have"
        if self.returncode == -signal.SIGKILL:
            return "the worker was killed by signal 9, probably because memory ran out"
        return last_lines(self.log_path, 1) or f"the worker exited with code {self.returncode}"

    @property
    def _lacked_memory(self) -> bool:
        """Whether a library in Rust ended the process because it got no memory."""
        return self.returncode == -signal.SIGABRT and NO_MEMORY in last_lines(self.log_path, 5)

    @property
    def reason(self) -> str:
        """The machine-readable reason why the worker did not finish."""
        if self.stopped is not None:
            return self.stopped_for
        if self.returncode == -KILLED_BY:
            return "unsupported"
        if self._lacked_memory:
            return "out_of_memory"
        return "killed" if self.returncode == -signal.SIGKILL else "engine_died"

    def exit_code(self, *, if_killed: int) -> int:
        """Our own exit code; `if_killed` if a signal ended the worker."""
        if self.is_interrupted:
            return EXIT_INTERRUPTED
        return self.returncode if self.returncode >= 0 else if_killed


@dataclass(slots=True)
class WorkerWatch:
    """Detects a worker that takes too much memory, is silent, or makes no progress for `limit_s`."""

    limit_s: float = math.inf
    memory_limit_bytes: float = math.inf  # of main memory, of the worker and all that it started
    stopped_for: str = "hang"  # machine-readable reason of the problem found last
    memory_read_at_s: float = 0.0
    last_sign: float = field(default_factory=time.monotonic)
    last_progress: float = field(default_factory=time.monotonic)
    n_steps: int = 0

    def note_sign(self) -> None:
        """Record a sign of life."""
        self.last_sign = time.monotonic()

    def note_progress(self) -> None:
        """Record progress."""
        self.last_progress = time.monotonic()

    def note_steps(self, n_steps: int) -> None:
        """Record how many steps the engine has computed; more than before are progress."""
        if n_steps > self.n_steps:
            self.n_steps = n_steps
            self.note_progress()

    def problem(self, pid: int) -> str | None:
        """The reason to stop the worker with this process number, or None."""
        now = time.monotonic()
        if self.memory_limit_bytes < math.inf and now - self.memory_read_at_s >= MEMORY_S:
            self.memory_read_at_s = now
            used = own_memory_bytes(pid)
            if used > self.memory_limit_bytes:
                self.stopped_for = "out_of_memory"
                return (
                    f"the worker took {used / GIB:.1f} GiB of main memory, more than the "
                    f"{self.memory_limit_bytes / GIB:.1f} GiB that this model may need"
                )
        if now - self.last_sign > SILENCE_S:
            return f"the worker did not respond for {SILENCE_S:.0f} s"
        if now - self.last_progress > self.limit_s:
            return f"the worker made no progress for {self.limit_s:.0f} s"
        return None


def supervise(
    worker: Worker, on_line: Callable[[bytes], None], watch: WorkerWatch, interrupts: Sequence[float]
) -> WorkerEnd:
    """Run a worker to its end and pass its lines on; stops everything it started.

    The first of `interrupts` asks it to stop, a second one kills it.
    """
    process = _start(worker)
    try:
        stopped = _follow(process, on_line, watch, interrupts)
        if stopped is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=GRACE_S)  # it has sent its last line and cleans up
    finally:
        _end(process, mark=worker.mark)
        mask_file(worker.log_path)
    return WorkerEnd(process.returncode, worker.log_path, stopped, watch.stopped_for)


@contextlib.contextmanager
def catch_interrupts() -> Iterator[list[float]]:
    """Collect the times of Ctrl-C, SIGTERM and SIGHUP in this block; empty in a thread, which gets none.

    SIGHUP, of a terminal that was closed, stays ignored where it was, as with `nohup`.
    """
    times: list[float] = []
    if threading.current_thread() is not threading.main_thread():
        yield times
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = [signal.signal(number, lambda *_: times.append(time.monotonic())) for number in numbers]
    try:
        yield times
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def marked_processes(mark: str | None = None) -> Iterator[psutil.Process]:
    """Yield the living processes started by workers: of the job with this mark, or of all jobs.

    A job's own mark stands for all its workers.
    """
    for process in psutil.process_iter():
        try:
            value = process.environ().get(MARK)
        except psutil.Error:
            continue
        is_ours = mark is None or value == mark or (value or "").startswith(f"{mark}{OF_SEVERAL}")
        if value and process.pid != os.getpid() and is_ours:
            yield process


def end_marked(mark: str) -> int:
    """Kill every process of this job; returns their number."""
    processes = list(marked_processes(mark))
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=10)
    return len(processes)


def own_memory_bytes(pid: int) -> int:
    """Main memory of a process and its descendants, without pages of files, which the kernel can drop.

    Where the system tells, a page that forked processes share counts once.
    """
    total = 0
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += _anonymous_share(process.pid) or _anonymous_bytes(process)
    return total


def _anonymous_share(pid: int) -> int:
    """The proportional share of anonymous pages, in bytes; 0 where Linux does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss_Anon:"):
                return int(line.split()[1]) * 1024
    return 0


def _anonymous_bytes(process: psutil.Process) -> int:
    memory = process.memory_info()
    return max(0, int(memory.rss) - int(getattr(memory, "shared", 0)))


def last_lines(log_path: Path, n: int) -> str:
    """The last non-empty lines of a log, on one line."""
    with contextlib.suppress(OSError):
        lines = [line.strip() for line in log_path.read_text(errors="replace").splitlines() if line.strip()]
        return masked(" / ".join(lines[-n:]))[:500]
    return ""


def _start(worker: Worker) -> subprocess.Popen[bytes]:
    """Start the child: its events on a pipe, everything else in the log, its work beside the log.

    It runs in the folder of its log, so that names in a task (a metric, a data set) are never looked up in
    the user's working directory.
    """
    worker.log_path.parent.mkdir(parents=True, exist_ok=True)
    with worker.log_path.open("wb") as log:
        return subprocess.Popen(
            python_command("-m", worker.module, str(worker.argument)),
            cwd=worker.log_path.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            env=QUIET
            | python_environment()
            | dict(worker.env)
            | {MARK: worker.mark, PARENT: str(os.getpid())},
        )


def _follow(
    process: subprocess.Popen[bytes],
    on_line: Callable[[bytes], None],
    watch: WorkerWatch,
    interrupts: Sequence[float],
) -> str | None:
    """Pass the worker's lines on until it ends; returns why we stopped it, if we did."""
    lines: queue.Queue[bytes | None] = queue.Queue()
    threading.Thread(target=_read, args=(process, lines), daemon=True).start()
    is_asked = False
    while True:
        try:
            line = lines.get(timeout=POLL_S)
        except queue.Empty:
            line = None if process.poll() is not None else b""  # a child of it may still have the pipe open
        if line is None:
            return INTERRUPTED if interrupts else None
        if line:
            watch.note_sign()
            on_line(line)
        if interrupts:  # the first only asks it to stop
            if not is_asked:
                is_asked = True
                process.send_signal(signal.SIGTERM)
            if len(interrupts) > 1 or time.monotonic() - interrupts[0] > GRACE_S:
                return INTERRUPTED
        elif (why := watch.problem(process.pid)) is not None:
            return why


def _read(process: subprocess.Popen[bytes], lines: queue.Queue[bytes | None]) -> None:
    assert process.stdout is not None
    with process.stdout as pipe:
        for line in pipe:
            lines.put(line)
    lines.put(None)


def _end(process: subprocess.Popen[bytes], *, mark: str) -> None:
    """Kill the worker if it is alive, and everything it started."""
    if process.poll() is None:
        process.kill()
    process.wait()  # before psutil, which would consume the exit code
    end_marked(mark)
