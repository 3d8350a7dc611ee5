"""The nouns: frozen records that check themselves, so that what cannot be true cannot be built.

Scores and fractions are of 1, times are aware UTC, durations are seconds, sizes are bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

DTYPES = ("auto", "float32", "bfloat16", "float16")


class RunStatus(StrEnum):
    """What became of a run."""

    RUNNING = "running"
    COMPLETE = "complete"
    PARTIAL = "partial"  # stopped on purpose, or a task was unavailable; its scores are valid
    INTERRUPTED = "interrupted"  # killed or Ctrl-C; repeating the command resumes it
    FAILED = "failed"  # the model could not be run; see `reason`


@dataclass(frozen=True, slots=True)
class Model:
    """One model as it can be loaded: weights pinned to a commit, or files in a local folder."""

    model_id: str  # "org/name"
    revision: str  # commit sha, or "sha256:…" over the files of a local folder
    path: str | None = None  # local folder; None: the Hub's cache
    quantization: str | None = None  # None: as published, in 16 or 32 bits
    n_params: int | None = None
    license: str | None = None
    needs_remote_code: bool = False

    def __post_init__(self) -> None:
        """Refuse a branch name where a commit belongs."""
        if not self.model_id or self.model_id != self.model_id.strip():
            raise ValueError(f"model_id must be `org/name`, got {self.model_id!r}")
        if not self.revision:
            raise ValueError(f"{self.model_id}: the revision is not pinned")


@dataclass(frozen=True, slots=True)
class Task:
    """One benchmark as the harness names it, and which of its numbers is the score."""

    task: str
    metric: str | None = None  # None: the first that the task's own file names
    filter: str | None = None  # None: the first that the task's own file names
    num_fewshot: int | None = None  # None: as the task's own file says
    chance: float | None = None  # the score of guessing; None: from the number of choices
    max_output_tokens: int | None = None  # None: as the task's own file says

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.chance is not None and not 0.0 <= self.chance < 1.0:
            raise ValueError(f"{self.task}: chance must be in 0..1, got {self.chance}")
        if self.num_fewshot is not None and self.num_fewshot < 0:
            raise ValueError(f"{self.task}: num_fewshot must not be negative, got {self.num_fewshot}")
        if self.max_output_tokens is not None and self.max_output_tokens < 1:
            raise ValueError(f"{self.task}: max_output_tokens must be positive, got {self.max_output_tokens}")


@dataclass(frozen=True, slots=True)
class Suite:
    """A named, versioned tuple of tasks. A change of what is asked is a new version."""

    name: str
    version: int
    description: str
    tasks: tuple[Task, ...]
    offline: bool = False  # every item is made or shipped here
    chat: bool = False  # generation tasks go through the model's chat template
    include_path: str | None = None  # folder of task files beside lm-eval's own
    seed: int | None = None  # of the items that are drawn here; None: nothing is drawn

    def __post_init__(self) -> None:
        """Refuse an empty suite and a task that stands in it twice."""
        names = [task.task for task in self.tasks]
        if not names:
            raise ValueError(f"suite {self.name}: no tasks")
        if len(set(names)) != len(names):
            raise ValueError(f"suite {self.name}: a task stands in it twice")


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How the engine is to be started. Everything here can change an item's result."""

    engine: str = "transformers"  # a name of `runners.engines.ENGINES` or "package.module:Class"
    dtype: str = "auto"
    max_model_len: int | None = None  # tokens; None: what the model and the memory allow
    quantization: str | None = None  # online quantization asked for, such as "fp8"
    tensor_parallel_size: int = 1
    max_num_seqs: int | None = None
    gpu_memory_utilization: float = 0.90
    base_url: str | None = None  # for `server`
    concurrency: int = 16  # requests under way at once, for `server`
    trust_remote_code: bool = False
    thinking: bool | None = None  # None: as the chat template does by itself
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges; each message begins with the name of the field."""
        for name in ("max_model_len", "max_num_seqs", "tensor_parallel_size", "concurrency"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not 0.0 < self.gpu_memory_utilization <= 1.0:
            raise ValueError(f"gpu_memory_utilization must be in 0..1, got {self.gpu_memory_utilization}")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got `{self.dtype}`")
        if self.quantization is not None and not re.fullmatch(r"[a-z0-9_-]+", self.quantization):
            raise ValueError(f"quantization must be the name of a method, got `{self.quantization}`")


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What actually answered: part of every fingerprint."""

    engine: str
    engine_version: str
    dtype: str
    device: str  # "cpu", "NVIDIA H100 80GB HBM3 × 2"
    max_model_len: int
    chat_template_hash: str | None = None
    quantization: str | None = None
    attention: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunRequest:
    """One suite to be run, under the id that its files and rows will carry."""

    run_id: str
    suite: Suite


