"""A vintage: the capability index and the scores behind it, as a source published them at one time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from datetime import date, datetime

from tracker.records.published import Access


@dataclass(frozen=True, slots=True)
class VintageModel:
    """A model of the published index."""

    model: str
    organization: str
    country: str
    access: Access
    released: date
    index: float | None = None  # as published; None: scored, but without a published value
    ci_low: float | None = None  # ends of the published 90% interval; None: an anchor, or not published
    ci_high: float | None = None
    draws: tuple[float, ...] = ()  # published joint bootstrap values of the index, in the order of the draws


@dataclass(frozen=True, slots=True)
class VintageScore:
    """A score as the index is fitted to it: chance is 0, the ceiling 1."""

    model: str
    benchmark: str
    score: float
    model_version: str | None = None  # the release and effort that reached it
    source: str | None = None  # who published it; None: the publisher of the index ran it

    def __post_init__(self) -> None:
        """Check the range."""
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(
                f"{self.model} on {self.benchmark}: the rescaled score must be within 0..1, got {self.score}"
            )


@dataclass(frozen=True, slots=True)
class VintageBenchmark:
    """A benchmark of the published index."""

    benchmark: str
    chance: float = 0.0  # raw score that counts as 0
    ceiling: float = 1.0  # raw score that counts as 1
    released: date | None = None
    superseded_by: str | None = None
    is_anchor: bool = False  # whether it fixes the slope
    difficulty: float | None = None  # as published, on the scale of the index
    slope: float | None = None
    difficulty_draws: tuple[float, ...] = ()  # joint with the draws of the models
    slope_draws: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check that chance lies below the ceiling."""
        if not self.chance < self.ceiling:
            raise ValueError(f"{self.benchmark}: chance {self.chance} is not below ceiling {self.ceiling}")


@dataclass(frozen=True, slots=True)
class VintageData:
    """Everything that one download says about the index."""

    day: date  # of the newest release or evaluation in it: no part of the data is newer
    models: tuple[VintageModel, ...]
    benchmarks: tuple[VintageBenchmark, ...] = ()
    scores: tuple[VintageScore, ...] = ()
    notes: tuple[str, ...] = ()  # what was left out

    @property
    def digest(self) -> str:
        """Hash of the content: equal for two downloads that say the same."""
        hashed = hashlib.sha256()
        for rows in (self.models, self.benchmarks, self.scores):
            named = sorted(repr([getattr(row, f.name) for f in fields(row)]) for row in rows)
            hashed.update("\n".join(named).encode())
        return hashed.hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Vintage:
    """A stored vintage, without its rows."""

    vintage_id: str  # sorts by the time of its ingest
    source: str
    day: date
    ingested_at: datetime
    confirmed_at: datetime  # the last ingest at which the source still said the same
    digest: str
    n_models: int
    n_scores: int
    n_benchmarks: int
    is_accepted: bool  # False: much of the last one is missing, and no later ingest has confirmed it
    reason: str | None = None  # why it is not accepted, or cannot be refitted
    is_refitted: bool = False  # whether our own fit could be made; else the published values are used
    refit_n: int | None = None  # models whose published and refitted index were compared
    refit_mean_error: float | None = None  # mean absolute distance, index points
    refit_max_error: float | None = None
