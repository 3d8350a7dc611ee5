"""The memory-related part of a model's config.json (layers, widths, limits) as one record.

A file on the Hub omits values that equal the default of its class, above all in the nested `text_config` of
vision models. Those defaults are in `config_defaults.json`, taken from transformers 5.19 (a test compares
them). Not covered: encoders with cross-attention, and the compression of DeepSeek-V4, whose cache
is given as an upper bound.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from runners.memory.kv_cache import LayerCache
from runners.models.repository_files import shown
from tracker.errors import ModelError

Config = Mapping[str, Any]

INT32_BITS = 32
TEXT_PARTS = ("text_config", "llm_config", "language_config", "thinker_config")
# Names that older model families use for the same fields.
ALIASES = {
    "num_hidden_layers": ("n_layer", "n_layers", "num_layers", "decoder_layers"),
    "hidden_size": ("n_embd", "d_model", "n_embed"),
    "num_attention_heads": ("n_head", "n_heads", "num_heads", "decoder_attention_heads"),
    "num_key_value_heads": ("n_head_kv", "num_kv_heads", "multi_query_group_num", "num_attention_groups"),
    "head_dim": ("kv_channels", "attention_head_dim", "hidden_size_per_head"),
    "intermediate_size": ("n_inner", "ffn_dim", "d_ff", "ffn_hidden_size", "d_inner"),
    "max_position_embeddings": ("n_positions", "max_seq_len", "seq_length", "max_sequence_length", "n_ctx"),
    "moe_intermediate_size": ("expert_ffn_hidden_size",),
    "num_experts_per_tok": ("experts_per_token", "top_k_experts", "moe_topk", "num_experts_per_token"),
    "layer_types": ("layers_block_type", "hybrid_layer_types"),
}
LAYER_WORDS = {
    "attention": "full",
    "full_attention": "full",
    "indexed_attention": "full",
    "deepseek_sparse_attention": "full",
    "qwen_sparse_attention": "full",
    "compressed_sparse_attention": "full",
    "heavily_compressed_attention": "full",
    "minimax_m3_sparse": "full",
    "sliding_attention": "sliding",
    "chunked_attention": "chunked",
    "linear_attention": "linear",
    "mamba": "linear",
    "mamba2": "linear",
    "conv": "conv",
    "hybrid": "hybrid",
    "moe": "none",
    "mlp": "none",
    "sparse": "none",
    "dense": "none",
}
PATTERN_LETTERS = {"M": "linear", "*": "full", "-": "none", "E": "none"}  # Nemotron-H
STATE_ONLY = ("mamba", "mamba2", "falcon_mamba")
EXPANDED_LATENT = ("minicpm3",)  # has the latent weights, but vLLM caches full heads
HYBRID_ONLY = ("falcon_h1",)  # every layer has both attention and a state


@dataclass(frozen=True, slots=True)
class Architecture:
    """The shape of one model, as far as memory depends on it."""

    model_type: str
    layers: tuple[LayerCache, ...]
    hidden_size: int
    n_heads: int
    vocab_size: int
    max_context: int | None  # None: not in the file
    feed_forward_values: int  # per token, while one layer computes
    dtype: str  # of the checkpoint; "" if not in the file
    quantization: str | None  # the method in the file
    quantization_bits: int | None
    is_tied: bool  # input and output embedding are one tensor
    n_draft_layers: int = 0  # extra layers for multi-token prediction, not loaded
    is_upper_bound: bool = False  # the cache is compressed in a way that is not modeled

    @property
    def n_layers(self) -> int:
        """Number of layers, including those without a cache."""
        return len(self.layers)


def read_architecture(config: Config) -> Architecture:
    """Read the shape from `config`, a config.json that `check_config` has checked.

    Raises:
        ModelError: number or width of the layers is missing, or what is said of them contradicts itself
            (reason `unsupported`).
    """
    try:
        return _architecture(config)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError) as error:
        message = f"the config.json describes no model whose memory can be computed ({shown(error)})"
        hint = "its memory cannot be predicted, but it may still run"
        raise ModelError(message, reason="unsupported", hint=hint) from error


def _architecture(config: Config) -> Architecture:
    text = text_config(config)
    longest = _get(text, "max_position_embeddings")
    quantization = config.get("quantization_config") or text.get("quantization_config") or {}
    layers = tuple(_layer(text, word, place) for place, word in enumerate(layer_words(text)))
    dtype = next(
        (str(part[k]) for part in (config, text) for k in ("dtype", "torch_dtype") if part.get(k)), ""
    )
    return Architecture(
        model_type=str(text.get("model_type", "")),
        layers=_without_shared(text, layers),
        hidden_size=_number(text, "hidden_size"),
        n_heads=int(_get(text, "num_attention_heads") or 1),
        vocab_size=int(text.get("vocab_size") or config.get("vocab_size") or 0),
        max_context=None if longest is None else int(longest),
        feed_forward_values=_feed_forward_values(text),
        dtype=dtype.removeprefix("torch."),
        quantization=quantization.get("quant_method") or ("quantized" if quantization else None),
        quantization_bits=_bits(quantization.get("bits")),
        is_tied=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))),
        n_draft_layers=int(text.get("num_nextn_predict_layers") or 0),
        is_upper_bound="compress_ratios" in text or str(text.get("model_type")).startswith("deepseek_v4"),
    )


def _bits(value: Any) -> int | None:
    return (
        value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= INT32_BITS else None
    )


def text_config(config: Config) -> dict[str, Any]:
    """The part of `config` about the language model, with the defaults of its class filled in."""
    part: Config = config
    for name in TEXT_PARTS:
        if isinstance(part.get(name), Mapping):
            part = part[name]
    model_type = str(part.get("model_type") or config.get("model_type") or "")
    known = _defaults().get(model_type) or _defaults().get(f"{model_type}_text") or {}
    return {**known, **part, "model_type": model_type}


@cache
def _defaults() -> dict[str, dict[str, Any]]:
    text = resources.files("runners.memory").joinpath("config_defaults.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def _get(text: Config, name: str) -> Any:
    return next((text[n] for n in (name, *ALIASES.get(name, ())) if text.get(n) is not None), None)


def _number(text: Config, name: str) -> int:
    value = _get(text, name)
    if not isinstance(value, int) or value < 1:
        raise ModelError(
            f"the config.json of model type `{shown(text.get('model_type'))}` has no `{name}`",
            reason="unsupported",
            hint="its memory cannot be predicted, but it may still run",
        )
    return value


def layer_words(text: Config) -> list[str]:
    """One word per layer: `full`, `sliding`, `chunked`, `linear`, `conv`, `hybrid` or `none`."""
    listed = _listed_words(text)
    if listed is not None:
        return listed
    n_layers = _number(text, "num_hidden_layers")
    if text["model_type"] in STATE_ONLY:
        return ["linear"] * n_layers
    if text["model_type"] in HYBRID_ONLY:
        return ["hybrid"] * n_layers
    pattern = _pattern(text)
    if pattern:
        words = [LAYER_WORDS.get(pattern[i % len(pattern)], "full") for i in range(n_layers)]
        if str(text["model_type"]).startswith("gemma4"):
            words[-1] = "full"  # required by its class
        return words
    if text.get("sliding_window") and text.get("use_sliding_window", True):
        first = int(text.get("max_window_layers") or 0) if "use_sliding_window" in text else 0
        return ["full" if i < first else "sliding" for i in range(n_layers)]
    return ["full"] * n_layers


def _listed_words(text: Config) -> list[str] | None:
    """The words of a file that lists its layers one by one; None if it does not."""
    listed = _get(text, "layer_types")
    if isinstance(listed, Sequence) and not isinstance(listed, str):
        return [LAYER_WORDS.get(str(word), "full") for word in listed]
    if isinstance(text.get("hybrid_override_pattern"), str):
        return [PATTERN_LETTERS.get(letter, "full") for letter in text["hybrid_override_pattern"]]
    n_layers = int(_get(text, "num_hidden_layers") or 0)
    if isinstance(text.get("attn_type_list"), Sequence):  # MiniMax: 1 is attention
        return ["full" if kind == 1 else "linear" for kind in text["attn_type_list"]]
    if isinstance(text.get("linear_attn_config"), Mapping):  # Kimi Linear: counted from 1
        full = set(text["linear_attn_config"].get("full_attn_layers", ()))
        return ["full" if place in full else "linear" for place in range(1, n_layers + 1)]
    indices = text.get("attn_layer_indices", text.get("full_attn_idxs"))  # Bamba; LFM2
    if isinstance(indices, Sequence):
        other = "conv" if "full_attn_idxs" in text else "linear"
        return ["full" if place in set(indices) else other for place in range(n_layers)]
    return None


def _pattern(text: Config) -> Sequence[str] | None:
    """The pattern that repeats over the layers."""
    interval = text.get("sliding_window_pattern") or text.get("_sliding_window_pattern")
    if isinstance(interval, int) and interval > 1:
        return ["sliding_attention"] * (interval - 1) + ["full_attention"]
    if text.get("attn_layer_period"):  # Jamba
        offset = int(text.get("attn_layer_offset") or 0)
        places = range(int(text["attn_layer_period"]))
        return ["full_attention" if place == offset else "linear_attention" for place in places]
    if text.get("full_attention_interval"):
        return ["linear_attention"] * (int(text["full_attention_interval"]) - 1) + ["full_attention"]
    if text["model_type"] == "llama4_text" and text.get("no_rope_layer_interval"):
        return ["chunked_attention"] * (int(text["no_rope_layer_interval"]) - 1) + ["full_attention"]
    pattern = text.get("layer_pattern")
    return pattern if isinstance(pattern, list) else None


def _without_shared(text: Config, layers: tuple[LayerCache, ...]) -> tuple[LayerCache, ...]:
    """Layers without those that share an earlier layer's cache (the last layers of Gemma 3n and 4)."""
    n_shared = int(text.get("num_kv_shared_layers") or 0)
    return layers[: len(layers) - n_shared] + (LayerCache(),) * n_shared


