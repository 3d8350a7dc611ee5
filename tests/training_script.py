"""The training script as tests run it: as a module, and as a process without a sandbox."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.research_effects import module_of
from runners.research import script
from runners.research.attempt import write_sequences
from runners.research.corpora import Corpus
from runners.research.tiers import Tier


def module(tier: Tier) -> ModuleType:
    """The script of a tier, imported."""
    return module_of(script.shipped(tier))


def run(folder: Path, tier: Tier, corpus: Corpus, **job: Any) -> subprocess.CompletedProcess[str]:
    """The script's process, at its end; what it wrote lies in `folder`."""
    folder.mkdir(exist_ok=True)
    (folder / "train.py").write_text(script.shipped(tier))
    memory_bytes = job.pop("memory_bytes", resource.RLIM_INFINITY)
    whole = {
        "data": str(folder / "data.bin"), "out": str(folder), "seed": 0, "train_tokens": tier.train_tokens,
        "context": tier.context, "vocab_size": tier.vocab_size, "token_bytes": corpus.meta.token_bytes,
        "params": {}, **job,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(whole))
    write_sequences(corpus, tier, whole["seed"], folder / "data.bin")
    return subprocess.run(
        [sys.executable, str(folder / "train.py"), str(folder / "config.json")],
        env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes)),
    )
