"""The numbers of a config.json under all their names, as whole numbers or lists of them.

A file on the Hub may say 40960.0 for 40960, -1, false or "auto" for none, and list a number for each layer.
What is no number at all is refused by its name: a guess would be a wrong prediction.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runners.models.repository_files import COUNTS, LAYER_COUNTS, shown
from tracker.errors import ModelError

Config = Mapping[str, Any]

LARGEST = 10**31  # the "without limit" of transformers' tokenizers; a larger number is a mistake
MAX_DIGITS = 32

NUMBERS = frozenset((*COUNTS, *LAYER_COUNTS))
PARTS = (
    "attn_config",
    "ffn_config",
    "linear_attn_config",
    "attention_other_setting",
)  # that have numbers of their own
# One width for each layer: the widest decides, since the layers compute one after the other.
FEED_FORWARD = frozenset((
    "intermediate_size", "n_inner", "ffn_dim", "d_ff", "ffn_hidden_size", "d_inner", "moe_intermediate_size",
    "expert_ffn_hidden_size", "num_experts_per_tok", "experts_per_token", "top_k_experts", "moe_topk",
    "moe_top_k", "num_experts_per_token", "moe_k",
))  # fmt: skip
# Names that older model families use for the same fields.
ALIASES = {
    "num_hidden_layers": ("n_layer", "n_layers", "num_layers", "decoder_layers"),
    "hidden_size": ("n_embd", "d_model", "n_embed"),
    "num_attention_heads": (
        "n_head", "n_heads", "num_heads", "decoder_attention_heads", "num_query_heads",
        "num_attention_heads_per_layer",
    ),
    "num_key_value_heads": (
        "n_head_kv", "num_kv_heads", "multi_query_group_num", "num_attention_groups",
        "num_key_value_heads_per_layer",
    ),
    "head_dim": ("kv_channels", "attention_head_dim", "hidden_size_per_head", "d_kv"),
    "intermediate_size": ("n_inner", "ffn_dim", "d_ff", "ffn_hidden_size", "d_inner"),
    "moe_intermediate_size": ("expert_ffn_hidden_size",),
    "num_experts_per_tok": (
        "experts_per_token", "top_k_experts", "moe_topk", "moe_top_k", "num_experts_per_token",
        "moe_k",
    ),
    "vocab_size": ("padded_vocab_size",),
    "layer_types": ("layers_block_type", "hybrid_layer_types"),
}  # fmt: skip

# The number of tokens that a sliding layer attends to; a list repeats over the layers.
WINDOWS = (
    "sliding_window", "sliding_window_size", "interleaved_sliding_window", "swa_window_size",
    "attention_window_size",
)  # fmt: skip


def get(text: Config, name: str) -> Any:
    """The value under this name or one of its aliases; None if there is none."""
    return next((text[n] for n in (name, *ALIASES.get(name, ())) if text.get(n) is not None), None)


def number(text: Config, name: str) -> int:
    """The positive number of that name.

    Raises:
        ModelError: it is missing, or no such number (reason `unsupported`).
    """
    value = get(text, name)
    if not isinstance(value, int) or value < 1:
        message = f"the config.json of model type `{shown(text.get('model_type'))}` has no `{name}`"
        raise unpredictable(message)
    return value


def widest(text: Config, name: str) -> int:
    """The number of that name, the largest where each layer has its own; 0 if there is none."""
    value = get(text, name)
    found = value if isinstance(value, list | tuple) else [value]
    return max((int(one) for one in found if one is not None), default=0)


def of_layer(text: Config, place: int) -> Config:
    """The config of one layer, where the file lists a number for each."""
    listed = [
        name for name in text if name in NUMBERS - FEED_FORWARD and isinstance(text[name], list | tuple)
    ]
    listed = [name for name in listed if name not in WINDOWS]
    for name in listed:
        if place >= len(text[name]):
            raise odd_value(name, text[name])
    return {**text, **{name: text[name][place] for name in listed}} if listed else text


def window(text: Config, place: int) -> int | None:
    """Tokens that the layer at `place` attends to if it slides; None: all of them."""
    if text.get("use_sliding_window") is False:
        return None
    value = next((text[name] for name in WINDOWS if text.get(name)), None)
    if isinstance(value, list | tuple):
        value = value[place % len(value)]
    return int(value) if value else None


def whole_numbers(config: Config) -> dict[str, Any]:
    """`config` with every number that memory depends on as an integer, or a list of them; None for none.

    Raises:
        ModelError: a value is neither (reason `unsupported`).
    """
    found = {name: _whole(name, value) if name in NUMBERS else value for name, value in config.items()}
    parts = {name: whole_numbers(found[name]) for name in PARTS if isinstance(found.get(name), Mapping)}
    return found | parts


def _whole(name: str, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_whole(name, one) for one in value]
    if value is None or value is False or value in (-1, "auto") or isinstance(value, Mapping):
        return None  # an object: another part's use of this name
    if isinstance(value, str) and value.isdecimal() and len(value) < MAX_DIGITS:
        return int(value)
    is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not is_whole or not 0 <= value < LARGEST:
        raise odd_value(name, value)
    return int(value)


def odd_value(name: str, value: Any) -> ModelError:
    """The error for a value from which nothing can be computed."""
    return unpredictable(f"`{name}` in config.json is `{shown(value)}`")


def unpredictable(why: str) -> ModelError:
    """The error for a model that may run although its memory is not known before."""
    hint = "it may still run: `tracker bench` tries it as asked"
    return ModelError(f"its memory cannot be predicted: {why}", reason="unsupported", hint=hint)
