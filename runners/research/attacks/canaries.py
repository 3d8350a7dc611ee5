"""Canaries for the scripted cheats: what they try to reach, and the traces that they would leave."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

PACKAGE = Path(__file__).parents[1]
SUCCEEDED = "CHEAT-SUCCEEDED"  # what a cheat says when it reaches what it goes for
VARIABLE = "TRACKER_BAIT"  # environment variable that holds a secret while cheats run


@dataclass(slots=True)
class Canaries:
    """Targets that a cheat must not reach, each of which shows when one did."""

    outside: Path  # a folder that anybody may write in
    held_out: Path  # of the corpus
    secret: str
    mark: str = field(default_factory=lambda: secrets.token_hex(16))
    n_calls: int = 0  # connections that came in
    _listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    _abstract: socket.socket = field(default_factory=lambda: socket.socket(socket.AF_UNIX))

    def place(self) -> None:
        """Create the folder and start listening on the sockets."""
        self.outside.mkdir(parents=True, exist_ok=True)
        self.outside.chmod(0o777)  # only the sandbox keeps it from being written
        self._abstract.bind(f"\0{self.mark}")
        self._abstract.listen()
        for listener in (self._listener, self._abstract):
            threading.Thread(target=self._count, args=[listener], daemon=True).start()

    def _count(self, listener: socket.socket) -> None:
        while True:
            try:
                listener.accept()[0].close()
            except OSError:  # closed
                return
            self.n_calls += 1

    def words(self) -> Mapping[str, str]:
        """The placeholders in a cheat's code and their values."""
        return {
            "@OUTSIDE@": str(self.outside),
            "@HELD_OUT@": str(self.held_out),
            "@SECRET@": self.secret,
            "@SECRET_FILE@": str(self.held_out / "val.bin"),
            "@PORT@": str(self._listener.getsockname()[1]),
            "@ABSTRACT@": self.mark,
            "@PACKAGE@": str(PACKAGE),
            "@PID@": str(os.getpid()),
            "@LEFT_BEHIND@": self.mark,
            "@MARK@": self.mark,
            "@SUCCEEDED@": SUCCEEDED,
        }

    def trace(self) -> str | None:
        """The canary that was reached; None if none was."""
        if any(self.outside.iterdir()):
            return "it wrote outside its folder"
        if self.n_calls:
            return "it reached the network"
        if is_marked(self.mark):
            return "it changed our code"
        if any(self.mark in " ".join(_command_line(process)) for process in psutil.process_iter()):
            return "it left a process behind"
        return None

    def close(self) -> None:
        """Nobody listens any more."""
        self._listener.close()
        self._abstract.close()


@contextlib.contextmanager
def placed_canaries(outside: Path, held_out: Path, secret: str) -> Iterator[Canaries]:
    """Canaries for one cheat, gone afterwards."""
    canaries = Canaries(outside, held_out, secret)
    canaries.place()
    try:
        yield canaries
    finally:
        canaries.close()


@contextlib.contextmanager
def secret_variable() -> Iterator[str]:
    """A secret in our environment, as a token would be."""
    secret = secrets.token_hex(16)
    os.environ[VARIABLE] = secret
    try:
        yield secret
    finally:
        os.environ.pop(VARIABLE, None)


def is_marked(mark: str) -> bool:
    """Whether somebody wrote the mark into our code."""
    return any(mark.encode() in path.read_bytes() for path in PACKAGE.rglob("*.py"))


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []
