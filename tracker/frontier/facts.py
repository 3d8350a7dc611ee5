"""The rows of the tables under `data/frontier/`: frozen records that check themselves.

Scores are fractions of 1, parameters are counts, prices are US dollars per million tokens.
An empty cell is `None`: not known, never zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum


class Access(StrEnum):
    """Whether the weights are available."""

    OPEN = "open"
    CLOSED = "closed"
    UNKNOWN = "unknown"


class ReportedBy(StrEnum):
    """Whether the developer of a model or someone else published a number."""

    FIRST_PARTY = "first_party"
    THIRD_PARTY = "third_party"
    UNKNOWN = "unknown"


class Redistribution(StrEnum):
    """Whether the terms of a published number allow passing it on."""

    ALLOWED = "allowed"
    NOT_ALLOWED = "not_allowed"
    NOT_STATED = "not_stated"


class PrivateList(StrEnum):
    """A list of benchmarks whose items are not public; the extended one contains the other."""

    EPOCH = "epoch_list"
    EXTENDED = "extended_list"


class OverrideKind(StrEnum):
    """The kind of fact that an override corrects; each kind can be turned off."""

    RELEASE_SCORED = "release_scored"  # a group date earlier than the release that was scored
    WEIGHTS_PUBLISHED = "weights_published"  # an API date earlier than the weights
    ACCESS_LABEL = "access_label"  # the source has no label and the fact is plain


def _check_fraction(where: str, name: str, value: float | None) -> None:
    if value is not None and not 0.0 <= value <= 1.0:
        raise ValueError(f"{where}: {name} must be in 0..1, got {value}")


def _check_name(kind: str, value: str) -> None:
    if not value or value != value.strip():
        raise ValueError(f"{kind} must be a name without spaces around it, got {value!r}")


CARD_KINDS = ("consumer", "workstation", "datacenter", "unified")
# Of the memory that processor and graphics share: macOS grants two thirds to three quarters by default.
SHARED_FRACTION = 0.7


@dataclass(frozen=True, slots=True)
class PublishedScore:
    """A published score of a model on a benchmark in one vintage."""

    vintage: date
    model: str
    model_version: str | None  # the release and effort that reached the score
    benchmark: str
    score: float  # centered and clipped, as the index uses it
    raw_score: float | None
    reported_by: ReportedBy
    reported_by_rule: str
    source: str | None
    source_url: str | None
    evaluated_on: date | None

    def __post_init__(self) -> None:
        """Check names and ranges."""
        _check_name("model", self.model)
        _check_name("benchmark", self.benchmark)
        _check_fraction(f"{self.model} on {self.benchmark}", "score", self.score)
        _check_fraction(f"{self.model} on {self.benchmark}", "raw_score", self.raw_score)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The known facts about a model as the source labels it; for corrections see `Override`."""

    model: str
    organization: str
    country: str
    access: Access
    released: date
    version_released: date | None  # earliest date of the releases that were scored
    n_params: int | None
    n_params_basis: str | None
    hub_id: str | None
    hub_id_basis: str | None
    hub_created: date | None
    price_in_usd_per_mtok: float | None
    price_out_usd_per_mtok: float | None
    price_source: str | None
    notes: str | None

    def __post_init__(self) -> None:
        """Check names and signs."""
        _check_name("model", self.model)
        if self.n_params is not None and self.n_params <= 0:
            raise ValueError(f"{self.model}: n_params must be positive, got {self.n_params}")
        for price in (self.price_in_usd_per_mtok, self.price_out_usd_per_mtok):
            if price is not None and price < 0:
                raise ValueError(f"{self.model}: a price must not be negative, got {price}")


@dataclass(frozen=True, slots=True)
class BenchmarkFacts:
    """The known facts about a benchmark."""

    benchmark: str
    chance: float  # raw score that maps to 0
    ceiling: float  # raw score that maps to 1
    chance_basis: str
    source_scale: str
    released: date | None
    released_basis: str | None
    private_by: PrivateList | None  # the shortest list that counts it as private
    domain: str
    superseded_by: str | None
    slope_anchor: bool
    n_items: int | None
    lm_eval_task: str | None
    lm_eval_match: str | None
    url: str | None
    description: str
    notes: str | None

    def __post_init__(self) -> None:
        """Check names and ranges."""
        _check_name("benchmark", self.benchmark)
        _check_fraction(self.benchmark, "chance", self.chance)
        _check_fraction(self.benchmark, "ceiling", self.ceiling)
        if self.chance >= self.ceiling:
            raise ValueError(f"{self.benchmark}: chance {self.chance} is not below ceiling {self.ceiling}")
        if self.n_items is not None and self.n_items < 1:
            raise ValueError(f"{self.benchmark}: n_items must be positive, got {self.n_items}")

    def is_private(self, private_list: PrivateList) -> bool:
        """Whether `private_list` counts its items as not public."""
        if private_list is PrivateList.EPOCH:
            return self.private_by is PrivateList.EPOCH
        return self.private_by is not None


