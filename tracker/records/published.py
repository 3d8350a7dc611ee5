"""Records of ingestion: models as sources describe them, published scores, outcomes of ingests.

Frozen records that check themselves. A score in unit `fraction` is in 0..1; other units keep the source's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracker.records.vintages import VintageData

POPULARITY = (
    "downloads",
    "likes",
    "trending",
)  # changes every hour, so it does not count as a change of the model
UNITS = ("fraction", "rating", "index", "minutes", "points")  # points: the benchmark's own
KEPT_PROBLEMS = 50  # per ingest; all of them are counted
OUT_OF_RANGE = "the score must be in 0..1, got"  # what a score in another unit is refused with


class OutcomeStatus(StrEnum):
    """The outcome of ingesting one source."""

    RUNNING = "running"
    COMPLETED = "completed"
    PARTIAL = "partial"  # what was read is kept; `reason` names the rest, which is requested next time
    SKIPPED_MISSING_CREDENTIAL = "skipped_missing_credential"
    SKIPPED_UNAVAILABLE = "skipped_unavailable"  # no network, or the source is down
    FAILED = "failed"  # it answered with something invalid

    @property
    def label(self) -> str:
        """The outcome as a reader sees it: `skipped (unavailable)`."""
        verb, _, cause = self.value.partition("_")
        return f"{verb} ({cause.replace('_', ' ')})" if cause else verb


class ModelKind(StrEnum):
    """The kind of a repository, relative to the models it was made from."""

    BASE = "base"  # pretrained, not made for chat
    CHAT = "chat"  # tuned for chat by the developers of its base model
    FINETUNE = "finetune"  # of another developer's model
    QUANTIZED = "quantized"
    ADAPTER = "adapter"
    MERGE = "merge"
    UNKNOWN = "unknown"


class Access(StrEnum):
    """Whether the weights are available."""

    OPEN = "open"
    CLOSED = "closed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SourceModel:
    """One model as one source describes it; a field that the source lacks is None."""

    name: str  # as written by the source
    hub_id: str | None = None  # only where the source states it
    organization: str | None = None
    access: Access = Access.UNKNOWN
    kind: ModelKind = ModelKind.UNKNOWN
    released_at: datetime | None = None
    last_modified_at: datetime | None = None
    revision: str | None = None
    license: str | None = None
    gated: str | None = None  # "auto", "manual"; None: not gated
    pipeline_tag: str | None = None
    n_params: int | None = None
    weights_bytes: int | None = None
    is_packed: bool = False  # `n_params` counts stored values that hold several weights: a lower bound
    has_safetensors: bool | None = None
    needs_remote_code: bool = False
    is_disabled: bool = False
    base_models: tuple[str, ...] = ()
    max_context: int | None = None
    price_in_usd_per_mtok: float | None = None
    price_out_usd_per_mtok: float | None = None
    downloads: int | None = None
    likes: int | None = None
    trending: int | None = None

    def __post_init__(self) -> None:
        """Check the name, the signs and the zones."""
        _check_name("model", self.name)
        for name in ("n_params", "weights_bytes", "downloads", "likes", "max_context"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{self.name}: {name} must not be negative, got {value}")
        for moment in (self.released_at, self.last_modified_at):
            if moment is not None and moment.tzinfo is None:
                raise ValueError(f"{self.name}: times must have a time zone")

    @property
    def key(self) -> str:
        """The name without case, by which names are compared; the Hub ignores case too."""
        return self.name.casefold()

    @property
    def fingerprint(self) -> str:
        """Hash of everything the source says, except popularity."""
        return _hash([getattr(self, f.name) for f in fields(self) if f.name not in POPULARITY])


@dataclass(frozen=True, slots=True)
class SourceScore:
    """One number that a source publishes for one model on one benchmark."""

    name: str
    benchmark: str
    value: float
    variant: str = ""  # distinguishes several scores of a model on a benchmark: effort, tools, category
    unit: str = "fraction"
    stderr: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    n_items: int | None = None
    reported_by: str = "third_party"  # or "first_party", "unknown"
    reporter: str | None = None
    source_url: str | None = None
    evaluated_on: date | None = None
    is_verified: bool = False
    is_per_reporter: bool = False  # the source has results of several evaluators, which are separate scores

    def __post_init__(self) -> None:
        """Check names, unit and range."""
        _check_name("model", self.name)
        _check_name("benchmark", self.benchmark)
        if self.unit not in UNITS:
            raise ValueError(f"{self.name} on {self.benchmark}: unknown unit `{self.unit}`")
        if self.unit == "fraction" and not 0.0 <= self.value <= 1.0:
            raise ValueError(f"{self.name} on {self.benchmark}: {OUT_OF_RANGE} {self.value}")
        if self.value != self.value:
            raise ValueError(f"{self.name} on {self.benchmark}: the score is not a number")
        if self.reported_by not in ("first_party", "third_party", "unknown"):
            raise ValueError(f"{self.name}: unknown reported_by `{self.reported_by}`")

    @property
    def key(self) -> str:
        """Identity of the score, independent of its value."""
        if self.is_per_reporter:
            return score_key(self.name, self.benchmark, self.variant, self.reported_by, self.reporter)
        return score_key(self.name, self.benchmark, self.variant)

    @property
    def fingerprint(self) -> str:
        """Hash of everything the source says."""
        return _hash([getattr(self, f.name) for f in fields(self) if f.name != "is_per_reporter"])


@dataclass(frozen=True, slots=True)
class DatedValue:
    """One value of a model on one day in a series that its source publishes with dates."""

    series: str
    day: date
    name: str
    value: float
    unit: str = "rating"
    ci_low: float | None = None
    ci_high: float | None = None
    access: Access = Access.UNKNOWN  # as the source labels the model on that day

    def __post_init__(self) -> None:
        """Check the names, and that the value is a number, a fraction one of 0..1."""
        _check_name("series", self.series)
        _check_name("model", self.name)
        if self.value != self.value or (self.unit == "fraction" and not 0.0 <= self.value <= 1.0):
            raise ValueError(f"{self.name} on {self.series}: {OUT_OF_RANGE} {self.value}")


@dataclass(frozen=True, slots=True)
class WeightsAt:
    """Hash of a repository's weights at a commit; commits with the same hash differ only in other files."""

    model_id: str
    revision: str
    weights_hash: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Records from one or more responses of a source; `resume` is the position after them."""

    models: tuple[SourceModel, ...] = ()
    scores: tuple[SourceScore, ...] = ()
    resume: str | None = None
    watermark: datetime | None = None  # everything older has been read once the source is complete
    problems: tuple[str, ...] = ()  # rows that were left out, and why
    missing: tuple[str, ...] = ()  # parts of the source that could not be read, and why
    unread: tuple[str, ...] = ()  # benchmarks hidden from us: their missing scores are not withdrawn
    history: tuple[DatedValue, ...] = ()  # a later value of the same series, day and model replaces it
    weights: tuple[WeightsAt, ...] = ()
    gone: tuple[str, ...] = ()  # names that the source no longer has
    renamed: tuple[tuple[str, str], ...] = ()  # old name, new name
    vintage: VintageData | None = None  # the published index in this answer


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """Static facts about a source: name, license, attribution."""

    name: str
    title: str
    url: str
    license: str
    attribution: str
    is_private: bool = False  # for use in this home only; excluded from every export
    is_whole: bool = False  # each response is the complete list, so a missing entry is gone


@dataclass(frozen=True, slots=True)
class IngestOutcome:
    """The outcome of ingesting one source; counts are of distinct models and scores."""

    source: str
    status: OutcomeStatus
    n_seen: int = 0
    n_new: int = 0
    n_changed: int = 0
    n_gone: int = 0
    n_overwritten: int = 0  # scores that a later one of the same response, with the same identity, replaced
    n_problems: int = 0  # of rows that were left out; `problems` has the first ones
    duration_s: float = 0.0
    reason: str | None = None
    problems: tuple[str, ...] = field(default=())
    ingest_id: str | None = None

    def __post_init__(self) -> None:
        """Check that an incomplete outcome has a reason."""
        if self.status is not OutcomeStatus.COMPLETED and not self.reason:
            raise ValueError(f"{self.source}: {self.status} needs a reason")

    @property
    def first_problem(self) -> str | None:
        """Why the first of the rows was left out; None if there is none."""
        n_kept = min(self.n_problems, KEPT_PROBLEMS)
        return self.problems[-n_kept] if n_kept else None


def score_key(name: str, benchmark: str, variant: str, *evaluator: str | None) -> str:
    """Identity of a score; `evaluator` is who reports it, where a source has several of them."""
    return _hash([name.casefold(), benchmark, variant, *evaluator])


def values_out_of_range(benchmark: str, problems: Iterable[str]) -> list[float]:
    """The values of this benchmark among the problems of rows refused because they are not in 0..1."""
    marks = (part.partition(f": {OUT_OF_RANGE} ") for part in problems)
    return [float(value) for row, found, value in marks if found and row.endswith(f" on {benchmark}")]


def _check_name(kind: str, value: str) -> None:
    if not value or value != value.strip() or len(value) > MAX_NAME:
        raise ValueError(f"{kind} must be a name without spaces around it, got {value[:80]!r}")


MAX_NAME = 300  # characters; the Hub allows 96 on each side of the slash


def _hash(values: list[object]) -> str:
    return hashlib.blake2b(repr(values).encode(), digest_size=12).hexdigest()
