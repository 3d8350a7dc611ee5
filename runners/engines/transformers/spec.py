"""The spec of the transformers engine, readable without importing it."""

from __future__ import annotations

from runners.engines import EngineSpec

SPEC = EngineSpec(
    name="transformers",
    place="runners.engines.transformers.engine:TransformersEngine",
    settings=(
        "dtype",
        "max_model_len",
        "max_num_seqs",
        "head_dtype",
        "repetition_detection",
        "trust_remote_code",
        "thinking",
        "chat_template",
        "seed",
    ),
    sampling=(
        "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
        "no_repeat_ngram_size", "min_new_tokens",
    ),
    module="transformers",
    packages=("torch", "transformers", "accelerate", "lm-eval", "safetensors", "gguf", "reasoning-gym"),
    extra="cpu",
    is_automatic=True,
    predictor="runners.memory.transformers:TransformersMemory",
)  # fmt: skip
