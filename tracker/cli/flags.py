"""Flags that several commands share: how a model is run, and what it may cost.

A new engine option is a field of `EngineSettings`, a field of the same name in `EngineFlags`, and a line in
the function that translates settings for the engine (`engine_args` for vLLM).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from runners.engines import AUTO, ENGINES
from tracker.cli.help import BUDGET, ENGINE, SPEED
from tracker.errors import FieldError
from tracker.records import DTYPES, EXAMPLE_LIMITS, HEAD_DTYPES, EngineSettings
from tracker.records.speed import LatencyBound, SpeedLoad
from tracker.settings import without_login

if TYPE_CHECKING:
    from tracker.queue.runner import Budget

DEFAULT = EngineSettings()


@Parameter(name="*", group=ENGINE)
@dataclass(frozen=True, slots=True)
class MemoryFlags:
    """The settings that decide how much memory a model needs."""

    engine: Annotated[
        str, Parameter(help=f"Engine: auto, {', '.join(ENGINES)} or `package.module:Class`.")
    ] = AUTO
    dtype: Annotated[str, Parameter(help=f"Data type of the weights: {', '.join(DTYPES)}.")] = DEFAULT.dtype
    max_model_len: Annotated[
        int | None,
        Parameter(help="Longest context in tokens; default: as much as the model and memory allow."),
    ] = None
    max_num_seqs: Annotated[
        int | None, Parameter(help="Maximum sequences per batch; default: the engine's.")
    ] = None
    quantization: Annotated[str | None, Parameter(help="Quantize the weights on load, e.g. fp8.")] = None
    tensor_parallel_size: Annotated[int, Parameter(help="Number of GPUs to split the model across.")] = (
        DEFAULT.tensor_parallel_size
    )
    gpu_memory_utilization: Annotated[
        float, Parameter(help="Fraction of each GPU's memory for the engine.")
    ] = DEFAULT.gpu_memory_utilization
    n_gpu_layers: Annotated[
        int | None,
        Parameter(help="Layers of a GGUF on the GPU, the others on the CPU; default: as many as fit."),
    ] = None
    kv_cache_dtype: Annotated[
        str | None, Parameter(help="Type of a GGUF's KV cache, e.g. q8_0; default: f16.")
    ] = None

    def settings(self) -> EngineSettings:
        """The settings given by these flags.

        Raises:
            FieldError: a value is out of range.
        """
        values = asdict(self)
        if values.get("base_url"):
            values["base_url"] = without_login(values["base_url"])
        return EngineSettings(**values)


@Parameter(name="*", group=ENGINE)
@dataclass(frozen=True, slots=True)
class EngineFlags(MemoryFlags):
    """How a model is run: the fields of `EngineSettings` that a user may set."""

    base_url: Annotated[
        str | None,
        Parameter(help="URL of an OpenAI-compatible server, e.g. http://127.0.0.1:8000/v1."),
    ] = None
    concurrency: Annotated[int, Parameter(help="Concurrent requests to the server.")] = DEFAULT.concurrency
    server_option: Annotated[
        tuple[str, ...],
        Parameter(
            negative="",
            help="Field KEY=VALUE of each request to the server, VALUE as JSON or text; `null` leaves it out;"
            " repeatable.",
        ),
    ] = ()
    head_dtype: Annotated[
        str,
        Parameter(help=f"Data type of the last layer, for log-probabilities: {', '.join(HEAD_DTYPES)}."),
    ] = DEFAULT.head_dtype
    repetition_detection: Annotated[
        str | None,
        Parameter(help=f"Cut off answers that repeat themselves, e.g. {EXAMPLE_LIMITS}."),
    ] = None
    thinking: Annotated[
        bool | None,
        Parameter(
            negative="--no-thinking",
            help="Turn the model's thinking on or off; default: as its chat template sets it.",
        ),
    ] = None
    chat_template: Annotated[
        str | None, Parameter(help="Name of a chat template, of a model with several; default: `default`.")
    ] = None
    speculative: Annotated[
        str | None,
        Parameter(
            help="Speculative decoding: `ngram`, which proposes what followed the same tokens before, or the"
            " .gguf file of a draft model; speed changes, scores must not."
        ),
    ] = None
    batch_invariant: Annotated[
        bool,
        Parameter(
            negative="",
            help="vLLM's batch-invariant mode: answers do not depend on what else is in the batch; slower.",
        ),
    ] = DEFAULT.batch_invariant
    trust_remote_code: Annotated[bool, Parameter(help="Run code from the model's repository.")] = (
        DEFAULT.trust_remote_code
    )

    def queue_settings(self) -> EngineSettings:
        """The settings for a queue, which never runs code from a model's repository.

        Raises:
            FieldError: a value is out of range, or applies to a single model.
        """
        if self.trust_remote_code:
            hint = "`tracker bench MODEL --trust-remote-code` measures one such model"
            raise FieldError("trust_remote_code", "applies to a single model, not to a queue", hint=hint)
        return self.settings()


@Parameter(name="*", group=BUDGET)
@dataclass(frozen=True, slots=True)
class BudgetFlags:
    """Limits on time, downloads and models."""

    minutes: Annotated[float | None, Parameter(help="Stop after N minutes; scores so far remain valid.")] = (
        None
    )
    max_gb: Annotated[float | None, Parameter(help="Download at most N GB of queued models.")] = None
    max_models: Annotated[int | None, Parameter(help="Stop after N queued models.")] = None

    def budget(self) -> Budget:
        """The budget given by these flags.

        Raises:
            FieldError: a value is out of range.
        """
        from tracker.queue.runner import Budget

        return Budget(self.minutes, self.max_gb, self.max_models)


@Parameter(name="*", group=SPEED)
@dataclass(frozen=True, slots=True)
class SpeedFlags:
    """Measure speed instead of answers, with the load generator of vLLM."""

    speed: Annotated[
        bool,
        Parameter(
            negative="",
            help="Measure the speed of the model's server instead: time to first token and per output token,"
            " tokens/s, goodput.",
        ),
    ] = False
    sweep: Annotated[
        str | None,
        Parameter(help="Requests under way at once, one measurement each; default: 1,4,16."),
    ] = None
    requests: Annotated[
        int | None,
        Parameter(help="Requests of each measurement; default: four times those under way, at least 16."),
    ] = None
    input_tokens: Annotated[int | None, Parameter(help="Tokens of a prompt; default: 512.")] = None
    output_tokens: Annotated[int | None, Parameter(help="Tokens of an answer; default: 128.")] = None
    goodput: Annotated[
        str | None,
        Parameter(
            help="Bound in ms within which an answer is good: ttft, tpot, e2el; default: ttft:2000,tpot:200."
        ),
    ] = None

    def load(self) -> SpeedLoad:
        """The load given by these flags.

        Raises:
            FieldError: a value is out of range.
        """
        given: dict[str, Any] = {
            "sweep": None if self.sweep is None else _sweep(self.sweep),
            "requests": self.requests,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "bound": None if self.goodput is None else LatencyBound.parse(self.goodput),
        }
        return SpeedLoad(**{name: value for name, value in given.items() if value is not None})

    @property
    def given(self) -> list[str]:
        """The flags beside `--speed` that were given."""
        names = ("sweep", "requests", "input_tokens", "output_tokens", "goodput")
        return [f"--{name.replace('_', '-')}" for name in names if getattr(self, name) is not None]


def _sweep(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.replace(",", " ").split())
    except ValueError as error:
        problem = f"must be whole numbers with commas, got `{text}`"
        raise FieldError("sweep", problem, example="1,4,16") from error


DEFAULT_SPEED = SpeedFlags()
DEFAULT_MEMORY = MemoryFlags()
DEFAULT_ENGINE = EngineFlags()
DEFAULT_BUDGET = BudgetFlags()
