"""Which model is worth a bench first: points with a reason each, so that a person can read and change them.

Pure: it knows what the sources say and what was measured here, and decides nothing about this machine but
whether the weights can fit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tracker.ingested import ModelKind
from tracker.sizing import class_name, needed_bytes, size_class

NEW = ((timedelta(days=14), 30.0), (timedelta(days=60), 15.0))  # age, points
POPULAR_POINTS = 5.0  # per power of ten of downloads, from 100 on
POPULAR_MOST = 25.0
TRENDING_POINTS = 10.0
NEAR_BEST = 0.05  # of a score: so close to the best open model of its size is worth a look
NEAR_BEST_POINTS = 20.0
UNCHECKED_POINTS = 15.0  # a claim of the developer's that nobody else has measured
KIND_POINTS = {
    ModelKind.CHAT: 0.0,
    ModelKind.BASE: -10.0,  # the suites ask in chat form first of all
    ModelKind.UNKNOWN: -10.0,
    ModelKind.FINETUNE: -25.0,
    ModelKind.QUANTIZED: -40.0,
}
NEVER = (ModelKind.ADAPTER, ModelKind.MERGE)  # no models of their own; named when asked for
LEAST = 15.0  # points from which on a model is queued without being asked for


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that could be measured, as the sources have it."""

    model_id: str
    kind: ModelKind
    revision: str | None = None
    n_params: int | None = None
    weights_bytes: int | None = None
    released_at: datetime | None = None
    downloads: int = 0
    trending: int = 0
    gated: str | None = None
    has_safetensors: bool = True
    needs_remote_code: bool = False
    is_disabled: bool = False

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Candidate:
        """The candidate in a row of `known_models`."""
        return cls(
            model_id=row["name"],
            kind=ModelKind(row["kind"]),
            revision=row["revision"],
            n_params=row["n_params"],
            weights_bytes=row["weights_bytes"],
            released_at=row["released_at"],
            downloads=row["downloads"] or 0,
            trending=row["trending"] or 0,
            gated=row["gated"],
            has_safetensors=row["has_safetensors"] is not False,
            needs_remote_code=row["needs_remote_code"],
            is_disabled=row["is_disabled"],
        )


@dataclass(frozen=True, slots=True)
class Claims:
    """What is claimed of models, and the best of each size on each benchmark."""

    by_model: Mapping[str, Mapping[str, float]] = field(
        default_factory=dict
    )  # casefolded id → benchmark → value
    unchecked: frozenset[str] = frozenset()  # with a claim that no third party has measured
    best: Mapping[tuple[int, str], float] = field(default_factory=dict)  # size class, benchmark → value


@dataclass(frozen=True, slots=True)
class Priority:
    """How much a bench of a model is worth, and why."""

    points: float
    reasons: tuple[str, ...]


def read_claims(rows: Iterable[Mapping[str, Any]], sizes: Mapping[str, int | None]) -> Claims:
    """The claims in rows of `model_claims`; `sizes` are parameters by casefolded id."""
    by_model: dict[str, dict[str, float]] = {}
    checked: dict[tuple[str, str], bool] = {}
    best: dict[tuple[int, str], float] = {}
    for row in rows:
        key, benchmark, value = row["model_id"].casefold(), row["benchmark"], row["value"]
        known = by_model.setdefault(key, {})
        known[benchmark] = max(value, known.get(benchmark, 0.0))
        is_checked = row["reported_by"] == "third_party"
        checked[key, benchmark] = checked.get((key, benchmark), False) or is_checked
        place = size_class(sizes.get(key))
        if place is not None:
            best[place, benchmark] = max(value, best.get((place, benchmark), 0.0))
    unchecked = frozenset(key for (key, _), is_checked in checked.items() if not is_checked)
    return Claims(by_model, unchecked, best)


def priority(candidate: Candidate, claims: Claims, now: datetime) -> Priority:
    """The points of a candidate, each with its reason."""
    found: list[tuple[float, str]] = []
    if candidate.released_at is not None:
        age = now - candidate.released_at
        points = next((points for limit, points in NEW if age <= limit), 0.0)
        if points:
            found.append((points, f"new: {max(age.days, 0)} days old"))
    if candidate.downloads > 100:
        points = min(POPULAR_POINTS * math.log10(candidate.downloads / 100), POPULAR_MOST)
        found.append((round(points, 1), f"popular: {candidate.downloads:,} downloads"))
    if candidate.trending > 1:
        found.append((TRENDING_POINTS, "trending on the Hub"))
    key = candidate.model_id.casefold()
    if near := _near_best(claims.by_model.get(key, {}), claims, size_class(candidate.n_params)):
        found.append((NEAR_BEST_POINTS, near))
    if key in claims.unchecked:
        found.append((UNCHECKED_POINTS, "claims scores that nobody else has measured"))
    if KIND_POINTS.get(candidate.kind, 0.0):
        found.append((KIND_POINTS[candidate.kind], f"is a {candidate.kind} model"))
    points = round(sum(points for points, _ in found), 1)
    return Priority(points, tuple(f"{points:+g} {reason}" for points, reason in found))


def obstacle(candidate: Candidate, memory_bytes: int, *, fit_bytes: int | None = None) -> str | None:
    """Why this candidate cannot be measured here now; None if nothing is known to be in the way.

    `fit_bytes` is what `tracker fit` predicted; without it the size of the weights is all that is known.
    """
    if candidate.is_disabled:
        return "disabled on the Hub"
    if candidate.gated:
        return f"gated ({candidate.gated}): ask for access on the Hub, then `tracker queue unpark`"
    if not candidate.has_safetensors:
        return "has no safetensors"
    if candidate.needs_remote_code:
        return "runs its own code: `tracker bench MODEL --trust-remote-code` if you trust it"
    needed = fit_bytes or needed_bytes(candidate.weights_bytes)
    if needed is not None and needed > memory_bytes:
        basis = "as `tracker fit` says" if fit_bytes else "by the size of its weights"
        has = f"this machine has {memory_bytes / 1e9:.0f} GB"
        return f"needs about {needed / 1e9:.0f} GB of memory {basis}, {has}"
    return None


def _near_best(claimed: Mapping[str, float], claims: Claims, place: int | None) -> str | None:
    if place is None:
        return None
    for benchmark, value in sorted(claimed.items()):
        best = claims.best.get((place, benchmark), 1.0)
        if value >= best - NEAR_BEST:
            return f"claims {value:.1%} on {benchmark}, the best open model of {class_name(place)} {best:.1%}"
    return None
