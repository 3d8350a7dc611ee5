"""The spec of the llama.cpp engine, readable without importing it."""

from __future__ import annotations

from runners.engines import GGUF, EngineSpec

KV_CACHE_DTYPES = ("f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0")  # llama.cpp's names

N_PARALLEL = 4  # slots for answers at once, each with a whole context
DRAFT_READER = "runners.models.gguf_draft:draft_digest"
MOST_CONTEXT = 32_768  # tokens of a slot by default: llama.cpp reserves all of it when it starts

SPEC = EngineSpec(
    name="llamacpp",
    place="runners.engines.llamacpp.engine:LlamaCppEngine",
    settings=(
        "max_model_len", "max_num_seqs", "n_gpu_layers", "kv_cache_dtype", "thinking", "chat_template",
        "speculative", "seed",
    ),
    kv_cache_dtypes=KV_CACHE_DTYPES,
    drafts=True,
    # its penalties for presence and frequency count the prompt too, so they are not those of the others
    sampling=("top_k", "min_p", "repetition_penalty"),
    module="xllamacpp",
    packages=("xllamacpp", "transformers", "lm-eval", "gguf"),
    extra="gguf",
    is_automatic=True,
    weights=(GGUF,),
    predictor="runners.memory.llamacpp:LlamaCppMemory",
    reader="runners.models.gguf_facts:read_facts",
    server="runners.engines.llamacpp.served:serve",
    reserves_context=True,
)  # fmt: skip
