"""The sequences of a training, handed out by a pipe as it takes them, so that our own side sees its pace.

On a card, starting and compiling take longer than many trainings and vary by seconds. What is compared is
therefore the time from a twentieth of the sequences on: by then everything is compiled, and whoever trained
longer before has had no more text than that.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

HEAD_SHARE = 0.05  # of the sequences: several steps, also of batches four times as large
BLOCK_BYTES = 1 << 16  # of one write: as much as a pipe holds


@dataclass(slots=True)
class Handout:
    """One thread that writes a file into the training's standard input."""

    data: Path
    head_s: float | None = None  # from the start until the head was taken; None: it never was
    _started_at: float = field(default_factory=time.monotonic)
    _thread: threading.Thread | None = None

    def begin(self, pipe: IO[bytes]) -> None:
        """Hand out until all is taken, or until nobody reads any more; the pipe is closed then."""
        self._thread = threading.Thread(target=self._write, args=[pipe], name="handout", daemon=True)
        self._thread.start()

    def steps_s(self, wall_s: float) -> float:
        """Seconds after the head of a training that took `wall_s` in all."""
        assert self._thread is not None
        self._thread.join()
        return wall_s if self.head_s is None else max(0.0, wall_s - self.head_s)

    def _write(self, pipe: IO[bytes]) -> None:
        head = HEAD_SHARE * self.data.stat().st_size
        n_taken = 0
        with contextlib.suppress(OSError, ValueError), self.data.open("rb") as file, pipe:
            while block := file.read(BLOCK_BYTES):
                view = memoryview(block)
                while view:
                    n = os.write(pipe.fileno(), view)
                    n_taken, view = n_taken + n, view[n:]
                    # what the pipe holds is written, but not yet taken
                    if self.head_s is None and n_taken - BLOCK_BYTES >= head:
                        self.head_s = time.monotonic() - self._started_at
