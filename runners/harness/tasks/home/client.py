"""The worker's side of the homes: their process is started when needed, and begun again if it dies or hangs.

The same calls lead to the same home, so an episode whose process is gone is played again up to its last call.
If the process fails again at that call, the episode ends with a sentence, and a later run asks it again.
"""

from __future__ import annotations

import json
import selectors
import subprocess
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import IO, Any

from runners.harness.episodes import EpisodeFailedError, EpisodeLimits
from runners.harness.tasks.tool_schemas import ToolResult, error_result
from tracker.errors import TrackerError
from tracker.interpreter import python_command, python_environment

ANSWER_S = 60.0  # of the real clock, for one line; a call takes milliseconds
MOST_CHARACTERS = 200_000  # of the arguments of a call
COMMAND = ("-m", "runners.harness.tasks.home.process")

Doc = Mapping[str, Any]


class HomesGoneError(TrackerError):
    """The process of the homes died, or did not answer in time."""


class HomeProcess:
    """The process that holds the homes; `generation` tells whether an episode is still in it."""

    def __init__(self, command: Sequence[str] = COMMAND, *, answer_s: float = ANSWER_S) -> None:
        """`command`: the arguments of the interpreter; `answer_s`: for one answer."""
        self._command, self._answer_s = command, answer_s
        self._child: subprocess.Popen[bytes] | None = None
        self.generation = 1  # rises whenever a process ends

    def ask(self, op: str, **asked: Any) -> Any:
        """The answer to one question.

        Raises:
            HomesGoneError: the process died, or hung and was ended; the next question starts another.
        """
        child = self._running()
        assert child.stdin is not None
        try:
            child.stdin.write(json.dumps({"op": op} | asked).encode() + b"\n")
            child.stdin.flush()
            return json.loads(self._line(child))
        except (OSError, ValueError) as error:
            self.close()
            code = child.returncode
            raise HomesGoneError(
                f"the simulated home failed: {error or 'it died'} (exit code {code})"
            ) from error

    def ask_again(self, op: str, **asked: Any) -> Any:
        """The answer to a question that stands alone, which a second process gets if the first fails.

        Raises:
            HomesGoneError: both failed.
        """
        try:
            return self.ask(op, **asked)
        except HomesGoneError:
            return self.ask(op, **asked)

    def close(self) -> None:
        """End the process."""
        if self._child is not None:
            self._child.kill()
            for stream in (self._child.stdin, self._child.stdout):
                assert stream is not None
                _close(stream)
            self._child.wait()
            self._child = None
            self.generation += 1

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            self._child = subprocess.Popen(
                python_command(*self._command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=python_environment(),
                start_new_session=True,  # Ctrl-C ends the worker, and that this process
            )
        return self._child

    def _line(self, child: subprocess.Popen[bytes]) -> bytes:
        """One line of answer.

        Raises:
            ValueError: none came.
        """
        assert child.stdout is not None
        with selectors.DefaultSelector() as ready:
            ready.register(child.stdout, selectors.EVENT_READ)
            if not ready.select(self._answer_s):
                raise ValueError(f"no answer within {self._answer_s:g} s")
        line = child.stdout.readline()
        if not line.endswith(b"\n"):
            raise ValueError("it died")
        return line


def _close(stream: IO[bytes]) -> None:
    try:
        stream.close()
    except OSError:  # what was still to be written to a dead process
        return


@lru_cache(maxsize=1)
def home_process() -> HomeProcess:
    """The process of this worker."""
    return HomeProcess()


class RemoteEpisode:
    """An episode in the process of the homes; see `runners.harness.episodes.Episode`."""

    def __init__(self, doc: Doc, homes: HomeProcess) -> None:
        """Describe the episode; its home is begun at the first call."""
        found = homes.ask_again("describe", doc=dict(doc))
        self.first: str = found["first"]
        self.tools: Sequence[Any] = found["tools"]
        self.limits = EpisodeLimits(**found["limits"])
        self._doc, self._homes = dict(doc), homes
        self._calls: list[tuple[str, Any]] = []
        self._generation = self._episode = 0  # where it is open: in which process, under which number

    def call(self, name: str, arguments: Any) -> ToolResult:
        """Call a tool.

        Raises:
            EpisodeFailedError: the process failed twice.
        """
        if len(json.dumps(arguments)) > MOST_CHARACTERS:
            return error_result("the arguments are too large", "wrong arguments")
        found = self._twice(lambda: self._ask("call", name=name, arguments=arguments))
        self._calls.append((name, arguments))
        return ToolResult(found["content"], found["problem"])

    def reply(self) -> str | None:
        """Nobody answers; what the model says ends the episode."""
        return None

    def report(self) -> Mapping[str, Any] | None:
        """What happened in the home; None if its process fails twice."""
        try:
            found: Mapping[str, Any] = self._twice(lambda: self._ask("end"))
        except EpisodeFailedError:
            return None
        return found

    def _twice(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except HomesGoneError:
            pass
        try:
            return ask()
        except HomesGoneError as error:
            raise EpisodeFailedError(f"{error}; a later run asks this episode again") from error

    def _ask(self, op: str, **asked: Any) -> Any:
        """Ask about this episode, which is played again where its process is a new one."""
        if self._generation != self._homes.generation:
            self._episode = self._homes.ask("begin", doc=self._doc)
            for name, arguments in self._calls:
                self._homes.ask("call", episode=self._episode, name=name, arguments=arguments)
            self._generation = self._homes.generation
        return self._homes.ask(op, episode=self._episode, **asked)
