"""An engine that loads nothing and answers at once, so that only the time of our own code remains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runners.engines import Continuation, ContinuationRequest, Generation, GenerationRequest
from tracker.records import EngineInfo, EngineSettings, Model


class InstantEngine:
    """Gives every choice the same likelihood, and generates `0`."""

    def __init__(self, _model: Model, _settings: EngineSettings) -> None:
        self.prefilled_tokens = 0
        self.cut_requests = 0
        self.info = EngineInfo("instant", "1", "float32", "none", 4096, chat_template_hash="none")

    def chat_prompt(self, messages: Sequence[dict[str, str]], *, add_generation_prompt: bool = True) -> str:
        return "\n".join(message["content"] for message in messages)

    def log_probs(self, requests: Sequence[ContinuationRequest]) -> Iterator[tuple[int, Continuation]]:
        for place, _ in enumerate(requests):
            yield place, Continuation(-1.0, False, 1, 1)

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, Generation]]:
        for place, _ in enumerate(requests):
            yield place, Generation("0", "stop", 1, 1)

    def close(self) -> None:
        pass
