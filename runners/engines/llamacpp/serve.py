"""The child process that is llama.cpp's server: `python -m runners.engines.llamacpp.serve < launch.json`.

It becomes the program `llama-server`, or serves with the package `xllamacpp`. The key comes through standard
input, since everybody on the machine can list arguments. It ends with the process that started it.
"""

from __future__ import annotations

import os
import sys
import threading

from runners.child import die_with_parent
from runners.engines.llamacpp.launch import HOST, PREFIX, Launch
from tracker.serialization import load_json


def main() -> None:
    """Serve until this process is ended."""
    die_with_parent()
    launch = load_json(Launch, sys.stdin.buffer.read(), where="standard input")
    if launch.program is not None:
        environment = dict(os.environ) | {"LLAMA_API_KEY": launch.key}
        os.execve(launch.program, launch.argv(), environment)  # noqa: S606  # no shell is meant
    _serve_package(launch)


def _serve_package(launch: Launch) -> None:
    """Serve with `xllamacpp`; its constructor returns once the model is loaded, and it serves in threads."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = launch.path
    params.hostnames, params.port, params.api_prefix, params.api_keys = (
        [HOST],
        launch.port,
        PREFIX,
        [launch.key],
    )
    params.n_ctx, params.n_parallel = launch.n_ctx, launch.n_parallel
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = launch.n_threads
    params.fit_params = launch.n_gpu_layers is None
    params.n_gpu_layers = -1 if launch.n_gpu_layers is None else launch.n_gpu_layers
    cache_type = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{launch.kv_cache_dtype.upper()}")
    params.cache_type_k = params.cache_type_v = cache_type
    params.ctx_shift = params.warmup = params.ui = params.endpoint_slots = False
    params.cache_ram_mib = 0
    if launch.is_speculative:
        kinds = xllamacpp.common_speculative_type
        ngram, draft = kinds.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE, kinds.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE
        params.speculative.types = [draft if launch.draft_path else ngram]
        params.speculative.draft.mparams.path = launch.draft_path or ""
    server = xllamacpp.Server(params)  # noqa: F841  # serves as long as it is referred to
    threading.Event().wait()


if __name__ == "__main__":
    main()
