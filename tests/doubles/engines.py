"""A small real engine that answers by a rule, without weights."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from runners.engines import Continuation, ContinuationRequest, Generation, GenerationRequest
from tracker.errors import EngineError, UnreachableError
from tracker.records import EngineInfo, EngineSettings, Model

MEETING_S = 120.0  # on a busy machine a worker takes a while to start
SUM = re.compile(r"(-?\d+) \+ (-?\d+) =\s*(?:\nA:)?\s*$")


class PanicException(BaseException):
    """As a library in Rust raises it; its own class cannot be made."""


class ArithmeticEngine:
    """Adds correctly unless the sum is divisible by 5, and distinguishes even and odd numbers.

    A file `double.json` in the model's folder makes it fail: `delay_s` per answer, `out_of_memory_at`,
    `die_at` (SIGKILL of its own process) and `unreachable_at` (a place), `load_fails`, `hang_at`,
    `load_takes_bytes`, `load_panics`, `panic_at`, and `refuses` every question. `loses` is a share of the
    questions, by their text, that it answers with nothing.
    """

    def __init__(self, model: Model, settings: EngineSettings) -> None:
        path = Path(model.path or ".") / "double.json"
        self._rules = json.loads(path.read_text()) if path.is_file() else {}
        self._n_answered = 0
        self.prefilled_tokens = 0
        self.cut_requests = 0
        if self._rules.get("load_fails"):
            raise EngineError("not enough memory to load", reason="out_of_memory", hint="a smaller model")
        if self._rules.get("load_panics"):
            raise PanicException("called `Option::unwrap()` on a `None` value \ud800")
        if n_bytes := self._rules.get("load_takes_bytes"):
            self._taken = b"x" * n_bytes
            signal.pause()
        self.info = EngineInfo(
            engine="arithmetic",
            engine_version="1",
            dtype="float32",
            device="cpu",
            max_model_len=settings.max_model_len or 4096,
            chat_template_hash="none",
        )

    def chat_prompt(self, messages: Sequence[dict[str, str]], *, add_generation_prompt: bool = True) -> str:
        return "\n".join(message["content"] for message in messages)

    def log_probs(self, requests: Sequence[ContinuationRequest]) -> Iterator[tuple[int, Continuation]]:
        for place, request in enumerate(requests):
            self._answer_one()
            number = int(re.findall(r"\d+", request.context)[-1])
            right = request.continuation.strip() == ("odd" if number % 2 else "even")
            yield place, Continuation(-1.0 if right else -2.0, right, len(request.context), 1)

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, Generation]]:
        for place, request in enumerate(requests):
            self._answer_one()
            found = SUM.search(request.prompt)
            total = int(found.group(1)) + int(found.group(2)) if found else 0
            text = f" {total + (total % 5 == 0)}" if total % 7 else " I cannot say"
            if _share(request.prompt) < self._rules.get("loses", 0.0):
                text = ""
            length = "length" if total % 11 == 0 else "stop"
            yield place, Generation(text, length, len(request.prompt), 3, latency_s=0.01, ttft_s=0.005)

    def close(self) -> None:
        pass

    def _answer_one(self) -> None:
        self._n_answered += 1
        self.prefilled_tokens += 1
        if delay_s := self._rules.get("delay_s"):
            time.sleep(delay_s)
        if self._n_answered == self._rules.get("out_of_memory_at"):
            raise EngineError("no memory left", reason="out_of_memory", hint="--max-model-len 2048")
        if self._n_answered == self._rules.get("panic_at"):
            raise PanicException("retry-limit-in-match over")
        if self._rules.get("refuses"):
            raise EngineError("its tokenizer takes too long", reason="unsupported")
        if self._n_answered == self._rules.get("unreachable_at"):
            raise UnreachableError("the server closed the connection")
        if self._n_answered == self._rules.get("die_at"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self._n_answered == self._rules.get("hang_at"):
            signal.pause()


def _share(text: str) -> float:
    """The place of a text between 0 and 1, the same in every process."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 16**8


class MeetingEngine(ArithmeticEngine):
    """Is loaded once as many processes load it as the variable `MEETING` says, `FOLDER:N`."""

    def __init__(self, model: Model, settings: EngineSettings) -> None:
        super().__init__(model, settings)
        place, _, number = os.environ["MEETING"].rpartition(":")
        Path(place, str(os.getpid())).touch()
        ends_s = time.monotonic() + MEETING_S
        while len(os.listdir(place)) < int(number):
            if time.monotonic() > ends_s:
                raise EngineError("nobody else came", reason="out_of_memory", hint="measure them at once")
            time.sleep(0.02)


class KnownModelEngine(ArithmeticEngine):
    """Answers the stand-in tasks of `test_place_suite` right as often as `double.json` says for each task."""

    def log_probs(self, requests: Sequence[ContinuationRequest]) -> Iterator[tuple[int, Continuation]]:
        for place, request in enumerate(requests):
            self._answer_one()
            chosen = "right" if self._knows(request.context) else "wrong"
            is_chosen = request.continuation.strip() == chosen
            yield place, Continuation(-1.0 if is_chosen else -2.0, is_chosen, len(request.context), 1)

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, Generation]]:
        for place, request in enumerate(requests):
            self._answer_one()
            text = " 42" if self._knows(request.prompt) else " 41"
            yield place, Generation(text, "stop", len(request.prompt), 3, latency_s=0.01, ttft_s=0.005)

    def _knows(self, prompt: str) -> bool:
        task, number = re.findall(r"(\w+) number (\d+)", prompt)[-1]
        return bool(_share(f"{task} {number}") < self._rules["right"][task])
