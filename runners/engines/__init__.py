"""What answers: one protocol, one file per engine.

An engine streams: it takes all requests of a task and yields each answer with the place of its request,
in whatever order it finishes them, so that nothing waits for a batch and what is done can be kept.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from tracker.errors import TrackerError, UnknownNameError
from tracker.records import EngineInfo, EngineSettings, Model

ENGINES = {
    "vllm": "runners.engines.vllm:VllmEngine",
    "transformers": "runners.engines.transformers:TransformersEngine",
    "server": "runners.engines.server:ServerEngine",
}


@dataclass(frozen=True, slots=True)
class ContinuationRequest:
    """Asks how probable `continuation` is after `context`."""

    context: str
    continuation: str


@dataclass(frozen=True, slots=True)
class Continuation:
    """The answer to a `ContinuationRequest`."""

    log_prob: float  # nats, summed over the continuation's tokens
    is_greedy: bool  # whether greedy decoding would have written it
    prompt_tokens: int  # of the context
    output_tokens: int  # of the continuation
    cached_tokens: int = 0  # of all these, not computed again


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """Asks for text after `prompt`. A `ChatPrompt` keeps the messages for engines that want them."""

    prompt: str
    max_output_tokens: int
    stop: tuple[str, ...] = ()
    temperature: float = 0.0  # 0: greedy
    top_p: float = 1.0
    seed: int | None = None
    json_schema: Mapping[str, Any] | None = None  # what the answer, not the thinking, is kept to


@dataclass(frozen=True, slots=True)
class Generation:
    """The answer to a `GenerationRequest`; `text` has neither the stop string nor the thinking."""

    text: str
    finish_reason: str  # "stop" or "length"
    prompt_tokens: int
    output_tokens: int  # thinking included
    cached_tokens: int = 0
    latency_s: float | None = None
    ttft_s: float | None = None
    thinking: str | None = None


class ChatPrompt(str):
    """A prompt that was rendered from chat messages; it remembers them."""

    messages: tuple[dict[str, str], ...]

    def __new__(cls, text: str, messages: Sequence[dict[str, str]]) -> ChatPrompt:
        """Render `text`, remember `messages`."""
        prompt = super().__new__(cls, text)
        prompt.messages = tuple(messages)
        return prompt


class Engine(Protocol):
    """A loaded model. Constructed as `Class(model, settings)`; raises `EngineError` if that fails."""

    info: EngineInfo
    prefilled_tokens: int  # prompt tokens really computed so far; what a cache gave does not count
    cut_requests: int  # so far, those whose beginning was left out because the model is too short for them

    def chat_prompt(self, messages: Sequence[dict[str, str]], *, add_generation_prompt: bool = True) -> str:
        """The messages in the model's chat template, its thinking switch as the settings say.

        Raises:
            EngineError: the model has no chat template (reason `unsupported`).
        """
        ...

    def log_probs(self, requests: Sequence[ContinuationRequest]) -> Iterator[tuple[int, Continuation]]:
        """Yield the place of each request with its answer, in any order.

        Raises:
            EngineError: it died or ran out of memory.
        """
        ...

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, Generation]]:
        """Yield the place of each request with its answer, in any order.

        Raises:
            EngineError: it died or ran out of memory.
        """
        ...

    def close(self) -> None:
        """Give the memory back and end every child process."""
        ...


class EngineClass(Protocol):
    """How an engine is made."""

    def __call__(self, model: Model, settings: EngineSettings) -> Engine:
        """Load the model."""
        ...


def open_engine(model: Model, settings: EngineSettings) -> Engine:
    """Load `model` with the engine that `settings` names: one of `ENGINES`, or `package.module:Class`.

    Raises:
        UnknownNameError: there is no such engine.
        EngineError: the model could not be loaded.
    """
    place = ENGINES.get(settings.engine, settings.engine)
    module_name, colon, class_name = place.partition(":")
    if not colon:
        raise UnknownNameError("engine", settings.engine, known=ENGINES)
    try:
        engine_class = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        message = f"engine `{settings.engine}` is not installed: {error}"
        raise TrackerError(message, hint=_install_hint(settings.engine)) from error
    return cast(EngineClass, engine_class)(model, settings)


def _install_hint(engine: str) -> str:
    extra = {"vllm": "gpu", "transformers": "cpu"}.get(engine)
    return f"pip install -c constraints.txt -e '.[{extra}]'" if extra else ""


def choose_engine(requested: str, *, has_gpu: bool) -> str:
    """The engine that `auto` means here: vLLM where there are a card and vLLM, else transformers.

    Raises:
        UnknownNameError: there is no such engine.
    """
    if requested != "auto":
        if requested not in ENGINES and ":" not in requested:
            raise UnknownNameError("engine", requested, known=[*ENGINES, "auto"])
        return requested
    has_vllm = importlib.util.find_spec("vllm") is not None
    return "vllm" if has_gpu and has_vllm else "transformers"
