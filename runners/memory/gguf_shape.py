"""The shape of a model in a GGUF file: which layers have a cache of what size, as llama.cpp allocates them.

Keys as llama.cpp writes them (`gguf-py/gguf/constants.py`); which layers slide is in the code of llama.cpp
for most families (`src/llama-model.cpp`) and only for some in the file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from runners.memory.architecture import LARGEST_SIZE, Architecture
from runners.memory.config_values import unpredictable
from runners.memory.kv_cache import LayerCache
from runners.models.gguf import GgufHeader
from runners.models.repository_files import MAX_LAYERS, shown

# Every so many layers one attends to all, the last of each group; the others have a window.
SLIDING_EVERY = {
    "gemma2": 2, "gemma3": 6, "gemma3n": 5, "gpt-oss": 2, "cohere2": 4, "llama4": 4, "olmo2": 4, "exaone4": 4,
}  # fmt: skip
CHUNK = 8192  # tokens, of Llama 4; not in its file
STATES_ONLY = ("mamba", "mamba2", "rwkv6", "rwkv7")
BOTH = ("falcon-h1",)  # every layer has attention and a state
BLOCK = re.compile(r"blk\.(\d{1,5})\.")


def gguf_architecture(header: GgufHeader) -> Architecture:
    """The shape that memory depends on.

    Raises:
        ModelError: it is missing or impossible (reason `unsupported`).
    """
    read = _Keys(header)
    n_layers = read.count("block_count", most=MAX_LAYERS) - read.count("nextn_predict_layers", default=0)
    hidden, n_heads = read.count("embedding_length"), read.widest("attention.head_count", default=1)
    if not 0 < n_layers <= max(len(header.tensors), 1):
        raise unpredictable(f"the header has {n_layers} layers and {len(header.tensors)} tensors")
    words = _words(read, n_layers)
    layers = tuple(_layer(read, word, place, hidden=hidden) for place, word in enumerate(words))
    chosen, of_expert = (
        read.count("expert_used_count", default=0),
        read.count("expert_feed_forward_length", default=0),
    )
    dense = read.widest("feed_forward_length", default=4 * hidden)
    return Architecture(
        model_type=header.architecture,
        layers=layers,
        hidden_size=hidden,
        n_heads=n_heads,
        vocab_size=header.n_tokens or read.count("vocab_size", default=0),
        max_context=read.count("context_length", default=0) or None,
        feed_forward_values=3 * (chosen * (of_expert or dense) if chosen else dense),
        dtype="",
        quantization=header.quantization or None,
        quantization_bits=None,
        is_tied=not any(tensor.name == "output.weight" for tensor in header.tensors),
    )


class _Keys:
    """The numbers of one architecture in a header, checked."""

    def __init__(self, header: GgufHeader) -> None:
        self.header, self.architecture = header, header.architecture

    def raw(self, name: str) -> Any:
        """The value as it stands; None if there is none."""
        return self.header.of_architecture(name)

    def count(
        self, name: str, *, default: int | None = None, most: int = LARGEST_SIZE, place: int = 0
    ) -> int:
        """One number, of the layer at `place` where the file lists one for each."""
        value = self.raw(name)
        if isinstance(value, tuple):
            if place >= len(value):
                raise self._odd(name, value)
            value = value[place]
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise self._odd(name, value)
        return value

    def widest(self, name: str, *, default: int) -> int:
        """The largest of a number for each layer."""
        value = self.raw(name)
        n_values = len(value) if isinstance(value, tuple) else 1
        return max(
            (self.count(name, default=default, place=place) for place in range(n_values)), default=default
        )

    def _odd(self, name: str, value: Any) -> Exception:
        where = f"{shown(self.architecture)}.{name}"
        return unpredictable(f"`{where}` in the header is `{shown(value)}`, not a number of this size")


FULL, SLIDING, STATE, HYBRID, NONE = "full", "sliding", "state", "hybrid", "none"


def _words(read: _Keys, n_layers: int) -> list[str]:
    """What each layer does."""
    if read.architecture in STATES_ONLY:
        return [STATE] * n_layers
    if read.architecture in BOTH:
        return [HYBRID] * n_layers
    has_state = read.raw("ssm.state_size") is not None or read.raw("shortconv.l_cache") is not None
    interval = read.count("full_attention_interval", default=4) if has_state else 0
    heads = read.raw("attention.head_count_kv")
    if has_state and not isinstance(heads, tuple):  # Qwen3-Next and its successors
        return [FULL if (place + 1) % max(interval, 1) == 0 else STATE for place in range(n_layers)]
    if isinstance(heads, tuple):
        of_none = STATE if has_state else NONE
        words = [FULL if read.count("attention.head_count_kv", place=p) else of_none for p in range(n_layers)]
    else:
        words = [FULL] * n_layers
    slides = _sliding(read, n_layers)
    return [SLIDING if word == FULL and slides[place] else word for place, word in enumerate(words)]


def _sliding(read: _Keys, n_layers: int) -> Sequence[bool]:
    if _window(read) == 0:
        return (False,) * n_layers
    pattern = read.raw("attention.sliding_window_pattern")
    if isinstance(pattern, tuple) and len(pattern) >= n_layers:
        return tuple(bool(one) for one in pattern[:n_layers])
    every = pattern if isinstance(pattern, int) and not isinstance(pattern, bool) else None
    every = every or SLIDING_EVERY.get(read.architecture, 1)  # 1: all attend to everything, an upper bound
    return tuple(place % every < every - 1 for place in range(n_layers))


def _window(read: _Keys) -> int:
    """Tokens of the window; 0: none."""
    return read.count("attention.sliding_window", default=CHUNK if read.architecture == "llama4" else 0)


def _layer(read: _Keys, word: str, place: int, *, hidden: int) -> LayerCache:
    if word == NONE:
        return LayerCache()
    state = _state(read, place, hidden=hidden) if word in (STATE, HYBRID) else LayerCache()
    if word == STATE:
        return state
    heads, values = _heads(read, place, hidden=hidden)
    return LayerCache(
        heads,
        values,
        window=_window(read) if word == SLIDING else None,
        conv_channels=state.conv_channels,
        conv_kernel=state.conv_kernel,
        state_values=state.state_values,
        state_is_float32=state.state_is_float32,
    )


def _heads(read: _Keys, place: int, *, hidden: int) -> tuple[int, int]:
    """Key-value heads, and the values that each stores per token."""
    latent = read.count("attention.kv_lora_rank", default=0)
    if latent and read.raw("attention.key_length_mla") is not None:  # one latent vector, keys only
        return 1, read.count("attention.key_length")
    n_heads = read.count("attention.head_count", place=place)
    kv_heads = read.count("attention.head_count_kv", default=n_heads, place=place)
    default = hidden // max(n_heads, 1)
    suffix = "_swa" if read.raw("attention.key_length_swa") is not None and _slides(read, place) else ""
    key = read.count(f"attention.key_length{suffix}", default=default, place=place)
    return kv_heads, key + read.count(f"attention.value_length{suffix}", default=default, place=place)


def _slides(read: _Keys, place: int) -> bool:
    return _sliding(read, read.count("block_count", most=MAX_LAYERS))[place]


def _state(read: _Keys, place: int, *, hidden: int) -> LayerCache:
    """A state that does not grow: `n_embd_r` and `n_embd_s` in llama.cpp's `llama-hparams.cpp`, float32."""
    short = read.count("shortconv.l_cache", default=0)
    if short:
        return LayerCache(conv_channels=hidden, conv_kernel=short, state_is_float32=True)
    inner, size = read.count("ssm.inner_size"), read.count("ssm.state_size")
    groups = read.count("ssm.group_count", default=0)
    return LayerCache(
        conv_channels=inner + 2 * groups * size,
        conv_kernel=read.count("ssm.conv_kernel"),
        state_values=inner * size,
        state_is_float32=True,
    )
