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
from math import ceil
from typing import Any

from runners.memory.config_values import (
    Config,
    get,
    number,
    odd_value,
    of_layer,
    unpredictable,
    whole_numbers,
    widest,
    window,
)
from runners.memory.kv_cache import LayerCache
from runners.memory.layer_kinds import CHUNKED, FULL, SLIDING, layer_words
from runners.models.repository_files import shown
from tracker.records.parameter_counts import read_quantization

INT32_BITS = 32
TEXT_PARTS = ("text_config", "llm_config", "language_config", "thinker_config")
EXPANDED_LATENT = ("minicpm3",)  # has the latent weights, but vLLM caches full heads
SQUARE_STATE = ("minimax", "bailing")  # lightning attention: one square state per head
# vLLM 0.32.0, `model_arch_config_convertor.py`: the smallest of these, unless `model_max_length` is there
LONGEST = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_target_positions",
    "max_sequence_length", "max_seq_length", "seq_len",
)  # fmt: skip
# Kinds of rotation whose factor is already in `max_position_embeddings`: `config/model.py`, 0.32.0
SCALED_ALREADY = ("su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling")
LARGEST_SIZE = 2**50  # values of one layer's cache; no machine holds as many
MAX_CONTEXT = 2**31  # tokens; a file that says more means "without limit"


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
    yarn_context: int | None = None  # that its YaRN scaling reaches, where that is beyond `max_context`

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
        raise unpredictable(f"config.json describes no known shape ({shown(error)})") from error


def _architecture(config: Config) -> Architecture:
    text = text_config(config)
    quantization = config.get("quantization_config") or text.get("quantization_config")
    quantization = quantization or config.get("compression_config") or {}
    words = layer_words(text)
    layers = tuple(_layer(of_layer(text, place), word, place) for place, word in enumerate(words))
    for layer in layers:
        _check_size(layer)
    dtype = next(
        (str(part[k]) for part in (config, text) for k in ("dtype", "torch_dtype") if part.get(k)), ""
    )
    rotations = _rotations(text)
    context = _longest_context(text, rotations)
    return Architecture(
        model_type=str(text.get("model_type", "")),
        layers=_without_shared(text, layers),
        hidden_size=number(text, "hidden_size"),
        n_heads=widest(text, "num_attention_heads") or 1,
        vocab_size=int(get(text, "vocab_size") or whole_numbers(config).get("vocab_size") or 0),
        max_context=context,
        feed_forward_values=_feed_forward_values(text),
        dtype=dtype.removeprefix("torch."),
        quantization=quantization.get("quant_method") or ("quantized" if quantization else None),
        quantization_bits=_bits(read_quantization({"quantization_config": quantization}).bits),
        is_tied=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))),
        n_draft_layers=int(text.get("num_nextn_predict_layers") or 0),
        is_upper_bound=_is_upper_bound(text),
        yarn_context=_yarn_context(rotations, context),
    )


def _is_upper_bound(text: Config) -> bool:
    """Whether the cache is smaller than modeled: compressed, or shared by layers that follow each other."""
    is_compressed = "compress_ratios" in text or text["model_type"].startswith("deepseek_v4")
    is_shared = bool(text.get("use_cla")) and (text.get("cla_share_factor") or 1) > 1  # Hunyuan-Large
    return is_compressed or is_shared


def _longest_context(text: Config, rotations: Sequence[Config]) -> int | None:
    """The context that vLLM derives (`_get_and_verify_max_len`, 0.32.0); None: the file does not say."""
    stated = [int(text[name]) for name in LONGEST if text.get(name)]
    longest = min(stated, default=None) or text.get("n_ctx")
    if text.get("model_max_length"):  # Command-R
        longest = int(text["model_max_length"])
    if longest is None or longest > MAX_CONTEXT:
        return None
    kinds = [(_rotation_kind(one), one.get("factor")) for one in rotations]
    if any(kind == "longrope" for kind, _ in kinds):
        return int(text.get("original_max_position_embeddings") or longest)
    factors = [factor for kind, factor in kinds if kind not in SCALED_ALREADY and factor is not None]
    is_scaled = bool(factors) and "gemma3" not in text["model_type"]
    return int(longest * _factor(factors[-1])) if is_scaled else int(longest)


def _factor(factor: Any) -> float:
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor < MAX_CONTEXT:
        raise odd_value("factor", factor)
    return float(factor)