def _layer(text: Config, word: str, place: int) -> LayerCache:
    if word == "none":
        return LayerCache()
    if word in ("linear", "conv"):
        return _state(text, word)
    kv_heads, head_values = _heads(text, word, place)
    index_values = int(text.get("index_head_dim") or 0)
    if word == "hybrid":
        state = _state(text, "linear")
        return LayerCache(
            kv_heads,
            head_values,
            conv_channels=state.conv_channels,
            conv_kernel=state.conv_kernel,
            state_values=state.state_values,
            state_is_float32=state.state_is_float32,
        )
    window = {"sliding": "sliding_window", "chunked": "attention_chunk_size"}.get(word)
    size = text.get(window) if window else None
    return LayerCache(kv_heads, head_values, window=int(size) if size else None, index_values=index_values)


def _heads(text: Config, word: str, place: int) -> tuple[int, int]:
    """Number of key-value heads, and the values that each stores per token."""
    n_heads = _number(text, "num_attention_heads")
    rope, latent = int(text.get("qk_rope_head_dim") or 0), int(text.get("kv_lora_rank") or 0)
    if latent and text["model_type"] in EXPANDED_LATENT:
        return n_heads, 2 * (int(text.get("qk_nope_head_dim") or 0) + rope)
    if latent:  # DeepSeek-V2, arXiv 2405.04434 §2.1: one latent and one rotated key for all heads
        return 1, latent + rope
    if "compress_ratios" in text:
        return 1, int(_get(text, "head_dim") or 0)
    head_dim = int(_get(text, "head_dim") or 0) or _number(text, "hidden_size") // n_heads
    v_head_dim = int(text.get("v_head_dim") or head_dim)
    kv_heads = _kv_heads(text, n_heads, place)
    if word == "full" and text.get("global_head_dim"):  # Gemma 4
        head_dim = v_head_dim = int(text["global_head_dim"])
        if text.get("attention_k_eq_v", "unified" in text["model_type"]):
            kv_heads = int(text.get("num_global_key_value_heads") or kv_heads)
    if word == "sliding" and text.get("swa_head_dim"):  # MiMo-V2
        head_dim = int(text["swa_head_dim"])
        v_head_dim = int(text.get("swa_v_head_dim") or head_dim)
        kv_heads = int(text.get("swa_num_key_value_heads") or kv_heads)
    return kv_heads, head_dim + v_head_dim


