"""The worker's end of the pipe to its parent: whole lines, and a sign of life while nothing else is said."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

HEARTBEAT_S = 5.0


class Pipe:
    """Writes lines to the parent; a lock keeps them whole."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, line: bytes) -> None:
        """Write one line; a parent that is gone is no reason to stop."""
        with self._lock:
            try:
                self._stream.write(line)
                self._stream.flush()
            except (BrokenPipeError, ValueError):
                pass


def own_stdout() -> BinaryIO:
    """The pipe to the parent; from here on whatever prints to standard output prints to standard error."""
    pipe = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return pipe


@contextmanager
def heartbeat(pipe: Pipe, line: bytes) -> Iterator[None]:
    """Within this, `line` is sent every few seconds."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(HEARTBEAT_S):
            pipe.send(line)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