def _rotations(text: Config) -> list[Config]:
    """How positions are rotated: once for all layers, or for each kind of layer."""
    found = text.get("rope_parameters") or text.get("rope_scaling")
    if not isinstance(found, Mapping):
        return []
    inner = [one for one in found.values() if isinstance(one, Mapping)]
    return inner if inner and len(inner) == len(found) else [found]


def _rotation_kind(rotation: Config) -> str:
    kind = str(rotation.get("rope_type") or rotation.get("type") or "default")
    return {"su": "longrope", "mrope": "default"}.get(kind, kind)


def _yarn_context(rotations: Sequence[Config], context: int | None) -> int | None:
    for one in rotations:
        before, factor = one.get("original_max_position_embeddings"), one.get("factor")
        if _rotation_kind(one) == "yarn" and isinstance(before, int) and factor and context:
            reached = int(before * _factor(factor))
            return reached if reached > context else None
    return None


def _bits(value: Any) -> int | None:
    return (
        value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= INT32_BITS else None
    )


def text_config(config: Config) -> dict[str, Any]:
    """The part of `config` about the language model, its numbers whole, with the defaults of its class.

    Raises:
        ModelError: a number is none (reason `unsupported`).
    """
    part: Config = config
    while inner := next((part[name] for name in TEXT_PARTS if isinstance(part.get(name), Mapping)), None):
        part = inner
    model_type = str(part.get("model_type") or config.get("model_type") or "")
    known = _defaults().get(model_type) or _defaults().get(f"{model_type}_text") or {}
    return {**known, **whole_numbers(part), "model_type": model_type}


