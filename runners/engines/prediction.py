"""The memory that a model will take under given settings on a given machine, before anything is loaded.

`predict` is pure. Its numbers: weights and cache are exact for the covered architectures; the overhead is a
formula calibrated on published start-up logs, good to about half a GiB on a card.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import floor

from runners.engines.architecture import Architecture, read_architecture
from runners.engines.kv_cache import exact_bytes, paged_bytes, shard
from runners.engines.weights import DTYPE_BYTES, FLOATS, Loading, Subject, loaded_bytes
from runners.hardware import Hardware
from tracker.records import EngineSettings

MIB = 2**20
GIB = 2**30

# vLLM takes batches by the size of the card: 0.32.0, `engine/arg_utils.py`, `get_batch_defaults` (class LLM).
LARGE_CARD_BYTES = 70 * GIB
LARGE_BATCH_TOKENS, LARGE_BATCH_SEQUENCES = 16384, 1024
BATCH_TOKENS, BATCH_SEQUENCES = 8192, 256
BATCHES_IN_FLIGHT = 2  # asynchronous scheduling, on by default: `config/vllm.py`, `max_concurrent_batches`

# Per card, besides weights, cache and activations. Libraries: `non_torch_memory` of 0.12 to 0.20 GiB in the
# start-up logs of vllm-project/vllm#12126 and #14447. Graphs: 0.73 GiB in #39559. Between cards:
# 1.79 GiB more per card in #10511 (Meta-Llama-3-8B, one card against two).
LIBRARIES_BYTES = 256 * MIB
GRAPHS_BYTES = 768 * MIB
BETWEEN_CARDS_BYTES = int(1.79 * GIB)
# Activations: the widest feed-forward layer with its input, residual and output, and the sampler's float32
# logits, their softmax and a sorted copy. For Meta-Llama-3-8B, 8192 tokens and 256 sequences this gives
# 1.27 GiB; vllm-project/vllm#10511 logs 1.26 GiB.
HIDDEN_COPIES = 4
SAMPLER_COPIES = 3

# transformers, in the worker: python with torch, transformers and lm-eval imported, 394 MiB measured on Linux
# (torch 2.13.0+cpu, 2026-11-24); CUDA's own context on a card is about as large.
WORKER_BYTES = 400 * MIB
PLAIN_SEQUENCES = 8  # of full length; as much cache as 32 answers of 1,024 tokens (`MAX_ROWS` on a CPU)
CPU_READ_TOKENS, CARD_READ_TOKENS = 512, 4096  # read at once by the transformers engine (`MAX_TOKENS`)
TYPICAL_CONTEXT = 4096  # tokens; transformers keeps only what is used, and few tasks use more


@dataclass(frozen=True, slots=True)
class FitStep:
    """One thing that was tried so that the model fits."""

    action: str
    setting: str
    total_bytes: int | None  # None: it could not be found out
    fits: bool
    detail: str = ""
    context: int | None = None  # tokens; None: this step has none of its own


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A change under which the model fits, as a command to copy."""

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
    concurrency: float | None = None  # sequences of full length that the available memory holds at once
    quantization: str | None = None
    suggestions: tuple[Suggestion, ...] = ()
    steps: tuple[FitStep, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Machine:
    """The part of the hardware that the settings use."""

    cards: int  # 0: main memory
    available_bytes: int
    card_bytes: int
    capability: float


def predict(
    subject: Subject, settings: EngineSettings, hardware: Hardware, *, context: int | None = None
) -> Fit:
    """The memory of `subject` for a context of `context` tokens (default: as the engine would take).

    Raises:
        ModelError: config.json does not tell its shape (reason `unsupported`).
    """
    architecture = read_architecture(subject.config)
    machine = _machine(settings, hardware)
    context = context or default_context(architecture, settings)
    loading = _loading(subject, architecture, settings, machine)
    n_cards = max(1, machine.cards)
    weights = loaded_bytes(subject.tensors, architecture, loading)
    n_sequences = sequences(settings, machine.card_bytes)
    per_sequence = _sequence_bytes(architecture, settings, machine, context=context, dtype=loading.dtype)
    needed = per_sequence * (1 if settings.engine == "vllm" else n_sequences)
    overhead = _overhead_bytes(architecture, settings, machine, dtype=loading.dtype)
    total = weights + needed + overhead
    left = machine.available_bytes - weights - overhead
    return Fit(
        model_id=subject.model_id,
        engine=settings.engine,
        device=hardware.device if machine.cards else "cpu",
        weights_bytes=weights,
        kv_cache_bytes=needed,
        overhead_bytes=overhead,
        total_bytes=total,
        available_bytes=machine.available_bytes,
        fits=total <= machine.available_bytes,
        context=context,
        dtype=loading.dtype,
        n_sequences=1 if settings.engine == "vllm" else n_sequences,
        n_cards=n_cards,
        concurrency=round(max(0, left) / per_sequence, 2) if per_sequence else None,
        quantization=settings.quantization or architecture.quantization,
        notes=_notes(architecture, loading),
    )


def default_context(architecture: Architecture, settings: EngineSettings) -> int:
    """The context that the engine would make room for by itself, in tokens."""
    longest = architecture.max_context or TYPICAL_CONTEXT
    if settings.max_model_len:
        return settings.max_model_len
    return longest if settings.engine == "vllm" else min(longest, TYPICAL_CONTEXT)


def sequences(settings: EngineSettings, card_bytes: int) -> int:
    """How many sequences the engine works on at once."""
    if settings.max_num_seqs:
        return settings.max_num_seqs
    if settings.engine != "vllm":
        return PLAIN_SEQUENCES
    return LARGE_BATCH_SEQUENCES if card_bytes >= LARGE_CARD_BYTES else BATCH_SEQUENCES


def usable_fraction(settings: EngineSettings, hardware: Hardware) -> float:
    """The share of each card that vLLM may claim: what was asked for, less if others use the card already."""
    cards = hardware.gpus[: settings.tensor_parallel_size]
    free = min((card.free_bytes / card.total_bytes for card in cards), default=1.0)
    return min(settings.gpu_memory_utilization, floor(free * 100) / 100)


def _machine(settings: EngineSettings, hardware: Hardware) -> _Machine:
    wanted = settings.tensor_parallel_size if settings.engine == "vllm" else 1
    cards = hardware.gpus[:wanted]
    if not cards:
        return _Machine(0, hardware.free_ram_bytes, 0, 0.0)
    smallest = min(card.total_bytes for card in cards)
    if settings.engine == "vllm":
        available = int(smallest * usable_fraction(settings, hardware)) * len(cards)
    else:
        available = min(card.free_bytes for card in cards)
    capability = min(float(card.compute_capability or 0) for card in cards)
    return _Machine(len(cards), available, smallest, capability)


def _loading(
    subject: Subject, architecture: Architecture, settings: EngineSettings, machine: _Machine
) -> Loading:
    online = (settings.quantization or "").partition("_")[0] or None
    on_cpu = settings.engine != "vllm" and not machine.cards
    return Loading(
        dtype=_dtype(subject, architecture, settings, machine),
        online=online if settings.engine == "vllm" and online in ("fp8", "int8", "mxfp8", "nvfp4") else None,
        is_text_only=settings.engine == "vllm",
        is_expanded=on_cpu and architecture.quantization is not None,
    )


def _dtype(subject: Subject, architecture: Architecture, settings: EngineSettings, machine: _Machine) -> str:
    if settings.dtype != "auto":
        return settings.dtype if settings.dtype in DTYPE_BYTES else "bfloat16"
    if settings.engine != "vllm" and not machine.cards:
        return "float32"  # the transformers engine computes exactly on a CPU
    stored = Counter({t.dtype: t.n_bytes for t in subject.tensors if t.dtype in FLOATS})
    words = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}
    known = architecture.dtype or words.get(stored.most_common(1)[0][0] if stored else "", "bfloat16")
    if settings.engine == "vllm" and known not in ("float16", "bfloat16"):
        known = "bfloat16"  # vLLM halves 32-bit checkpoints unless told otherwise
    if known == "bfloat16" and 0 < machine.capability < 8.0:
        return "float16"  # no bfloat16 before Ampere
    return known if known in DTYPE_BYTES else "bfloat16"


