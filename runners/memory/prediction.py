"""Predict a model's memory under given settings on a given machine, before anything is loaded.

Each engine has one `MemoryPredictor`, named in its `EngineSpec`, in its own module beside this one. This
module has what they share: the records, the sum of a prediction (weights and cache are exact for the covered
architectures, the overhead is an estimate), and the data type.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, cast

from runners.engines import engine_spec, engine_specs
from runners.hardware import Hardware, chosen_first
from runners.memory.architecture import Architecture
from runners.memory.weights import DTYPE_BYTES, FLOATS, Loading, Subject, loaded_bytes
from tracker.errors import TrackerError
from tracker.records import EngineSettings

GIB = 2**30
MIN_CONTEXT = 2048  # tokens; five-shot MMLU questions need up to about this
SEQUENCES = (64, 16, 4, 1)
# Activations: the widest feed-forward layer with its input, residual and output.
HIDDEN_COPIES = 4
STORED = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}


@dataclass(frozen=True, slots=True)
class FitStep:
    """One attempt to make the model fit."""

    action: str
    setting: str
    total_bytes: int | None  # None: unknown
    fits: bool
    detail: str = ""
    context: int | None = None  # tokens; None: not changed in this step


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Settings under which the model fits, as a command to copy."""

    action: str
    command: str
    total_bytes: int
    context: int


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether a model fits, and why. Bytes are summed over the cards used."""

    model_id: str
    engine: str
    device: str
    weights_bytes: int
    kv_cache_bytes: int  # of `n_sequences` sequences of `context` tokens
    overhead_bytes: int
    total_bytes: int
    available_bytes: int
    fits: bool
    context: int
    dtype: str
    n_sequences: int
    n_cards: int = 1
    concurrency: float | None = None  # full-length sequences that fit into the available memory together
    quantization: str | None = None
    n_gpu_layers: int | None = None  # on the cards, of an engine that keeps the others in main memory
    ram_bytes: int | None = None  # of weights and cache that stay in main memory beside a card
    suggestions: tuple[Suggestion, ...] = ()
    steps: tuple[FitStep, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rung:
    """One way to use less memory, and the settings to try, best first."""

    action: str
    settings: tuple[EngineSettings, ...]


@dataclass(frozen=True, slots=True)
class Machine:
    """The part of the hardware that the settings use."""

    n_cards: int  # 0: main memory
    available_bytes: int  # on all of these cards together
    card_bytes: int = 0  # of the smallest
    capability: float = 0.0  # of the oldest
    batch_tokens: int = 0  # in one step of vLLM
    batch_sequences: int = 0  # at once in vLLM


@dataclass(frozen=True, slots=True)
class Demand:
    """Memory that an engine needs to run a model, besides its weights."""

    machine: Machine
    loading: Loading  # of the weights
    context: int  # tokens of one sequence
    n_sequences: int  # that must fit together
    sequence_bytes: int  # the cache of one, over all cards
    overhead_bytes: int


class MemoryPredictor(Protocol):
    """Predicts the memory of one engine. Constructed as `Class()`; pure: nothing is read or loaded."""

    def predict(
        self, subject: Subject, settings: EngineSettings, hardware: Hardware, *, context: int | None = None
    ) -> Fit:
        """Predict the memory for a context of `context` tokens (default: the engine's own choice).

        Raises:
            ModelError: config.json lacks the model's shape (reason `unsupported`).
        """
        ...

    def as_started(self, settings: EngineSettings, hardware: Hardware) -> EngineSettings:
        """The settings with the engine's own choices: concurrent sequences, and a free share of the GPU."""
        ...

    def rungs(
        self, architecture: Architecture, settings: EngineSettings, hardware: Hardware
    ) -> Iterator[Rung]:
        """Yield the ways to use less memory, the smallest change first."""
        ...


def find_predictor(engine: str) -> MemoryPredictor | None:
    """The predictor of that engine; None if it has none.

    Raises:
        UnknownNameError: there is no such engine.
        TrackerError: it is not installed.
    """
    spec = engine_spec(engine)
    return None if spec.predictor is None else cast(MemoryPredictor, spec.load(spec.predictor)())


def require_predictor(engine: str) -> MemoryPredictor:
    """The predictor of that engine.

    Raises:
        UnknownNameError: there is no such engine.
        TrackerError: it has none, or is not installed.
    """
    found = find_predictor(engine)
    if found is None:
        known = [spec.name for spec in engine_specs() if spec.predictor]
        hint = f"known: {', '.join(sorted(known))}"
        raise TrackerError(f"memory cannot be predicted for engine `{engine}`", hint=hint)
    return found


def predict(
    subject: Subject, settings: EngineSettings, hardware: Hardware, *, context: int | None = None
) -> Fit:
    """Predict the memory of `subject` on the engine that the settings name; see `MemoryPredictor`."""
    return require_predictor(settings.engine).predict(subject, settings, hardware, context=context)


def make_fit(subject: Subject, settings: EngineSettings, hardware: Hardware, demand: Demand) -> Fit:
    """Sum up the prediction and compare it with the available memory."""
    architecture, machine = subject.shape(), demand.machine
    weights = loaded_bytes(subject.tensors, architecture, demand.loading)
    cache = demand.sequence_bytes * demand.n_sequences
    total = weights + cache + demand.overhead_bytes
    left = max(0, machine.available_bytes - weights - demand.overhead_bytes)
    return Fit(
        model_id=subject.model_id,
        engine=settings.engine,
        device=device_name(hardware, machine.n_cards),
        weights_bytes=weights,
        kv_cache_bytes=cache,
        overhead_bytes=demand.overhead_bytes,
        total_bytes=total,
        available_bytes=machine.available_bytes,
        fits=total <= machine.available_bytes,
        context=demand.context,
        dtype=demand.loading.dtype,
        n_sequences=demand.n_sequences,
        n_cards=max(1, machine.n_cards),
        concurrency=round(left / demand.sequence_bytes, 2) if demand.sequence_bytes else None,
        quantization=settings.quantization or architecture.quantization,
        notes=_notes(architecture, demand.loading),
    )


def device_name(hardware: Hardware, n_cards: int) -> str:
    """The machine's cards under the name of those that are used; 0: the processor."""
    return replace(hardware, gpus=chosen_first(hardware.gpus, n_cards)).device if n_cards else "cpu"


def stored_dtype(subject: Subject, architecture: Architecture) -> str:
    """The data type of most of the checkpoint's tensors, under our name for it."""
    stored = Counter({t.dtype: t.n_bytes for t in subject.tensors if t.dtype in FLOATS})
    return architecture.dtype or STORED.get(stored.most_common(1)[0][0] if stored else "", "bfloat16")


def computed_dtype(dtype: str, machine: Machine) -> str:
    """The data type in which this machine computes if `dtype` is requested."""
    if dtype == "bfloat16" and 0 < machine.capability < 8.0:
        return "float16"  # no bfloat16 before Ampere
    return dtype if dtype in DTYPE_BYTES else "bfloat16"


def forward_bytes(architecture: Architecture, machine: Machine, *, tokens: int, value_bytes: int) -> int:
    """Bytes that one card needs to process `tokens` tokens at once."""
    feed_forward = architecture.feed_forward_values // max(1, machine.n_cards)
    return tokens * (HIDDEN_COPIES * architecture.hidden_size + feed_forward) * value_bytes


def shorter_contexts(longest: int, settings: EngineSettings) -> tuple[int, ...]:
    """The contexts to try, longest first: the requested one, or powers of two down to the shortest."""
    if settings.max_model_len:
        return (settings.max_model_len,)
    shorter = [2**power for power in range(20, 0, -1) if MIN_CONTEXT <= 2**power < longest]
    return (longest, *shorter)


def with_contexts(settings: EngineSettings, contexts: Sequence[int]) -> tuple[EngineSettings, ...]:
    """The settings once for each context."""
    return tuple(replace(settings, max_model_len=context) for context in contexts)


def common_rungs(settings: EngineSettings, contexts: Sequence[int], *, n_sequences: int) -> tuple[Rung, ...]:
    """The rungs of every engine: a shorter context, then fewer than `n_sequences` sequences at once."""
    shortest = replace(settings, max_model_len=contexts[-1])
    fewer = tuple(replace(shortest, max_num_seqs=n) for n in SEQUENCES if n < n_sequences)
    shorter = with_contexts(settings, contexts[1:])
    tried = (Rung("shorter context", shorter), Rung("fewer sequences", fewer))
    return tuple(rung for rung in tried if rung.settings)


def _notes(architecture: Architecture, loading: Loading) -> tuple[str, ...]:
    notes = []
    if architecture.is_upper_bound:
        notes.append(
            "the cache of this architecture is compressed or shared by layers, so the prediction is an upper"
            " bound"
        )
    if architecture.yarn_context:
        notes.append(
            f"its YaRN scaling reaches {architecture.yarn_context:,} tokens; vLLM uses the "
            f"{architecture.max_context:,} of `max_position_embeddings`"
        )
    if loading.is_expanded:
        notes.append("the quantized checkpoint is dequantized, since this machine cannot compute with it")
    return tuple(notes)
