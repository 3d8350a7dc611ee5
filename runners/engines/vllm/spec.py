"""The spec of the vLLM engine, readable without importing it."""

from __future__ import annotations

from runners.engines import EngineSpec
from runners.engines.vllm.args import QUANTIZATIONS

SPEC = EngineSpec(
    name="vllm",
    place="runners.engines.vllm.engine:VllmEngine",
    settings=(
        "dtype", "max_model_len", "quantization", "tensor_parallel_size", "max_num_seqs",
        "gpu_memory_utilization", "head_dtype", "repetition_detection", "trust_remote_code",
        "thinking", "chat_template", "speculative", "batch_invariant", "seed",
    ),
    quantizations=QUANTIZATIONS,
    sampling=(
        "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "min_new_tokens",
        "stop_token_ids",
    ),
    module="vllm",
    packages=("vllm", "lm-eval", "accelerate"),
    extra="gpu",
    is_automatic=True,
    wants_gpu=True,
    predictor="runners.memory.vllm:VllmMemory",
    study_server="runners.research.agents.vllm_server:start_server",
    server="runners.engines.vllm.served:serve",
)  # fmt: skip
