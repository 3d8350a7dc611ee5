"""The one place where our names become vLLM's."""

from __future__ import annotations

from typing import Any

from tracker.records import EngineSettings, Model

CPU = "cpu"  # vLLM's name of the device type
AUTO_MAX_MODEL_LEN = -1  # the longest that the model and the memory allow; `LLM` says what it took
GIB = 2**30
CPU_KV_CACHE_BYTES = GIB  # `VLLM_CPU_KVCACHE_SPACE` goes before it; unset, vLLM would take 90 % of the memory
CPU_BLOCK_TOKENS = 32  # the smallest that its CPU attention is made for; its 128 share short prefixes badly

# What `--quantization` may name: vLLM 0.32.0, `model_executor/layers/quantization/__init__.py`,
# `QuantizationMethods`; without `online`, which wants a configuration beside it.
QUANTIZATIONS = (
    "auto_awq", "auto_gptq", "awq", "awq_marlin", "compressed-tensors", "deepseek_v4_fp8", "experts_int8",
    "fbgemm_fp8", "fp8", "fp8_per_block", "fp8_per_channel", "fp8_per_tensor", "fp_quant", "gpt_oss_mxfp4",
    "gptq", "gptq_marlin", "humming", "inc", "int8_per_channel_weight_only", "modelopt", "modelopt_fp4",
    "modelopt_mixed", "modelopt_mxfp8", "moe_wna16", "mxfp4", "mxfp8", "nvfp4_per_token", "quark", "torchao",
)  # fmt: skip


def engine_args(model: Model, settings: EngineSettings, *, device_type: str) -> dict[str, Any]:
    """The keyword arguments of `vllm.LLM`; `device_type` is vLLM's, such as "cuda" or "cpu".

    Prefix caching is not named: vLLM turns it on for every model whose layers allow it, and forcing it
    on the others is an experiment.
    """
    args: dict[str, Any] = {
        "model": model.path or model.model_id,
        "load_format": "safetensors",
        "trust_remote_code": settings.trust_remote_code,
        "dtype": settings.dtype,
        "quantization": settings.quantization,
        "max_model_len": settings.max_model_len or AUTO_MAX_MODEL_LEN,
        "tensor_parallel_size": settings.tensor_parallel_size,
        "gpu_memory_utilization": settings.gpu_memory_utilization,
        "seed": settings.seed,
        "disable_log_stats": False,  # or the answers carry no times
        "language_model_only": True,  # no memory for images that nobody sends
    }
    if model.path is None:
        args |= {"revision": model.revision, "tokenizer_revision": model.revision}
        if settings.trust_remote_code:
            args["code_revision"] = model.revision
    if settings.max_num_seqs is not None:
        args["max_num_seqs"] = settings.max_num_seqs
    if device_type == CPU:
        args |= {
            "enforce_eager": True,  # compiling takes minutes there
            "kv_cache_memory_bytes": CPU_KV_CACHE_BYTES,
            "block_size": CPU_BLOCK_TOKENS,
        }
    return args


def engine_environment(device_type: str | None) -> dict[str, str]:
    """What vLLM reads from the environment alone; None: before it is imported. A user's own value wins."""
    if device_type is None:
        return {"VLLM_LOGGING_STREAM": "ext://sys.stderr", "VLLM_NO_USAGE_STATS": "1"}
    # Its sampler compiles on the first log-probs even in eager mode: 35 s on two cores.
    return {"TORCHDYNAMO_DISABLE": "1"} if device_type == CPU else {}
