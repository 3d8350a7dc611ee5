"""What a cache takes: hand-computed, as vLLM's own functions say, and as real transformers models keep it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from runners.memory.architecture import read_architecture, text_config
from runners.memory.kv_cache import (
    bytes_per_token,
    exact_bytes,
    paged_bytes,
    shard,
)
from runners.memory.layer_kinds import layer_words
from tests.conftest import ROOT
from tracker.errors import ModelError

FIXTURES = ROOT / "tests" / "fixtures" / "fit"


def config(name: str) -> dict[str, Any]:
    return dict(json.loads((FIXTURES / f"{name}.config.json").read_text()))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("meta-llama__Llama-3.1-8B-Instruct", 32 * 8 * (128 + 128) * 2),
        ("Qwen__Qwen3-8B", 36 * 8 * (128 + 128) * 2),
        ("Qwen__Qwen3-30B-A3B", 48 * 4 * (128 + 128) * 2),
        ("mistralai__Mixtral-8x7B-Instruct-v0.1", 32 * 8 * (128 + 128) * 2),
        ("HuggingFaceTB__SmolLM2-135M-Instruct", 30 * 3 * (64 + 64) * 2),
        ("deepseek-ai__DeepSeek-V3", 61 * (512 + 64) * 2),  # one latent for all heads, not 128 heads
        ("google__gemma-3-27b-it", 10 * 16 * (128 + 128) * 2),  # 52 of 62 layers look back 1,024 tokens
        ("openai__gpt-oss-20b", 12 * 8 * (64 + 64) * 2),  # 12 of 24 look back 128
    ],
)
def test_kv_cache_bytes_of_one_more_token(name: str, expected: int) -> None:
    assert bytes_per_token(read_architecture(config(name)).layers, value_bytes=2) == expected


def test_kv_cache_a_naive_formula_would_be_far_off() -> None:
    deepseek = read_architecture(config("deepseek-ai__DeepSeek-V3"))
    naive = 61 * 2 * 128 * 128 * 2  # two times heads times head size
    assert naive / bytes_per_token(deepseek.layers, value_bytes=2) > 50


@pytest.mark.parametrize("row", json.loads((FIXTURES / "vllm_kv_bytes.json").read_text()), ids=str)
def test_kv_cache_the_layout_of_vllm_is_met_to_the_byte(row: dict[str, Any]) -> None:
    described = (
        row["config"] if isinstance(row["config"], dict) else config(row["config"][: -len(".config.json")])
    )
    layers = read_architecture(described).layers
    in_flight = row["in_flight_tokens"]
    assert paged_bytes(layers, row["context"], value_bytes=2, in_flight_tokens=in_flight) == row["bytes"]


def test_kv_cache_cards_share_the_heads_but_not_a_single_latent() -> None:
    llama = read_architecture(config("meta-llama__Llama-3.1-8B-Instruct")).layers
    deepseek = read_architecture(config("deepseek-ai__DeepSeek-V3")).layers
    assert exact_bytes(shard(llama, 4), 100, value_bytes=2) * 4 == exact_bytes(llama, 100, value_bytes=2)
    assert exact_bytes(shard(deepseek, 4), 100, value_bytes=2) == exact_bytes(deepseek, 100, value_bytes=2)
    assert shard(llama, 16)[0].kv_heads == 1  # more cards than heads: each keeps a copy


TINY = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "vocab_size": 64}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
LATENT = {
    "kv_lora_rank": 16,
    "q_lora_rank": None,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}
EXPERTS = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "n_group": 1,
    "topk_group": 1,
}
DELTA = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 16, "mamba_n_groups": 1, "mamba_expand": 2}
SHAPES: dict[str, dict[str, Any]] = {
    "llama": TINY | HEADS,
    "qwen3": TINY | HEADS | {"head_dim": 16},
    "mistral": TINY | HEADS | {"sliding_window": 8},
    "gemma3_text": TINY | HEADS | {"head_dim": 16, "sliding_window": 8, "num_hidden_layers": 7},
    "gpt_oss": TINY | HEADS | {"head_dim": 16, "sliding_window": 8, "num_local_experts": 4},
    "deepseek_v2": TINY | LATENT | EXPERTS | {"num_attention_heads": 4, "num_key_value_heads": 4},
    "deepseek_v3": TINY | LATENT | EXPERTS | {"num_attention_heads": 4, "num_key_value_heads": 4},
    "qwen3_next": TINY | HEADS | DELTA | {"head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2}
    | {"moe_intermediate_size": 16, "shared_expert_intermediate_size": 16},
    "bamba": TINY | HEADS | MAMBA | {"attn_layer_indices": [1]},
    "falcon_h1": TINY | HEADS | MAMBA | {"mamba_d_ssm": 64, "head_dim": 8},
    "jamba": TINY | HEADS | {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 4}
    | {"num_experts": 2, "use_mamba_kernels": False},
    "lfm2": TINY | HEADS | {"layer_types": ["conv", "full_attention", "conv", "full_attention"]},
}  # fmt: skip


@pytest.mark.parametrize("model_type", SHAPES)
def test_kv_cache_a_real_cache_has_the_predicted_bytes(model_type: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    shape = AutoConfig.for_model(model_type, **SHAPES[model_type])
    model = AutoModelForCausalLM.from_config(shape, dtype=torch.float32).eval()
    layers = read_architecture(shape.to_dict()).layers
    tokens = torch.randint(1, 60, (1, 21))
    with torch.no_grad():
        cache = model(tokens[:, :20], use_cache=True).past_key_values
        cache = model(tokens[:, 20:], past_key_values=cache, use_cache=True).past_key_values
    assert exact_bytes(layers, 21, value_bytes=4) == kept_bytes(cache)


def kept_bytes(cache: Any) -> int:
    """Bytes of every tensor that the layers of a transformers cache keep."""
    import torch

    total = 0
    for layer in cache.layers:
        found = [getattr(layer, name, None) for name in ("keys", "values", "conv_states", "recurrent_states")]
        for item in found:
            states = (
                item.values()
                if isinstance(item, dict)
                else item
                if isinstance(item, list | tuple)
                else [item]
            )
            total += sum(t.numel() * t.element_size() for t in states if isinstance(t, torch.Tensor))
    return total


def test_kv_cache_defaults_that_files_leave_out_are_those_of_transformers() -> None:
    from transformers import CONFIG_MAPPING

    known = json.loads((ROOT / "runners/memory/config_defaults.json").read_text())
    for model_type in ("gemma3_text", "qwen3_next", "llama4_text", "gpt_oss", "deepseek_v3", "mixtral"):
        real = CONFIG_MAPPING[model_type]().to_dict()
        fields = {field.name: field.default for field in dataclasses.fields(CONFIG_MAPPING[model_type])}
        for name, value in known[model_type].items():
            if name == "layer_pattern":
                words = [value[i % len(value)] for i in range(len(real["layer_types"]))]
                assert real["layer_types"] == words, model_type
            else:
                assert fields[name] == value, (model_type, name)


@pytest.mark.parametrize(
    ("described", "expected"),
    [
        ({"model_type": "qwen2", "num_hidden_layers": 2, "sliding_window": 8}, "full full"),
        (
            {
                "model_type": "qwen2",
                "num_hidden_layers": 3,
                "use_sliding_window": True,
                "max_window_layers": 1,
            },
            "full sliding sliding",
        ),
        ({"model_type": "mistral", "num_hidden_layers": 2, "sliding_window": None}, "full full"),
        ({"model_type": "nemotron_h", "hybrid_override_pattern": "M-*E"}, "linear none full none"),
        ({"model_type": "minimax_m1", "attn_type_list": [0, 1]}, "linear full"),
        ({"model_type": "gemma4_text", "num_hidden_layers": 3}, "sliding sliding full"),
        ({"model_type": "mamba2", "num_hidden_layers": 1}, "linear"),
    ],
)
def test_kv_cache_distinguishes_the_kinds_of_layers(described: dict[str, Any], expected: str) -> None:
    assert " ".join(layer_words(text_config(described))) == expected


def test_kv_cache_a_config_without_a_shape_is_refused_with_a_reason() -> None:
    with pytest.raises(ModelError, match="has no `num_hidden_layers`") as caught:
        read_architecture({"model_type": "unheard_of"})
    assert caught.value.reason == "unsupported"
