"""The sequences of a training, handed out by a pipe as it takes them, so that our own side sees its pace.

Starting takes longer than a short training, and on a card compiling takes longer than many, and both vary.
What is compared is therefore the computing from a moment on. On a CPU a first byte lets the script in when
all is imported, and the steps begin with the first sequence taken. On a card they begin with a twentieth of
the sequences, by when everything is compiled. Whoever computed more before has had no more text than that.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import termios
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

CARD_HEAD_SHARE = 0.05  # of the sequences: several steps, also of batches four times as large
CPU_PIPE_BYTES, CARD_PIPE_BYTES = 1 << 12, 1 << 16  # as much as it holds; less shows the pace more finely
FIRST_LOOK_S = 0.002  # between two looks at whether a byte was taken
LET_IN = b"\n"  # before the text on a CPU: `launch.py` takes it when it has imported what is needed


@dataclass(slots=True)
class Handout:
    """One thread that writes a file into the training's standard input."""

    data: Path
    head_share: float = 0.0
    pipe_bytes: int = CPU_PIPE_BYTES
    most_s: float = 0.0  # of computing after the head, after which the text ends; 0: when all is taken
    let_in_s: float = 0.0  # what the clock said when the script was let in
    head_s: float | None = None  # the same when the head was taken; None: it never was
    _thread: threading.Thread | None = None

    def begin(self, pipe: IO[bytes], clock: Callable[[], float]) -> None:
        """Hand out until all is taken, or until nobody reads any more; the pipe is closed then.

        `clock` tells the seconds of computing up to now.
        """
        with contextlib.suppress(OSError):  # the user's pipes are at their limit: it stays as it is
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, self.pipe_bytes)
        self._thread = threading.Thread(target=self._write, args=[pipe, clock], name="handout", daemon=True)
        self._thread.start()

    def steps_s(self, total_s: float) -> float:
        """Seconds of computing after the head, of `total_s` in all."""
        assert self._thread is not None
        self._thread.join()
        return total_s if self.head_s is None else max(0.0, total_s - self.head_s)

    def _is_spent(self, clock: Callable[[], float]) -> bool:
        return bool(self.most_s) and self.head_s is not None and clock() - self.head_s >= self.most_s

    def _write(self, pipe: IO[bytes], clock: Callable[[], float]) -> None:
        head = self.head_share * self.data.stat().st_size
        n_written = 0
        with contextlib.suppress(OSError, ValueError), self.data.open("rb") as file, pipe:
            capacity = fcntl.fcntl(pipe.fileno(), fcntl.F_GETPIPE_SZ)
            if not self.head_share:
                self.let_in_s = _taken_at(pipe, LET_IN, clock)
                # a pipe takes no more until a whole page was read: text that is there could be read, and
                # trained on, before the clock starts, so only one byte is
                self.head_s = _taken_at(pipe, file.read(1), clock)
                n_written = 1
            while (block := file.read(capacity)) and not self._is_spent(clock):
                view = memoryview(block)
                while view:
                    n = os.write(pipe.fileno(), view)
                    n_written, view = n_written + n, view[n:]
                    if self.head_s is None and n_written - capacity > head:  # the rest is not yet taken
                        self.head_s = clock()


def _taken_at(pipe: IO[bytes], byte: bytes, clock: Callable[[], float]) -> float:
    """What the clock says when a byte is taken that is alone in the pipe."""
    os.write(pipe.fileno(), byte)
    while _n_unread(pipe):
        time.sleep(FIRST_LOOK_S)
    return clock()


def _n_unread(pipe: IO[bytes]) -> int:
    """Bytes in the pipe that nobody has read.

    Raises:
        BrokenPipeError: nobody will.
    """
    (n,) = struct.unpack("i", fcntl.ioctl(pipe.fileno(), termios.FIONREAD, b"\0" * 4))
    if n and not _has_reader(pipe):
        raise BrokenPipeError
    return int(n)


def _has_reader(pipe: IO[bytes]) -> bool:
    """Whether the other end is open somewhere: without it, the kernel reports an error on ours."""
    poll = select.poll()
    poll.register(pipe.fileno(), 0)
    return not any(event & select.POLLERR for _, event in poll.poll(0))
