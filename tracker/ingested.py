"""The nouns of ingestion: what a source says of a model, the scores that it publishes, what became of it.

Frozen records that check themselves. A score in unit `fraction` is of 1; other units keep the source's scale.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from enum import StrEnum

POPULARITY = ("downloads", "likes", "trending")  # moves every hour, and makes no model a changed one
UNITS = ("fraction", "rating", "index", "minutes")


class OutcomeStatus(StrEnum):
    """What became of asking one source."""

    RUNNING = "running"
    COMPLETED = "completed"
    PARTIAL = "partial"  # what was read is kept; the rest is named in `reason`, and asked for next time
    SKIPPED_MISSING_CREDENTIAL = "skipped_missing_credential"
    SKIPPED_UNAVAILABLE = "skipped_unavailable"  # no network, or the source is down
    FAILED = "failed"  # it answered, and with something that cannot be right


class ModelKind(StrEnum):
    """What a repository is, seen from the models that it was made from."""

    BASE = "base"  # pretrained, not made for chat
    CHAT = "chat"  # answers messages, published by those who trained it
    FINETUNE = "finetune"  # of somebody else's model
    QUANTIZED = "quantized"
    ADAPTER = "adapter"
    MERGE = "merge"
    UNKNOWN = "unknown"


class Access(StrEnum):
    """Whether the weights can be had."""

    OPEN = "open"
    CLOSED = "closed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SourceModel:
    """One model as one source describes it; a field that the source does not have is None."""

    name: str  # as the source calls it
    hub_id: str | None = None  # only where the source itself says so
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
    is_packed: bool = False  # several weights share one stored value, so `n_params` may be too small
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
                raise ValueError(f"{self.name}: times must carry a zone")

    @property
    def key(self) -> str:
        """What makes two names the same one: the Hub takes no notice of case either."""
        return self.name.casefold()

    @property
    def fingerprint(self) -> str:
        """Equal exactly when the source says the same, popularity apart."""
        return _hash([getattr(self, f.name) for f in fields(self) if f.name not in POPULARITY])


@dataclass(frozen=True, slots=True)
class SourceScore:
    """One number that a source publishes for one model on one benchmark."""

    name: str
    benchmark: str
    value: float
    variant: str = ""  # what tells two numbers of a model on a benchmark apart: effort, tools, category
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

    def __post_init__(self) -> None:
        """Check names, unit and range."""
        _check_name("model", self.name)
        _check_name("benchmark", self.benchmark)
        if self.unit not in UNITS:
            raise ValueError(f"{self.name} on {self.benchmark}: no unit is called {self.unit}")
        if self.unit == "fraction" and not 0.0 <= self.value <= 1.0:
            raise ValueError(f"{self.name} on {self.benchmark}: must be in 0..1, got {self.value}")
        if self.value != self.value:
            raise ValueError(f"{self.name} on {self.benchmark}: is not a number")
        if self.reported_by not in ("first_party", "third_party", "unknown"):
            raise ValueError(f"{self.name}: reported_by cannot be {self.reported_by}")

    @property
    def key(self) -> str:
        """What stays the same when the number changes."""
        return _hash([self.name.casefold(), self.benchmark, self.variant])

    @property
    def fingerprint(self) -> str:
        """Equal exactly when the source says the same."""
        return _hash([getattr(self, f.name) for f in fields(self)])


@dataclass(frozen=True, slots=True)
class WeightsAt:
    """Which weights a repository has at a commit: two commits with the same hash differ in other files."""

    model_id: str
    revision: str
    weights_hash: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What one or more answers of a source held; `resume` is where to go on after it."""

    models: tuple[SourceModel, ...] = ()
    scores: tuple[SourceScore, ...] = ()
    resume: str | None = None
    watermark: datetime | None = None  # all that is older has been seen, once the source is through
    problems: tuple[str, ...] = ()  # rows that were left out, and why
    missing: tuple[str, ...] = ()  # parts of the source that could not be read, and why
    unread: tuple[str, ...] = ()  # benchmarks not shown to us: that their scores are absent says nothing
    weights: tuple[WeightsAt, ...] = ()
    gone: tuple[str, ...] = ()  # names that the source no longer has
    renamed: tuple[tuple[str, str], ...] = ()  # old name, new name


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What is to be known of a source before it is asked."""

    name: str
    title: str
    url: str
    license: str
    attribution: str
    is_private: bool = False  # kept for this home's own use, and left out of every export
    is_whole: bool = False  # each answer is the whole list, so that what is missing is gone


@dataclass(frozen=True, slots=True)
class IngestOutcome:
    """What became of asking one source; counts are of different models and scores."""

    source: str
    status: OutcomeStatus
    n_seen: int = 0
    n_new: int = 0
    n_changed: int = 0
    n_gone: int = 0
    duration_s: float = 0.0
    reason: str | None = None
    problems: tuple[str, ...] = field(default=())
    ingest_id: str | None = None

    def __post_init__(self) -> None:
        """Whatever is not complete says why."""
        if self.status is not OutcomeStatus.COMPLETED and not self.reason:
            raise ValueError(f"{self.source}: {self.status} needs a reason")


def _check_name(kind: str, value: str) -> None:
    if not value or value != value.strip() or len(value) > MAX_NAME:
        raise ValueError(f"{kind} must be a name without spaces around it, got {value[:80]!r}")


MAX_NAME = 300  # characters; the Hub allows 96 on each side of the slash


def _hash(values: list[object]) -> str:
    return hashlib.blake2b(repr(values).encode(), digest_size=12).hexdigest()
