"""The size of a sequence's key-value cache: the values that each layer stores, and each engine's layout.

The values of a layer are a property of the model; the layout depends on the engine: transformers stores
exactly the tokens, vLLM pages of 16 tokens in groups of equally many layers, so that a model with mixed
layers takes more than the sum of its layers. The layout of vLLM follows `v1/kv_cache_interface.py` and
`v1/core/kv_cache_utils.py` of version 0.32.0; tests compare both layouts with those of the engines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

FLOAT32_BYTES = 4
BLOCK_TOKENS = 16  # vLLM's default page
ALIGNED_STATES = 2  # state pages of one sequence when prefixes are cached (mamba_cache_mode "align")
INDEX_GROUP = 128  # indexer keys that share one float32 scale (DeepSeek-V3.2 in vLLM)


@dataclass(frozen=True, slots=True)
class LayerCache:
    """The cache of one layer for one sequence; all zero for a layer without a cache."""

    kv_heads: int = 0  # 1 where all heads share one latent vector (MLA)
    head_values: int = 0  # per token and head, keys and values together
    window: int | None = None  # tokens attended to; None: all
    index_values: int = 0  # per token, of an indexer that picks tokens (DeepSeek-V3.2)
    conv_channels: int = 0  # of a short convolution
    conv_kernel: int = 0  # tokens under the convolution, the newest included
    state_values: int = 0  # of a recurrent state, however long the sequence is
    state_is_float32: bool = False

    @property
    def token_values(self) -> int:
        """Values stored per token, on one card."""
        return self.kv_heads * self.head_values


def shard(layers: Sequence[LayerCache], n_cards: int) -> tuple[LayerCache, ...]:
    """The part on one of `n_cards`: heads and states are split, a single head is replicated."""
    return tuple(
        replace(
            layer,
            kv_heads=ceil(layer.kv_heads / n_cards),
            conv_channels=ceil(layer.conv_channels / n_cards),
            state_values=ceil(layer.state_values / n_cards),
        )
        for layer in layers
    )


def bytes_per_token(layers: Sequence[LayerCache], *, value_bytes: int) -> int:
    """Bytes for each further token once every window is full."""
    growing = (layer for layer in layers if layer.window is None)
    return sum((layer.token_values + layer.index_values) * value_bytes for layer in growing)


def exact_bytes(layers: Sequence[LayerCache], n_tokens: int, *, value_bytes: int) -> int:
    """Bytes of one sequence in transformers (`cache_utils.py`, 5.19).

    It stores w − 1 tokens of a window of w, since the newest one is being processed.
    """
    total = 0
    for layer in layers:
        kept = n_tokens if layer.window is None else min(n_tokens, layer.window - 1)
        total += kept * (layer.token_values + layer.index_values) * value_bytes
        total += _state_bytes(layer, value_bytes=value_bytes, conv_tokens=layer.conv_kernel)
    return total


def paged_bytes(
    layers: Sequence[LayerCache], n_tokens: int, *, value_bytes: int, in_flight_tokens: int
) -> int:
    """Bytes that vLLM must have free before it accepts a context of `n_tokens`.

    `in_flight_tokens` are the tokens of all concurrent batches: a window stores them in addition.
    """
    kept = _growing_counts(layers)
    states = [
        _state_bytes(layer, value_bytes=value_bytes, conv_tokens=layer.conv_kernel - 1) for layer in layers
    ]
    state_page = max(states, default=0)
    if not kept:
        return sum(states) * ALIGNED_STATES
    kinds = [_Kind(layer.token_values * value_bytes, layer.window, count) for layer, count in kept.items()]
    counts = [kind.n_layers for kind in kinds]
    widest = max(kind.token_bytes for kind in kinds)
    # with states, an attention page is as large as a state
    page = widest * BLOCK_TOKENS * max(1, ceil(state_page / (BLOCK_TOKENS * widest)))
    index = sum(_index_bytes(layer) for layer in layers) * ceil(n_tokens / BLOCK_TOKENS) * BLOCK_TOKENS
    if len({kind.window for kind in kinds}) == 1 and not state_page:  # one table for all layers
        block = sum(kind.token_bytes * kind.n_layers for kind in kinds) * BLOCK_TOKENS
        return block * _blocks(kinds[0], n_tokens, per_page=BLOCK_TOKENS, in_flight=in_flight_tokens) + index
    blocks = [
        _blocks(kind, n_tokens, per_page=_tokens_per_page(kind, page, widest), in_flight=in_flight_tokens)
        for kind in kinds
    ]
    if n_states := sum(1 for state in states if state):
        counts.append(n_states)
        blocks.append(ALIGNED_STATES)
    return page * _grouped_blocks(counts, blocks) + index


@dataclass(frozen=True, slots=True)
class _Kind:
    """Layers with equal caches: their bytes per token, their window, their number."""

    token_bytes: int
    window: int | None
    n_layers: int


def _growing_counts(layers: Sequence[LayerCache]) -> Counter[LayerCache]:
    kinds = (
        LayerCache(layer.kv_heads, layer.head_values, layer.window) for layer in layers if layer.token_values
    )
    return Counter(kinds)


def _grouped_blocks(counts: Sequence[int], blocks: Sequence[int]) -> int:
    """Pages of one sequence over all layers, if groups of equally many layers share one pool.

    A group has as many layers as the rarest kind, or as the most common one if that has less than 1.5 times
    as many.
    """
    width = max(counts) if max(counts) < 1.5 * min(counts) else min(counts)
    return sum(ceil(n / width) * width * b for n, b in zip(counts, blocks, strict=True))


def _tokens_per_page(kind: _Kind, page: int, widest: int) -> int:
    """Tokens per page: a narrower layer stores more if they fill the page, else the page is padded."""
    return page // (kind.token_bytes if page % kind.token_bytes == 0 else widest)


def _blocks(kind: _Kind, n_tokens: int, *, per_page: int, in_flight: int) -> int:
    if kind.window is None:
        return ceil(n_tokens / per_page)
    kept = min(kind.window - 1 + in_flight, n_tokens)
    return ceil(kept / per_page) + 1  # a window may begin inside a page


def _state_bytes(layer: LayerCache, *, value_bytes: int, conv_tokens: int) -> int:
    state = layer.state_values * (FLOAT32_BYTES if layer.state_is_float32 else value_bytes)
    return layer.conv_channels * max(0, conv_tokens) * value_bytes + state


def _index_bytes(layer: LayerCache) -> int:
    """Bytes per token of an indexer's keys in vLLM: 8 bits each, with a scale per group."""
    return (
        layer.index_values + ceil(layer.index_values / INDEX_GROUP) * FLOAT32_BYTES
        if layer.index_values
        else 0
    )
