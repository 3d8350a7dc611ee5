"""Memory of vLLM: a share of each card, filled with pages of cache.

The overhead is a formula calibrated on published start-up logs, good to about half a GiB on a card.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import floor

from runners.engines.vllm.args import BATCH, BatchLimits, batch_limits
from runners.hardware import Hardware, choose_cards
from runners.memory.architecture import Architecture
from runners.memory.kv_cache import paged_bytes, shard
from runners.memory.prediction import (
    GIB,
    Demand,
    Fit,
    Machine,
    Rung,
    common_rungs,
    computed_dtype,
    forward_bytes,
    make_fit,
    shorter_contexts,
    stored_dtype,
    with_contexts,
)
from runners.memory.weights import DTYPE_BYTES, ONLINE_BYTES, Loading, Subject
from tracker.records import EngineSettings

MIB = 2**20
DEFAULT_CONTEXT = 4096  # tokens, if config.json has no maximum context

CONTEXT_BYTES = 700 * 2**20  # of CUDA in a process that does nothing yet, with a reserve; 350 to 500 MiB
BATCHES_IN_FLIGHT = 2  # asynchronous scheduling, on by default: `config/vllm.py`, `max_concurrent_batches`

# Per card, besides weights, cache and activations. Libraries: `non_torch_memory` of 0.12 to 0.20 GiB in the
# start-up logs of vllm-project/vllm#12126 and #14447. Graphs: 0.73 GiB in #39559. Between cards:
# 1.79 GiB more per card in #10511 (Meta-Llama-3-8B, one card against two).
LIBRARIES_BYTES = 256 * MIB
GRAPHS_BYTES = 768 * MIB
BETWEEN_CARDS_BYTES = int(1.79 * GIB)
# The sampler's float32 logits, their softmax and a sorted copy. With the activations, for Meta-Llama-3-8B,
# 8192 tokens and 256 sequences, this gives 1.27 GiB; vllm-project/vllm#10511 logs 1.26 GiB.
SAMPLER_COPIES = 3

MIN_FP8_CAPABILITY = 7.5  # Marlin's weight-only fp8 in vLLM 0.32.0; computing in fp8 needs 8.9
CARD_COUNTS = (2, 4, 8, 16)


class VllmMemory:
    """The memory of vLLM; see `runners.memory.prediction.MemoryPredictor`."""

    def predict(
        self, subject: Subject, settings: EngineSettings, hardware: Hardware, *, context: int | None = None
    ) -> Fit:
        """Predict the memory of one full-length sequence, the least with which vLLM starts.

        Raises:
            ModelError: config.json lacks the model's shape (reason `unsupported`).
        """
        architecture = subject.shape()
        machine = _machine(settings, hardware)
        context = context or _default_context(architecture, settings)
        dtype = _dtype(subject, architecture, settings, machine)
        online = (settings.quantization or "").partition("_")[0]
        demand = Demand(
            machine=machine,
            loading=Loading(dtype, online=online if online in ONLINE_BYTES else None, is_text_only=True),
            context=context,
            n_sequences=1,
            sequence_bytes=_sequence_bytes(architecture, machine, context=context, dtype=dtype),
            overhead_bytes=_overhead_bytes(architecture, settings, machine, dtype=dtype),
        )
        return make_fit(subject, settings, hardware, demand)

    def as_started(self, settings: EngineSettings, hardware: Hardware) -> EngineSettings:
        """The settings with vLLM's number of sequences and a free share of the GPU, which vLLM requires."""
        return replace(
            settings,
            max_num_seqs=_sequences(settings, hardware),
            gpu_memory_utilization=_usable_fraction(settings, hardware) or settings.gpu_memory_utilization,
        )

    def rungs(
        self, architecture: Architecture, settings: EngineSettings, hardware: Hardware
    ) -> Iterator[Rung]:
        """Yield a shorter context, fewer sequences, quantization while loading, more cards."""
        contexts = shorter_contexts(_default_context(architecture, settings), settings)
        n_sequences = _sequences(settings, hardware)
        yield from common_rungs(settings, contexts, n_sequences=n_sequences)
        capability = min((float(card.compute_capability) for card in hardware.gpus), default=0.0)
        has_plain_weights = not (settings.quantization or architecture.quantization)
        can_quantize = has_plain_weights and capability >= MIN_FP8_CAPABILITY
        if can_quantize:
            yield Rung(
                "quantize while loading", with_contexts(replace(settings, quantization="fp8"), contexts)
            )
        for count in CARD_COUNTS:
            if (
                settings.tensor_parallel_size < count <= len(hardware.gpus)
                and not architecture.n_heads % count
            ):
                spread = replace(settings, tensor_parallel_size=count)
                yield Rung("more GPUs", with_contexts(spread, contexts))
                if can_quantize:
                    both = replace(spread, quantization="fp8")
                    yield Rung("more GPUs, quantize while loading", with_contexts(both, contexts))


