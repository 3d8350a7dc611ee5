"""The nouns: frozen records that check themselves, so that what cannot be true cannot be built.

Scores and fractions are of 1, times are aware UTC, durations are seconds, sizes are bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from tracker.errors import FieldError
from tracker.records.origins import Origin
from tracker.records.paired import PairedOutcome, PairedReference
from tracker.records.shards import Shard
from tracker.records.suite_means import SuiteMean

EMBEDDED_MODEL_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"  # what MODEL `demo` means
CUT_OFF = ("length", "repetition")  # reasons of answers that did not end by themselves
SAMPLING = ("task", "greedy", "model")  # as the task says; most probable token; as the checkpoint says
MOST_REPEATS = 1_000  # of one question
MOST_REPLICATES = 1_000  # of one measurement
MOST_OUTPUT_TOKENS = 10_000_000  # of one answer: more than any context has
MOST_PATTERN_TOKENS = 10_000  # of a repeated pattern, and times that it repeats
EXAMPLE_LIMITS = "max_pattern_size=64,min_count=8"
MOST_ITEMS = 1_000_000_000  # of one task
DTYPES = ("auto", "float32", "bfloat16", "float16")
NGRAM = "ngram"  # speculative decoding that proposes what followed the last tokens before
HEAD_DTYPES = ("auto", "float32")  # auto: that of the model
POSITIVE = {
    "max_model_len": 4096,
    "max_num_seqs": 16,
    "tensor_parallel_size": 2,
    "concurrency": 16,
}  # examples
# Fields of a request to a server that no setting replaces.
OF_THE_TASK = (
    "model",
    "messages",
    "prompt",
    "stream",
    "stop",
    "echo",
    "n",
    "max_tokens",
    "max_completion_tokens",
)


class RunStatus(StrEnum):
    """The outcome of a run."""

    RUNNING = "running"
    COMPLETE = "complete"
    PARTIAL = "partial"  # stopped on purpose, or a task was unavailable; its scores are valid
    INTERRUPTED = "interrupted"  # killed or Ctrl-C; repeating the command resumes it
    FAILED = "failed"  # the model could not be run; see `reason`


def is_count(value: object, *, least: int = 1, most: int) -> bool:
    """Whether `value` is a whole number in this range; a truth value is none."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _check_count(where: str, name: str, value: object, *, least: int = 1, most: int) -> None:
    """Refuse anything but a whole number in this range.

    Raises:
        ValueError: it is none.
    """
    if not is_count(value, least=least, most=most):
        raise ValueError(f"{where}: {name} must be a whole number from {least:,} to {most:,}, got {value!r}")


@dataclass(frozen=True, slots=True)
class Model:
    """A loadable model: weights pinned to a commit, or files in a local folder."""

    model_id: str  # "org/name", of a GGUF on the Hub "org/name:Q4_K_M"
    revision: str  # commit sha, or "sha256:…" over the files of a local folder
    path: str | None = None  # local folder, or the first GGUF file; None: the Hub's cache
    quantization: str | None = None  # None: as published, in 16 or 32 bits
    n_params: int | None = None
    license: str | None = None
    needs_remote_code: bool = False
    file: str | None = None  # the first GGUF file, by its name in the repository; None: safetensors

    def __post_init__(self) -> None:
        """Refuse a branch name where a commit belongs."""
        if not self.model_id or self.model_id != self.model_id.strip():
            raise ValueError(f"model_id must be `org/name`, got {self.model_id!r}")
        if not self.revision:
            raise ValueError(f"{self.model_id}: the revision must be a commit, got `{self.revision}`")

    @property
    def repository(self) -> str:
        """The repository on the Hub: the `model_id` without the label of a GGUF file."""
        return self.model_id if self.file is None else self.model_id.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Condition:
    """A task is asked only if an earlier task of the suite had a score in this range."""

    task: str  # an earlier task of the same suite
    at_least: float = 0.0
    below: float | None = None  # None: no upper end
    thinking: bool | None = None  # only for models that think, or that do not; None: for both

    def __post_init__(self) -> None:
        """Check the range."""
        if not 0.0 <= self.at_least <= 1.0 or (self.below is not None and self.below <= self.at_least):
            raise ValueError(f"condition on `{self.task}`: no score is in {self.at_least}..{self.below}")

    def covers(self, score: float) -> bool:
        """Whether a score on `task` is in its range."""
        return self.at_least <= score and (self.below is None or score < self.below)