@dataclass(frozen=True, slots=True)
class Override:
    """One correction of `ModelFacts`, with its reason and source."""

    kind: OverrideKind
    model: str
    field: str  # "released" or "access"
    value: str
    reason: str
    source: str

    def __post_init__(self) -> None:
        """Check the reason, the field and that the value suits the field."""
        _check_name("model", self.model)
        if not self.reason or not self.source:
            raise ValueError(f"{self.model}: an override needs a reason and a source")
        if self.field == "access":
            Access(self.value)
        elif self.field == "released":
            date.fromisoformat(self.value)
        else:
            raise ValueError(
                f"{self.model}: only `released` and `access` can be overridden, got {self.field}"
            )


@dataclass(frozen=True, slots=True)
class SmallOpenModel:
    """A third party's estimate of a small open model's place on the published index (TECI)."""

    model: str
    variant: str
    family: str
    generation: str
    n_params: int
    released_month: str  # "2026-08"
    n_observations: int
    index: float
    index_ci_low: float
    index_ci_high: float
    index_frozen: float | None
    index_frozen_ci_low: float | None
    index_frozen_ci_high: float | None
    index_standalone: float | None
    index_standalone_ci_low: float | None
    index_standalone_ci_high: float | None
    hub_id: str | None
    hub_id_basis: str | None

    def __post_init__(self) -> None:
        """Check the month and the order of the interval."""
        _check_name("model", self.model)
        date.fromisoformat(f"{self.released_month}-01")
        if not self.index_ci_low <= self.index_ci_high:
            raise ValueError(f"{self.model}: the interval {self.index_ci_low}..{self.index_ci_high} is empty")

    @property
    def released(self) -> date:
        """The first of the month; the day is unknown, so the model may be newer."""
        return date.fromisoformat(f"{self.released_month}-01")


@dataclass(frozen=True, slots=True)
class PublishedIndex:
    """The index published by Epoch AI for a model, used to check a refit."""

    vintage: date
    model: str
    index: float
    index_ci_low: float | None
    index_ci_high: float | None


@dataclass(frozen=True, slots=True)
class SelfReportedScore:
    """A score that a developer reported, collected by LLM-Stats; joins to the index where certain."""

    model: str
    source_model_id: str
    organization: str
    benchmark: str
    source_benchmark_id: str
    score: float
    is_self_reported: bool
    source_url: str | None
    index_model: str | None
    index_benchmark: str | None
    index_benchmark_match: str | None
    recorded_on: date | None
    notes: str | None

    def __post_init__(self) -> None:
        """Check names and ranges."""
        _check_name("model", self.model)
        _check_fraction(f"{self.model} on {self.benchmark}", "score", self.score)


@dataclass(frozen=True, slots=True)
class BoardLicense:
    """The terms of the leaderboard from which the scores on a benchmark were collected."""

    benchmark: str
    board: str
    url: str | None
    license: str  # "not stated" where none was found
    redistribution: Redistribution
    basis: str | None  # where the terms stand, or why they are unclear

    def __post_init__(self) -> None:
        """Check the names."""
        _check_name("benchmark", self.benchmark)
        _check_name("board", self.board)
        _check_name("license", self.license)


@dataclass(frozen=True, slots=True)
class SeriesPoint:
    """One dated model of a score series from a file, such as a rating board."""

    model: str
    access: Access
    released: date
    value: float
    ci_low: float | None  # of the 95% interval
    ci_high: float | None

    def __post_init__(self) -> None:
        """Check that the interval is complete and in order."""
        _check_name("model", self.model)
        if (self.ci_low is None) != (self.ci_high is None):
            raise ValueError(f"{self.model}: give both ends of the interval or none")
        low, high = (self.value if end is None else end for end in (self.ci_low, self.ci_high))
        if not low <= self.value <= high:
            raise ValueError(f"{self.model}: {self.value} is outside {low}..{high}")