def _default_context(architecture: Architecture, settings: EngineSettings) -> int:
    """The context that vLLM allocates by default, in tokens."""
    return settings.max_model_len or architecture.max_context or DEFAULT_CONTEXT


def _sequences(settings: EngineSettings, hardware: Hardware) -> int:
    """The number of sequences that vLLM runs at once."""
    return settings.max_num_seqs or _batch(settings, hardware).sequences


def _batch(settings: EngineSettings, hardware: Hardware) -> BatchLimits:
    """The limits of one step; the first card decides, as for vLLM."""
    cards = choose_cards(hardware.gpus, settings.tensor_parallel_size)
    return batch_limits(cards[0]) if cards else BATCH


def _usable_fraction(settings: EngineSettings, hardware: Hardware) -> float:
    """The share of each card that vLLM may use: as requested, or less if other programs use the GPU.

    vLLM compares its share with what is free once its own CUDA context is there.
    """
    cards = choose_cards(hardware.gpus, settings.tensor_parallel_size)
    free = min(((card.free_bytes - CONTEXT_BYTES) / card.total_bytes for card in cards), default=1.0)
    return min(settings.gpu_memory_utilization, max(floor(free * 100), 0) / 100)


def _machine(settings: EngineSettings, hardware: Hardware) -> Machine:
    cards = choose_cards(hardware.gpus, settings.tensor_parallel_size)
    if not cards:
        return Machine(0, hardware.free_ram_bytes, batch_tokens=BATCH.tokens, batch_sequences=BATCH.sequences)
    smallest = min(card.total_bytes for card in cards)
    available = int(smallest * _usable_fraction(settings, hardware)) * len(cards)
    capability = min(float(card.compute_capability or 0) for card in cards)
    limits = batch_limits(cards[0])
    return Machine(len(cards), available, smallest, capability, limits.tokens, limits.sequences)


def _dtype(subject: Subject, architecture: Architecture, settings: EngineSettings, machine: Machine) -> str:
    if settings.dtype != "auto":
        return settings.dtype if settings.dtype in DTYPE_BYTES else "bfloat16"
    stored = stored_dtype(subject, architecture)
    # vLLM converts 32-bit checkpoints to 16 bits by default
    return computed_dtype(stored if stored in ("float16", "bfloat16") else "bfloat16", machine)


def _sequence_bytes(architecture: Architecture, machine: Machine, *, context: int, dtype: str) -> int:
    """Cache of one sequence of full length, over all cards."""
    cards = max(1, machine.n_cards)
    per_card = paged_bytes(
        shard(architecture.layers, cards),
        context,
        value_bytes=DTYPE_BYTES[dtype],
        in_flight_tokens=BATCHES_IN_FLIGHT * machine.batch_tokens,
    )
    return per_card * cards


def _overhead_bytes(
    architecture: Architecture, settings: EngineSettings, machine: Machine, *, dtype: str
) -> int:
    cards = max(1, machine.n_cards)
    tokens = machine.batch_tokens
    forward = forward_bytes(architecture, machine, tokens=tokens, value_bytes=DTYPE_BYTES[dtype])
    n_sequences = settings.max_num_seqs or machine.batch_sequences
    sampler = SAMPLER_COPIES * n_sequences * architecture.vocab_size * DTYPE_BYTES["float32"]
    between = BETWEEN_CARDS_BYTES if cards > 1 else 0
    return cards * (LIBRARIES_BYTES + GRAPHS_BYTES + between + forward + sampler)
