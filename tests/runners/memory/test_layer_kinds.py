"""Whatever the words in which a config.json says it, each layer's cache and the context are read rightly."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runners.memory.architecture import read_architecture
from runners.memory.kv_cache import bytes_per_token
from runners.memory.layer_kinds import layer_words
from tests.conftest import ROOT
from tracker.errors import ModelError

BASE = {
    "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 8, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 32000,
    "max_position_embeddings": 8192,
}  # fmt: skip
FULL = 2 * 8 * 128 * 2  # bytes of one token in one layer
EIGHT = [1, 1, 1, 0, 1, 1, 1, 0]
SWA = {"sliding_window": 512}
MIMO = {"model_type": "mimo_v2_flash", "num_attention_heads": 64, "num_key_value_heads": 4, "head_dim": 192}
MIMO |= {"v_head_dim": 128, "swa_head_dim": 192, "swa_v_head_dim": 128, "swa_num_key_value_heads": 8}
BLOCKS = [
    {"attention": {"n_heads_in_group": group, "no_op": group is None}, "ffn": {"ffn_mult": 2.625}}
    for group in (8, None, 4, None, None, None, None, 8)
]
STEP = {"attention_type": "sliding_attention", "num_attention_heads": 96, "num_attention_groups": 4}

PER_TOKEN: dict[str, tuple[dict[str, Any], int]] = {
    "plain": ({}, 8 * FULL),
    "one code per layer": (MIMO | SWA | {"hybrid_layer_pattern": EIGHT}, 2 * 4 * 320 * 2),
    "blocks": ({"block_configs": BLOCKS, "num_key_value_heads": None}, (4 + 8 + 4) * 256 * 2),
    "linear by blocks": (
        {"block_configs": [{"attention": {"replace_with_linear": True}}] * 6 + BLOCKS[:2]},
        4 * 256 * 2,
    ),
    "letters": (SWA | {"model_type": "exaone4", "sliding_window_pattern": "LLLG"}, 2 * FULL),
    "an interval": (SWA | {"sliding_window_pattern": 4}, 2 * FULL),
    "an interval as a float": (SWA | {"sliding_window_pattern": 4.0}, 2 * FULL),
    "true for a window": (SWA | {"sliding_window_pattern": [True, False]}, 4 * FULL),
    "another name for it": (SWA | {"window_attn_skip_freq": 8}, FULL),
    "windows that repeat": ({"sliding_window": [None, 512, 512, 512]}, 2 * FULL),
    "interleaved windows": ({"interleaved_sliding_window": [512, None]}, 4 * FULL),
    "new words": (SWA | {"layer_types": ["local", "global"] * 4}, 4 * FULL),
    "words for the drafts too": ({"layer_types": ["full_attention"] * 12}, 8 * FULL),
    "indices of windows": (SWA | {"swa_layers": [0, 1, 2, 3, 4, 5]}, 2 * FULL),
    "groups of linear layers": (
        {"model_type": "bailing_moe_linear", "layer_group_size": 4, "head_dim": 128},
        2 * FULL,
    ),
    "chunks": ({"model_type": "llama4_text", "no_rope_layers": EIGHT, "attention_chunk_size": 64}, 2 * FULL),
    "no rotation, all the same": ({"model_type": "smollm3", "no_rope_layers": EIGHT}, 8 * FULL),
    "no window after all": (
        SWA | {"layer_types": ["sliding_attention"] * 8, "use_sliding_window": False},
        8 * FULL,
    ),
    "heads of each layer": ({"num_key_value_heads": [8, 8, 4, 4, 2, 2, 1, 1]}, 30 * 256 * 2),
    "null heads": ({"num_key_value_heads": None}, 8 * 32 * 256 * 2),
    "other heads under a window": (
        SWA | {"layer_types": ["full_attention", "sliding_attention"] * 4, "attention_other_setting": STEP},
        4 * FULL,
    ),
    "two of attention in a layer": (
        {
            "model_type": "longcat_flash",
            "num_hidden_layers": None,
            "num_layers": 4,
            "kv_lora_rank": 512,
            "qk_rope_head_dim": 64,
        },
        8 * 576 * 2,
    ),
    "heads of each layer beside the most": ({"num_key_value_heads_per_layer": [4] * 6 + [2, 2]}, 28 * 512),
    "a mask and no window": (
        {"model_type": "gpt_neo", "attention_layers": ["global", "local"] * 4, "window_size": 256},
        8 * FULL,
    ),
    "deeply nested": ({}, 8 * FULL),
}


@pytest.mark.parametrize("kind", PER_TOKEN)
def test_cache_bytes_of_one_more_token_are_those_of_the_layers_that_attend_to_all(kind: str) -> None:
    changes, expected = PER_TOKEN[kind]
    config = BASE | changes
    if kind == "deeply nested":
        config = {"model_type": "qwen2_5_omni", "thinker_config": {"text_config": config}}
    assert bytes_per_token(read_architecture(config).layers, value_bytes=2) == expected


CONTEXTS: dict[str, tuple[dict[str, Any], int]] = {
    "float": ({"max_position_embeddings": 40960.0}, 40960),
    "text": ({"max_position_embeddings": "131072"}, 131072),
    "linear": ({"rope_scaling": {"type": "linear", "factor": 4.0}}, 32768),
    "dynamic": ({"rope_parameters": {"rope_type": "dynamic", "factor": 2}}, 16384),
    "llama 3": ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 8192),
    "long": (
        {"rope_scaling": {"type": "su", "factor": 4.0}, "original_max_position_embeddings": 4096},
        4096,
    ),
    "for each kind of layer": (
        {"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8.0}, "b": {}}},
        65536,
    ),
    "the smallest of several": ({"max_sequence_length": 2048}, 2048),
    "said to be more": ({"model_max_length": 131072}, 131072),
    "no factor": ({"rope_scaling": {"rope_type": "default", "factor": None}}, 8192),
}


@pytest.mark.parametrize("kind", CONTEXTS)
def test_the_context_is_the_one_that_vllm_derives(kind: str) -> None:
    changes, expected = CONTEXTS[kind]
    assert read_architecture(BASE | changes).max_context == expected


def test_a_context_that_yarn_reaches_and_vllm_does_not_take_is_told() -> None:
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096}
    found = read_architecture(BASE | {"rope_scaling": yarn})
    assert (found.max_context, found.yarn_context) == (8192, 16384)
    assert read_architecture(BASE | {"rope_scaling": yarn | {"factor": 2.0}}).yarn_context is None


def test_experts_of_different_layers_count_as_the_widest() -> None:
    one = {"num_experts_per_tok": 8, "moe_intermediate_size": 3072}
    listed = {"moe_topk": [4, 8] * 4, "moe_intermediate_size": [3072, 1024] * 4}
    assert (
        read_architecture(BASE | listed).feed_forward_values
        == read_architecture(BASE | one).feed_forward_values
    )


def test_experts_in_a_part_of_their_own_count() -> None:
    dbrx = {"model_type": "dbrx", "intermediate_size": None}
    dbrx |= {"ffn_config": {"ffn_hidden_size": 10752, "moe_num_experts": 16, "moe_top_k": 4}}
    assert read_architecture(BASE | dbrx).feed_forward_values == 4 * 3 * 10752
    assert read_architecture(BASE | {"moe_k": 8}).feed_forward_values == 8 * 3 * 14336


def test_sliding_layers_with_heads_of_their_own_have_their_own_size() -> None:
    swa = {"num_swa_attention_heads": 16, "num_swa_key_value_heads": 4, "sliding_window_layers": [1]}
    full, sliding = read_architecture(BASE | SWA | swa).layers[:2]
    assert (full.token_values, full.window) == (8 * 256, None)
    assert (sliding.token_values, sliding.window) == (4 * 512, 512)


def test_a_cache_that_layers_share_is_an_upper_bound() -> None:
    shared = [{}, {"use_cla": True, "cla_share_factor": 2}, {"use_cla": False, "cla_share_factor": 2}]
    assert [read_architecture(BASE | one).is_upper_bound for one in shared] == [False, True, False]


def test_a_padded_vocabulary_is_one() -> None:
    glm = BASE | {"vocab_size": None, "padded_vocab_size": 65024}
    assert read_architecture(glm).vocab_size == 65024


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"num_key_value_heads": True}, "`num_key_value_heads` in config.json is `True`"),
        ({"hidden_size": float("nan")}, "`hidden_size` in config.json is `nan`"),
        ({"layer_types": ["full_attention"]}, "`layer_types`"),
        ({"layer_types": ["xlstm"] * 8}, "`layer_types` in config.json is `xlstm`"),
        ({"hybrid_layer_pattern": [0, 2] * 4}, "`hybrid_layer_pattern`"),
        ({"my_attention_kinds": [1, 2] * 4}, "`my_attention_kinds`"),
        ({"mixer_types": ["minicpm4", "lightning-attn"] * 4}, "`mixer_types`"),
        ({"layer_config": [{"type": "attention"}, {"type": "ssm"}] * 4}, "`layer_config`"),
        ({"num_key_value_heads": [8, 8]}, "`num_key_value_heads`"),
        ({"rope_scaling": {"type": "linear", "factor": "x"}}, "`factor` in config.json is `x`"),
        ({"model_type": "recurrent_gemma"}, "`recurrent_gemma`"),
        ({"block_configs": [1] * 8}, "`block_configs`"),
    ],
    ids=str,
)
def test_what_is_not_understood_is_not_predicted_but_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match="its memory cannot be predicted: ") as caught:
        read_architecture(BASE | changes)
    assert says in str(caught.value)
    assert (caught.value.reason, caught.value.hint.partition(":")[0]) == ("unsupported", "it may still run")


def test_every_published_name_of_a_pattern_has_a_default_of_transformers() -> None:
    known = json.loads((ROOT / "runners/memory/config_defaults.json").read_text())
    for model_type in ("gemma2", "gemma3_text", "cohere2", "gpt_oss", "olmo3"):
        words = layer_words({**known[model_type], "model_type": model_type, "num_hidden_layers": 12})
        assert set(words) == {"full", "sliding"}