@dataclass(frozen=True, slots=True)
class Task:
    """One benchmark as the harness names it, and which of its numbers is the score."""

    task: str
    metric: str | None = None  # None: the first that the task's own file names
    filter: str | None = None  # None: the first that the task's own file names
    num_fewshot: int | None = None  # None: as the task's own file says
    chance: float | None = None  # the score of guessing; None: from the number of choices
    max_output_tokens: int | None = None  # None: as the task's own file says
    chat: bool | None = None  # through the chat template or not, of whatever type; None: as the suite says
    system: str | None = None  # system message, or without a chat template the beginning of the prompt
    when: tuple[Condition, ...] = ()  # asked if one of these holds; empty: always

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.chance is not None and not 0.0 <= self.chance < 1.0:
            raise ValueError(f"{self.task}: chance must be in 0..1, got {self.chance}")
        if self.num_fewshot is not None:
            _check_count(self.task, "num_fewshot", self.num_fewshot, least=0, most=MOST_ITEMS)
        if self.max_output_tokens is not None:
            _check_count(self.task, "max_output_tokens", self.max_output_tokens, most=MOST_OUTPUT_TOKENS)


@dataclass(frozen=True, slots=True)
class Suite:
    """A named, versioned tuple of tasks. Any change to the questions requires a new version."""

    name: str
    version: int
    description: str
    tasks: tuple[Task, ...]
    offline: bool = False  # every item is made or shipped here
    chat: bool = False  # tasks whose answer is written go through the model's chat template
    include_path: str | None = None  # folder of task files beside lm-eval's own
    seed: int | None = None  # of the items that are drawn here; None: nothing is drawn
    sample: int | None = None  # random items of each task; None: all of them
    sampling: str = "task"  # one of `SAMPLING`: how the tokens of written answers are chosen
    repeats: int = 1  # times that each question with a sampled answer is asked

    def __post_init__(self) -> None:
        """Refuse an empty suite, a duplicate task, and a condition on a task that does not come before."""
        if self.sampling not in SAMPLING:
            known = ", ".join(SAMPLING)
            raise ValueError(f"suite `{self.name}`: sampling must be one of {known}, got `{self.sampling}`")
        where = f"suite `{self.name}`"
        _check_count(where, "version", self.version, least=0, most=MOST_ITEMS)
        _check_count(where, "repeats", self.repeats, most=MOST_REPEATS)
        names = [task.task for task in self.tasks]
        if not names:
            raise ValueError(f"suite `{self.name}` has no tasks")
        if len(set(names)) != len(names):
            raise ValueError(f"suite `{self.name}` lists a task twice")
        if self.sample is not None:
            _check_count(where, "sample", self.sample, most=MOST_ITEMS)
        for place, task in enumerate(self.tasks):
            for condition in task.when:
                if condition.task not in names[:place]:
                    raise ValueError(f"{task.task}: its condition names `{condition.task}`, no earlier task")


