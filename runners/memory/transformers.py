"""Memory of the transformers engine: a cache that grows with the tokens read, on one card or the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from runners.hardware import Hardware, choose_cards
from runners.memory.architecture import Architecture
from runners.memory.kv_cache import exact_bytes
from runners.memory.prediction import (
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
from runners.memory.weights import DTYPE_BYTES, Loading, Subject
from tracker.records import EngineSettings

MIB = 2**20
# In the worker: python with torch, transformers and lm-eval imported, 394 MiB measured on Linux
# (torch 2.13.0+cpu, 2026-11-24); CUDA's own context on a card is about as large.
WORKER_BYTES = 400 * MIB
SEQUENCES = 8  # of full length: as much cache as 32 answers of 1,024 tokens (`MAX_ROWS` on a CPU)
CPU_READ_TOKENS, CARD_READ_TOKENS = 512, 4096  # read at once (`MAX_TOKENS`)
TYPICAL_CONTEXT = 4096  # tokens; only used tokens are stored, and few tasks use more


class TransformersMemory:
    """The memory of the transformers engine; see `runners.memory.prediction.MemoryPredictor`."""

    def predict(
        self, subject: Subject, settings: EngineSettings, hardware: Hardware, *, context: int | None = None
    ) -> Fit:
        """Predict the memory of all concurrent sequences.

        Raises:
            ModelError: config.json lacks the model's shape (reason `unsupported`).
        """
        architecture = subject.shape()
        machine = _machine(hardware)
        context = context or _default_context(architecture, settings)
        dtype = _dtype(subject, architecture, settings, machine)
        is_expanded = not machine.n_cards and architecture.quantization is not None
        demand = Demand(
            machine=machine,
            loading=Loading(dtype, is_expanded=is_expanded),
            context=context,
            n_sequences=settings.max_num_seqs or SEQUENCES,
            sequence_bytes=exact_bytes(architecture.layers, context, value_bytes=DTYPE_BYTES[dtype]),
            overhead_bytes=_overhead_bytes(architecture, machine, dtype=dtype),
        )
        return make_fit(subject, settings, hardware, demand)

    def as_started(self, settings: EngineSettings, hardware: Hardware) -> EngineSettings:
        """The settings with the number of sequences that the prediction assumes."""
        return replace(settings, max_num_seqs=settings.max_num_seqs or SEQUENCES)

    def rungs(
        self, architecture: Architecture, settings: EngineSettings, hardware: Hardware
    ) -> Iterator[Rung]:
        """Yield a shorter context, fewer sequences and, on a CPU, a smaller data type."""
        contexts = shorter_contexts(_default_context(architecture, settings), settings)
        yield from common_rungs(settings, contexts, n_sequences=settings.max_num_seqs or SEQUENCES)
        if not hardware.gpus and settings.dtype == "auto" and not architecture.quantization:
            narrow = replace(settings, max_num_seqs=1, dtype="bfloat16")
            yield Rung("smaller data type", with_contexts(narrow, contexts))


def _default_context(architecture: Architecture, settings: EngineSettings) -> int:
    longest = architecture.max_context or TYPICAL_CONTEXT
    return settings.max_model_len or min(longest, TYPICAL_CONTEXT)


def _machine(hardware: Hardware) -> Machine:
    if not hardware.gpus:
        return Machine(0, hardware.free_ram_bytes)
    (card,) = choose_cards(hardware.gpus, 1)
    return Machine(1, card.free_bytes, card.total_bytes, float(card.compute_capability or 0))


def _dtype(subject: Subject, architecture: Architecture, settings: EngineSettings, machine: Machine) -> str:
    if settings.dtype != "auto":
        return settings.dtype if settings.dtype in DTYPE_BYTES else "bfloat16"
    if not machine.n_cards:
        return "float32"  # it computes exactly on a CPU
    return computed_dtype(stored_dtype(subject, architecture), machine)


def _overhead_bytes(architecture: Architecture, machine: Machine, *, dtype: str) -> int:
    tokens = CARD_READ_TOKENS if machine.n_cards else CPU_READ_TOKENS
    forward = forward_bytes(architecture, machine, tokens=tokens, value_bytes=DTYPE_BYTES[dtype])
    return WORKER_BYTES + forward + tokens * architecture.vocab_size * DTYPE_BYTES["float32"]