def _sequence_bytes(
    architecture: Architecture, settings: EngineSettings, machine: _Machine, *, context: int, dtype: str
) -> int:
    """Cache of one sequence of full length, over all cards."""
    if settings.engine != "vllm":
        return exact_bytes(architecture.layers, context, value_bytes=DTYPE_BYTES[dtype])
    cards = max(1, machine.cards)
    per_card = paged_bytes(
        shard(architecture.layers, cards),
        context,
        value_bytes=DTYPE_BYTES[dtype],
        in_flight_tokens=BATCHES_IN_FLIGHT * _batch_tokens(machine),
    )
    return per_card * cards


def _batch_tokens(machine: _Machine) -> int:
    return LARGE_BATCH_TOKENS if machine.card_bytes >= LARGE_CARD_BYTES else BATCH_TOKENS


def _overhead_bytes(
    architecture: Architecture, settings: EngineSettings, machine: _Machine, *, dtype: str
) -> int:
    value_bytes = DTYPE_BYTES[dtype]
    cards = max(1, machine.cards)
    n_sequences = sequences(settings, machine.card_bytes)
    plain_tokens = CARD_READ_TOKENS if machine.cards else CPU_READ_TOKENS
    tokens = _batch_tokens(machine) if settings.engine == "vllm" else plain_tokens
    hidden = HIDDEN_COPIES * architecture.hidden_size
    forward = tokens * (hidden + architecture.feed_forward_values // cards) * value_bytes
    if settings.engine != "vllm":
        return WORKER_BYTES + forward + tokens * architecture.vocab_size * DTYPE_BYTES["float32"]
    sampler = SAMPLER_COPIES * n_sequences * architecture.vocab_size * DTYPE_BYTES["float32"]
    between = BETWEEN_CARDS_BYTES if cards > 1 else 0
    return cards * (LIBRARIES_BYTES + GRAPHS_BYTES + between + forward + sampler)


def _notes(architecture: Architecture, loading: Loading) -> tuple[str, ...]:
    notes = []
    if architecture.is_upper_bound:
        notes.append("the cache of this architecture is compressed; the figure is an upper bound")
    if loading.is_expanded:
        notes.append("the quantized checkpoint is expanded, since nothing here can compute with it")
    return tuple(notes)
