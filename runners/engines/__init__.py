"""Engines run models: one protocol, one folder per engine, one registry.

An engine streams: it takes all requests of a task and yields each answer with the index of its request, in
whatever order they finish, so that nothing waits for a batch and finished answers can be stored.

To add an engine: a folder here with the class and its `EngineSpec`, and a line in `ENGINES`. Another package
announces its spec under the entry point group of `ENGINES` instead.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol, cast, runtime_checkable

from runners.engines.marked_calls import ToolCall
from tracker.errors import EngineError, FieldError, TrackerError, UnknownNameError
from tracker.extensions import Registry
from tracker.installation import install_command
from tracker.interpreter import extension_hint
from tracker.records import NGRAM, EngineInfo, EngineSettings, Model

ENGINES = Registry(  # of each engine's `EngineSpec`; `auto` takes the first that is available here
    "engine",
    group="open_weight_tracker.engines",
    built_in={
        "vllm": "runners.engines.vllm.spec:SPEC",
        "transformers": "runners.engines.transformers.spec:SPEC",
        "llamacpp": "runners.engines.llamacpp.spec:SPEC",
        "server": "runners.engines.server.spec:SPEC",
    },
)
AUTO = "auto"
SAFETENSORS, GGUF = "safetensors", "gguf"  # formats of weights


@dataclass(frozen=True, slots=True)
class ContinuationRequest:
    """Asks how probable `continuation` is after `context`."""

    context: str
    continuation: str


@dataclass(frozen=True, slots=True)
class TextRequest:
    """Asks how probable a whole text is, however long it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Continuation:
    """The answer to a `ContinuationRequest` or a `TextRequest`."""

    log_prob: float  # nats, summed over the continuation's tokens
    is_greedy: bool  # whether greedy decoding would generate it
    prompt_tokens: int  # of the context
    output_tokens: int  # of the continuation
    cached_tokens: int = 0  # of these tokens, taken from a cache

    @property
    def is_missing(self) -> bool:
        """Whether there is no log-probability: it was not given, or is no number."""
        return math.isnan(self.log_prob)


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """Asks for text after `prompt`. A `ChatPrompt` keeps the messages for engines that use them."""

    prompt: str
    max_output_tokens: int
    stop: tuple[str, ...] = ()
    temperature: float = 0.0  # 0: greedy
    top_p: float = 1.0
    seed: int | None = None
    json_schema: Mapping[str, Any] | None = None  # schema of the answer; the thinking is free
    sampling: Mapping[str, Any] = field(default_factory=dict)  # more settings, those of `EngineSpec.sampling`


@dataclass(frozen=True, slots=True)
class Generation:
    """The answer to a `GenerationRequest`; `text` excludes the stop string and the thinking."""

    text: str
    finish_reason: str  # "stop", "length", "repetition", or "refused" by a server that answers other requests
    prompt_tokens: int
    output_tokens: int  # thinking included
    cached_tokens: int = 0
    latency_s: float | None = None
    ttft_s: float | None = None
    thinking: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()  # which a server has read; of other engines they are in the text


REFUSED = Generation("", "refused", prompt_tokens=0, output_tokens=0)  # stands for a refused request
# the same where a log-probability was asked for
UNSCORED = Continuation(math.nan, is_greedy=False, prompt_tokens=0, output_tokens=0)


class RequestRefusedError(EngineError):
    """A server refuses this one request, such as for its length or its content; it may answer others."""

    body: bytes = b""  # of the refusal


class ChatPrompt(str):
    """A prompt rendered from chat messages and tools, which it keeps."""

    messages: tuple[dict[str, Any], ...]
    tools: tuple[Mapping[str, Any], ...]

    def __new__(
        cls, text: str, messages: Sequence[dict[str, Any]], tools: Sequence[Mapping[str, Any]] = ()
    ) -> ChatPrompt:
        """Create the prompt `text` with its `messages` and `tools`."""
        prompt = super().__new__(cls, text)
        prompt.messages, prompt.tools = tuple(messages), tuple(tools)
        return prompt


class Engine(Protocol):
    """A loaded model. Constructed as `Class(model, settings)`; raises `EngineError` if that fails.

    An engine may also have `begins_in_order = True`: it begins the texts in the order of their requests, so
    that all can be requested at once where time may run out; with `scores_in_order = True` also the
    continuations. With `takes_tools`, its `chat_prompt` takes `tools`, as OpenAI's API has them.
    """

    info: EngineInfo
    prefilled_tokens: int  # prompt tokens computed so far; cached tokens do not count
    cut_requests: int  # so far, those truncated on the left to the model's context

    def chat_prompt(self, messages: Sequence[dict[str, str]], *, add_generation_prompt: bool = True) -> str:
        """The messages in the model's chat template, with thinking on or off as in the settings.

        Raises:
            EngineError: the model has no chat template (reason `unsupported`).
        """
        ...

    def log_probs(self, requests: Sequence[ContinuationRequest]) -> Iterator[tuple[int, Continuation]]:
        """Yield the index of each request with its answer, in any order.

        Raises:
            EngineError: it died or ran out of memory.
        """
        ...

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[tuple[int, Generation]]:
        """Yield the index of each request with its answer, in any order.

        Raises:
            EngineError: it died or ran out of memory.
        """
        ...

    def close(self) -> None:
        """Free the memory and stop every child process."""
        ...


