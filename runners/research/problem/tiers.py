"""How large a training is: its corpus, its tokens, its device, and what its process may use.

A budget is counted in tokens, never in seconds: equal jobs take twice as long beside neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from runners.sandbox.limits import Limits
from tracker.errors import UnknownNameError

MIB = 1 << 20
GIB = 1 << 30
MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class Tier:
    """One size of training; `params` are the defaults that differ from those in the script."""

    name: str
    description: str
    corpus: str  # a name of `corpora.CORPORA`
    train_tokens: int
    context: int
    vocab_size: int
    eval_tokens: int  # read per split by the evaluator
    limits: Limits
    max_params: int
    max_checkpoint_bytes: int
    device: str = "cpu"
    dtype: str = "float32"
    compile: bool = False
    micro_batch: int = 0  # sequences that go through the model at once; 0: the whole batch
    params: Mapping[str, float | int] = field(default_factory=dict)
    # choices of a number where they differ from those of the `cpu` tier
    choices: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


SMOKE = Tier(
    name="smoke",
    description="a few CPU seconds; for tests of the loop, not for conclusions",
    corpus="grammar",
    train_tokens=128 * 8 * 32,
    context=32,
    vocab_size=35,
    eval_tokens=8192,
    limits=Limits(
        cpu_s=60.0, wall_s=3 * MINUTE_S, memory_bytes=3 * GIB, file_bytes=16 * MIB, n_processes=64
    ),
    max_params=150_000,
    max_checkpoint_bytes=2 * MIB,
    params={
        "n_layer": 1, "d_model": 32, "batch_size": 8, "matrix_lr": 0.01, "head_lr": 0.01,
        "embedding_lr": 0.05,
    },
    choices={"batch_size": (2, 4, 8, 16, 32), "d_model": (16, 32, 48, 64, 96), "n_layer": (1, 2, 3, 4)},
)  # fmt: skip

CPU = Tier(
    name="cpu",
    description="about 103,000 parameters, 0.41 M tokens, about 9 CPU seconds on one thread",
    corpus="docstrings",
    train_tokens=400 * 16 * 64,
    context=64,
    vocab_size=35,
    eval_tokens=98_304,
    limits=Limits(
        cpu_s=4 * MINUTE_S, wall_s=15 * MINUTE_S, memory_bytes=3 * GIB, file_bytes=32 * MIB, n_processes=64
    ),
    max_params=250_000,
    max_checkpoint_bytes=4 * MIB,
)

GPU_SMALL = Tier(
    name="gpu-small",
    description="about 6 M parameters on bytes, 50 M tokens: meant to take 20 to 30 s on an H100",
    corpus="tinystories",
    train_tokens=768 * 128 * 512,
    context=512,
    vocab_size=256,
    eval_tokens=1 << 20,
    limits=Limits(
        cpu_s=10 * MINUTE_S, wall_s=10 * MINUTE_S,
        memory_bytes=64 * GIB, file_bytes=256 * MIB, n_processes=512,
    ),
    max_params=30_000_000,
    max_checkpoint_bytes=128 * MIB,
    device="cuda",
    dtype="bfloat16",
    compile=True,
    micro_batch=128,
    params={
        "n_layer": 8, "d_model": 256, "n_head": 4, "batch_size": 128,
        "matrix_lr": 0.003, "head_lr": 0.003, "embedding_lr": 0.015,
    },
    choices={
        "n_layer": (2, 4, 6, 8, 10, 12), "d_model": (128, 192, 256, 320, 384), "n_head": (1, 2, 4, 8),
        "batch_size": (16, 32, 64, 128, 256, 512),
    },
)  # fmt: skip

GPU = Tier(
    name="gpu",
    description="GPT-2 small's shape on GPT-2's tokens, 134 M tokens: meant to take five minutes on an H100",
    corpus="fineweb-edu",
    train_tokens=1024 * 128 * 1024,
    context=1024,
    vocab_size=50_304,
    eval_tokens=1 << 20,
    limits=Limits(
        cpu_s=60 * MINUTE_S, wall_s=40 * MINUTE_S, memory_bytes=96 * GIB, file_bytes=2 * GIB, n_processes=512
    ),
    max_params=400_000_000,
    max_checkpoint_bytes=1700 * MIB,
    device="cuda",
    dtype="bfloat16",
    compile=True,
    micro_batch=32,
    params={
        "n_layer": 12, "d_model": 768, "n_head": 12, "batch_size": 128,
        "matrix_lr": 0.0018, "head_lr": 0.0018, "embedding_lr": 0.009,
    },
    choices={
        "n_layer": (6, 8, 10, 12, 14, 16), "d_model": (384, 512, 768, 1024), "n_head": (4, 6, 8, 12, 16),
        "batch_size": (32, 64, 128, 256, 512),
    },
)  # fmt: skip

TIERS: Mapping[str, Tier] = {tier.name: tier for tier in (SMOKE, CPU, GPU_SMALL, GPU)}


def tier(name: str) -> Tier:
    """The tier of that name.

    Raises:
        UnknownNameError: there is none; near names are suggested.
    """
    if name not in TIERS:
        raise UnknownNameError("tier", name, known=TIERS)
    return TIERS[name]