@dataclass(frozen=True, slots=True)
class RepetitionLimits:
    """When an answer is in a loop: its last tokens are one pattern, written this often. vLLM's names."""

    max_pattern_size: int  # tokens
    min_count: int
    min_pattern_size: int = 1  # tokens

    def __post_init__(self) -> None:
        """Check the ranges."""
        is_pattern = 1 <= self.min_pattern_size <= self.max_pattern_size <= MOST_PATTERN_TOKENS
        if not is_pattern or not 2 <= self.min_count <= MOST_PATTERN_TOKENS:
            problem = (
                f"needs 1 <= min_pattern_size <= max_pattern_size <= {MOST_PATTERN_TOKENS:,}"
                f" and 2 <= min_count <= {MOST_PATTERN_TOKENS:,}"
            )
            raise FieldError("repetition_detection", problem, example=EXAMPLE_LIMITS)

    @classmethod
    def parse(cls, text: str) -> RepetitionLimits:
        """The limits that `text` gives, such as `max_pattern_size=64,min_count=8`.

        Raises:
            FieldError: it gives none.
        """
        pairs = [part.strip().partition("=") for part in text.split(",")]
        given = {key: value for key, _, value in pairs}
        known = {"max_pattern_size", "min_count", "min_pattern_size"}
        is_valid = all(re.fullmatch(r"[0-9]{1,9}", value) for value in given.values())
        has_all = {"max_pattern_size", "min_count"} <= given.keys() <= known
        if not is_valid or not has_all or len(given) < len(pairs):
            problem = f"must be max_pattern_size=N,min_count=N[,min_pattern_size=N], got `{text}`"
            raise FieldError("repetition_detection", problem, example=EXAMPLE_LIMITS)
        return cls(**{key: int(value) for key, value in given.items()})

    def are_reached(self, ids: Sequence[int]) -> bool:
        """Whether these tokens end in a loop."""
        for size in range(self.min_pattern_size, self.max_pattern_size + 1):
            if size * self.min_count > len(ids):
                return False
            if all(ids[-n] == ids[-n - size] for n in range(1, size * (self.min_count - 1) + 1)):
                return True
        return False


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Settings of the engine. Each of them can change an item's result."""

    engine: str = "transformers"  # a name in `runners.engines.ENGINES` or "package.module:Class"
    dtype: str = "auto"
    max_model_len: int | None = None  # tokens; None: what the model and the memory allow
    quantization: str | None = None  # online quantization asked for, such as "fp8"
    tensor_parallel_size: int = 1
    max_num_seqs: int | None = None
    gpu_memory_utilization: float = 0.90
    base_url: str | None = None  # for `server`
    concurrency: int = 16  # requests under way at once, for `server`
    server_option: tuple[str, ...] = ()  # KEY=VALUE, fields added to each request, for `server`
    trust_remote_code: bool = False
    head_dtype: str = "auto"  # one of `HEAD_DTYPES`: in which the last layer computes log-probabilities
    repetition_detection: str | None = None  # ends answers in a loop; see `RepetitionLimits`
    thinking: bool | None = None  # None: as the chat template does by itself
    chat_template: str | None = None  # by its name, of a model that has several; None: `default`
    n_gpu_layers: int | None = None  # on the card, for `llamacpp`; None: as many as fit
    kv_cache_dtype: str | None = None  # type of the keys and values, for `llamacpp`; None: its own, f16
    batch_invariant: bool = False  # answers do not depend on what is computed beside them, for `vllm`
    speculative: str | None = None  # `NGRAM`, or the path of a draft model; None: no speculative decoding
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, example in POSITIVE.items():
            value = getattr(self, name)
            if value is not None and value < 1:
                raise FieldError(name, f"must be at least 1, got {value}", example=example)
        if not 0.0 < self.gpu_memory_utilization <= 1.0:
            problem = f"must be more than 0 and at most 1, got {self.gpu_memory_utilization:g}"
            raise FieldError("gpu_memory_utilization", problem, example=0.8)
        if self.dtype not in DTYPES:
            known = ", ".join(DTYPES)
            raise FieldError("dtype", f"must be one of {known}, got `{self.dtype}`", hint=f"known: {known}")
        if self.head_dtype not in HEAD_DTYPES:
            known = ", ".join(HEAD_DTYPES)
            problem = f"must be one of {known}, got `{self.head_dtype}`"
            raise FieldError("head_dtype", problem, hint=f"known: {known}")
        if self.repetition_detection is not None:
            RepetitionLimits.parse(self.repetition_detection)
        for option in self.server_option:
            key, equals, _ = option.partition("=")
            if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
                raise FieldError("server_option", f"must be KEY=VALUE, got `{option}`", example="top_k=20")
            if key in OF_THE_TASK:
                raise FieldError("server_option", f"cannot set `{key}`, which the task decides")
        if self.n_gpu_layers is not None and self.n_gpu_layers < 0:
            raise FieldError("n_gpu_layers", f"must be 0 or more, got {self.n_gpu_layers}", example=0)
        if self.speculative is not None and not self.speculative.strip():
            raise FieldError("speculative", "is empty", example=NGRAM)
        if self.quantization is not None and not re.fullmatch(r"[a-z0-9_-]+", self.quantization):
            problem = f"must be the name of a method, got `{self.quantization}`"
            raise FieldError("quantization", problem, example="fp8")


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """The engine and device that answered: part of every fingerprint."""

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
    """One suite to run, with the id of its files and rows."""

    run_id: str
    suite: Suite
    max_output_tokens: int | None = None  # budget that was asked for; None: as suite and tasks say


