"""Memory of llama.cpp as predicted, as its server logs it, and as xllamacpp's own function estimates it.

Run by hand: `python -m benchmarks.gguf_memory`. Each configuration starts the server in a child process with
the embedded model. The figures are in docs/benchmarks.md.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

from runners.memory.gguf_shape import gguf_architecture
from runners.memory.llamacpp import buffer_bytes, cache_bytes
from runners.models.demo import gguf_path
from runners.models.gguf import LocalFile, read_gguf
from tracker.interpreter import python_command

MIB = 2**20
CASES = ((2048, 1, "f16"), (4096, 1, "f16"), (8192, 1, "f16"), (4096, 4, "q8_0"), (8192, 2, "q4_0"))
SIZE = re.compile(r"(KV buffer|compute buffer|output buffer|model buffer) size =\s+([\d.]+) MiB")


def logged(context: int, slots: int, kv_type: str) -> dict[str, float]:
    """MiB of each kind of buffer, summed over devices."""
    argv = python_command("-m", "benchmarks.gguf_memory", str(context), str(slots), kv_type)
    told = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
    sizes: dict[str, float] = {}
    for kind, size in SIZE.findall(told.stdout + told.stderr):
        sizes[kind] = sizes.get(kind, 0.0) + float(size)
    return sizes


def estimated(context: int, slots: int, kv_type: str) -> float:
    """MiB that xllamacpp's own function expects with everything on a card of 80 GB."""
    import xllamacpp

    card = {"name": "CUDA", "memory_free": 80 * 10**9, "memory_min": 0}
    found = xllamacpp.estimate_gpu_layers([card], str(gguf_path()), [], context * slots, 512, slots, kv_type)
    return float(found.total_size / MIB)


def serve(context: int, slots: int, kv_type: str) -> None:
    """Start the server with the embedded model, and end."""
    import os

    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel = str(gguf_path()), context * slots, slots
    params.port, params.verbosity, params.warmup = 0, 4, False
    params.cache_type_k = params.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{kv_type.upper()}")
    xllamacpp.Server(params)
    sys.stdout.flush()
    os._exit(0)


def rows() -> Iterator[str]:
    """One line per configuration, in MiB."""
    header = read_gguf(LocalFile(gguf_path()), "local/embedded")
    shape = gguf_architecture(header)
    for context, slots, kv_type in CASES:
        seen = logged(context, slots, kv_type)
        measured = sum(seen.values())
        cache = cache_bytes(shape.layers, context, slots, kv_type=kv_type) / MIB
        whole = (header.weights_bytes + buffer_bytes(shape, context=context, slots=slots)) / MIB + cache
        other = estimated(context, slots, kv_type)
        yield (
            f"{context:>6} × {slots} {kv_type:>5}: logged {measured:7.2f}, predicted {whole:7.2f}"
            f" ({whole / measured - 1:+.1%}), KV {seen.get('KV buffer', 0):.2f}/{cache:.2f},"
            f" xllamacpp's estimate {other:7.2f} ({other / measured - 1:+.1%})"
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        serve(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
    else:
        for line in rows():
            print(line, flush=True)
