"""Child processes that lead a session of their own: started with a mark, followed, ended with all of theirs.

The mark stands in the environment, so that everything a child starts can be found and ended, even after it,
or we, were killed (vLLM's engine processes outlive a parent that gets SIGKILL).
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import psutil

from runners.harness.__main__ import PARENT

MARK = "TRACKER_WORKER"  # environment variable that names the job, inherited by all that a worker starts
GRACE_S = 30.0  # to finish the answer under way and write it
INTERRUPTED = "interrupted"
# What a worker is told unless the user says otherwise. Threads of torch that wait without spinning: on two
# cores with a neighbour, spinning took five times the CPU time. No progress bars of libraries in the log.
QUIET = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
}


class Watch(Protocol):
    """Notices a child that hangs."""

    def verdict(self) -> str | None:
        """Why it must be ended, or None."""
        ...


def start_child(
    module: str, arguments: Sequence[str], *, mark: str, log_path: Path
) -> subprocess.Popen[bytes]:
    """`python -m module`, its events on a pipe, everything else in the log."""
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            env=QUIET | os.environ | {MARK: mark, PARENT: str(os.getpid())},
        )


def follow(
    worker: subprocess.Popen[bytes],
    on_line: Callable[[bytes], None],
    interrupts: list[float],
    watch: Watch,
) -> str | None:
    """Pass on the worker's lines until it ends; why we ended it, if we did."""
    lines: queue.Queue[bytes | None] = queue.Queue()
    threading.Thread(target=_read, args=(worker, lines), daemon=True).start()
    is_asked = False
    while True:
        try:
            line = lines.get(timeout=0.5)
        except queue.Empty:
            line = None if worker.poll() is not None else b""  # a child of it may still hold the pipe
        if line is None:
            return INTERRUPTED if interrupts else None
        if line:
            on_line(line)
        if interrupts:  # the first only asks it to end
            if not is_asked:
                is_asked = True
                worker.send_signal(signal.SIGTERM)
            if len(interrupts) > 1 or time.monotonic() - interrupts[0] > GRACE_S:
                return INTERRUPTED
        elif (why := watch.verdict()) is not None:
            return why


def end_child(worker: subprocess.Popen[bytes], *, mark: str) -> None:
    """End the worker if it lives, and everything that it started."""
    if worker.poll() is None:
        worker.kill()
    worker.wait()  # first of all: psutil would take the exit code away
    end_marked(mark)


@contextlib.contextmanager
def listening() -> Iterator[list[float]]:
    """When Ctrl-C or SIGTERM came, from now on; in a thread, where signals never come, always empty."""
    times: list[float] = []
    if threading.current_thread() is not threading.main_thread():
        yield times
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: times.append(time.monotonic())) for number in numbers]
    try:
        yield times
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _read(worker: subprocess.Popen[bytes], lines: queue.Queue[bytes | None]) -> None:
    assert worker.stdout is not None
    with worker.stdout as pipe:
        for line in pipe:
            lines.put(line)
    lines.put(None)


def last_lines(log_path: Path, n: int) -> str:
    """The last non-empty lines of a log, on one line."""
    with contextlib.suppress(OSError):
        lines = [line.strip() for line in log_path.read_text(errors="replace").splitlines() if line.strip()]
        return " / ".join(lines[-n:])[:500]
    return ""


def marked(mark: str | None = None) -> Iterator[psutil.Process]:
    """The living processes that a worker started: of this job, or of any."""
    for process in psutil.process_iter():
        try:
            value = process.environ().get(MARK)
        except psutil.Error:
            continue
        if value and process.pid != os.getpid() and (mark is None or value == mark):
            yield process


def end_marked(mark: str) -> int:
    """End every process of this job; how many there were."""
    processes = list(marked(mark))
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=10)
    return len(processes)


def lives(pid: int, started_at: float) -> bool:
    """Whether this process, and not another of the same id, is alive."""
    try:
        return bool(abs(psutil.Process(pid).create_time() - started_at) < 1.0)
    except psutil.Error:
        return False