@dataclass(frozen=True, slots=True)
class Job:
    """A worker's input: one model, its suites, its settings, an item range."""

    model: Model
    settings: EngineSettings
    runs: tuple[RunRequest, ...]
    items_path: str
    limit: int | None = None  # N items of each task
    sample_seed: int | None = None  # they are a random sample of this seed; None: the first ones
    until_half_width: float | None = None  # stop a task when its interval is this narrow
    until_mean_half_width: float | None = None  # stop a suite when that of its tasks' mean is this narrow
    reference: PairedReference | None = None  # stop a task when it and the model are told apart
    replicate: int = 1  # of 2 and more every item is asked again, whatever others answered
    minutes: float | None = None  # stop cleanly after this long
    fit: Mapping[str, Any] | None = None  # the check before loading, and each step of its ladder
    warnings: tuple[str, ...] = ()  # shown before loading, stored with every run
    flush_s: float = 5.0  # between writes of answers: a kill loses at most this much work
    shard: Shard | None = None  # the part of one of several workers; None: one worker asks everything
    cards: tuple[str, ...] = ()  # UUIDs of those that it may use, while others use the rest; empty: any
    n_beside: int = 0  # other models that may use the same cards, or the processor, at the same time
    # how long answers may become: of each task, by `doc_id`; 0: unknown. It decides which of them begin first
    expected_tokens: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit must be positive, got {self.limit}")
        for until in (self.until_half_width, self.until_mean_half_width):
            if until is not None and not 0.0 < until < 0.5:
                raise ValueError(f"until must be a fraction between 0 and 0.5, got {until}")
        if self.minutes is not None and self.minutes <= 0:
            raise ValueError(f"minutes must be positive, got {self.minutes}")


@dataclass(frozen=True, slots=True)
class Item:
    """One question of one task with the model's answer: the evidence behind every number."""

    task: str
    doc_id: int  # place of the question in its task
    doc_hash: str
    prompt: str
    target: str
    response: str  # generated text; for a choice the text of the chosen one
    extracted: str  # the answer that the filter extracted
    score: float | None  # the suite's metric of this item; None: none is defined for one item
    metrics: Mapping[str, Any]  # "metric,filter" → value, as the task computed it
    finish_reason: str  # "stop", "length", "repetition", "refused", "loglikelihood"; imported also "unknown"
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int = 0  # of the prompt, read from a prefix cache
    latency_s: float | None = None
    ttft_s: float | None = None
    choices: tuple[str, ...] = ()
    log_probs: tuple[float, ...] = ()  # of each choice, summed over its tokens, in nats
    thinking: str | None = None  # text before the end-of-thinking token
    cluster: str | None = None  # items of one cluster share a context

    @property
    def refused(self) -> bool:
        """Whether the server refused the request: the answer is empty, and a later run asks again."""
        return self.finish_reason == "refused"

    @property
    def is_unscored(self) -> bool:
        """Whether a log-probability is missing: it is in no score, and a later run asks again."""
        return self.refused and not self.metrics

    @property
    def truncated(self) -> bool:
        """Whether the answer was cut off: by the token budget, or since it repeated itself."""
        return self.finish_reason in CUT_OFF

    @property
    def is_written(self) -> bool:
        """Whether text was asked for, not the probability of one."""
        return self.finish_reason != "loglikelihood"

    @property
    def is_empty(self) -> bool:
        """Whether the model ended its answer without any text."""
        return self.finish_reason == "stop" and not self.response.strip()

    @property
    def is_completed(self) -> bool:
        """Whether the model ended its answer by itself, and wrote one."""
        return self.finish_reason == "stop" and bool(self.response.strip())


