"""Store the items of a run as they come, in threads, so that the engine is given work meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tracker.files.items import write_part
from tracker.records import Item

if TYPE_CHECKING:
    from runners.harness.leaf_work import LeafWork

N_THREADS = 4  # each waits for the disk, and for the thread that asks: one needs 25 ms for a small chunk
MOST_WAITING = 8  # files, with which no further one is begun before it is due
FLUSH_CHARACTERS = 60_000_000  # bounds the memory of what is written together
ITEM_CHARACTERS = 1_000  # that an item takes beside its texts

Write = Callable[[], object]


class Storage:
    """Files of a run that are being written, one at a time of each fingerprint."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(N_THREADS, thread_name_prefix="storage")
        self._first: dict[str, Write] = {}  # of each fingerprint, what is written before all else
        self._begun: dict[str, Future[None]] = {}  # the last one of each fingerprint
        self._errors: list[BaseException] = []

    @property
    def is_busy(self) -> bool:
        """Whether so many files wait to be written that further ones should be collected."""
        return sum(not write.done() for write in self._begun.values()) > MOST_WAITING

    def write_first(self, fingerprint: str, write: Write) -> None:
        """Write a file before the next one of this fingerprint, or when all is waited for."""
        self._first[fingerprint] = write

    def write(self, fingerprint: str, write: Write) -> None:
        """Begin to write a file of this fingerprint; `wait` tells if it fails."""
        self._end(self._begun.pop(fingerprint, None))
        writes = [first, write] if (first := self._first.pop(fingerprint, None)) else [write]
        self._begun[fingerprint] = self._threads.submit(_in_turn, writes)

    def wait_for_begun(self) -> None:
        """Return when all files that are being written are there.

        Raises:
            OSError: one could not be written; the others are.
        """
        begun, self._begun = self._begun, {}
        for write in begun.values():
            self._end(write)
        errors, self._errors = self._errors, []
        if errors:
            raise errors[0]

    def wait(self) -> None:
        """Return when all files are there.

        Raises:
            OSError: one could not be written; the others are.
        """
        for fingerprint, write in self._first.items():
            self._begun[fingerprint] = self._threads.submit(_in_turn, [write])
        self._first.clear()
        self.wait_for_begun()

    def _end(self, begun: Future[None] | None) -> None:
        if begun is not None and (error := begun.exception()) is not None:
            self._errors.append(error)


def _in_turn(writes: Sequence[Write]) -> None:
    for write in writes:
        write()


@dataclass(slots=True)
class ItemSink:
    """Collects items per fingerprint and writes them in chunks."""

    storage: Storage
    items_path: Path
    run_id: str
    flush_s: float
    pending: dict[str, list[Item]] = field(default_factory=dict)
    n_characters: int = 0  # of those, about
    last_flush: float = field(default_factory=time.monotonic)

    def add(self, fingerprint: str, item: Item) -> None:
        """Add the item; write all pending ones when they are due.

        Raises:
            OSError: items could not be written.
        """
        self.pending.setdefault(fingerprint, []).append(item)
        self.n_characters += _n_characters(item)
        if self.n_characters >= FLUSH_CHARACTERS or time.monotonic() - self.last_flush >= self.flush_s:
            self.flush()
            self.storage.wait_for_begun()  # a card has work for longer than this takes

    def flush_complete(self, work: LeafWork) -> None:
        """Begin to write the last items of a task, if it has all and not too much is being written."""
        if len(work.items) < len(work.questions) or self.storage.is_busy:
            return
        if items := self.pending.pop(work.fingerprint, None):
            self.n_characters -= sum(map(_n_characters, items))
            self._write(work.fingerprint, items)

    def flush(self) -> None:
        """Begin to write all pending items."""
        pending, self.pending, self.n_characters = self.pending, {}, 0
        self.last_flush = time.monotonic()
        for fingerprint, items in pending.items():
            self._write(fingerprint, items)

    def _write(self, fingerprint: str, items: Sequence[Item]) -> None:
        self.storage.write(fingerprint, partial(write_part, self.items_path, self.run_id, fingerprint, items))


def _n_characters(item: Item) -> int:
    return ITEM_CHARACTERS + len(item.prompt) + len(item.response) + len(item.thinking or "")
