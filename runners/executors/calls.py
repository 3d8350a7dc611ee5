"""A call: a module of ours that is run once on a node, with some bytes, and answers with some bytes.

A study trains through calls, one for each training. Files that many calls need stay on the node, in a folder
below its temporary one that only this user can read; their names say their content, so they are never
changed. What a call itself reads and writes is in a folder of its own, which is removed afterwards.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from runners.child import Pipe, die_with_parent, heartbeat, own_stdout
from runners.executors.supervisor import OF_SEVERAL, Worker, WorkerEnd, WorkerWatch, supervise
from tracker.errors import TrackerError
from tracker.serialization import write_atomically

REQUEST, ANSWER, CALL_LOG = "request", "answer", "call.log"  # in the folder of a call
OWNER_FILE, OWNER_FOLDER = 0o600, 0o700


@dataclass(frozen=True, slots=True)
class NodeCall:
    """What to run on a node: `python -m module FOLDER`, where `request` lies and `answer` is written.

    `kept` are files that stay on the node, by their names in its `node_store`.
    """

    module: str
    request: bytes
    kept: Mapping[str, Path] = field(default_factory=dict)
    n_cards: int = 0


class CallStoppedError(Exception):
    """The call was given up, because the user wants to stop."""


class RunsCalls(Protocol):
    """The part of an executor through which studies train; one without it runs benches alone."""

    def places(self, *, n_cards: int, per_node: int) -> int:
        """How many calls can run at the same time, at most `per_node` on a node if they need no card.

        Raises:
            TrackerError: the nodes cannot be reached, or none has what a call needs.
        """
        ...

    def call(
        self, call: NodeCall, folder: Path, on_warning: Callable[[str], None], *, interrupts: Sequence[float]
    ) -> bytes:
        """Run the call on a node and return its answer; on another one if that is lost.

        `folder` does not exist yet. `interrupts` grows while it runs: the first one gives the call up.

        Raises:
            CallStoppedError: it was given up.
            TrackerError: no node can run it.
        """
        ...

    def end_calls(self, folder: Path) -> None:
        """Stop what is left of calls whose folders are below `folder`, also of a driver that is gone."""
        ...


def call_mark(folder: Path) -> str:
    """The mark of a call's processes; that of the folder above stands for all calls below it."""
    return f"{folder.parent}{OF_SEVERAL}{folder.name}"


def run_call(module: str, folder: Path, interrupts: Sequence[float]) -> WorkerEnd:
    """Run the call in `folder` in a child process of this one; its answer is there afterwards."""
    worker = Worker(module, folder, call_mark(folder), folder / CALL_LOG)
    return supervise(worker, lambda _: None, WorkerWatch(), interrupts)


@contextlib.contextmanager
def answering(folder: Path) -> Iterator[Callable[[bytes], None]]:
    """The child's side of a call: it gives signs of life, and what it is given is the answer."""
    die_with_parent()
    with heartbeat(Pipe(own_stdout()), lambda: b"\n"):
        yield lambda content: write_atomically(folder / ANSWER, content, mode=OWNER_FILE)


def node_store() -> Path:
    """The folder on this machine in which files for calls stay; nobody but this user can read it.

    Raises:
        TrackerError: somebody else made a folder of its name.
    """
    found = Path(tempfile.gettempdir()) / f"tracker-{os.getuid()}"
    for path in (found, found / socket.gethostname()):  # a temporary folder may be shared by several nodes
        path.mkdir(mode=OWNER_FOLDER, exist_ok=True)
        state = path.lstat()
        if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid() or state.st_mode & 0o077:
            message = f"`{path}` on {socket.gethostname()} is not a folder that only this user can read"
            raise TrackerError(message, hint="delete it, or set TMPDIR on that node")
    return path


def lacking(names: Sequence[str]) -> list[str]:
    """Those of the files to keep that this node does not have yet."""
    store = node_store()
    return [name for name in names if not (store / name).is_file()]


def keep_file(name: str, content: bytes) -> None:
    """Keep a file on this node, for its owner alone."""
    path = node_store() / name
    path.parent.mkdir(mode=OWNER_FOLDER, parents=True, exist_ok=True)
    write_atomically(path, content, mode=OWNER_FILE)
