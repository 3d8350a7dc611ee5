"""The child's side of a supervised process: it dies with its parent and reports on its standard output.

`runners.executors.supervisor` is the parent's side. Only the standard library is imported here, and little of
it: a worker calls `die_with_parent` before its own imports, which take seconds.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import BinaryIO

from tracker.errors import EXIT_INTERRUPTED

PARENT = "TRACKER_PARENT"  # environment variable: the process that started us
PR_SET_PDEATHSIG = 1  # linux/prctl.h
HEARTBEAT_S = 5.0


def die_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent dies; end now if it already has."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(os.environ.get(PARENT, os.getppid())):
            sys.exit(EXIT_INTERRUPTED)


class Pipe:
    """Writes lines to the parent; a lock keeps them from interleaving."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, line: bytes) -> None:
        """Write one line; a closed pipe is ignored."""
        with self._lock:
            try:
                self._stream.write(line)
                self._stream.flush()
            except (BrokenPipeError, ValueError):
                pass


def own_stdout() -> BinaryIO:
    """Take over standard output as the pipe to the parent; all other output then goes to standard error."""
    pipe = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return pipe


@contextmanager
def repeating(action: Callable[[], None], *, every_s: float, name: str) -> Iterator[None]:
    """Call `action` in a thread every `every_s` seconds until the block ends."""
    done = threading.Event()

    def repeat() -> None:
        while not done.wait(every_s):
            action()

    thread = threading.Thread(target=repeat, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def heartbeat(pipe: Pipe, line: Callable[[], bytes]) -> AbstractContextManager[None]:
    """Send what `line` gives every few seconds until the block ends."""
    return repeating(lambda: pipe.send(line()), every_s=HEARTBEAT_S, name="heartbeat")
