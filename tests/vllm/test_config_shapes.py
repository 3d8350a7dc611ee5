"""Contexts, layers and heads read from a config.json are those that the installed vLLM derives from it."""

from __future__ import annotations

from typing import Any

import pytest

from runners.memory.architecture import read_architecture

# vLLM brings libraries that warn on import
pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("default")]
BASE = {"hidden_size": 512, "num_hidden_layers": 6, "num_attention_heads": 8, "num_key_value_heads": 2}
BASE |= {"intermediate_size": 1024, "vocab_size": 1000, "max_position_embeddings": 40960}
TYPES = (
    "llama", "mistral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "gemma", "gemma2", "gemma3_text", "phi",
    "phi3", "olmo", "olmo2", "olmo3", "olmoe", "cohere", "cohere2", "gpt_oss", "glm", "glm4", "glm4_moe",
    "granite", "granitemoe", "starcoder2", "mixtral", "deepseek_v2", "deepseek_v3", "exaone4", "smollm3",
    "ernie4_5", "hunyuan_v1_dense", "hunyuan_v1_moe", "seed_oss", "apertus", "arcee", "stablelm", "persimmon",
    "nemotron", "dots1", "minimax", "gpt_neox", "helium", "jetmoe",
)  # fmt: skip
OLD = {"hidden_size": "n_embd", "num_hidden_layers": "n_layer", "num_attention_heads": "n_head"}
ROTATIONS: tuple[dict[str, Any], ...] = (
    {"rope_type": "linear", "factor": 4.0},
    {"rope_type": "dynamic", "factor": 2.0},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 10240},
    {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}
    | {"low_freq_factor": 1.0, "high_freq_factor": 4.0},
    {"type": "mrope", "mrope_section": [16, 24, 24]},
)
LONG = {"rope_type": "longrope", "short_factor": [1.0] * 32, "long_factor": [2.0] * 32, "factor": 4.0}
SHAPES: tuple[dict[str, Any], ...] = (
    *({"model_type": name} for name in TYPES),
    *({"model_type": name, "rope_scaling": one} for name in ("llama", "qwen3") for one in ROTATIONS),
    {"model_type": "phi3", "rope_scaling": LONG, "original_max_position_embeddings": 4096},
    {"model_type": "cohere", "model_max_length": 131072},
    {"model_type": "llama", "max_sequence_length": 2048},
    {"model_type": "llama", "head_dim": 128},
    {"model_type": "mistral", "sliding_window": None},
)


def derived(shape: dict[str, Any]) -> tuple[int, int, int, int]:
    """Context, layers, key-value heads and their size, as vLLM reads them."""
    from transformers import AutoConfig
    from vllm.config.model import _get_and_verify_max_len
    from vllm.transformers_utils.config import patch_rope_parameters
    from vllm.transformers_utils.model_arch_config_convertor import (
        MODEL_ARCH_CONFIG_CONVERTORS,
        ModelArchConfigConvertorBase,
    )

    config = AutoConfig.for_model(**(BASE | shape))
    patch_rope_parameters(config)
    convertor = MODEL_ARCH_CONFIG_CONVERTORS.get(config.model_type, ModelArchConfigConvertorBase)
    found = convertor(config, config).convert()
    context = _get_and_verify_max_len(config, found, None, None, False, None)
    heads = 1 if found.is_deepseek_mla else found.total_num_kv_heads
    return context, found.total_num_hidden_layers, heads, found.head_size


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_config_is_read_as_vllm_reads_it(shape: dict[str, Any]) -> None:
    context, n_layers, heads, head_size = derived(shape)
    architecture = read_architecture(BASE | shape)
    assert (architecture.max_context, architecture.n_layers) == (context, n_layers)
    attending = [layer for layer in architecture.layers if layer.kv_heads]
    sizes = {(layer.kv_heads, layer.head_values // (1 if heads == 1 else 2)) for layer in attending}
    assert sizes == {(heads, head_size)}
