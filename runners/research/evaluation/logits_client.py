"""Our end of a logits server: tokens out, logits in, nothing of theirs imported or unpickled here."""

from __future__ import annotations

import json
import math
import os
import select
import shutil
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runners.sandbox.limits import Limits
from runners.sandbox.run import (
    EndStatus,
    Sandbox,
    SandboxedProcess,
    SandboxEnd,
    SandboxSpec,
    make_readable,
)
from tracker.interpreter import python_command

SERVER = Path(__file__).with_name("logits_server.py")
HEADER = struct.Struct("<iii")
MAX_TOLD_BYTES = 1 << 20  # of one line: two numbers per weight
PROBLEMS = ("", "unsafe_checkpoint", "unreadable_checkpoint")  # that a server may have; none at first
MAX_NUMBERS = 1 << 40  # of one weight: more than any memory holds
OUTPUT_BYTES = 1 << 20  # of any file that a server writes: it has no reason to write one
Logits = NDArray[np.float32]


class AnswerError(Exception):
    """The server did not answer as it must; `reason` is the machine-readable cause."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """The files and settings that a server loads; paths are on our side."""

    script: Path
    checkpoint: Path
    config: Mapping[str, Any]  # what `build_model` is given
    device: str
    limits: Limits
    environment: Mapping[str, str] = field(default_factory=dict)  # in which a server sees its card


@dataclass(frozen=True, slots=True)
class WeightStart:
    """One weight of two untrained models, as their own process compares them; not to be trusted."""

    name: str
    n_numbers: int
    cosine: float | None  # of its values under the two seeds; None: it has one value throughout


@dataclass(slots=True)
class LogitsServer:
    """One process that answers for one model, or for untrained ones, in its own sandbox and folder."""

    sandbox: Sandbox
    model: TrainedModel
    folder: Path
    seeds: tuple[int, ...] = ()  # of untrained models; none: the trained one
    modules: tuple[str, ...] = ()  # imported before the script, apart from its own cost
    torch_cpu_s: float = 0.0  # of starting Python and importing torch
    startup_cpu_s: float = 0.0  # the same with `modules`
    work_began_s: float = 0.0  # on our clock, when the script was let in
    work_wall_s: float = 0.0
    n_answers: int = 0
    prepared_cpu_s: float = 0.0  # up to its first answer
    end: SandboxEnd | None = None
    _at_work: SandboxedProcess | None = field(default=None, init=False)
    _buffer: bytearray = field(default_factory=bytearray, init=False)
    _was_asked: bool = field(default=False, init=False)

    def __enter__(self) -> LogitsServer:
        out = self.folder / "out"
        out.mkdir(parents=True)
        server = self.folder / "server.py"
        shutil.copyfile(SERVER, server)
        paths = {"server.py": server, "script.py": self.model.script}
        if not self.seeds:
            paths["checkpoint.pt"] = self.model.checkpoint
        paths["job.json"] = self.folder / "job.json"
        inside = {name: self.sandbox.inside(name, path) for name, path in paths.items()}
        job = {
            "script": inside["script.py"],
            "checkpoint": inside.get("checkpoint.pt"),
            "config": dict(self.model.config),
            "device": self.model.device,
            "seeds": list(self.seeds),
            "modules": list(self.modules),
            "n_threads": 1,
        }
        paths["job.json"].write_text(json.dumps(job))
        make_readable(paths.values())
        limits = Limits(
            cpu_s=self.model.limits.cpu_s,
            wall_s=self.model.limits.wall_s,
            memory_bytes=self.model.limits.memory_bytes,
            file_bytes=OUTPUT_BYTES,
            n_processes=self.model.limits.n_processes,
        )
        needs_gpu = self.model.device != "cpu"
        spec = SandboxSpec(
            paths,
            out,
            limits,
            {"OMP_NUM_THREADS": "1", **self.model.environment},
            needs_gpu=needs_gpu,
            keeps_output=False,
        )
        argv = python_command(inside["server.py"], inside["job.json"])
        self._at_work = self.sandbox.start(argv, spec, with_pipes=True)
        return self

    @property
    def work_cpu_s(self) -> float:
        """CPU seconds of loading and answering, without the imports before."""
        return 0.0 if self.end is None else max(0.0, self.end.cpu_s - self.startup_cpu_s)

    @property
    def prepare_cpu_s(self) -> float:
        """CPU seconds of loading and of the first answer beyond what a later one takes.

        An answer is kept and compared, so what changes the model has to come before the first one.
        """
        if self.end is None or not self.n_answers:
            return self.work_cpu_s
        before = max(0.0, self.prepared_cpu_s - self.startup_cpu_s)
        later = max(0.0, self.end.cpu_s - self.prepared_cpu_s)
        return max(0.0, before - later / max(1, self.n_answers - 1))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> SandboxEnd:
        """End the server; what it used."""
        assert self._at_work is not None
        if self.end is None:
            self.work_wall_s = time.monotonic() - self.work_began_s if self.work_began_s else 0.0
            self.end = self._at_work.stop()
        return self.end

    def report(self) -> tuple[WeightStart, ...]:
        """Let the script in; what its process says of the untrained models, nothing of a trained one.

        Raises:
            AnswerError: it cannot load the model, or does not say so in time.
        """
        self._line()
        self.torch_cpu_s = self._let_on()
        self._line()
        self.startup_cpu_s = self._let_on()
        self.work_began_s = time.monotonic()
        line = self._line()
        try:
            said = json.loads(line)
            problem = PROBLEMS[PROBLEMS.index(said["problem"])]
            starts = tuple(weight_start(*each) for each in said.get("starts", ()))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise AnswerError("no_answer", "the model's process does not follow the protocol") from error
        if problem:
            raise AnswerError(problem, f"the checkpoint cannot be loaded: {self._last_words()}")
        return starts

    def _line(self) -> bytes:
        """The next line that it says."""
        while b"\n" not in self._buffer:
            if len(self._buffer) > MAX_TOLD_BYTES:
                raise AnswerError("no_answer", "the model's process sent too much data")
            self._buffer += self._read(1 << 16)
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer = bytearray(rest)
        return line

    def _let_on(self) -> float:
        """Its CPU seconds up to now, while it waits for us; it goes on then."""
        self._at_work_now().look()
        spent_s = self._at_work_now().cpu_s
        self._write(b"\n")
        return spent_s

    def _write(self, request: bytes) -> None:
        stdin = self._at_work_now().process.stdin
        assert stdin is not None
        try:
            stdin.write(request)
            stdin.flush()
        except (BrokenPipeError, ValueError) as error:
            raise self._died() from error

    def logits(self, tokens: NDArray[np.integer], vocab_size: int, *, which: int = 0) -> Logits:
        """(B, T, V) for tokens (B, T), of the model in the place `which`.

        Raises:
            AnswerError: none came, or of another size.
        """
        B, T = tokens.shape
        self._was_asked = True
        self._write(HEADER.pack(which, B, T) + tokens.astype("<i4").tobytes())
        size = 4 * B * T * vocab_size
        answer = bytearray(size)
        view, n = memoryview(answer), min(len(self._buffer), size)
        view[:n] = self._buffer[:n]
        del self._buffer[:n]
        while n < size:
            block = self._read(min(size - n, 1 << 20))
            view[n : n + len(block)] = block
            n += len(block)
        self.n_answers += 1
        if self.n_answers == 1:
            self._at_work_now().look()
            self.prepared_cpu_s = self._at_work_now().cpu_s
        if self._buffer:
            raise AnswerError("wrong_shape", "the model returned more values than (B, T, V)")
        return np.frombuffer(answer, dtype="<f4").reshape(B, T, vocab_size)

    def _at_work_now(self) -> SandboxedProcess:
        assert self._at_work is not None
        return self._at_work

    def _read(self, n: int) -> bytes:
        """Up to `n` bytes of the answer; the watch ends a server that is silent for too long."""
        stdout = self._at_work_now().process.stdout
        assert stdout is not None
        deadline = time.monotonic() + self.model.limits.wall_s
        while not select.select([stdout], [], [], 1.0)[0]:
            if time.monotonic() > deadline:
                raise AnswerError("no_answer", "the model does not answer")
        block = os.read(stdout.fileno(), n)
        if not block:
            raise self._died()
        return block

    def _died(self) -> AnswerError:
        end = self.stop()
        if end.status in (EndStatus.OUT_OF_MEMORY, EndStatus.TIMED_OUT):
            return AnswerError(str(end.status), "evaluating the trained model takes too much time or memory")
        if self._was_asked:  # its words could be what it was asked about, and the agent reads them
            return AnswerError("no_answer", "the model's process ended during evaluation")
        return AnswerError("no_answer", f"the model's process ended: {self._last_words()}")

    def _last_words(self) -> str:
        lines = [line.strip() for line in self.stop().stderr_tail.splitlines() if line.strip()]
        return lines[-1][:300] if lines else "no output"


def weight_start(name: object, n_numbers: object, cosine: object) -> WeightStart:
    """One weight, as its process tells of it.

    Raises:
        ValueError: that is no name, no size or no cosine.
    """
    if not isinstance(name, str):
        raise ValueError("a weight has no name")
    if not (isinstance(n_numbers, int) and 0 <= n_numbers <= MAX_NUMBERS):
        raise ValueError(f"`{name:.60}` has no size")
    if cosine is None:
        return WeightStart(name, n_numbers, None)
    if not (isinstance(cosine, int | float) and math.isfinite(cosine)):
        raise ValueError(f"`{name:.60}` has no cosine")
    return WeightStart(name, n_numbers, float(cosine))