@dataclass(frozen=True, slots=True)
class HarnessScore:
    """A published score of an open model that was measured with lm-eval; joins by `hub_id` only."""

    hub_id: str
    variant: str  # "base" or "instruct"
    task: str  # as lm-eval or the named fork calls it
    n_shots: int
    metric: str
    filter: str
    score: float  # a fraction of 1, not corrected for chance
    stderr: float | None
    harness_version: str
    source: str
    source_url: str
    license: str
    recorded_on: date | None
    notes: str | None

    def __post_init__(self) -> None:
        """Check names and ranges."""
        _check_name("hub_id", self.hub_id)
        _check_name("task", self.task)
        _check_fraction(f"{self.hub_id} on {self.task}", "score", self.score)
        if self.variant not in {"base", "instruct"}:
            raise ValueError(f"{self.hub_id}: variant must be `base` or `instruct`, got `{self.variant}`")
        if not self.license:
            raise ValueError(f"{self.hub_id} on {self.task}: a score without a license is not shipped")


@dataclass(frozen=True, slots=True)
class Card:
    """A graphics card, or a computer with shared memory, as its vendor describes it."""

    card: str
    vendor: str
    kind: str  # "consumer", "workstation", "datacenter" or "unified"
    memory_gb: float
    bandwidth_gb_s: float  # of its memory, 10^9 bytes per second
    compute_capability: str | None  # of NVIDIA's cards
    released_year: int
    source: str

    def __post_init__(self) -> None:
        """Check the ranges."""
        _check_name("card", self.card)
        if self.kind not in CARD_KINDS:
            raise ValueError(f"{self.card}: unknown kind `{self.kind}`")
        if not 0 < self.memory_gb < 10_000 or not 0 < self.bandwidth_gb_s < 100_000:
            raise ValueError(f"{self.card}: impossible memory or bandwidth")

    @property
    def usable_gb(self) -> float:
        """Memory that a model may take: of shared memory, the share that macOS grants to graphics."""
        return round(self.memory_gb * (SHARED_FRACTION if self.kind == "unified" else 1.0), 1)


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What memory and speed of an open model depend on, from its configuration on the Hub."""

    hub_id: str
    n_params: int | None
    n_active_params: int | None  # None: all of them
    cache_values_per_token: int  # keys and values of the layers that attend to every token
    window_values_per_token: int | None  # of the layers with a sliding window
    window: int | None  # tokens
    max_context: int
    published_bits: float  # of most weights
    license: str
    source: str

    def __post_init__(self) -> None:
        """Check that the numbers belong together."""
        _check_name("hub_id", self.hub_id)
        if (self.window is None) != (self.window_values_per_token is None):
            raise ValueError(f"{self.hub_id}: a window needs its values per token, and the other way round")
        if self.n_params and self.n_active_params and self.n_active_params > self.n_params:
            raise ValueError(f"{self.hub_id}: more active parameters than there are")

    def cache_values(self, context: int) -> int:
        """Values in the cache of one sequence of `context` tokens."""
        in_window = (self.window_values_per_token or 0) * min(context, self.window or 0)
        return self.cache_values_per_token * context + in_window


@dataclass(frozen=True, slots=True)
class CatalogRow:
    """An open model of the shipped catalog: its size, and its place on the index if it has one."""

    hub_id: str
    n_params: int
    n_active_params: int | None  # None: all of them
    max_context: int | None
    license: str | None
    index: float | None
    index_ci_low: float | None  # 90% interval
    index_ci_high: float | None
    index_basis: str | None
    index_name: str | None  # its name in the published data
    months_behind: float | None  # behind closed models
    months_bound: str | None  # "at_least" or "at_most"
    months_definition: str | None
    months_as_of: date | None  # day of the data

    def __post_init__(self) -> None:
        """Check the name and the size, and that a place is whole."""
        _check_name("hub_id", self.hub_id)
        if self.n_params < 1:
            raise ValueError(f"{self.hub_id}: no parameters")
        if len({value is None for value in (self.index, self.index_basis, self.months_as_of)}) > 1:
            raise ValueError(f"{self.hub_id}: an index needs its basis and its day")
