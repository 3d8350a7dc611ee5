"""The golden cache sizes in `tests/fixtures/fit` are what the installed vLLM computes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runners.memory.architecture import read_architecture
from runners.memory.kv_cache import BLOCK_TOKENS, LayerCache

# vLLM brings libraries that warn on import
pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("default")]
FIXTURES = Path(__file__).parent.parent / "fixtures" / "fit"
VALUE_BYTES = 2


def vllm_config(context: int, in_flight_tokens: int) -> Any:
    layout = SimpleNamespace(is_block_outermost=False)
    parallel = {"decode_context_parallel_size": 1, "pipeline_parallel_size": 1, "tensor_parallel_size": 1}
    cache = SimpleNamespace(
        mamba_cache_mode="align", num_gpu_blocks_override=None, get_resolved_kv_cache_layout=lambda: layout
    )
    return SimpleNamespace(
        model_config=SimpleNamespace(max_model_len=context),
        parallel_config=SimpleNamespace(prefill_context_parallel_size=1, **parallel),
        scheduler_config=SimpleNamespace(disable_hybrid_kv_cache_manager=False),
        cache_config=cache,
        kv_transfer_config=None,
        max_in_flight_tokens=in_flight_tokens,
        num_speculative_tokens=0,
        speculative_config=None,
    )


def specs(layers: Sequence[LayerCache], *, is_latent: bool) -> dict[str, Any]:
    """The layers in vLLM's own words; a page of attention is as large as a state."""
    import torch
    from vllm.v1.kv_cache_interface import FullAttentionSpec, MambaSpec, MLAAttentionSpec, SlidingWindowSpec

    widest = max(layer.token_values for layer in layers) * VALUE_BYTES
    state = max(_state_bytes(layer) for layer in layers)
    block = BLOCK_TOKENS * max(1, ceil(state / (BLOCK_TOKENS * widest)))
    found: dict[str, Any] = {}
    for place, layer in enumerate(layers):
        if layer.conv_channels or layer.state_values:
            dtypes = (torch.bfloat16, torch.float32 if layer.state_is_float32 else torch.bfloat16)
            shapes = ((layer.conv_channels, max(0, layer.conv_kernel - 1)), (layer.state_values,))
            found[f"state.{place}"] = MambaSpec(
                block_size=block,
                shapes=shapes,
                dtypes=dtypes,
                page_size_padded=block * widest,
                mamba_cache_mode="align",
            )
        if layer.token_values:
            common = {"block_size": block, "num_kv_heads": layer.kv_heads, "dtype": torch.bfloat16}
            if is_latent:
                spec = MLAAttentionSpec(head_size=layer.head_values, **common)
            elif layer.window:
                window = layer.window
                spec = SlidingWindowSpec(head_size=layer.head_values // 2, sliding_window=window, **common)
            else:
                spec = FullAttentionSpec(head_size=layer.head_values // 2, **common)
            found[f"attention.{place}"] = spec
    return found


def _state_bytes(layer: LayerCache) -> int:
    if not (layer.conv_channels or layer.state_values):
        return 0
    state = layer.state_values * (4 if layer.state_is_float32 else VALUE_BYTES)
    return layer.conv_channels * max(0, layer.conv_kernel - 1) * VALUE_BYTES + state


@pytest.mark.parametrize("row", json.loads((FIXTURES / "vllm_kv_bytes.json").read_text()), ids=str)
def test_vllm_still_computes_these_bytes(row: dict[str, Any]) -> None:
    from vllm.v1.core import kv_cache_utils

    described = row["config"]
    if isinstance(described, str):
        described = json.loads((FIXTURES / described).read_text())
    layers = read_architecture(described).layers
    is_latent = any(layer.kv_heads == 1 and layer.head_values == 512 + 64 for layer in layers)
    config = vllm_config(row["context"], row["in_flight_tokens"])
    groups = kv_cache_utils.get_kv_cache_groups(config, specs(layers, is_latent=is_latent))
    assert kv_cache_utils._max_memory_usage_bytes_from_groups(config, groups) == row["bytes"]