@cache
def _defaults() -> dict[str, dict[str, Any]]:
    text = resources.files("runners.memory").joinpath("config_defaults.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def _without_shared(text: Config, layers: tuple[LayerCache, ...]) -> tuple[LayerCache, ...]:
    """Layers without those that share an earlier layer's cache (the last layers of Gemma 3n and 4)."""
    n_shared = int(text.get("num_kv_shared_layers") or 0)
    if not 0 <= n_shared < len(layers):
        raise odd_value("num_kv_shared_layers", n_shared)
    return layers[: len(layers) - n_shared] + (LayerCache(),) * n_shared


def _check_size(layer: LayerCache) -> None:
    sizes = (
        layer.token_values,
        layer.window or 0,
        layer.index_values,
        layer.conv_channels * layer.conv_kernel,
        layer.state_values,
    )
    if min(sizes) < 0 or max(sizes) > LARGEST_SIZE:
        raise unpredictable("the cache of a layer in config.json has an impossible size")


def _layer(text: Config, word: str, place: int) -> LayerCache:
    if word == "none":
        return LayerCache()
    if word in ("linear", "conv"):
        return _state(text, word)
    kv_heads, head_values = _heads(text, word, place)
    if kv_heads < 1 or head_values < 1:
        raise unpredictable(
            f"layer {place} in config.json would have {kv_heads} heads of {head_values} values"
        )
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
    size = window(text, place) if word == SLIDING else None
    if word == CHUNKED:
        size = text.get("attention_chunk_size")
    return LayerCache(kv_heads, head_values, window=size or None, index_values=index_values)


def _heads(text: Config, word: str, place: int) -> tuple[int, int]:
    """Number of key-value heads, and the values that each stores per token."""
    other = text.get("attention_other_setting")  # Step-3.5: of the layers of one kind
    if isinstance(other, Mapping) and str(other.get("attention_type")).startswith(word):
        text = {**text, **other}
    n_heads = number(text, "num_attention_heads")
    rope, latent = int(text.get("qk_rope_head_dim") or 0), int(text.get("kv_lora_rank") or 0)
    if latent and text["model_type"] in EXPANDED_LATENT:
        return n_heads, 2 * (int(text.get("qk_nope_head_dim") or 0) + rope)
    if latent:  # DeepSeek-V2, arXiv 2405.04434 §2.1: one latent and one rotated key for all heads
        return 1, latent + rope
    if "compress_ratios" in text:
        return 1, int(get(text, "head_dim") or 0)
    if word == SLIDING and text.get("num_swa_key_value_heads"):  # Baichuan-M1: other heads, of their own size
        swa_heads = int(text.get("num_swa_attention_heads") or n_heads)
        return int(text["num_swa_key_value_heads"]), 2 * (number(text, "hidden_size") // swa_heads)
    head_dim = int(get(text, "head_dim") or 0) or number(text, "hidden_size") // n_heads
    v_head_dim = int(text.get("v_head_dim") or head_dim)
    kv_heads = _kv_heads(text, n_heads, place)
    if word == FULL and text.get("global_head_dim"):  # Gemma 4
        head_dim = v_head_dim = int(text["global_head_dim"])
        if text.get("attention_k_eq_v", "unified" in text["model_type"]):
            kv_heads = int(text.get("num_global_key_value_heads") or kv_heads)
    if word == SLIDING and text.get("swa_head_dim"):  # MiMo-V2
        head_dim = int(text["swa_head_dim"])
        v_head_dim = int(text.get("swa_v_head_dim") or head_dim)
    if word == SLIDING:
        kv_heads = int(text.get("swa_num_key_value_heads") or kv_heads)
    return kv_heads, head_dim + v_head_dim


def _kv_heads(text: Config, n_heads: int, place: int) -> int:
    if text.get("block_configs"):
        return _block_heads(text["block_configs"][place], text, n_heads)
    if text.get("multi_query") and not text.get("new_decoder_architecture"):  # Falcon-7B, StarCoder
        return int(text.get("multi_query_group_num") or 1)
    nested = text.get("attn_config")  # MPT, DBRX
    if isinstance(nested, Mapping) and nested.get("kv_n_heads"):
        return int(nested["kv_n_heads"])
    own = text.get("num_key_value_heads_per_layer")  # DeciLM-7B, beside the number of its widest layer
    return int(own or get(text, "num_key_value_heads") or n_heads)


def _block_heads(block: Config, text: Config, n_heads: int) -> int:
    """Key-value heads of one block: heads in each group that shares one, or their number."""
    attention = block.get("attention")
    said = attention if isinstance(attention, Mapping) else block
    group = said.get("n_heads_in_group")
    if group is not None:  # an integer of at least 1, or the number of heads cannot be known
        if isinstance(group, bool) or not isinstance(group, int) or group < 1:
            raise odd_value("n_heads_in_group", group)
        return n_heads // group
    heads = said.get("num_key_value_heads") or get(text, "num_key_value_heads") or n_heads
    if isinstance(heads, bool) or not isinstance(heads, int):
        raise odd_value("num_key_value_heads", heads)
    return heads


def _state(text: Config, word: str) -> LayerCache:
    """The state of a layer whose cache does not grow; shapes as in vLLM's `mamba_utils.py`, 0.32.0."""
    hidden = number(text, "hidden_size")
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
    if text["model_type"].startswith(SQUARE_STATE):
        heads, dim = number(text, "num_attention_heads"), int(get(text, "head_dim") or 0)
        dim = dim or hidden // heads
        return LayerCache(state_values=heads * dim * dim, state_is_float32=True)
    return _mamba_state(text, hidden, state_is_float32=asked == "float32")


def _mamba_state(text: Config, hidden: int, *, state_is_float32: bool) -> LayerCache:
    """Mamba 1 (one state row per channel) and Mamba 2 (heads, and groups that also pass the convolution)."""
    d_state = int(_first(text, "mamba_d_state", "ssm_state_size", "state_size", default=16))
    kernel = int(_first(text, "mamba_d_conv", "conv_kernel", default=4))
    expand = _first(text, "mamba_expand", "expand", default=2)
    n_heads = int(_first(text, "mamba_num_heads", "mamba_n_heads", "n_mamba_heads", "num_heads", default=0))
    if isinstance(expand, bool) or not isinstance(expand, int | float) or not 0 < expand < INT32_BITS:
        raise odd_value("expand", expand)
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
    hidden = number(text, "hidden_size")
    text = {**text, **(text.get("ffn_config") or {})}  # DBRX
    dense = widest(text, "intermediate_size") or _widest_block(text, hidden) or 4 * hidden
    chosen = widest(text, "num_experts_per_tok")
    if not chosen:
        return 3 * dense
    of_expert = widest(text, "moe_intermediate_size")
    width = of_expert or dense
    # vLLM's fused experts: one buffer for max(gate and up, output), one for their product, per chosen expert
    return max(chosen * (max(2 * width, hidden) + width), 3 * dense if of_expert else 0)


def _widest_block(text: Config, hidden: int) -> int:
    """The widest feed-forward part of the blocks: as stated, or 2/3 of a multiple, in steps of 256."""
    blocks = [block.get("ffn") or {} for block in text.get("block_configs") or ()]
    stated = [int(ffn.get("intermediate_size") or 0) for ffn in blocks]
    scaled = [ceil(int(2 * (ffn.get("ffn_mult") or 0) * hidden / 3) / 256) * 256 for ffn in blocks]
    return max((*stated, *scaled), default=0)
