"""The training script for tests: as a module, and as a process without a sandbox."""

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
from runners.research.corpora.build import Corpus
from runners.research.problem import script
from runners.research.problem.tiers import Tier
from runners.research.training.attempt import write_sequences


def module(tier: Tier) -> ModuleType:
    """The script of a tier, imported."""
    return module_of(script.shipped(tier))


def run(folder: Path, tier: Tier, corpus: Corpus, **job: Any) -> subprocess.CompletedProcess[str]:
    """The finished process of the script; its output is in `folder`."""
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