@dataclass(frozen=True, slots=True)
class TaskScore:
    """One number for one task; the interval is the 95% one."""

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
    unparsed_fraction: float | None = None  # answers that could not be parsed
    empty_fraction: float | None = (
        None  # answers that ended without text; null here and below: none is written
    )
    only_thinking_fraction: float | None = None  # of all answers, those of which only the thinking has text
    cut_thinking_fraction: float | None = None  # of all answers, those cut off before the thinking ended
    completed_fraction: float | None = None  # answers that ended by themselves, with text
    completed_value: float | None = None  # the score of these alone; null: there are none
    completed_ci_low: float | None = None
    completed_ci_high: float | None = None
    repeats: int | None = None  # times that each item was asked; null: once
    mean_output_tokens: float | None = None  # of an answer, with its thinking

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("value", "chance", "truncated_fraction"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{self.task} {self.metric}: {name} must be in 0..1, got {value}")
        if self.n_items < 1:
            raise ValueError(f"{self.task} {self.metric}: a score needs at least one item")


@dataclass(frozen=True, slots=True)
class TaskMetric:
    """One metric of one task, in the metric's own unit: a perplexity, a BLEU score, a share."""

    task: str
    metric: str
    filter: str
    value: float
    stderr: float | None  # null: it is no mean over items
    n_items: int
    higher_is_better: bool | None  # null: the task does not say
    is_headline: bool  # whether the task's score is this metric

    def __post_init__(self) -> None:
        """Refuse what is no number."""
        if not math.isfinite(self.value):
            raise ValueError(
                f"{self.task} {self.metric}: the value must be a finite number, got {self.value}"
            )


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a run, measured in the worker."""

    duration_s: float = 0.0  # from the first request to the last answer
    load_s: float | None = None
    prompt_tokens: int = 0  # of the items answered in this run, as in the tasks
    prefilled_tokens: int = 0  # computed by the engine
    output_tokens: int = 0
    tokens_per_s: float | None = None  # output tokens per second of generation
    ttft_s: float | None = None  # median time to first token
    peak_memory_bytes: int | None = None
    energy_j: float | None = None
    memory_basis: str | None = None  # "used": without what was only reserved; null: all that was taken
    n_workers: int = 1  # that shared the run; speed and memory are those of one of them


@dataclass(frozen=True, slots=True)
class Reuse:
    """Answers that a run took from an earlier one."""

    run_id: str
    n_items: int
    started_at: datetime | None = None  # of that run; None: its `run.json` cannot be read
    base_url: str | None = None  # of the server that gave the answers


@dataclass(frozen=True, slots=True)
class PromptForm:
    """The form in which the questions of one task were put to the model."""

    task: str
    chat: bool  # through the chat template; else as plain text
    system: bool  # with a system message
    tools: str | None = None  # "template": through the chat template, "text": as text; null: there are none


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
    limit: int | None = None  # items asked of each task
    sample_seed: int | None = None  # of the random sample that they are; None: the first ones
    metrics: tuple[TaskMetric, ...] = ()  # every metric of every task, those of the scores among them
    thinks: bool | None = None  # whether the model thought before it answered; None: it was not found out
    sampling: str = "task"  # one of `SAMPLING`
    sampling_values: Mapping[str, Any] = field(default_factory=dict)  # those of the checkpoint, for `model`
    repeats: int = 1  # times that each question with a sampled answer was asked
    replicate: int = 1  # which measurement of the same this is; only the first counts in other answers
    max_output_tokens: int | None = None  # budget that was asked for; None: as suite and tasks say
    harness_version: str = ""
    reused: tuple[Reuse, ...] = ()  # where the reused items come from
    prompts: tuple[PromptForm, ...] = ()  # of each task; empty in runs of older versions
    against: tuple[PairedOutcome, ...] = ()  # of each task that ended once told apart from a reference
    suite_mean: SuiteMean | None = None  # of a run that ended once it was known
    origin: Origin | None = None  # of a run that was imported; None: measured here

    def __post_init__(self) -> None:
        """Check that times are aware, a failed run has a reason, and its counts are possible."""
        for moment in (self.started_at, self.ended_at):
            if moment is not None and moment.tzinfo is None:
                raise ValueError(f"{self.run_id}: times must have a time zone")
        if self.status is RunStatus.FAILED and not self.reason:
            raise ValueError(f"{self.run_id}: a failed run needs a reason")
        _check_count(self.run_id, "repeats", self.repeats, most=MOST_REPEATS)
        _check_count(self.run_id, "replicate", self.replicate, most=MOST_REPLICATES)
        if self.max_output_tokens is not None:
            _check_count(self.run_id, "max_output_tokens", self.max_output_tokens, most=MOST_OUTPUT_TOKENS)


def fingerprint(parts: Mapping[str, Any]) -> str:
    """Hash of `parts` as 32 hex digits: equal if and only if every value is equal.

    Raises:
        TypeError: a value cannot be represented in JSON.
    """
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
