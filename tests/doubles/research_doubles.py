"""A simulated training with a known optimum, in which a seed has as much effect as most changes.

A study sees the same of it as of a real training, in microseconds.
"""

from __future__ import annotations

import hashlib
import json
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from runners.research.agents import Agent, Ask
from runners.research.events import StudyEvent
from runners.research.final_test import FinalTestCache
from runners.research.problem import space
from runners.research.problem.tiers import SMOKE
from runners.research.seeds import StudySeeds
from runners.research.study import StudyContext
from runners.research.training.pool import TrainingPool
from runners.research.transfer import LargerSize, larger_tier
from tracker.errors import UnreachableError
from tracker.files.studies import Ledger
from tracker.records.studies import (
    Change,
    Proposal,
    Study,
    StudySecret,
    Training,
    TrainingStatus,
)

SECRET = StudySecret("5ec4e7" * 10 + "0007")  # a fixed one: a test repeats itself
BASE_BPB = 2.7
GAINS = {"beta1": 0.1, "beta2": 0.02}  # of 0.8 and 0.99 over the defaults
SEED_SPREAD = 0.049  # as measured on the `cpu` tier
PAIR_SPREAD = 0.01
DIVERGES = {"matrix_lr": 0.1}
CRASHES = {"d_model": 96}


def noise(spread: float, *what: object) -> float:
    digest = hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).digest()
    return random.Random(digest).gauss(0.0, spread)


def identity(change: Change) -> str:
    params = space.normalised(change.params, SMOKE)
    text = json.dumps([sorted(params.items()), change.script], default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def true_bpb(change: Change) -> float:
    params = change.params
    bpb = BASE_BPB
    if "beta1" in params:
        bpb += GAINS["beta1"] * (((float(params["beta1"]) - 0.8) / 0.1) ** 2 - 1)
    if "beta2" in params:
        bpb += GAINS["beta2"] * (((float(params["beta2"]) - 0.99) / 0.04) ** 2 - 1)
    return bpb


@dataclass
class World:
    """Trains instantly, counts its trainings, and caches them as the cache of a home does."""

    trained: list[tuple[str, int, tuple[str, ...]]] = field(default_factory=list)
    known: dict[tuple[str, int, tuple[str, ...]], Training] = field(default_factory=dict)
    stop_after: int | None = None  # trainings
    fails_with: Callable[[], Exception] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, change: Change, seed: int, *, splits: Sequence[str]) -> Training:
        order = (identity(change), seed, tuple(splits))
        with self.lock:
            if order not in self.known:
                self.trained.append(order)
                self.known[order] = self.train(change, seed, splits)
            return self.known[order]

    def train(self, change: Change, seed: int, splits: Sequence[str]) -> Training:
        if self.fails_with is not None and len(self.trained) > (self.stop_after or 0):
            raise self.fails_with()
        key = f"{identity(change)}-{seed}"
        for params, status in ((DIVERGES, "diverged"), (CRASHES, "crashed")):
            if params.items() <= dict(change.params).items():
                return Training(key, seed, TrainingStatus(status), reason=status, detail=f"it {status}")
        bpb = true_bpb(change) + noise(SEED_SPREAD, seed) + noise(PAIR_SPREAD, identity(change), seed)
        values = {str(split): bpb + noise(0.001, split, identity(change), seed) for split in splits}
        return Training(key, seed, TrainingStatus.OK, bpb=values, train_s=1.0, cpu_s=1.0, n_tokens=10)

    def is_stopped(self) -> bool:
        return (
            self.fails_with is None and self.stop_after is not None and len(self.trained) >= self.stop_after
        )


class Listed:
    """Proposes the entries of a list, then repeats the last one. Unreachable for some of its calls."""

    def __init__(self, *changes: dict[str, object] | str, unreachable_at: int | None = None) -> None:
        self.changes = changes
        self.unreachable_at = unreachable_at
        self.asks: list[Ask] = []

    def propose(self, ask: Ask) -> Sequence[Proposal]:
        self.asks.append(ask)
        if self.unreachable_at is not None and len(self.asks) > self.unreachable_at:
            raise UnreachableError("http://127.0.0.1:1: nobody answers")
        first = len(ask.history)
        return [self._proposal(self.changes[min(first + i, len(self.changes) - 1)]) for i in range(ask.k)]

    def close(self) -> None:
        """Nothing to release."""

    def _proposal(self, entry: dict[str, object] | str) -> Proposal:
        if isinstance(entry, str):
            return Proposal(None, proposer="model", problem=entry)
        try:
            return Proposal(Change(space.validate(entry, SMOKE)), proposer="model")
        except ValueError as error:
            return Proposal(None, proposer="model", problem=str(error))


def parts(
    agent: Agent, world: World, folder: Path, *, events: list[StudyEvent] | None = None
) -> StudyContext:
    """The context of a study with simulated trainings."""
    told = [] if events is None else events
    ledger = Ledger(folder)
    train = FinalTestCache(world, ledger, identity)
    pool = TrainingPool(train, n_at_once=2, identity=identity, is_stopped=world.is_stopped)
    larger = TrainingPool(
        FinalTestCache(world, ledger, lambda change: f"larger-{identity(change)}"),
        n_at_once=2,
        identity=identity,
        is_stopped=world.is_stopped,
    )
    return StudyContext(
        tier=SMOKE,
        space=space.tunables(SMOKE),
        agent=agent,
        seeds=StudySeeds(ledger.read_secret()),
        pool=pool,
        identity=identity,
        categories=lambda parent, child: space.categories(parent, child, SMOKE),
        shipped_script="",
        say=told.append,
        size=LargerSize(SMOKE, larger_tier(SMOKE), larger),
    )


def begin(folder: Path, study: Study, *, secret: StudySecret = SECRET) -> Ledger:
    """The folder of a study that is about to start."""
    ledger = Ledger(folder)
    ledger.write_secret(secret)
    ledger.write_study(replace(study, secret_hash=secret.hash))
    return ledger