def _kv_heads(text: Config, n_heads: int, place: int) -> int:
    if text.get("multi_query") and not text.get("new_decoder_architecture"):  # Falcon-7B, StarCoder
        return int(text.get("multi_query_group_num") or 1)
    nested = text.get("attn_config")  # MPT, DBRX
    if isinstance(nested, Mapping) and nested.get("kv_n_heads"):
        return int(nested["kv_n_heads"])
    heads = _get(text, "num_key_value_heads")
    if isinstance(heads, Sequence):  # OpenELM: its own number in each layer
        return int(heads[place])
    return int(heads or n_heads)


def _state(text: Config, word: str) -> LayerCache:
    """The state of a layer whose cache does not grow; shapes as in vLLM's `mamba_utils.py`, 0.32.0."""
    hidden = _number(text, "hidden_size")
    asked = str(text.get("mamba_ssm_dtype") or text.get("mamba_ssm_cache_dtype") or "")
    if word == "conv":  # LFM2
        return LayerCache(
            conv_channels=int(text.get("conv_dim") or hidden), conv_kernel=int(text["conv_L_cache"])
        )
    if text.get("linear_value_head_dim"):  # gated delta net: Qwen3-Next, Qwen3.5, OLMo hybrid
        keys = int(text["linear_num_key_heads"]) * int(text["linear_key_head_dim"])
        heads, value_dim = int(text["linear_num_value_heads"]), int(text["linear_value_head_dim"])
        return LayerCache(
            conv_channels=2 * keys + heads * value_dim,
            conv_kernel=int(text["linear_conv_kernel_dim"]),
            state_values=heads * value_dim * int(text["linear_key_head_dim"]),
            state_is_float32=asked == "float32",
        )
    nested = text.get("linear_attn_config")
    if text.get("linear_num_heads") or isinstance(nested, Mapping):  # Kimi delta attention
        heads = int(nested["num_heads"] if nested else text["linear_num_heads"])
        dim = int(nested["head_dim"] if nested else text["linear_head_dim"])
        kernel = (nested or {}).get("short_conv_kernel_size") or text.get("linear_conv_kernel_dim") or 4
        return LayerCache(
            conv_channels=3 * heads * dim,
            conv_kernel=int(kernel),
            state_values=heads * dim * dim,
            state_is_float32=True,
        )
    if text["model_type"].startswith("minimax"):  # lightning attention: one square state per head
        heads, dim = _number(text, "num_attention_heads"), int(_get(text, "head_dim") or 0)
        dim = dim or hidden // heads
        return LayerCache(state_values=heads * dim * dim, state_is_float32=True)
    return _mamba_state(text, hidden, state_is_float32=asked == "float32")


