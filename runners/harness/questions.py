"""The harness's own nouns: a leaf task, its questions, and what it makes of the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from runners.engines import ContinuationRequest, GenerationRequest

Request = ContinuationRequest | GenerationRequest


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a task made of the answers to one question."""

    metrics: Mapping[str, Any]  # "metric,filter" → value
    extracted: str
    response: str
    target: str


class Leaf(Protocol):
    """One task with documents of its own, and which of its numbers is the score."""

    name: str
    group: str | None
    metric: str
    filter: str
    is_choice: bool
    n_docs: int

    @property
    def chance(self) -> float:
        """The score of guessing."""
        ...

    def verdict(self, question: Question, answers: Sequence[Any]) -> Verdict:
        """Filter and score the answers: (log_prob, is_greedy) pairs, or texts."""
        ...

    def is_mean(self, metric: str) -> bool:
        """Whether the score is the plain mean over items."""
        ...

    def aggregate(self, values: Sequence[Any], *, metric: str) -> float:
        """The task's own aggregation."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """One document of a task, with the requests that answer it."""

    leaf: Leaf
    doc_id: int
    doc_hash: str
    prompt: str
    requests: tuple[Request, ...]
    instances: tuple[Any, ...] = ()  # the task library's own, one per request
