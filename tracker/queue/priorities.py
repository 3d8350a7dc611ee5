"""The order of the queue: points for each model, each with a reason that a user can read and override.

Pure functions of the ingested and measured data; the only fact about this machine is its memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tracker.memory_estimate import class_name, needed_bytes, size_class
from tracker.records.published import ModelKind

NEW = ((timedelta(days=14), 30.0), (timedelta(days=60), 15.0))  # age, points
POPULAR_POINTS = 5.0  # per power of ten of downloads, from 100 on
POPULAR_MOST = 25.0
TRENDING_POINTS = 10.0
NEAR_BEST = 0.05  # of a score: this close to the best open model of its size earns points
NEAR_BEST_POINTS = 20.0
UNCHECKED_POINTS = 15.0  # a claim by the developer that nobody else has measured
KIND_POINTS = {
    ModelKind.CHAT: 0.0,
    ModelKind.BASE: -10.0,  # the suites mainly use chat prompts
    ModelKind.UNKNOWN: -10.0,
    ModelKind.FINETUNE: -25.0,
    ModelKind.QUANTIZED: -40.0,
}
NEVER = (ModelKind.ADAPTER, ModelKind.MERGE)  # not independent models; queued only by `queue add`
TOO_LARGE = "needs about"  # how such an obstacle begins
PAIR_SHARE = 0.5  # of the points of a model, for its copy where both fit
LEAST = 15.0  # points a model needs to be queued by a refresh


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that could be measured, as listed by the sources."""

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
    base_models: tuple[str, ...] = ()

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
            base_models=tuple(row["base_models"]),
        )


@dataclass(frozen=True, slots=True)
class Claims:
    """Published scores by model, and the best score of each size class on each benchmark."""

    by_model: Mapping[str, Mapping[str, float]] = field(
        default_factory=dict
    )  # casefolded id → benchmark → value
    unchecked: frozenset[str] = frozenset()  # with a claim that no third party has measured
    best: Mapping[tuple[int, str], float] = field(default_factory=dict)  # size class, benchmark → value


@dataclass(frozen=True, slots=True)
class Priority:
    """The points of a model, with reasons."""

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


def stand_ins(
    known: Iterable[Candidate], memory_bytes: int, *, is_readable: Callable[[str], bool]
) -> dict[str, Candidate]:
    """The model for which a quantized copy is measured, by the copy's casefolded id.

    For each model that is too large for the memory, its most downloaded copy that fits and that the engines
    can read, as `is_readable` says of its id.
    """
    best = _best_copies(known, memory_bytes, is_readable)
    return {key: parent for key, parent in best if (_needed(parent) or 0) > memory_bytes}


def pairs(
    known: Iterable[Candidate], memory_bytes: int, *, is_readable: Callable[[str], bool]
) -> dict[str, Candidate]:
    """The model with which a quantized copy is a pair, by the copy's casefolded id.

    Both fit, and the copy is the most downloaded one that the engines can read: measured on the same items,
    the two show what quantization costs.
    """
    best = _best_copies(known, memory_bytes, is_readable)
    return {
        key: parent
        for key, parent in best
        if _needed(parent) is not None and obstacle(parent, memory_bytes) is None
    }


def _best_copies(
    known: Iterable[Candidate], memory_bytes: int, is_readable: Callable[[str], bool]
) -> list[tuple[str, Candidate]]:
    """Each model with a copy that can be measured here, after the id of the most downloaded in lower case."""
    every = {one.model_id.casefold(): one for one in known}
    best: dict[str, Candidate] = {}
    for copy in every.values():
        if (
            copy.kind is not ModelKind.QUANTIZED
            or obstacle(copy, memory_bytes)
            or not is_readable(copy.model_id)
            or _needed(copy) is None  # may be as large as its parent
        ):
            continue
        for parent in copy.base_models:
            key = parent.casefold()
            if key in every and (key not in best or _popularity(copy) > _popularity(best[key])):
                best[key] = copy
    return [(copy.model_id.casefold(), every[key]) for key, copy in best.items()]


def _needed(candidate: Candidate) -> int | None:
    return needed_bytes(weights_bytes=candidate.weights_bytes, n_params=candidate.n_params)


def _popularity(candidate: Candidate) -> tuple[int, int, str]:
    return candidate.downloads, candidate.trending, candidate.model_id


def priority(
    candidate: Candidate,
    claims: Claims,
    now: datetime,
    *,
    stands_for: Candidate | None = None,
    pair_of: Candidate | None = None,
) -> Priority:
    """The points of a candidate, with the reason for each.

    A copy has those of the model that it `stands_for`, and half of those of the model whose pair it is, so
    that it comes after it.
    """
    if pair_of is not None:
        own, whole = priority(candidate, claims, now), priority(pair_of, claims, now)
        half = round(whole.points * PAIR_SHARE, 1)
        if half <= own.points:
            return own
        why = f"{half:+g} pair with {pair_of.model_id}, which fits too: what this copy loses is then known"
        return Priority(half, (why, f"half of its {whole.points:g}: {', '.join(whole.reasons)}"))
    if stands_for is not None:
        own = priority(stands_for, claims, now)
        needed = (_needed(stands_for) or 0) / 1e9
        why = f"stands in for {stands_for.model_id}, which needs about {needed:.0f} GB of memory"
        return Priority(own.points, (why, *own.reasons))
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
    """The reason why this candidate cannot be measured here now; None if none is known.

    `fit_bytes` is the prediction of `tracker fit`; without it, memory is estimated from the weights.
    """
    if candidate.is_disabled:
        return "disabled on the Hub"
    if candidate.gated:
        return f"gated ({candidate.gated}): request access on the Hub, then run `tracker queue unpark`"
    if not candidate.has_safetensors and not is_gguf_name(candidate.model_id):
        return "no safetensors weights"
    if candidate.needs_remote_code:
        return "needs code from its repository: `tracker bench MODEL --trust-remote-code` if you trust it"
    needed = fit_bytes or _needed(candidate)
    if needed is not None and needed > memory_bytes:
        size = "the size of its weights" if candidate.weights_bytes else "its number of parameters"
        basis = "according to `tracker fit`" if fit_bytes else f"estimated from {size}"
        has = f"this machine has {memory_bytes / 1e9:.0f} GB"
        return f"{TOO_LARGE} {needed / 1e9:.0f} GB of memory, {basis}; {has}"
    return None


def is_gguf_name(model_id: str) -> bool:
    """Whether the repository has GGUF files, by its name: they are measured with llama.cpp."""
    return "gguf" in model_id.partition("/")[2].casefold()


def _near_best(claimed: Mapping[str, float], claims: Claims, place: int | None) -> str | None:
    if place is None:
        return None
    for benchmark, value in sorted(claimed.items()):
        best = claims.best.get((place, benchmark), 1.0)
        if value >= best - NEAR_BEST:
            return f"claims {value:.1%} on {benchmark}; best open model of {class_name(place)}: {best:.1%}"
    return None
