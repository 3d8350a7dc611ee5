"""Memory of llama.cpp: the file's tensors as they are, a cache that is reserved at the start, and buffers.

As much as fits lies on the card, whole layers at a time; the rest computes in main memory. Sizes of the cache
and of the buffers follow the build of xllamacpp 2026.10 with flash attention: `benchmarks/gguf_memory.py`
compares them with those that the program logs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

from runners.engines.llamacpp.spec import MOST_CONTEXT, N_PARALLEL
from runners.hardware import Hardware
from runners.memory.architecture import Architecture
from runners.memory.gguf_shape import BLOCK
from runners.memory.kv_cache import FLOAT32_BYTES, LayerCache
from runners.memory.prediction import Fit, Rung, common_rungs, device_name, shorter_contexts
from runners.memory.weights import Subject
from runners.models.gguf_types import TENSOR_TYPES
from tracker.records import NGRAM, EngineSettings

MIB = 2**20
UBATCH = 512  # tokens computed at once, llama.cpp's default
PAD = 256  # tokens to which the cache of a window is rounded up
KV_TYPE = "f16"
WORKER_BYTES = 400 * MIB  # as for transformers: python with lm-eval and a tokenizer
SERVER_BYTES = 64 * MIB  # of the server besides weights, cache and buffers; 40 MiB measured
CARD_BYTES = 512 * MIB  # CUDA's context and kernels; 300 to 500 MiB
BLOCK_BYTES = {name.casefold(): size / block for name, block, size in TENSOR_TYPES.values()}


@dataclass(frozen=True, slots=True)
class _Split:
    """What lies where, in bytes."""

    n_layers: int  # on the card; the output counts as one
    on_card: int
    in_ram: int


class LlamaCppMemory:
    """The memory of llama.cpp; see `runners.memory.prediction.MemoryPredictor`."""

    def predict(
        self, subject: Subject, settings: EngineSettings, hardware: Hardware, *, context: int | None = None
    ) -> Fit:
        """Predict the memory of all slots, each with a whole context, and how many layers the card holds."""
        shape = subject.shape()
        context = context or _default_context(shape, settings)
        slots = _slots(settings)
        caches = [_layer_bytes(one, context, slots, kv_type=_kv_type(settings)) for one in shape.layers]
        buffers = buffer_bytes(shape, context=context, slots=slots)
        card_bytes = sum(card.free_bytes for card in hardware.gpus)
        n_cards = len(hardware.gpus)
        overhead = WORKER_BYTES + SERVER_BYTES + buffers + _draft_bytes(settings)
        weights, cache = sum(one.n_bytes for one in subject.tensors), sum(caches)
        available, total = hardware.free_ram_bytes, weights + cache + overhead
        fits, split = total <= available, None
        if n_cards:
            reserved = n_cards * (buffers + CARD_BYTES)
            split = _split(subject, caches, card_bytes - reserved, asked=settings.n_gpu_layers)
            overhead += reserved
            total = weights + cache + overhead
            available = (
                card_bytes if split.n_layers > len(shape.layers) else card_bytes + hardware.free_ram_bytes
            )
            in_ram = split.in_ram + WORKER_BYTES + SERVER_BYTES + buffers
            fits = split.on_card + reserved <= card_bytes and in_ram <= hardware.free_ram_bytes
            total = split.on_card + reserved if split.n_layers > len(shape.layers) else total
        per_slot = cache // slots if slots else cache
        return Fit(
            model_id=subject.model_id,
            engine=settings.engine,
            device=device_name(hardware, n_cards),
            weights_bytes=weights,
            kv_cache_bytes=cache,
            overhead_bytes=overhead,
            total_bytes=total,
            available_bytes=available,
            fits=fits,
            context=context,
            dtype=shape.quantization or "",
            n_sequences=slots,
            n_cards=max(1, n_cards),
            concurrency=round(max(0, available - weights - overhead) / per_slot, 2) if per_slot else None,
            quantization=shape.quantization,
            n_gpu_layers=split.n_layers if split else None,
            ram_bytes=split.in_ram if split else None,
            notes=_notes(shape, split),
        )

    def as_started(self, settings: EngineSettings, hardware: Hardware) -> EngineSettings:
        """The settings with the number of slots that the prediction assumes."""
        return replace(settings, max_num_seqs=_slots(settings))

    def rungs(
        self, architecture: Architecture, settings: EngineSettings, hardware: Hardware
    ) -> Iterator[Rung]:
        """Yield a shorter context, then fewer slots; the layers beyond the card are in main memory anyway."""
        contexts = shorter_contexts(_default_context(architecture, settings), settings)
        yield from common_rungs(settings, contexts, n_sequences=_slots(settings))


def cache_bytes(layers: Sequence[LayerCache], context: int, slots: int, *, kv_type: str = KV_TYPE) -> int:
    """Bytes of the cache that llama.cpp reserves for `slots` slots of `context` tokens."""
    return sum(_layer_bytes(layer, context, slots, kv_type=kv_type) for layer in layers)


def buffer_bytes(shape: Architecture, *, context: int, slots: int) -> int:
    """Bytes of the buffers to compute one batch, with the rows of logits of one token for each slot.

    The widest point of a layer is its feed-forward part with the residual and the attention's inputs; beside
    it stands the mask of the attention in 16 bits.
    """
    wide = shape.feed_forward_values + 5 * shape.hidden_size
    mask = 2 * UBATCH * context
    return UBATCH * wide * FLOAT32_BYTES + mask + 2 * slots * shape.vocab_size * FLOAT32_BYTES


def _layer_bytes(layer: LayerCache, context: int, slots: int, *, kv_type: str) -> int:
    """The cache of one layer over all slots; `llama_kv_cache_iswa` keeps a window and one batch."""
    kept = context
    if layer.window is not None:
        kept = min(context, PAD * ceil((layer.window + UBATCH) / PAD))
    state = layer.conv_channels * max(0, layer.conv_kernel - 1) + layer.state_values
    per_token = layer.token_values * BLOCK_BYTES[kv_type]
    return slots * (ceil(kept * per_token) + state * FLOAT32_BYTES)


def _split(subject: Subject, caches: Sequence[int], room: int, *, asked: int | None) -> _Split:
    """As many of the last layers as there is room for, then the output, as llama.cpp offloads them.

    The input embedding stays in main memory; a tied one is copied to the card with the output.
    """
    blocks, outside = _by_block(subject, len(caches))
    inputs = sum(size for name, size in outside.items() if name.startswith("token_embd"))
    outputs = sum(outside.values()) - inputs
    if "output.weight" not in outside:
        outputs += inputs
    sizes = [weights + cache for weights, cache in zip(blocks, caches, strict=True)]
    whole = sum(sizes) + sum(outside.values())
    most = len(sizes) + 1 if asked is None else min(asked, len(sizes) + 1)
    n_layers, used = 0, 0
    for size in [outputs, *reversed(sizes)]:
        if n_layers == most or (asked is None and used + size > room):
            break
        n_layers, used = n_layers + 1, used + size
    duplicated = inputs if n_layers and "output.weight" not in outside else 0
    return _Split(n_layers, used, whole - used + duplicated)


def _by_block(subject: Subject, n_layers: int) -> tuple[list[int], Mapping[str, int]]:
    """Bytes of the tensors of each layer, and of the others by name."""
    blocks, outside = [0] * n_layers, {}
    for tensor in subject.tensors:
        found = BLOCK.match(tensor.name)
        if found and int(found[1]) < n_layers:
            blocks[int(found[1])] += tensor.n_bytes
        elif not found:
            outside[tensor.name] = tensor.n_bytes
    return blocks, outside


def _notes(shape: Architecture, split: _Split | None) -> tuple[str, ...]:
    n_all = len(shape.layers) + 1
    if split is None or split.n_layers == n_all:
        return ()
    gib = split.in_ram / 2**30
    return (f"{split.n_layers} of {n_all} layers fit on the card, the rest ({gib:.1f} GiB) in main memory",)


def _default_context(shape: Architecture, settings: EngineSettings) -> int:
    longest = shape.max_context or MOST_CONTEXT
    return settings.max_model_len or min(longest, MOST_CONTEXT)


def _slots(settings: EngineSettings) -> int:
    return settings.max_num_seqs or N_PARALLEL


def _draft_bytes(settings: EngineSettings) -> int:
    """The weights of a draft model, without its cache; 0 if there is none here."""
    asked = settings.speculative
    path = None if asked is None or asked == NGRAM else Path(asked).expanduser()
    return path.stat().st_size if path is not None and path.is_file() else 0


def _kv_type(settings: EngineSettings) -> str:
    asked = settings.kv_cache_dtype
    return asked if asked in BLOCK_BYTES else KV_TYPE
