"""The harness's records: a leaf task, its questions, and the scored answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from runners.engines import ContinuationRequest, GenerationRequest, TextRequest

if TYPE_CHECKING:
    from runners.harness.episodes import EpisodeStart

Request = ContinuationRequest | GenerationRequest | TextRequest


@dataclass(frozen=True, slots=True)
class ItemVerdict:
    """A task's scoring of the answers to one question."""

    metrics: Mapping[str, Any]  # "metric,filter" → value
    extracted: str
    response: str
    target: str
    choices: tuple[str, ...] = ()  # what was compared, one per request


class Leaf(Protocol):
    """One task with its own documents, and the metric that is its score."""

    name: str
    group: str | None
    metric: str
    filter: str
    is_choice: bool
    is_share: bool  # whether the metric lies between 0 and 1
    n_docs: int
    base_name: str  # without the number of a repeat

    @property
    def max_output_tokens(self) -> int | None:
        """The budget of each written answer; None: nothing is written."""
        ...

    @property
    def chance(self) -> float:
        """The score of guessing."""
        ...

    def verdict(self, question: TaskQuestion, answers: Sequence[Any]) -> ItemVerdict:
        """Filter and score the answers: (log_prob, is_greedy) pairs, or texts."""
        ...

    def is_mean(self, metric: str) -> bool:
        """Whether the score is the plain mean over items."""
        ...

    def stderr(self, values: Sequence[Any], *, metric: str) -> float | None:
        """The standard error of a score that is no plain mean; None: there is no estimate."""
        ...

    def higher_is_better(self, metric: str) -> bool | None:
        """Whether more of this metric is better; None: the task does not say."""
        ...

    def aggregate(self, values: Sequence[Any], *, metric: str) -> float:
        """The task's own aggregation."""
        ...


@dataclass(frozen=True, slots=True)
class TaskQuestion:
    """One document of a task, with the requests that answer it."""

    leaf: Leaf
    doc_id: int
    doc_hash: str
    prompt: str
    requests: tuple[Request, ...]
    instances: tuple[Any, ...] = ()  # lm-eval's objects, one per request
    episode: EpisodeStart | None = None  # of a task whose model works with tools; None: one answer is all

    def forget_instances(self) -> None:
        """Free what is needed for scoring alone: two thirds of the memory of a multiple-choice question."""
        object.__setattr__(self, "instances", ())
