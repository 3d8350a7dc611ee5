"""How llama.cpp's server is started for a model on this machine, and where its layers then are."""

from __future__ import annotations

import os
import re
from pathlib import Path

import psutil

from runners.engines.llamacpp.builds import LlamaBuild
from runners.engines.llamacpp.file_facts import FileFacts
from runners.engines.llamacpp.launch import Launch
from runners.engines.llamacpp.spec import MOST_CONTEXT, N_PARALLEL
from runners.hardware import describe_hardware
from tracker.records import NGRAM, EngineSettings

OFFLOADED = re.compile(r"offloaded (?P<n>\d+)/(?P<all>\d+) layers to GPU")


def plan_launch(path: str, settings: EngineSettings, facts: FileFacts, build: LlamaBuild) -> Launch:
    """The start of the server for the GGUF at `path`."""
    n_parallel = settings.max_num_seqs or N_PARALLEL
    max_len = settings.max_model_len or min(facts.context_length or MOST_CONTEXT, MOST_CONTEXT)
    has_gpu = describe_hardware().has_gpu
    return Launch(
        path=path,
        n_ctx=max_len * n_parallel,
        n_parallel=n_parallel,
        n_threads=_n_threads(),
        n_gpu_layers=settings.n_gpu_layers if has_gpu or settings.n_gpu_layers else None,
        kv_cache_dtype=settings.kv_cache_dtype or "f16",
        program=build.program,
        is_speculative=settings.speculative is not None,
        draft_path=draft_of(settings),
    )


def draft_of(settings: EngineSettings) -> str | None:
    """The path of the model that proposes tokens; None: there is none."""
    asked = settings.speculative
    return None if asked is None or asked == NGRAM else str(Path(asked).expanduser().absolute())


def device_of(said: str) -> str:
    """Where the layers are, from what the server said: `cpu`, the card, or both."""
    found = OFFLOADED.search(said)
    n_layers = int(found["n"]) if found else 0
    if not n_layers or found is None:
        return "cpu"
    device = describe_hardware().device
    return device if n_layers == int(found["all"]) else f"{device} + cpu"


def _n_threads() -> int:
    """The cores that this process may use; threads of one core do not help llama.cpp."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))
