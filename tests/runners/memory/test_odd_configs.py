"""Whatever a config.json says of its numbers, its memory is predicted, or it is refused in one sentence."""

from __future__ import annotations

from typing import Any

import pytest

from runners.hardware import Gpu, Hardware
from runners.memory.architecture import read_architecture
from runners.memory.fit import climb
from runners.memory.prediction import Fit
from runners.memory.weights import Subject, Tensor
from runners.models.repository_files import COUNTS, LAYER_COUNTS, check_config
from tracker.errors import ModelError
from tracker.records import EngineSettings

BASE = {
    "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "intermediate_size": 128, "max_position_embeddings": 2048, "vocab_size": 100,
}  # fmt: skip
FAMILIES: tuple[dict[str, Any], ...] = (
    {},
    {"model_type": "mamba2", "num_heads": 4},
    {"model_type": "lfm2", "conv_L_cache": 3, "full_attn_idxs": [1]},
    {"model_type": "deepseek_v3", "kv_lora_rank": 8, "qk_rope_head_dim": 4},
    {"model_type": "qwen3_moe", "num_experts_per_tok": 2, "moe_intermediate_size": 32, "num_experts": 4},
    {"model_type": "gemma3_text", "sliding_window": 16, "sliding_window_pattern": 2, "head_dim": 32},
    {"model_type": "jamba", "attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 4},
    {"model_type": "nemotron-nas", "num_key_value_heads": None,
     "block_configs": [{"attention": {"n_heads_in_group": 2}, "ffn": {"ffn_mult": 2.0}}] * 2},
    {"model_type": "qwen3_next", "full_attention_interval": 2, "linear_num_key_heads": 2,
     "linear_key_head_dim": 8, "linear_num_value_heads": 2, "linear_value_head_dim": 8,
     "linear_conv_kernel_dim": 4},
    {"model_type": "dbrx", "ffn_config": {"ffn_hidden_size": 64, "moe_top_k": 2}, "moe_k": 2},
    {"model_type": "longcat_flash", "num_layers": 1, "num_swa_key_value_heads": 2, "padded_vocab_size": 9,
     "num_swa_attention_heads": 2, "use_cla": True, "cla_share_factor": 2, "sliding_window_layers": [0],
     "sliding_window": 4},
    {"model_type": "llama4_text", "no_rope_layer_interval": 2, "attention_chunk_size": 16},
    {"model_type": "qwen3", "rope_scaling": {"rope_type": "yarn", "factor": 4.0,
     "original_max_position_embeddings": 2048}},
)  # fmt: skip
NUMBERS: tuple[Any, ...] = (0, -1, 2**40, 0.5, "auto", [1, 2], [None, 3], {"a": 1})
PARTS = (
    "layer_types", "attn_type_list", "linear_attn_config", "attn_config", "hybrid_override_pattern",
    "layer_pattern", "quantization_config", "full_attn_idxs", "expand", "text_config", "tie_word_embeddings",
    "dtype", "compress_ratios", "multi_query", "model_type", "mamba_head_dim", "mamba_expand",
    "num_kv_shared_layers", "block_configs", "rope_scaling", "_attn_implementation",
)  # fmt: skip
ANYTHING = (
    *NUMBERS,
    None,
    "x",
    [{}],
    {"quant_method": "fp8", "bits": -3},
    {"full_attn_layers": 5},
    float("nan"),
    float("inf"),
    1e300,
    -1.5,
    10**400,
    True,
    "2",
    "9" * 5000,
)
TENSORS = (Tensor("model.embed_tokens.weight", "BF16", (100, 64), 12800),)
CPU = Hardware("cpu", 2, 16 * 10**9, 8 * 10**9)
CARD = Hardware("cpu", 2, 16 * 10**9, 8 * 10**9, (Gpu("card", "", 24 * 10**9, 20 * 10**9, "9.0"),))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.get("model_type", "llama"))
def test_an_odd_config_is_predicted_or_refused(family: dict[str, Any]) -> None:
    changes = [(name, value) for name in (*LAYER_COUNTS, *COUNTS) for value in NUMBERS]
    changes += [(name, value) for name in {*PARTS, *BASE, *family} for value in ANYTHING]
    outcomes = set()
    for name, value in changes:
        for engine, hardware in (("transformers", CPU), ("vllm", CARD)):
            try:
                config = check_config(BASE | family | {name: value}, "acme/odd")
                _, fit = climb(Subject("acme/odd", config, TENSORS), EngineSettings(engine=engine), hardware)
                outcomes.add(type(fit))
            except ModelError as error:
                outcomes.add(type(error))
    assert outcomes == {Fit, ModelError}


@pytest.mark.parametrize(
    "odd",
    [
        {"model_type": "mamba2", "num_heads": 4, "expand": "2"},
        {"model_type": "mamba2", "num_heads": 4, "expand": 1e300},
        {"model_type": "mamba2", "num_heads": 4, "mamba_expand": -2},
        {"model_type": "mamba2", "num_heads": 4, "expand": True},
        {"num_kv_shared_layers": 3},
        {"num_kv_shared_layers": 2},
        {"num_attention_heads": 128, "num_key_value_heads": 128},
        {"block_configs": [{"attention": {"n_heads_in_group": 4}}] * 2},
        {"block_configs": [{"attention": {"n_heads_in_group": "2"}}] * 2},
        {"block_configs": [{"attention": {"n_heads_in_group": 0}}] * 2},
        {"attention_pattern": "GL"},
    ],
    ids=str,
)
def test_a_config_of_no_possible_shape_cannot_be_predicted(odd: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="cannot be predicted"):
        read_architecture(BASE | odd)


def test_a_plain_word_as_long_as_the_layers_is_no_list_of_them() -> None:
    plain = read_architecture(BASE | {"num_hidden_layers": 4})
    assert read_architecture(BASE | {"num_hidden_layers": 4, "_attn_implementation": "sdpa"}) == plain