def _mamba_state(text: Config, hidden: int, *, state_is_float32: bool) -> LayerCache:
    """Mamba 1 (one state row per channel) and Mamba 2 (heads, and groups that also pass the convolution)."""
    d_state = int(_first(text, "mamba_d_state", "ssm_state_size", "state_size", default=16))
    kernel = int(_first(text, "mamba_d_conv", "conv_kernel", default=4))
    expand = _first(text, "mamba_expand", "expand", default=2)
    n_heads = int(_first(text, "mamba_num_heads", "mamba_n_heads", "n_mamba_heads", "num_heads", default=0))
    inner = int(text.get("mamba_d_ssm") or expand * hidden)
    is_first = text["model_type"] in ("mamba", "falcon_mamba", "jamba") or not n_heads
    if is_first:
        if text["model_type"] in ("mamba", "falcon_mamba"):
            inner = int(text.get("intermediate_size") or inner)
        return LayerCache(
            conv_channels=inner,
            conv_kernel=kernel,
            state_values=inner * d_state,
            state_is_float32=state_is_float32,
        )
    head_dim = _first(text, "mamba_head_dim", "mamba_d_head", "mamba_headdim", "head_dim", default="auto")
    if isinstance(head_dim, int) and "mamba_num_heads" in text:  # Nemotron-H does not follow `expand`
        inner = n_heads * head_dim
    head_dim = inner // n_heads if head_dim == "auto" else int(head_dim)
    groups = int(_first(text, "mamba_n_groups", "n_groups", "mamba_ngroups", default=1))
    return LayerCache(
        conv_channels=inner + 2 * groups * d_state,
        conv_kernel=kernel,
        state_values=n_heads * head_dim * d_state,
        state_is_float32=state_is_float32,
    )


def _first(text: Config, *names: str, default: Any) -> Any:
    return next((text[name] for name in names if text.get(name) is not None), default)


def _feed_forward_values(text: Config) -> int:
    """Values per token inside the widest feed-forward layer: gate, up and their product."""
    hidden = _number(text, "hidden_size")
    dense = _get(text, "intermediate_size") or 4 * hidden
    dense = max(map(int, dense)) if isinstance(dense, list | tuple) else int(dense)
    chosen = int(_get(text, "num_experts_per_tok") or 0)
    if not chosen:
        return 3 * dense
    width = int(_get(text, "moe_intermediate_size") or dense)
    # vLLM's fused experts: one buffer for max(gate and up, output), one for their product, per chosen expert
    return max(
        chosen * (max(2 * width, hidden) + width), 3 * dense if _get(text, "moe_intermediate_size") else 0
    )
