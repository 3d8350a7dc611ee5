"""Records of a job that several workers share: what each of them asks, and what each says at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MOST_WORKERS = 1024


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `count` workers of the same job: each asks a part of its questions, one of them scores all.

    `gate` is a folder that the workers and their driver share: see `runners.harness.gate`.
    """

    index: int  # 0: the lead, which writes the run and scores, unless it is lost
    count: int
    gate: str
    cards: tuple[str, ...] = ()  # that this worker uses, by their UUIDs; empty: whatever it is given

    def __post_init__(self) -> None:
        """Check the place of the worker."""
        if not 0 <= self.index < self.count <= MOST_WORKERS:
            raise ValueError(f"worker {self.index} of {self.count} is impossible")

    @property
    def is_lead(self) -> bool:
        """Whether this worker is the one that scores, as long as it lives."""
        return self.index == 0


@dataclass(frozen=True, slots=True)
class Share:
    """Which questions a worker asks in one round: of each `stride` in a row, those of its turn.

    A prefix of the questions is shared evenly, so that budgets may end the round at any place.
    """

    turn: int
    n_turns: int
    stride: int = 1

    def has(self, place: int) -> bool:
        """Whether the question at this place is asked by this worker."""
        return place // self.stride % self.n_turns == self.turn


@dataclass(frozen=True, slots=True)
class WorkerCost:
    """What one worker spent on one run; times in seconds, memory in bytes."""

    duration_s: float = 0.0
    generation_s: float = 0.0
    generated_tokens: int = 0
    prefilled_tokens: int = 0
    energy_j: float | None = None
    n_cut: int = 0  # prompts that were too long


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What a worker of a shared job reports when it has asked its part."""

    index: int
    device: str
    engine_hash: str  # equal where the answers belong together
    load_s: float
    costs: Mapping[str, WorkerCost] = field(default_factory=dict)  # by run
    peak_memory_bytes: int | None = None
    is_out_of_time: bool = False
    warnings: tuple[str, ...] = ()
