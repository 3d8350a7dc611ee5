"""What the executor `ray` runs on a node: an actor that follows a worker or a call and hands over its files.

Files go both ways in pieces that fit into a message, so nothing of them is put into Ray's object store. On
the node the job runs as the executor `local` runs it, in a folder of its own.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from runners.executors.calls import ANSWER, REQUEST, keep_file, lacking, run_call
from runners.executors.local import LocalExecutor
from runners.executors.supervisor import WorkerEnd
from runners.harness.events import Event, encode, read_job
from runners.harness.gate import give_sign
from tracker.installation import DISTRIBUTION, installed_version
from tracker.serialization import write_atomically
from tracker.settings import Settings

PIECE_BYTES = 64 * 2**10  # below the 100 KB from which Ray uses its object store
GATE, ITEMS, LOG = "gate", "items", "worker.log"


@dataclass(frozen=True, slots=True)
class FilePiece:
    """A part of a file; the last one completes it."""

    name: str  # below the folder of the job: "items/run-1/….parquet"
    content: bytes
    is_last: bool


@dataclass(frozen=True, slots=True)
class NodeAnswer:
    """What happened on the node since the last question."""

    events: tuple[bytes, ...] = ()
    pieces: tuple[FilePiece, ...] = ()
    end: tuple[int, str | None, str] | None = None  # as in `WorkerEnd`; only once every piece was handed over


def pieces_of(name: str, content: bytes) -> Iterator[FilePiece]:
    """The file in pieces; an empty one is one piece."""
    for start in range(0, max(len(content), 1), PIECE_BYTES):
        part = content[start : start + PIECE_BYTES]
        yield FilePiece(name, part, start + PIECE_BYTES >= len(content))


@dataclass(slots=True)
class Inbox:
    """Puts pieces together."""

    parts: dict[str, bytes] = field(default_factory=dict)

    def add(self, piece: FilePiece) -> bytes | None:
        """The whole content, with its last piece."""
        content = self.parts.pop(piece.name, b"") + piece.content
        if piece.is_last:
            return content
        self.parts[piece.name] = content
        return None


class NodeFolder:
    """An actor with a folder of its own: its methods are called one after the other."""

    def __init__(self) -> None:
        """Make the folder."""
        self._root = Path(tempfile.mkdtemp(prefix="tracker-node-"))
        self._inbox = Inbox()
        self._outbox: deque[FilePiece] = deque()
        self._sent: dict[str, tuple[int, int]] = {}  # name → time and size of what was handed over
        self._events: deque[bytes] = deque()
        self._interrupts: list[float] = []
        self._thread: threading.Thread | None = None
        self._end: WorkerEnd | None = None

    def version(self) -> str:
        """The version of this program on the node."""
        return installed_version(DISTRIBUTION, extra="ray")

    def put(self, pieces: list[FilePiece]) -> None:
        """Take pieces of files that are needed in the folder."""
        for piece in pieces:
            if (content := self._inbox.add(piece)) is not None:
                path = self._root / piece.name
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, content)
                self._note(path)

    def ask(self) -> NodeAnswer:
        """What happened since the last question."""
        end = self._end
        self._collect(is_last=end is not None)
        events = tuple(self._events.popleft() for _ in range(min(len(self._events), 100)))
        pieces: list[FilePiece] = []
        while self._outbox and sum(len(one.content) for one in [*pieces, self._outbox[0]]) <= PIECE_BYTES:
            pieces.append(self._outbox.popleft())
        is_done = end is not None and not self._outbox and not self._events
        return NodeAnswer(
            events, tuple(pieces), (end.returncode, end.stopped, end.stopped_for) if end and is_done else None
        )

    def stop(self) -> None:
        """Ask the worker to stop; a second time, at once."""
        self._interrupts.append(time.monotonic())

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._root, ignore_errors=True)

    def _launch(self, run: Callable[[], WorkerEnd]) -> None:
        """Run it in a thread, so that questions are answered meanwhile."""

        def keep_end() -> None:
            self._end = run()

        self._thread = threading.Thread(target=keep_end, daemon=True)
        self._thread.start()

    def _found(self, *, is_last: bool) -> list[Path]:
        """The files to hand over, as they are now or at the end."""
        raise NotImplementedError

    def _collect(self, *, is_last: bool) -> None:
        """Put new and changed files into the outbox."""
        for path in sorted(self._found(is_last=is_last)):
            name = str(path.relative_to(self._root))
            if self._sent.get(name) != _state(path):
                self._note(path)
                self._outbox.extend(pieces_of(name, path.read_bytes()))

    def _note(self, path: Path) -> None:
        self._sent[str(path.relative_to(self._root))] = _state(path)


class NodeWorker(NodeFolder):
    """Runs one job as the executor `local` runs it."""

    def start(self) -> None:
        """Start the job in `job.json`, in the folder of this node."""
        (self._root / GATE).mkdir(exist_ok=True)
        job = read_job(self._root / "job.json")
        shard = None if job.shard is None else replace(job.shard, gate=str(self._root / GATE))
        job = replace(job, items_path=str(self._root / ITEMS), shard=shard)
        self._launch(
            lambda: LocalExecutor(Settings(home=self._root)).run(
                job, self._hear, log_path=self._root / LOG, interrupts=self._interrupts
            )
        )

    def ask(self) -> NodeAnswer:
        """What happened since the last question."""
        give_sign(self._root / GATE)
        return super().ask()

    def _hear(self, event: Event) -> None:
        self._events.append(encode(event).rstrip(b"\n"))

    def _found(self, *, is_last: bool) -> list[Path]:
        """The items and reports; the log once the job has ended."""
        found = [*self._root.glob(f"{ITEMS}/*/*"), *self._root.glob(f"{GATE}/report-*.json")]
        if is_last:
            found.append(self._root / LOG)
        return [path for path in found if path.suffix in {".parquet", ".json", ".log"}]


class NodeCaller(NodeFolder):
    """Runs one call."""

    def lacking(self, names: list[str]) -> list[str]:
        """Those of the files to keep that the node does not have yet."""
        return lacking(names)

    def keep(self, piece: FilePiece) -> None:
        """Take a piece of a file that stays on the node."""
        if (content := self._inbox.add(piece)) is not None:
            keep_file(piece.name, content)

    def start(self, module: str) -> None:
        """Start the call, whose request is in the folder."""
        self._note(self._root / REQUEST)
        self._launch(lambda: run_call(module, self._root, self._interrupts))

    def detail(self) -> str:
        """Why there is no answer."""
        return "" if self._end is None else self._end.detail

    def _found(self, *, is_last: bool) -> list[Path]:
        """The answer, once it is there for good."""
        path = self._root / ANSWER
        return [path] if is_last and path.is_file() else []


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size