@runtime_checkable
class TextScorer(Protocol):
    """What an engine also has if it can score whole texts."""

    def text_log_probs(self, requests: Sequence[TextRequest]) -> Iterator[tuple[int, Continuation]]:
        """Yield the index of each request with its answer, in any order.

        A text longer than the model's context is scored in windows, one after the other.

        Raises:
            EngineError: it died or ran out of memory, or gives no log-probabilities (reason `unsupported`).
        """
        ...


class EngineClass(Protocol):
    """The constructor of an engine."""

    def __call__(self, model: Model, settings: EngineSettings) -> Engine:
        """Load the model."""
        ...


ALL_SETTINGS = tuple(one.name for one in fields(EngineSettings) if one.name != "engine")


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """Everything that the rest of the program needs to know about an engine without importing it.

    Fields for code are `package.module:name`, imported when needed, in the process that needs it.
    """

    name: str
    place: str  # of the engine's class
    settings: tuple[str, ...] = ALL_SETTINGS  # the fields of `EngineSettings` that it understands
    needs: Mapping[str, str] = field(
        default_factory=dict
    )  # settings that must be given, each with an example
    quantizations: tuple[str, ...] = ()  # for `--quantization`; empty: the engine itself checks
    kv_cache_dtypes: tuple[str, ...] = ()  # for `--kv-cache-dtype`
    drafts: bool = False  # whether `--speculative` may also name a draft model
    sampling: tuple[str, ...] = ()  # what it takes in `GenerationRequest.sampling`, by transformers' names
    module: str | None = None  # must be importable for the engine to run
    packages: tuple[str, ...] = ()  # the distributions it needs, for `tracker doctor`
    extra: str | None = None  # of this project that installs them
    install: str = ""  # the command that installs them if there is no extra
    is_automatic: bool = False  # whether `auto` may choose it
    wants_gpu: bool = False  # whether `auto` chooses it only if there is a card
    weights: tuple[str, ...] = (SAFETENSORS,)  # the formats that it loads
    reader: str | None = None  # place of the function that reads what it needs from a model's files
    predictor: str | None = None  # place of its `runners.memory.prediction.MemoryPredictor`
    identity: str | None = None  # place of an `Identity`; None: MODEL is on the Hub or in a folder
    server: str | None = None  # place of a `runners.engines.serving.ServerStarter`; None: it has no server
    reserves_context: bool = False  # whether its server reserves the whole context of each sequence
    study_server: str | None = None  # place of a `StudyServer`; None: a study loads it in its own process

    @property
    def loads_weights(self) -> bool:
        """Whether the model's files are needed on this machine."""
        return self.identity is None

    @property
    def install_hint(self) -> str:
        """The command that installs its packages; empty if unknown."""
        return install_command(self.extra) if self.extra else self.install

    @property
    def is_installed(self) -> bool:
        """Whether its packages are installed; nothing is imported."""
        return self.module is None or importlib.util.find_spec(self.module) is not None

    def load(self, place: str) -> Any:
        """Import the object at `package.module:name`.

        Raises:
            TrackerError: it is not installed.
        """
        module, _, name = place.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            message = f"engine `{self.name}` is not installed: {error}"
            raise TrackerError(message, hint=self.install_hint) from error


def engine_spec(name: str) -> EngineSpec:
    """The spec of the engine `name`; for `package.module:Class`, a minimal one.

    Raises:
        UnknownNameError: there is no such engine.
        TrackerError: its package is not installed, or broken.
    """
    module, colon, _ = name.partition(":")
    if colon:
        if importlib.util.find_spec(module.partition(".")[0]) is None:  # of the first part: runs no code
            raise TrackerError(f"engine `{name}` is not installed", hint=extension_hint(module))
        return EngineSpec(name, place=name)
    if name not in ENGINES:
        raise UnknownNameError("engine", name, known=[*ENGINES, AUTO])
    spec = ENGINES.load(name)
    if not isinstance(spec, EngineSpec):
        raise TrackerError(f"engine `{name}`: `{ENGINES[name]}` is not an EngineSpec")
    return spec


