"""Refuse what an answer would take away: a source that shrinks, renames a column or changes a unit.

Everything that `tracker ingest` writes passes here first. An answer in which much is missing is more often
damaged than true, so its new values are stored, and what it lacks is kept:

- **Missing rows** of a benchmark or of the whole source: 30, or more than a fifth of them (and at least
  three). Withdrawn when an answer of a later day lacks them too.
- **An empty column**: a field that would become unknown for as many rows. The known values stay.
- **Another unit**: values of a benchmark that are ten times as large or as small as before, or outside 0..1.
  None of its values is written.

The last two look the same every day, so repetition proves nothing: they need `tracker ingest SOURCE
--accept`, which takes any answer as it is. Rows are counted once per model and benchmark, whatever their
variants.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from math import log10
from statistics import median
from typing import Any, TypeVar

from tracker.records.published import (
    Access,
    Batch,
    ModelKind,
    SourceModel,
    SourceScore,
    values_out_of_range,
)
from tracker.store import KnownRows
from tracker.store.ingests import aware
from tracker.wording import counted

ANNOUNCED_DAYS = 366  # ahead, that a release date may lie
SHOWN = 3  # reasons in a sentence
MANY = 30  # rows
SHARE = 0.2  # of a benchmark or source
FEW = 3  # fewer rows than this can always go
OTHER_UNIT = 10.0  # a factor between the medians before and after
MODEL_FIELDS = (
    "hub_id", "organization", "access", "kind", "released_at", "last_modified_at", "revision", "license",
    "pipeline_tag", "n_params", "weights_bytes", "has_safetensors", "max_context", "price_in_usd_per_mtok",
    "price_out_usd_per_mtok",
)  # fmt: skip
SCORE_FIELDS = ("stderr", "ci_low", "ci_high", "n_items", "reporter", "source_url", "evaluated_on")
AMOUNTS = ("n_params", "weights_bytes", "max_context", "price_in_usd_per_mtok", "price_out_usd_per_mtok")
UNKNOWN = (None, "", Access.UNKNOWN.value, ModelKind.UNKNOWN.value)
NAMED = {"access": "open or closed label", "released_at": "release date", "evaluated_on": "date"}
CAUSES = {2: ", percent instead of fractions", -2: ", fractions instead of percent"}  # by power of ten

Record = TypeVar("Record", SourceModel, SourceScore)
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Judgment:
    """What of an answer may be written."""

    batch: Batch
    reasons: tuple[str, ...] = ()  # what was refused, with counts; empty: nothing
    withdrawn: frozenset[str] = frozenset()  # keys that the source no longer lists
    missing_since: Mapping[str, date] = field(default_factory=dict)  # keys that were kept although missing
    can_repeat: bool = True  # whether the same answer on a later day is taken


def judge(
    batch: Batch, known: KnownRows, *, is_complete: bool, today: date, accept: bool = False
) -> Judgment:
    """Compare an answer with what is stored. `is_complete`: a row that it lacks is gone."""
    batch = replace(batch, models=_last(batch.models), scores=_last(batch.scores))
    unread: set[str] = set(batch.unread)
    reasons: list[str] = []
    can_repeat = True
    if not accept:
        other_unit = dict(_other_units(batch, known))
        unread |= other_unit.keys()
        models, why_models = _with_known_fields(batch.models, known.models, MODEL_FIELDS, "")
        models, why_amounts = _with_known_amounts(models, known.models)
        kept = [score for score in batch.scores if score.benchmark not in other_unit]
        scores, why_scores = _with_known_score_fields(kept, known.scores)
        reasons += [*other_unit.values(), *why_models, *why_amounts, *why_scores]
        can_repeat = not reasons
        batch = replace(batch, models=tuple(models), scores=tuple(scores))
    if not is_complete:
        return Judgment(batch, tuple(reasons), missing_since=known.missing_since, can_repeat=can_repeat)
    missing = _missing(batch, known, unread)
    fresh = {key for key in missing if known.missing_since.get(key, today) >= today}
    why, steady = _shrunk(missing, fresh, known)
    if accept or not (why or reasons):
        return Judgment(batch, withdrawn=frozenset(missing))
    since = {key: known.missing_since.get(key, today) for key in missing - steady}
    return Judgment(batch, (*why, *reasons), frozenset(steady), since, can_repeat)


def without_future(batch: Batch, *, today: date) -> Batch:
    """The batch without values of days that have not come; a score or model is kept and loses such a day.

    Tomorrow may have begun in another time zone, and a release may be announced up to a year before.
    """
    last = today + timedelta(days=1)
    history = tuple(value for value in batch.history if value.day <= last)
    if n_left := len(batch.history) - len(history):
        latest = max(value.day for value in batch.history)
        problem = f"{counted(n_left, 'value')} of days in the future, such as {latest}"
        batch = replace(batch, history=history, problems=(*batch.problems, problem))
    scores = tuple(
        replace(score, evaluated_on=None) if score.evaluated_on and score.evaluated_on > last else score
        for score in batch.scores
    )
    announced = date.fromordinal(min(today.toordinal() + ANNOUNCED_DAYS, date.max.toordinal()))
    models = tuple(
        replace(model, released_at=None)
        if model.released_at and model.released_at.date() > announced
        else model
        for model in batch.models
    )
    unborn = [one for one, kept in zip(batch.models, models, strict=True) if one is not kept]
    if unborn:
        shown = f"{unborn[0].name}: {unborn[0].released_at:%Y-%m-%d}"
        problem = f"{counted(len(unborn), 'release date')} over a year ahead left out, such as {shown}"
        batch = replace(batch, models=models, problems=(*batch.problems, problem))
    return replace(batch, scores=scores)


def refusal(reasons: Sequence[str], source: str, *, can_repeat: bool) -> str:
    """The reason of a partial outcome: what was refused, and how to take it nevertheless."""
    more = f" (and {len(reasons) - SHOWN} more)" if len(reasons) > SHOWN else ""
    again = ", as does the same answer on another day" if can_repeat else ""
    return (
        f"{'; '.join(reasons[:SHOWN])}{more}. What was known is kept; "
        f"`tracker ingest {source} --accept` takes the answer as it is{again}"
    )


def is_much(n_lost: int, n_known: int) -> bool:
    """Whether losing so many of the known rows needs confirmation."""
    return n_lost >= MANY or (n_lost >= FEW and n_lost > SHARE * n_known)


def _last(records: Iterable[Record]) -> tuple[Record, ...]:
    """The records without those that a later one with the same key overwrites."""
    return tuple({record.key: record for record in records}.values())


def _missing(batch: Batch, known: KnownRows, unread: Collection[str]) -> set[str]:
    """Keys of the stored rows that the answer lacks."""
    found = {model.key for model in batch.models} | {score.key for score in batch.scores}
    scores = {key for key, row in known.scores.items() if row["benchmark"] not in unread}
    return (known.models.keys() | scores) - found


def _shrunk(missing: set[str], fresh: set[str], known: KnownRows) -> tuple[list[str], set[str]]:
    """Why rows must be kept, and the missing rows that an earlier answer lacked too and may go.

    A group that goes on shrinking quickly is not steady: none of its rows goes.
    """
    groups = [CountedRows("the source", "models", {key: row["name"] for key, row in known.models.items()})]
    by_benchmark: dict[str, dict[str, Any]] = defaultdict(dict)
    for key, row in known.scores.items():
        by_benchmark[row["benchmark"]][key] = row["name"]
    groups += [CountedRows(name, "scores", rows) for name, rows in sorted(by_benchmark.items())]
    pairs = {key: (row["benchmark"], row["name"]) for key, row in known.scores.items()}
    whole = CountedRows("the source", "scores", pairs)
    why = [text for group in groups if (text := group.loss(missing, fresh))]
    total = whole.loss(missing, fresh)
    if total and not any(group.loss(missing, fresh) for group in groups[1:]):
        why.append(total)
    steady = missing - fresh
    for group in [*groups, whole]:
        if group.is_falling(missing, fresh):
            steady -= group.rows.keys()
    return why, steady


@dataclass(frozen=True, slots=True)
class CountedRows:
    """Stored rows that are counted together: key → what counts once."""

    place: str
    what: str
    rows: Mapping[str, Any]

    def loss(self, missing: Collection[str], fresh: Collection[str]) -> str | None:
        """The sentence about missing rows, if too many of them are newly missing."""
        n_fresh, n_left = self._counts(missing, fresh)
        if not is_much(n_fresh, n_left):
            return None
        n_lost = len({what for key, what in self.rows.items() if key in missing})
        return f"{self.place}: {n_lost:,} of {len(set(self.rows.values())):,} {self.what} are missing"

    def is_falling(self, missing: Collection[str], fresh: Collection[str]) -> bool:
        """Whether more than a fifth of what the last answer still had is newly missing."""
        n_fresh, n_left = self._counts(missing, fresh)
        return n_fresh >= FEW and n_fresh > SHARE * n_left

    def _counts(self, missing: Collection[str], fresh: Collection[str]) -> tuple[int, int]:
        newly = {what for key, what in self.rows.items() if key in fresh}
        left = {what for key, what in self.rows.items() if key not in missing or key in fresh}
        return len(newly), len(left)


def _with_known_fields(
    records: Sequence[Record], known: Mapping[str, Row], names: Sequence[str], place: str
) -> tuple[list[Record], list[str]]:
    """The records, with the known value of each field that would become unknown for many of them."""
    pairs = [(record, known.get(record.key)) for record in records]
    reasons, lost = [], []
    for name in names:
        held = [(record, row[name]) for record, row in pairs if row and row[name] not in UNKNOWN]
        n_lost = sum(getattr(record, name) in UNKNOWN for record, _ in held)
        if is_much(n_lost, len(held)):
            lost.append(name)
            label = NAMED.get(name, f"`{name}`")
            reasons.append(f"{place}{n_lost:,} of {len(held):,} rows have lost their {label}")
    if not lost:
        return list(records), []
    return [_filled(record, row, lost) if row else record for record, row in pairs], reasons


def _with_known_score_fields(
    scores: Sequence[SourceScore], known: Mapping[str, Row]
) -> tuple[list[SourceScore], list[str]]:
    """The scores of each benchmark with their known fields; see `_with_known_fields`."""
    by_benchmark: dict[str, list[SourceScore]] = defaultdict(list)
    for score in scores:
        by_benchmark[score.benchmark].append(score)
    found, reasons = [], []
    for benchmark, rows in by_benchmark.items():
        filled, why = _with_known_fields(rows, known, SCORE_FIELDS, f"{benchmark}: ")
        found += filled
        reasons += why
    return found, reasons


def _with_known_amounts(
    models: Sequence[SourceModel], known: Mapping[str, Row]
) -> tuple[list[SourceModel], list[str]]:
    """The models, with the known values of each price, size or length that is now in another unit."""
    pairs = [(model, known.get(model.key)) for model in models]
    reasons, changed = [], []
    for name in AMOUNTS:
        factors = [_factor(row[name], getattr(model, name)) for model, row in pairs if row]
        factor = _unit_factor([one for one in factors if one is not None])
        if factor is not None:
            changed.append(name)
            reasons.append(f"`{name}` is {_times(factor)} what it was")
    if not changed:
        return list(models), []
    return [replace(m, **{n: row[n] for n in changed}) if row else m for m, row in pairs], reasons


def _filled(record: Record, row: Row, names: Iterable[str]) -> Record:
    values = {name: row[name] for name in names if getattr(record, name) in UNKNOWN}
    typed = {name: TYPED[name](value) if name in TYPED else value for name, value in values.items()}
    return replace(record, **typed)


TYPED: Mapping[str, Callable[[Any], Any]] = {
    "access": Access,
    "kind": ModelKind,
    "released_at": aware,
    "last_modified_at": aware,
}


def _other_units(batch: Batch, known: KnownRows) -> Iterable[tuple[str, str]]:
    """Benchmarks whose values are now in another unit, each with the sentence that says so."""
    factors: dict[str, list[float]] = defaultdict(list)
    names: dict[str, set[str]] = defaultdict(set)
    for row in known.scores.values():
        names[row["benchmark"]].add(row["name"])
    for score in batch.scores:
        before = known.scores.get(score.key)
        factor = _factor(before["value"], score.value) if before else None
        if factor is not None:
            factors[score.benchmark].append(factor)
    for benchmark in sorted(names):
        outside = values_out_of_range(benchmark, batch.problems)
        if is_much(len(outside), len(names[benchmark])):
            middle = median(outside)
            cause = "percent instead of fractions" if 1 < middle <= 100 else "another unit"
            yield benchmark, f"{benchmark}: {len(outside):,} values are not in 0..1 but {cause} ({middle:g})"
            continue
        by = _unit_factor(factors[benchmark])
        if by is not None:
            yield (
                benchmark,
                f"{benchmark}: values are {_times(by)} what they were{CAUSES.get(_digits(by), '')}",
            )


def _factor(before: float | None, after: float | None) -> float | None:
    """Now over before; None if it says nothing."""
    return None if not before or after is None else after / before


def _unit_factor(factors: Sequence[float]) -> float | None:
    """The median factor, if most values changed and by so much that their unit must have changed."""
    changed = [one for one in factors if one != 1.0]
    if len(changed) < FEW or 2 * len(changed) < len(factors):
        return None
    middle = median(changed)
    return None if 1 / OTHER_UNIT < middle < OTHER_UNIT else middle


def _times(factor: float) -> str:
    """The factor in words: `100 times`, `1/100 of`."""
    if 0 < factor < 1:
        return f"1/{_rounded(1 / factor)} of"
    return f"{_rounded(factor)} times"


def _rounded(factor: float) -> str:
    return f"{factor:,.0f}" if factor >= 10 else f"{factor:.2g}"


def _digits(factor: float) -> int:
    """The power of ten next to the factor; 0 for zero."""
    return round(log10(abs(factor))) if factor else 0
