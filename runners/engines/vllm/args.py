"""The only place that translates our names to vLLM's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runners.engines import runs_remote_code
from runners.hardware import Gpu
from tracker.records import NGRAM, EngineSettings, Model

CPU = "cpu"  # vLLM's name for the device type
AUTO_MAX_MODEL_LEN = -1  # the longest that the model and the memory allow; `LLM` reports its choice
GIB = 2**30
CPU_KV_CACHE_BYTES = (
    GIB  # `VLLM_CPU_KVCACHE_SPACE` takes precedence; without either, vLLM takes 90% of the memory
)
# At most so many tokens at once, which followed the last 2 to 4; `SpeculativeConfig` of vLLM 0.32.0 has no
# default for the first number.
NGRAM_CONFIG = {
    "method": NGRAM,
    "num_speculative_tokens": 5,
    "prompt_lookup_min": 2,
    "prompt_lookup_max": 4,
}
BATCH_INVARIANT = {
    "VLLM_BATCH_INVARIANT": "1"
}  # read by its processes when they are imported; for cards alone
CPU_BLOCK_TOKENS = (
    32  # the smallest that its CPU attention supports; its default of 128 shares short prefixes badly
)


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Tokens in one step, and sequences at once."""

    tokens: int
    sequences: int


LARGE_CARD_BYTES, HUGE_CARD_BYTES = 70 * GIB, 160 * GIB
LARGE_BATCH, BATCH = BatchLimits(16384, 1024), BatchLimits(8192, 256)

# Values of `--quantization`: vLLM 0.32.0, `model_executor/layers/quantization/__init__.py`,
# `QuantizationMethods`; without `online`, which needs a separate configuration.
QUANTIZATIONS = (
    "auto_awq", "auto_gptq", "awq", "awq_marlin", "compressed-tensors", "deepseek_v4_fp8", "experts_int8",
    "fbgemm_fp8", "fp8", "fp8_per_block", "fp8_per_channel", "fp8_per_tensor", "fp_quant", "gpt_oss_mxfp4",
    "gptq", "gptq_marlin", "humming", "inc", "int8_per_channel_weight_only", "modelopt", "modelopt_fp4",
    "modelopt_mixed", "modelopt_mxfp8", "moe_wna16", "mxfp4", "mxfp8", "nvfp4_per_token", "quark", "torchao",
)  # fmt: skip


def engine_args(model: Model, settings: EngineSettings, *, device_type: str) -> dict[str, Any]:
    """The keyword arguments of `vllm.LLM`; `device_type` is vLLM's, such as "cuda" or "cpu".

    Prefix caching is not set: vLLM enables it for every model whose layers allow it; for the others it is
    experimental.
    """
    args: dict[str, Any] = {
        "model": model.path or model.model_id,
        "load_format": "safetensors",
        "trust_remote_code": runs_remote_code(model, settings),
        "dtype": settings.dtype,
        "quantization": settings.quantization,
        "max_model_len": settings.max_model_len or AUTO_MAX_MODEL_LEN,
        "tensor_parallel_size": settings.tensor_parallel_size,
        "gpu_memory_utilization": settings.gpu_memory_utilization,
        "seed": settings.seed,
        "disable_log_stats": False,  # otherwise answers have no times
        "language_model_only": True,  # no memory for images, which are never sent
    }
    if model.path is None:
        args |= {"revision": model.revision, "tokenizer_revision": model.revision}
        if runs_remote_code(model, settings):
            args["code_revision"] = model.revision
    if settings.max_num_seqs is not None:
        args["max_num_seqs"] = settings.max_num_seqs
    if settings.head_dtype != "auto":
        args["hf_overrides"] = {"head_dtype": settings.head_dtype}
    if settings.speculative == NGRAM:
        args["speculative_config"] = dict(NGRAM_CONFIG)
    if device_type == CPU:
        args |= {
            "enforce_eager": True,  # compiling takes minutes there
            "kv_cache_memory_bytes": CPU_KV_CACHE_BYTES,
            "block_size": CPU_BLOCK_TOKENS,
        }
    return args


def batch_limits(card: Gpu) -> BatchLimits:
    """What vLLM 0.32.0 chooses for class `LLM`: `engine/arg_utils.py`, `get_batch_defaults`."""
    is_large = card.total_bytes >= LARGE_CARD_BYTES and "a100" not in card.name.lower()
    return LARGE_BATCH if is_large or card.total_bytes >= HUGE_CARD_BYTES else BATCH


def slice_args(cards: Sequence[Gpu]) -> dict[str, int]:
    """Batch limits for a MIG slice, whose whole card vLLM would go by; nothing for other cards."""
    if not cards or not cards[0].is_slice:
        return {}
    limits = batch_limits(cards[0])
    return {"max_num_batched_tokens": limits.tokens, "max_num_seqs": limits.sequences}


def coarse_length(tokens: int) -> int:
    """The largest of 2^n and 1.5 · 2^n that is not above `tokens`: a few megabytes do not change it."""
    power: int = 2 ** (max(tokens, 2).bit_length() - 1)
    return power + power // 2 if power + power // 2 <= tokens else power


def engine_environment(device_type: str | None) -> dict[str, str]:
    """Environment variables for vLLM; None: before it is imported. The user's own values take precedence."""
    if device_type is None:
        return {
            "VLLM_LOGGING_STREAM": "ext://sys.stderr",
            "VLLM_NO_USAGE_STATS": "1",
            # our process has threads and an open NVML, which a forked engine would inherit half-way
            "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # the order in which `runners.hardware` lists the cards
        }
    # Its sampler compiles for the first log-probs even in eager mode: 35 s on two cores.
    return {"TORCHDYNAMO_DISABLE": "1"} if device_type == CPU else {}