def is_served(name: str) -> bool:
    """Whether the engine of that name asks a server that holds the model; False for an unknown name."""
    return name in ENGINES and not engine_spec(name).loads_weights


def engine_specs() -> Iterator[EngineSpec]:
    """Yield the spec of every engine, except those of other packages that cannot be loaded."""
    for name in ENGINES:
        with suppress(TrackerError):  # `tracker doctor` says why
            yield engine_spec(name)


def choose_engine(asked: EngineSettings, *, has_gpu: bool, weights: str = SAFETENSORS) -> EngineSettings:
    """Replace `auto` with an engine, and check the settings against those that the engine accepts.

    `auto` is the engine whose required settings were given, such as a URL, else the first installed one
    that suits this machine and loads weights in this format.

    Raises:
        UnknownNameError: there is no such engine, or it does not support the quantization.
        FieldError: the engine does not accept a setting, or a required one is missing.
        TrackerError: no engine loads this format.
    """
    is_open = asked.engine == AUTO
    spec = _automatic(asked, has_gpu=has_gpu, weights=weights) if is_open else engine_spec(asked.engine)
    settings = replace(asked, engine=spec.name)
    _check(settings, spec)
    return settings


def check_some_engine(asked: EngineSettings) -> None:
    """Check settings whose engine the weights will decide: at least one engine must accept them all.

    Raises:
        FieldError: none does; the error is that of an engine that knows the setting.
        UnknownNameError: none supports the quantization or the type of the cache.
    """
    errors: list[TrackerError] = []
    for spec in engine_specs():
        if any(getattr(asked, name) is None for name in spec.needs):
            continue
        try:
            _check(replace(asked, engine=spec.name), spec)
        except FieldError as error:
            errors.insert(len(errors) if error.field in spec.settings else 0, error)
        except UnknownNameError as error:
            errors.append(error)
        else:
            return
    raise errors[-1]


def _automatic(asked: EngineSettings, *, has_gpu: bool, weights: str) -> EngineSpec:
    specs = list(engine_specs())
    for spec in specs:
        if spec.needs and all(getattr(asked, name) is not None for name in spec.needs):
            return spec
    suited = [spec for spec in specs if spec.is_automatic and (has_gpu or not spec.wants_gpu)]
    suited = [spec for spec in suited if weights in spec.weights]
    if not suited:
        hint = "serve it with llama.cpp or Ollama and use `--engine server --base-url URL`"
        raise TrackerError(f"no engine here loads {weights} weights", hint=hint)
    installed = (spec for spec in suited if spec.is_installed)
    return next(installed, suited[-1])  # its error says how to install it


def _check(settings: EngineSettings, spec: EngineSpec) -> None:
    default = EngineSettings()
    for name in ALL_SETTINGS:
        if name not in spec.settings and getattr(settings, name) != getattr(default, name):
            takers = [other.name for other in engine_specs() if name in other.settings]
            hint = " or ".join(f"--engine {other}" for other in takers)
            raise FieldError(name, f"is not supported by `--engine {spec.name}`", hint=hint)
    for name, example in spec.needs.items():
        if getattr(settings, name) is None:
            raise FieldError(name, f"is required by `--engine {spec.name}`", example=example)
    if spec.quantizations and settings.quantization not in (None, *spec.quantizations):
        kind = f"quantization of {spec.name}"
        raise UnknownNameError(kind, settings.quantization or "", known=spec.quantizations)
    if spec.kv_cache_dtypes and settings.kv_cache_dtype not in (None, *spec.kv_cache_dtypes):
        kind = f"KV cache type of {spec.name}"
        raise UnknownNameError(kind, settings.kv_cache_dtype or "", known=spec.kv_cache_dtypes)
    _check_speculative(settings, spec)


def _check_speculative(settings: EngineSettings, spec: EngineSpec) -> None:
    asked = settings.speculative
    if asked is None or asked == NGRAM or "speculative" not in spec.settings:
        return
    if not (spec.drafts and asked.endswith(f".{GGUF}")):
        other = f" or the {GGUF.upper()} file of a draft model" if spec.drafts else ""
        problem = f"must be `{NGRAM}`{other} for `--engine {spec.name}`, got `{asked}`"
        raise FieldError("speculative", problem, example=NGRAM)


def runs_remote_code(model: Model, settings: EngineSettings) -> bool:
    """Whether an engine may run the Python files of this repository: it needs them, and the user agreed."""
    return model.needs_remote_code and settings.trust_remote_code


def open_engine(model: Model, settings: EngineSettings) -> Engine:
    """Load `model` with the engine that `settings` names.

    Raises:
        UnknownNameError: there is no such engine.
        EngineError: the model could not be loaded.
    """
    spec = engine_spec(settings.engine)
    return cast(EngineClass, spec.load(spec.place))(model, settings)
