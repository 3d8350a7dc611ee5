"""Known effects on the `cpu` tier: one change at a time, paired by seed, without the research loop.

`python -m benchmarks.research_effects [--tier T] [--seeds N] [--only WORD…]` prints one row per change: the
difference in bits per byte (negative: better) on `val` and `test`. Nothing is sandboxed or cached, and the
evaluation is independent of the loop, so that the loop's figures can be checked.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from runners.research.corpora import build as corpora
from runners.research.problem import script, space
from runners.research.problem.tiers import Tier, tier
from runners.research.training.attempt import write_sequences
from tracker.interpreter import python_command, python_environment
from tracker.records.studies import Params
from tracker.settings import load_settings

# relative to the defaults of the tier: "× f" of a number, or a value
CHANGES: tuple[tuple[str, dict[str, float | str]], ...] = (
    ("batch ½, steps × 2", {"batch_size": "× 0.5"}),
    ("no warm-up", {"warmup_fraction": 0.0}),
    ("LR × 2, embedding LR × 2, beta1 0.8, cool-down 0.8", {
        "matrix_lr": "× 2", "head_lr": "× 2", "embedding_lr": "× 2",
        "beta1": 0.8, "cooldown_fraction": 0.8,
    }),
    ("beta1 0.8", {"beta1": 0.8}),
    ("one more layer", {"n_layer": "+ 1"}),
    ("matrix LR × 2", {"matrix_lr": "× 2"}),
    ("cool-down 20 %", {"cooldown_fraction": 0.2}),
    ("matrix LR × 4", {"matrix_lr": "× 4"}),
    ("beta2 0.999", {"beta2": 0.999}),
    ("beta2 0.99", {"beta2": 0.99}),
    ("embedding LR × 3.3", {"embedding_lr": "× 3.3"}),
    ("beta2 0.9", {"beta2": 0.9}),
    ("warm-up 10 %", {"warmup_fraction": 0.1}),
    ("weight decay 0.001", {"weight_decay": 0.001}),
    ("weight decay 1", {"weight_decay": 1.0}),
    ("embedding LR ÷ 3", {"embedding_lr": "× 0.333333"}),
    ("cool-down 80 %", {"cooldown_fraction": 0.8}),
    ("beta1 0.95", {"beta1": 0.95}),
    ("weight decay 3", {"weight_decay": 3.0}),
    ("together: batch ½, LR × 1.7, beta 0.8 and 0.99, no warm-up, cool-down 30 %, decay 0.05", {
        "batch_size": "× 0.5", "matrix_lr": "× 1.7", "head_lr": "× 1.7", "beta1": 0.8, "beta2": 0.99,
        "warmup_fraction": 0.0, "cooldown_fraction": 0.3, "weight_decay": 0.05,
    }),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Result:
    val: float
    test: float
    cpu_s: float


def changed(change: dict[str, float | str], at: Tier) -> Params:
    """The change as values of the search space."""
    defaults = {t.name: t.default for t in space.tunables(at)}
    params: dict[str, object] = {}
    for name, what in change.items():
        value: float = what if isinstance(what, float) else 0.0
        if isinstance(what, str):
            sign, amount = what.split()
            value = defaults[name] * float(amount) if sign == "×" else defaults[name] + float(amount)
        params[name] = int(value) if isinstance(defaults[name], int) else value
    return space.validate(params, at)


def trained(params: Params, *, seed: int, at: Tier, corpus: corpora.Corpus) -> Result:
    """One training and its evaluation."""
    corpus = corpora.training_corpus(corpus, seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "train.py")
        path.write_text(script.shipped(at))
        write_sequences(corpus, at, seed, Path(folder, "sequences.bin"))
        job = {
            "data": str(Path(folder, "sequences.bin")), "out": folder, "seed": seed,
            "train_tokens": at.train_tokens,
            "context": at.context, "vocab_size": at.vocab_size, "token_bytes": corpus.meta.token_bytes,
            "device": at.device, "compile": at.compile, "micro_batch": at.micro_batch, "params": dict(params),
        }  # fmt: skip
        Path(folder, "config.json").write_text(json.dumps(job))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        argv = python_command(str(path), str(Path(folder, "config.json")))
        done = subprocess.run(argv, check=False, env=python_environment() | {"OMP_NUM_THREADS": "1"})
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        if done.returncode:
            return Result(math.nan, math.nan, cpu_s)
        return Result(*(bits_per_byte(path, corpus, split, at) for split in ("val", "test")), cpu_s)


def bits_per_byte(path: Path, corpus: corpora.Corpus, split: str, at: Tier) -> float:
    """Bits per byte of the checkpoint next to the script, on windows that do not overlap."""
    import numpy as np
    import torch

    torch.set_num_threads(1)
    checkpoint = torch.load(path.with_name("checkpoint.pt"), weights_only=True)
    model = module_of(path.read_text()).build_model(checkpoint["config"])
    model.load_state_dict(checkpoint["state"])
    n_tokens = min(at.eval_tokens, len(corpus.tokens(split)) - 1)
    starts = np.arange(0, n_tokens - at.context + 1, at.context)
    windows = torch.from_numpy(corpus.windows(split, starts, at.context + 1).astype(np.int64))
    lengths = torch.from_numpy(corpus.byte_lengths())
    nats, n_bytes = 0.0, 0
    with torch.no_grad():
        for start in range(0, len(windows), 64):
            rows = windows[start : start + 64]
            scored = lengths[rows[:, 1:]] > 0
            logits = model(rows[:, :-1]).transpose(1, 2)
            losses = torch.nn.functional.cross_entropy(logits, rows[:, 1:], reduction="none")
            nats += float(losses[scored].double().sum())
            n_bytes += int(lengths[rows[:, 1:]].sum())
    return nats / math.log(2) / n_bytes


def module_of(text: str) -> ModuleType:
    """The training script as a module."""
    module = ModuleType("training_script")
    sys.modules[module.__name__] = module  # dataclasses look up their module
    exec(compile(text, "train.py", "exec"), module.__dict__)
    return module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tier", default="cpu")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--only", nargs="*", default=[""], help="only rows whose name contains one of these words"
    )
    arguments = parser.parse_args()
    at = tier(arguments.tier)
    corpus = corpora.corpus(at.corpus, load_settings().home)
    base = [trained({}, seed=seed, at=at, corpus=corpus) for seed in range(arguments.seeds)]
    each = ", ".join(f"{b.val:.4f}" for b in base)
    val, test, cpu_s = (statistics.mean(getattr(b, name) for b in base) for name in ("val", "test", "cpu_s"))
    print(f"base: val {val:.4f} ({each}), test {test:.4f}, {cpu_s:.1f} CPU seconds per training\n")
    print("| one change | Δ val | sd | each | Δ test |\n|---|---|---|---|---|", flush=True)
    for name, change in CHANGES:
        if not any(word in name for word in arguments.only):
            continue
        params = changed(change, at)
        child = [trained(params, seed=seed, at=at, corpus=corpus) for seed in range(arguments.seeds)]
        deltas = [c.val - b.val for c, b in zip(child, base, strict=True)]
        test = statistics.mean(c.test - b.test for c, b in zip(child, base, strict=True))
        sd = statistics.stdev(deltas) if len(deltas) > 1 and all(map(math.isfinite, deltas)) else math.nan
        each = ", ".join(f"{delta:+.3f}" for delta in deltas)
        print(f"| {name} | {statistics.mean(deltas):+.3f} | {sd:.3f} | {each} | {test:+.3f} |", flush=True)


if __name__ == "__main__":
    main()
