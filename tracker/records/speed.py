"""The speed of a model as a load generator measured it: one record per command, one level per concurrency."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from tracker.errors import FieldError
from tracker.records import EngineInfo, EngineSettings, Model

MOST_REQUESTS = 100_000  # of one level, and under way at once
MOST_TOKENS = 1_000_000  # of one prompt or answer
BOUND_NAMES = ("ttft", "tpot", "e2el")  # as load generators write them


class SpeedStatus(StrEnum):
    """How far the measurement came."""

    COMPLETE = "complete"  # every level, and every request was answered
    PARTIAL = "partial"  # see `reason`; the levels that there are count
    INTERRUPTED = "interrupted"  # as long as it runs, and if it was killed
    FAILED = "failed"  # no request was answered


@dataclass(frozen=True, slots=True)
class LatencyBound:
    """The bound within which an answer counts as good; None: any time will do.

    The default is that of MLPerf Inference for Llama 2 70B, scenario server: 2 s and 200 ms per token.
    """

    ttft_s: float | None = 2.0  # to the first token
    tpot_s: float | None = 0.2  # per output token after the first
    e2el_s: float | None = None  # to the last token

    @classmethod
    def parse(cls, text: str) -> LatencyBound:
        """The bound in `ttft:2000,tpot:200`, in milliseconds, as `vllm bench serve --goodput` writes it.

        Raises:
            FieldError: it is no such bound.
        """
        found: dict[str, float] = {}
        for word in text.replace(",", " ").split():
            name, colon, value = word.partition(":")
            try:
                bound_ms = float(value)
            except ValueError:
                bound_ms = math.nan
            if name not in BOUND_NAMES or not colon or not 0 < bound_ms < math.inf or f"{name}_s" in found:
                problem = f"must name {', '.join(BOUND_NAMES)} in milliseconds, got `{word}`"
                raise FieldError("goodput", problem, example="ttft:2000,tpot:200")
            found[f"{name}_s"] = bound_ms / 1000
        if not found:
            raise FieldError("goodput", "is empty", example="ttft:2000,tpot:200")
        return cls(**{"ttft_s": None, "tpot_s": None} | found)

    def is_met(self, *, ttft_s: float, tpot_s: float, e2el_s: float) -> bool:
        """Whether an answer with these times is good."""
        pairs = ((self.ttft_s, ttft_s), (self.tpot_s, tpot_s), (self.e2el_s, e2el_s))
        return all(bound is None or value <= bound for bound, value in pairs)


@dataclass(frozen=True, slots=True)
class SpeedLoad:
    """The load of a measurement: the same prompts and lengths for every level."""

    sweep: tuple[int, ...] = (1, 4, 16)  # requests under way at once, one level each
    requests: int | None = None  # of a level; None: four times as many as are under way, at least 16
    input_tokens: int = 512
    output_tokens: int = 128
    bound: LatencyBound = LatencyBound()

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.sweep:
            raise FieldError("sweep", "is empty", example="1,4,16")
        for name, values, most in (
            ("sweep", self.sweep, MOST_REQUESTS),
            ("requests", (self.requests,), MOST_REQUESTS),
            ("input_tokens", (self.input_tokens,), MOST_TOKENS),
            ("output_tokens", (self.output_tokens,), MOST_TOKENS),
        ):
            for value in values:
                if value is not None and not 1 <= value <= most:
                    raise FieldError(name, f"must be between 1 and {most:,}, got {value}")
        if self.output_tokens < 2:
            raise FieldError("output_tokens", "must be at least 2, or nothing follows the first token")
        if len(set(self.sweep)) != len(self.sweep):
            raise FieldError("sweep", "names a number twice", example="1,4,16")

    def requests_at(self, concurrency: int) -> int:
        """How many requests a level has."""
        return self.requests if self.requests is not None else max(16, 4 * concurrency)


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of a time over requests, with its 95% interval, and other quantiles; in seconds."""

    median: float
    ci_low: float | None  # null here and below: too few requests for an interval
    ci_high: float | None
    p90: float
    p99: float
    mean: float


@dataclass(frozen=True, slots=True)
class SpeedLevel:
    """What was measured with this many requests under way at once."""

    concurrency: int
    n_requests: int
    n_answered: int
    duration_s: float  # from the first request to the last answer
    prompt_tokens: int  # of all answered requests
    output_tokens: int
    output_tokens_per_s: float
    requests_per_s: float
    goodput_per_s: float  # requests per second that were answered within the bound
    n_good: int
    ttft: Spread | None = None  # time to the first token; null here and below: no request was answered
    tpot: Spread | None = None  # time per output token after the first, mean of each request
    itl: Spread | None = None  # gaps between pieces of an answer, over all of them
    e2el: Spread | None = None  # time to the last token
    energy_j: float | None = None  # of the cards in this time; null: they do not report it
    error: str = ""  # of the first request that was not answered

    def __post_init__(self) -> None:
        """Check the counts."""
        if not 0 <= self.n_good <= self.n_answered <= self.n_requests or self.n_requests < 1:
            counts = f"{self.n_good} good of {self.n_answered} answered of {self.n_requests}"
            raise ValueError(f"concurrency {self.concurrency}: impossible counts: {counts}")

    @property
    def joules_per_token(self) -> float | None:
        """Joules of the cards per output token."""
        return self.energy_j / self.output_tokens if self.energy_j and self.output_tokens else None


@dataclass(frozen=True, slots=True)
class SpeedRun:
    """One measurement of speed: the content of `speed.json`, from which the database can be rebuilt."""

    speed_id: str
    model: Model
    settings: EngineSettings
    load: SpeedLoad
    status: SpeedStatus
    started_at: datetime
    ended_at: datetime | None = None
    reason: str | None = None  # machine-readable cause of anything but `complete`
    detail: str | None = None  # the same for people
    engine: EngineInfo | None = None  # None: it was never ready
    generator: str = ""  # "vllm bench serve"
    generator_version: str = ""
    endpoint: str = ""  # "/v1/completions"
    levels: tuple[SpeedLevel, ...] = ()
    load_s: float | None = None  # until the server was ready; null: it was running already
    counts_from: str = ""  # of output tokens: "server", or "pieces" of the answers where it tells none
    prompt_tokens: int = 0  # of one prompt, as the server counted it
    ignores_end: bool = True  # whether answers have the length that was asked for
    peak_memory_bytes: int | None = None  # of the server that we started
    n_cards: int = 0  # whose energy counts
    hardware: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that times are aware and a failed measurement has a reason."""
        for moment in (self.started_at, self.ended_at):
            if moment is not None and moment.tzinfo is None:
                raise ValueError(f"{self.speed_id}: times must have a time zone")
        if self.status is SpeedStatus.FAILED and not self.reason:
            raise ValueError(f"{self.speed_id}: a failed measurement needs a reason")
