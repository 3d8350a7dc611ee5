"""Which layers of a model attend to every token, to a window, or keep a state: one word per layer.

Families publish this under a dozen names, as words, codes, letters, indices, intervals or blocks. Each reader
below takes one form; the first that finds something decides. A list that none of them knows is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from runners.memory.config_values import WINDOWS, Config, get, number, odd_value, unpredictable
from runners.models.repository_files import shown

FULL, SLIDING, CHUNKED, LINEAR, CONV, NONE = "full", "sliding", "chunked", "linear", "conv", "none"
HYBRID = "hybrid"  # attention and a state in one layer
LAYER_WORDS = {
    "attention": FULL, "hybrid": HYBRID, "sparse": NONE, "dense": NONE, "moe": NONE, "mlp": NONE,
    "minimax_m3_sparse": FULL, "m": LINEAR, "m2": LINEAR, "g": FULL, "l": SLIDING, "identity": NONE,
    "no_op": NONE,
}  # fmt: skip
UNKNOWN_WORDS = re.compile(r"hybrid|recurrent|rwkv|xlstm|retention|cross")
WORDS_LIKE = (  # a new spelling of a known kind, in this order
    (re.compile(r"slid|swa|window|local"), SLIDING),
    (re.compile(r"chunk"), CHUNKED),
    (re.compile(r"conv"), CONV),
    (re.compile(r"mamba|linear|delta|kda|lightning|ssm"), LINEAR),
    (re.compile(r"attention|attn|full|global"), FULL),
    (re.compile(r"mlp|moe|ffn|feed"), NONE),
)
PATTERN_LETTERS = {"M": LINEAR, "*": FULL, "-": NONE, "E": NONE}  # Nemotron-H
CODES = {  # one number per layer
    "hybrid_layer_pattern": (FULL, SLIDING),  # MiMo-V2
    "attn_type_list": (LINEAR, FULL),  # MiniMax
    "decoder_attention_types": (LINEAR, FULL),
}
INDICES = {  # the layers of the first kind, counted from 0; the others are of the second
    "attn_layer_indices": (FULL, LINEAR),  # Bamba
    "full_attn_idxs": (FULL, CONV),  # LFM2
    "global_attn_idx": (FULL, SLIDING),
    "global_attn_layers": (FULL, SLIDING),
    "global_layer_ids": (FULL, SLIDING),
    "full_attention_layers": (FULL, SLIDING),
    "local_layer_ids": (SLIDING, FULL),
    "swa_layers": (SLIDING, FULL),
    "sliding_window_layers": (SLIDING, FULL),
    "hybrid_layer_ids": (HYBRID, LINEAR),  # Zamba
}
INTERVALS = {  # every so many layers one is full: at the end of the interval, or at its beginning
    "sliding_window_pattern": SLIDING,
    "_sliding_window_pattern": SLIDING,
    "window_attn_skip_freq": SLIDING,
    "global_attn_every_n_layers": SLIDING,
    "full_attention_interval": LINEAR,
    "layer_group_size": LINEAR,  # Ling and Ring
}
BEGINS_FULL = ("modernbert-decoder", "modernbert_decoder")
STATE_ONLY = ("mamba", "mamba2", "falcon_mamba")
HYBRID_ONLY = ("falcon_h1",)  # every layer has both attention and a state
FULL_ONLY = ("gpt_neo",)  # its local layers are a mask, so that transformers stores every token
TWO_EACH = ("longcat_flash",)  # attention twice in each layer that the file counts
NOT_MODELED = re.compile(r"rwkv|recurrent_gemma|phi4flash|hymba|xlstm|retnet|plamo2|inkling")
# A list of this name and one entry per layer says which layers attend to what.
TELLING = re.compile(
    r"attn|attention|window|swa|sliding|hybrid|mamba|recurrent|block_type|layer_type|layer_kind|mixer"
    r"|^layers?_(?:configs?|specs?)$|^(?:layers|blocks)$"
)
OTHERWISE = re.compile(r"mlp|moe|rope|ffn|expert|mtp|vision|bias|dropout|softcap|sink|heads|head_dim|indexer")


def layer_words(text: Config) -> list[str]:
    """One word per layer: `full`, `sliding`, `chunked`, `linear`, `conv`, `hybrid` or `none`.

    Raises:
        ModelError: the file says it in a way that is not known (reason `unsupported`).
    """
    if NOT_MODELED.search(text["model_type"]):
        raise unpredictable(f"the layers of model type `{shown(text['model_type'])}` are not modeled")
    n_layers = _n_layers(text)
    for read in READERS:
        words = read(text, n_layers)
        if words is not None:
            return words
    _refuse_unknown_list(text, n_layers)
    if _window_is_used(text):
        first = int(text.get("max_window_layers") or 0) if "use_sliding_window" in text else 0
        return [FULL if place < first else SLIDING for place in range(n_layers)]
    return [FULL] * n_layers


def _n_layers(text: Config) -> int:
    """The number of layers: as stated, else as many as are listed."""
    named = (text.get(name) for name in ("block_configs", "hybrid_override_pattern", *CODES))
    listed = get(text, "layer_types") or next(filter(None, named), None)
    is_alone = get(text, "num_hidden_layers") is None or text["model_type"].startswith("nemotron_h")
    if is_alone and isinstance(listed, list | tuple | str) and listed:
        return len(listed)
    if text["model_type"] in TWO_EACH:  # transformers derives `num_hidden_layers` from `num_layers`
        return 2 * number(text, "num_layers")
    return number(text, "num_hidden_layers")


def _blocks(text: Config, n_layers: int) -> list[str] | None:
    """Found by architecture search: each block says what it has (Nemotron-NAS, DeciLM)."""
    blocks = text.get("block_configs")
    if not isinstance(blocks, list | tuple):
        return None
    if len(blocks) < n_layers:
        raise odd_value("block_configs", blocks)
    return [_block_word(block) for block in blocks[:n_layers]]


def _block_word(block: Any) -> str:
    if not isinstance(block, Mapping):
        raise odd_value("block_configs", block)
    if isinstance(block.get("block_type"), str):
        return _word(block["block_type"])
    attention = block.get("attention")
    if not isinstance(attention, Mapping):
        raise odd_value("block_configs", block)
    return NONE if attention.get("no_op") or attention.get("replace_with_linear") else FULL


def _listed(text: Config, n_layers: int) -> list[str] | None:
    """A word for each layer; files may go on with the layers for multi-token prediction."""
    listed = get(text, "layer_types")
    if not isinstance(listed, list | tuple) or not listed:
        return None
    if len(listed) < n_layers:
        raise odd_value("layer_types", listed)
    return [_word(one) for one in listed[:n_layers]]


def _word(word: Any) -> str:
    if isinstance(word, str):
        low = word.lower()
        if low in LAYER_WORDS:
            return LAYER_WORDS[low]
        if not UNKNOWN_WORDS.search(low):
            for pattern, kind in WORDS_LIKE:
                if pattern.search(low):
                    return kind
    raise odd_value("layer_types", word)


def _letters(text: Config, n_layers: int) -> list[str] | None:
    pattern = text.get("hybrid_override_pattern")
    if not isinstance(pattern, str):
        return None
    unknown = next((letter for letter in pattern if letter not in PATTERN_LETTERS), None)
    if unknown is not None or len(pattern) < n_layers:
        raise odd_value("hybrid_override_pattern", pattern)
    return [PATTERN_LETTERS[letter] for letter in pattern[:n_layers]]


def _coded(text: Config, n_layers: int) -> list[str] | None:
    """One number per layer: its kind."""
    for name, kinds in (*CODES.items(), *_rope_codes(text)):
        codes = text.get(name)
        if not isinstance(codes, list | tuple) or not codes:
            continue
        if len(codes) < n_layers or any(code not in (0, 1) for code in codes):
            raise odd_value(name, codes)
        return [kinds[int(code)] for code in codes[:n_layers]]
    return None


def _rope_codes(text: Config) -> tuple[tuple[str, tuple[str, str]], ...]:
    """What `no_rope_layers` (0: without rotation) says of attention: something in two families only."""
    if text["model_type"].startswith("llama4"):
        return (("no_rope_layers", (FULL, CHUNKED)),)
    if text["model_type"] == "smollm3" and text.get("use_sliding_window"):
        return (("no_rope_layers", (SLIDING, FULL)),)
    return ()


def _indexed(text: Config, n_layers: int) -> list[str] | None:
    """The indices of the layers of one kind."""
    nested = text.get("linear_attn_config")
    if isinstance(nested, Mapping) and "full_attn_layers" in nested:  # Kimi Linear: counted from 1
        full = _places("full_attn_layers", nested["full_attn_layers"])
        return [FULL if place in full else LINEAR for place in range(1, n_layers + 1)]
    for name, (kind, other) in INDICES.items():
        if isinstance(text.get(name), list | tuple):
            places = _places(name, text[name])
            return [kind if place in places else other for place in range(n_layers)]
    return None


def _places(name: str, value: Any) -> frozenset[int]:
    if not isinstance(value, list | tuple) or not all(isinstance(one, int) for one in value):
        raise odd_value(name, value)
    return frozenset(value)


def _of_family(text: Config, n_layers: int) -> list[str] | None:
    """Families whose layers are all alike."""
    if text["model_type"] in FULL_ONLY:
        return [FULL] * n_layers
    if text["model_type"] in STATE_ONLY:
        return [LINEAR] * n_layers
    return [HYBRID] * n_layers if text["model_type"] in HYBRID_ONLY else None


def _windows(text: Config, n_layers: int) -> list[str] | None:
    """A list of windows, which repeats over the layers; null or 0 where a layer attends to all."""
    listed = next((text[name] for name in WINDOWS if isinstance(text.get(name), list | tuple)), None)
    if listed is None or not listed:
        return None
    return [SLIDING if listed[place % len(listed)] else FULL for place in range(n_layers)]


def _repeated(text: Config, n_layers: int) -> list[str] | None:
    """A pattern that repeats over the layers, or an interval between those that attend to all."""
    pattern = _pattern(text, n_layers)
    if not pattern:
        return None
    words = [pattern[place % len(pattern)] for place in range(n_layers)]
    if text["model_type"].startswith("gemma4"):
        words[-1] = FULL  # required by its class
    return words


def _pattern(text: Config, n_layers: int) -> list[str] | None:
    for name, other in INTERVALS.items():
        value = text.get(name)
        if isinstance(value, float) and value == int(value):
            value = int(value)
        if isinstance(value, bool) or not value:
            continue
        if isinstance(value, list | tuple | str):
            return [_kind_of(name, one, other) for one in value]
        if isinstance(value, int) and value > 0 and (value > 1 or other == LINEAR):
            others = [other] * min(value - 1, n_layers)
            return [FULL, *others] if text["model_type"] in BEGINS_FULL else [*others, FULL]
        if not isinstance(value, int) or value < 0:
            raise odd_value(name, value)
    if text.get("attn_layer_period"):  # Jamba
        offset = int(text.get("attn_layer_offset") or 0)
        return [FULL if place == offset else LINEAR for place in range(int(text["attn_layer_period"]))]
    if text["model_type"].startswith("llama4") and text.get("no_rope_layer_interval"):
        return [CHUNKED] * (int(text["no_rope_layer_interval"]) - 1) + [FULL]
    pattern = text.get("layer_pattern")
    return [_word(one) for one in pattern] if isinstance(pattern, list) else None


def _kind_of(name: str, one: Any, other: str) -> str:
    """One entry of a pattern: `L` or true for a window, `G` or false for all; or the word itself."""
    if isinstance(one, str):
        return _word(one)
    if one in (0, 1):
        return other if one else FULL
    raise odd_value(name, one)


def _window_is_used(text: Config) -> bool:
    return bool(next((text[name] for name in WINDOWS if text.get(name)), None)) and bool(
        text.get("use_sliding_window", True)
    )


def _refuse_unknown_list(text: Config, n_layers: int) -> None:
    for name, value in text.items():
        is_listed = isinstance(value, list | tuple) or (isinstance(value, str) and value == value.upper())
        is_telling = is_listed and TELLING.search(name) and not OTHERWISE.search(name)
        if is_telling and n_layers > 1 and len(value) == n_layers and len(set(map(str, value))) > 1:
            raise unpredictable(f"`{shown(name)}` in config.json says what each layer is in a way not known")


READERS: Sequence[Callable[[Config, int], list[str] | None]] = (
    _blocks, _listed, _letters, _coded, _indexed, _of_family, _windows, _repeated,
)  # fmt: skip