@dataclass(frozen=True, slots=True)
class Job:
    """All that a worker needs: one model, its suites, its settings, an item range."""

    model: Model
    settings: EngineSettings
    runs: tuple[RunRequest, ...]
    items_path: str
    limit: int | None = None  # the first N items of each task
    shard: tuple[int, int] | None = None  # (k, n): every n-th item from the k-th on
    until_half_width: float | None = None  # stop a task when its interval is this narrow
    minutes: float | None = None  # stop cleanly after this long
    fit: Mapping[str, Any] | None = None  # the check before loading, and each step of its ladder
    warnings: tuple[str, ...] = ()  # told before loading, kept with every run
    flush_s: float = 5.0  # how often answers are written: at most this much work is lost to a kill

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit must be positive, got {self.limit}")
        if self.shard is not None and not 0 <= self.shard[0] < self.shard[1]:
            raise ValueError(f"shard must be k/n with 0 <= k < n, got {self.shard}")
        if self.until_half_width is not None and not 0.0 < self.until_half_width < 0.5:
            raise ValueError(f"until must be a fraction between 0 and 0.5, got {self.until_half_width}")
        if self.minutes is not None and self.minutes <= 0:
            raise ValueError(f"minutes must be positive, got {self.minutes}")


@dataclass(frozen=True, slots=True)
class Item:
    """One question of one task with the model's answer: what every number is traced to."""

    task: str
    doc_id: int  # place of the question in its task
    doc_hash: str
    prompt: str
    target: str
    response: str  # generated text; for a choice the text of the chosen one
    extracted: str  # what the filter read out of the response
    score: float | None  # the suite's metric of this item; None: none is defined for one item
    metrics: Mapping[str, Any]  # "metric,filter" → value, as the task computed it
    finish_reason: str  # "stop", "length", "loglikelihood"
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int = 0  # of the prompt, read from a prefix cache
    latency_s: float | None = None
    ttft_s: float | None = None
    choices: tuple[str, ...] = ()
    log_probs: tuple[float, ...] = ()  # of each choice, summed over its tokens, in nats
    thinking: str | None = None  # what stood before the end-of-thinking token
    cluster: str | None = None  # items of one cluster share a context

    @property
    def truncated(self) -> bool:
        """Whether the answer was cut off by the token budget."""
        return self.finish_reason == "length"


@dataclass(frozen=True, slots=True)
class TaskScore:
    """One number for one task; the interval is the 95 % one."""

    task: str
    metric: str
    filter: str
    value: float
    stderr: float | None
    ci_low: float | None
    ci_high: float | None
    n_items: int
    chance: float
    truncated_fraction: float
    fingerprint: str  # of the items behind it
    n_reused_items: int = 0
    group: str | None = None  # the suite's task of which this is a part
    n_total: int | None = None  # items that the whole task has
    unparsed_fraction: float | None = None  # answers from which nothing could be read

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("value", "chance", "truncated_fraction"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{self.task} {self.metric}: {name} must be in 0..1, got {value}")
        if self.n_items < 1:
            raise ValueError(f"{self.task} {self.metric}: a score needs at least one item")


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run cost, measured in the worker."""

    duration_s: float = 0.0  # from the first request to the last answer
    load_s: float | None = None
    prompt_tokens: int = 0  # of the items answered in this run, as the tasks asked them
    prefilled_tokens: int = 0  # what the engine really computed
    output_tokens: int = 0
    tokens_per_s: float | None = None  # output tokens per second of generation
    ttft_s: float | None = None  # median time to first token
    peak_memory_bytes: int | None = None
    energy_j: float | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One suite on one model: the content of `run.json`, from which the database can be rebuilt."""

    run_id: str
    model: Model
    suite: str
    suite_version: int
    settings: EngineSettings
    status: RunStatus
    started_at: datetime
    pid: int
    reason: str | None = None  # machine-readable cause of anything but `complete`
    detail: str | None = None  # the same for people
    ended_at: datetime | None = None
    engine: EngineInfo | None = None
    scores: tuple[TaskScore, ...] = ()
    cost: Cost = field(default_factory=Cost)
    n_items: int = 0
    n_reused_items: int = 0
    warnings: tuple[str, ...] = ()
    fit: Mapping[str, Any] | None = None
    hardware: Mapping[str, Any] = field(default_factory=dict)
    limit: int | None = None
    harness_version: str = ""

    def __post_init__(self) -> None:
        """Times are aware, and a failed run has a reason."""
        for moment in (self.started_at, self.ended_at):
            if moment is not None and moment.tzinfo is None:
                raise ValueError(f"{self.run_id}: times must carry a zone")
        if self.status is RunStatus.FAILED and not self.reason:
            raise ValueError(f"{self.run_id}: a failed run needs a reason")


def fingerprint(parts: Mapping[str, Any]) -> str:
    """The 32 hex digits that stand for `parts`: equal exactly when every value is equal.

    Raises:
        TypeError: a value that JSON cannot hold.
    """
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
