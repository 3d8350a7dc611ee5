"""vLLM's child processes: capture their output and stop them.

A root cause, such as running out of memory, is only written to a child's log. `ChildLog` sits between the
children and our standard error: it passes everything on and keeps the latest part.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing import connection, resource_tracker

import psutil

KEPT_CHUNKS = 256
CHUNK_BYTES = 4096  # at most a megabyte is kept, some thousand lines
END_S = 10.0  # after vLLM itself has requested the stop and waited
LAST_WORDS_S = 5.0  # for reading the rest of the pipe
TRACKER_ARGUMENT = "multiprocessing.resource_tracker"  # Python's own; it cleans up after us and ends with us


class ChildLog:
    """Keeps the latest output of children that were started inside `captured()`, as long as they live."""

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque(maxlen=KEPT_CHUNKS)
        self._passer: threading.Thread | None = None

    @property
    def text(self) -> str:
        """The latest output so far."""
        return b"".join(list(self._chunks)).decode(errors="replace")

    def whole(self) -> str:
        """The latest output, including the last line of children that have ended."""
        if self._passer is not None:
            self._passer.join(timeout=LAST_WORDS_S)
        return self.text

    @contextlib.contextmanager
    def captured(self) -> Iterator[None]:
        """Send all output written in this block, by us or by children on either stream, to standard error."""
        resource_tracker.ensure_running()  # otherwise it would inherit our pipe and keep it open
        sys.stdout.flush()
        sys.stderr.flush()
        kept_out, kept_err = os.dup(1), os.dup(2)
        read_end, write_end = os.pipe()
        self._passer = threading.Thread(target=self._pass_on, args=(read_end, os.dup(2)), daemon=True)
        self._passer.start()
        os.dup2(write_end, 1)
        os.dup2(write_end, 2)
        os.close(write_end)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for kept, stream in ((kept_out, 1), (kept_err, 2)):
                os.dup2(kept, stream)
                os.close(kept)

    def _pass_on(self, read_end: int, target: int) -> None:
        """Copy output until the last writer has closed the pipe."""
        with open(read_end, "rb", buffering=0) as log:
            while chunk := log.read(CHUNK_BYTES):
                self._chunks.append(chunk)
                with contextlib.suppress(
                    OSError
                ):  # our standard error is closed, but the children must not block
                    os.write(target, chunk)
        os.close(target)


def children() -> list[psutil.Process]:
    """The descendants of this process, without Python's own resource tracker."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if not any(TRACKER_ARGUMENT in word for word in process.cmdline()):
                found.append(process)
    return found


def watch_children(on_death: Callable[[], None]) -> None:
    """Call `on_death` from a thread when a direct child ends; its exit code stays available."""
    sentinels = [process.sentinel for process in multiprocessing.active_children()]

    def watch() -> None:
        connection.wait(sentinels)
        on_death()

    if sentinels:
        threading.Thread(target=watch, name="engine-watch", daemon=True).start()


def end(processes: list[psutil.Process]) -> None:
    """Wait for these processes to end; kill those that do not."""
    _, alive = psutil.wait_procs(processes, timeout=END_S)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=END_S)
    multiprocessing.active_children()  # reaps those that Python started
