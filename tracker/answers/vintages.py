"""The published data that an answer rests on: the shipped tables, and what was ingested since.

The shipped tables are the oldest vintages and need no store. An ingested vintage is known from the day of its
ingest; unless a vintage is named, an answer uses the one that was ingested last by its day, or the shipped
tables if their data is newer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache, lru_cache
from typing import Any

import numpy as np

from tracker.errors import TrackerError
from tracker.frontier.dataset import newest_vintage
from tracker.frontier.facts import (
    Access,
    BenchmarkFacts,
    ModelFacts,
    PublishedIndex,
    PublishedScore,
    ReportedBy,
)
from tracker.frontier.ingested import IngestedIndex, draws_of
from tracker.frontier.question import Question, fitted
from tracker.frontier.tables import Tables, load_published_index, load_tables
from tracker.records.vintages import Vintage, VintageBenchmark, VintageData, VintageModel, VintageScore
from tracker.settings import Settings
from tracker.store import HubFacts, Store, open_snapshot, read_vintage_data, read_vintages, snapshot_id

KEPT = 4  # vintages in memory, of a few MB each
OLD_DAYS = 45  # data this old is marked: the index gains about 15 points a year, two points in that time
OWN_RUN = "Epoch AI evaluations"
WITH_VINTAGE = "published with the vintage"


@dataclass(frozen=True, slots=True)
class DataAge:
    """The day of the data behind an answer, and their age on the day of asking."""

    day: date
    age_days: int
    confirmed_on: date | None = None  # last ingest at which the source still said the same; None: shipped

    @property
    def is_old(self) -> bool:
        """Whether the data is older than `OLD_DAYS`."""
        return self.age_days > OLD_DAYS

    @property
    def text(self) -> str:
        """Age and day: `data of 11 Aug 2026, 109 days old`."""
        return f"data of {self.day.day} {self.day:%b %Y}, {self.days_text}"

    @property
    def days_text(self) -> str:
        """The age: `109 days old`."""
        return "1 day old" if self.age_days == 1 else f"{self.age_days} days old"


def age_document(age: DataAge | None) -> dict[str, Any]:
    """The age as plain JSON values: `age_days`, `is_old`, `confirmed_on`."""
    if age is None:
        return {}
    confirmed_on = age.confirmed_on.isoformat() if age.confirmed_on else None
    return {"age_days": age.age_days, "is_old": age.is_old, "confirmed_on": confirmed_on}


def data_document(tables: Tables, question: Question, settings: Settings) -> dict[str, Any]:
    """The day and the age of the data behind an answer as plain JSON values."""
    age = data_age(tables, question, settings)
    return {"vintage": age.day.isoformat(), **age_document(age)}


def data_age(tables: Tables, question: Question, settings: Settings) -> DataAge:
    """The day and the age of the data behind an answer."""
    day, found = newest_vintage(tables, question.vintage), tables.ingested
    confirmed_on = found.confirmed_on if found is not None and found.day == day else None
    return age_of(day, settings, confirmed_on=confirmed_on)


def age_of(day: date, settings: Settings, *, confirmed_on: date | None = None) -> DataAge:
    """The age of data of that day; never negative."""
    return DataAge(day, max((settings.now().date() - day).days, 0), confirmed_on)


def ingested_vintages(settings: Settings) -> tuple[Vintage, ...]:
    """The ingested vintages that answers use, in the order of their ingests; none without a store."""
    return tuple(one for one in _stored(settings) if one.is_accepted)


def _stored(settings: Settings) -> tuple[Vintage, ...]:
    """Every stored vintage, read once per snapshot; none without a store."""
    snapshot = snapshot_id(settings)
    if snapshot is None and not settings.db_path.is_file():
        return ()
    return _read_at(_Home(settings), snapshot)


def shipped_days() -> tuple[date, ...]:
    """The day of every shipped vintage, the oldest first."""
    return _shipped().vintages


def vintage_days(settings: Settings) -> tuple[date, ...]:
    """The day of every vintage, shipped or ingested, the oldest first."""
    ingested = {one.day for one in ingested_vintages(settings)}
    return tuple(sorted({*_shipped().vintages, *ingested}))


def vintages_document(settings: Settings) -> dict[str, Any]:
    """Every vintage, the newest data first, with its sizes and the distance of refit and published index."""
    today = settings.now().date()
    shipped = _shipped()
    rows: list[dict[str, Any]] = []
    for day in shipped.vintages:
        scores = [row for row in shipped.scores if row.vintage == day]
        rows.append(
            {
                "day": day.isoformat(),
                "age_days": (today - day).days,
                "source": "shipped",
                "ingested_on": None,
                "confirmed_on": None,
                "n_models": len({row.model for row in scores}),
                "n_scores": len(scores),
                "is_used": True,
                "reason": None,
                "refit_mean_error": None,
                "refit_max_error": None,
            }
        )
    rows += [_listed(one, today) for one in _stored(settings)]
    return {"vintages": sorted(rows, key=lambda row: (row["day"], row["ingested_on"] or ""), reverse=True)}


def _listed(one: Vintage, today: date) -> dict[str, Any]:
    return {
        "day": one.day.isoformat(),
        "age_days": (today - one.day).days,
        "source": one.source,
        "ingested_on": one.ingested_at.date().isoformat(),
        "confirmed_on": one.confirmed_at.date().isoformat(),
        "n_models": one.n_models,
        "n_scores": one.n_scores,
        "is_used": one.is_accepted,
        "reason": one.reason,
        "refit_mean_error": one.refit_mean_error,
        "refit_max_error": one.refit_max_error,
    }


def tables_for(settings: Settings, question: Question | None = None, *, is_fitted: bool = True) -> Tables:
    """The shipped tables with the vintage that the question needs.

    `is_fitted`: only a vintage whose scores can be fitted; its published values alone do not help.

    Raises:
        TrackerError: there is no such vintage, or the day lies in the future.
    """
    question = question or Question()
    today = settings.now().date()
    if question.as_of is not None and question.as_of > today:
        raise TrackerError(
            f"`--as-of {question.as_of}` is in the future (today is {today})",
            hint="omit `--as-of` for the newest answer",
        )
    shipped = _shipped()
    chosen = _chosen(ingested_vintages(settings), shipped, question, is_fitted=is_fitted)
    return shipped if chosen is None else _loaded(chosen, _Home(settings), snapshot_id(settings))


def tables_of(vintage: Vintage, settings: Settings) -> Tables:
    """The shipped tables with this vintage and its scores, whether or not they can be fitted."""
    with Store.open(settings) as store:
        data, on_hub = read_vintage_data(store, vintage)
    return with_vintage(_shipped(), replace(vintage, is_refitted=True), data, on_hub)


@dataclass(frozen=True, slots=True)
class _Home:
    """A home as a key of a cache: settings cannot be hashed."""

    settings: Settings

    def __hash__(self) -> int:
        return hash(self.settings.snapshots_path)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Home) and self.settings.snapshots_path == other.settings.snapshots_path


@lru_cache(maxsize=KEPT)
def _read_at(home: _Home, snapshot: str | None) -> tuple[Vintage, ...]:
    """The vintages in a snapshot; without one, the store publishes one first."""
    del snapshot
    with open_snapshot(home.settings) as found:
        return read_vintages(found)


@lru_cache(maxsize=KEPT)
def _loaded(vintage: Vintage, home: _Home, snapshot: str | None) -> Tables:
    """The tables with a vintage; `snapshot` is part of the key, since names are matched to the Hub later."""
    del snapshot
    with open_snapshot(home.settings) as found:
        data, on_hub = read_vintage_data(found, vintage)
    return with_vintage(_shipped(), vintage, data, on_hub)


@cache
def _shipped() -> Tables:
    return load_tables()


def with_vintage(
    shipped: Tables,
    vintage: Vintage,
    data: VintageData,
    on_hub: Mapping[str, HubFacts],
) -> Tables:
    """The shipped tables with the vintage; shipped scores of the same day give way to it."""
    is_refitted = bool(data.scores) and vintage.is_refitted
    scores = [_score(row, vintage.day) for row in data.scores] if is_refitted else []
    models = {
        row.model: _model(row, shipped.models.get(row.model), on_hub.get(row.model)) for row in data.models
    }
    benchmarks = {
        row.benchmark: _benchmark(row, shipped.benchmarks.get(row.benchmark)) for row in data.benchmarks
    }
    for name in {row.benchmark for row in data.scores} - {*benchmarks, *shipped.benchmarks}:
        benchmarks[name] = _benchmark(VintageBenchmark(name), None)
    return replace(
        shipped,
        scores=(*(row for row in shipped.scores if row.vintage != vintage.day), *scores),
        models=shipped.models | models,
        benchmarks=shipped.benchmarks | benchmarks,
        digest=f"{shipped.digest}-{vintage.digest}-{_hub_digest(on_hub)}",
        ingested=_index(vintage, data, is_refitted=is_refitted),
    )


def _hub_digest(on_hub: Mapping[str, HubFacts]) -> str:
    rows = sorted((model, facts.hub_id, facts.n_params) for model, facts in on_hub.items())
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:12]


def published_index(tables: Tables) -> tuple[PublishedIndex, ...]:
    """The published values to compare a refit with: of the shipped vintages, and of an ingested one."""
    found = load_published_index()
    if tables.ingested is None:
        return found
    own, day = tables.ingested, tables.ingested.day
    ends = zip(own.ci_low, own.ci_high, strict=True)
    rows = [
        PublishedIndex(day, model, float(value), _known(low), _known(high))
        for model, value, (low, high) in zip(own.models, own.value, ends, strict=True)
    ]
    return (*(row for row in found if row.vintage != day), *rows)


def refit_errors(tables: Tables, cache: Any) -> tuple[float, ...]:
    """The absolute distance between refit and published index of each model of the ingested vintage.

    Fits the index and stores its draws in `cache`.

    Raises:
        TrackerError: the scores cannot be fitted; the message says why.
    """
    if tables.ingested is None:
        raise TrackerError("no vintage was ingested")
    day = tables.ingested.day
    fit = fitted(tables, Question(vintage=day), cache).fit
    place = {model: i for i, model in enumerate(fit.data.models)}
    return tuple(
        abs(float(fit.index[place[row.model]]) - row.index)
        for row in published_index(tables)
        if row.vintage == day and row.model in place
    )


def _chosen(
    ingested: Sequence[Vintage], shipped: Tables, question: Question, *, is_fitted: bool
) -> Vintage | None:
    """The ingested vintage that the question needs; None for a shipped one."""
    usable = [one for one in ingested if one.is_refitted or not is_fitted]
    if question.vintage is not None:
        named = [one for one in usable if one.day == question.vintage]
        if not named and question.vintage not in shipped.vintages:
            days = sorted({*shipped.vintages, *(one.day for one in usable)})
            known = ", ".join(map(str, days))
            raise TrackerError(f"there is no vintage `{question.vintage}`", hint=f"known: {known}")
        return named[-1] if named else None
    if question.as_of is not None:
        usable = [one for one in usable if one.ingested_at.date() <= question.as_of]
    # what the source says last is right, even if it takes back a day or a state that it had said before
    newer = [one for one in usable if one.day >= shipped.vintages[-1]]
    return max(newer, key=lambda one: one.vintage_id, default=None)


def _score(row: VintageScore, vintage: date) -> PublishedScore:
    is_own = row.source is None
    return PublishedScore(
        vintage=vintage,
        model=row.model,
        model_version=row.model_version,
        benchmark=row.benchmark,
        score=row.score,
        raw_score=None,
        reported_by=ReportedBy.THIRD_PARTY if is_own else ReportedBy.UNKNOWN,
        reported_by_rule="epoch_run" if is_own else "not_classified",
        source=OWN_RUN if is_own else row.source,
        source_url=row.source if row.source and row.source.startswith("http") else None,
        evaluated_on=None,
    )


def _model(
    row: VintageModel,
    known: ModelFacts | None,
    on_hub: HubFacts | None,
) -> ModelFacts:
    """The facts of the vintage; what it does not have, such as sizes, from the shipped tables or the Hub."""
    access = Access(row.access.value)
    n_params = on_hub.n_params if on_hub else None
    if known is not None:
        hub_id = known.hub_id or (on_hub.hub_id if on_hub else None)
        n_params = known.n_params or n_params
        return replace(known, access=access, released=row.released, hub_id=hub_id, n_params=n_params)
    return ModelFacts(
        model=row.model,
        organization=row.organization,
        country=row.country,
        access=access,
        released=row.released,
        version_released=None,
        n_params=n_params or None,
        n_params_basis="Hub" if n_params else None,
        hub_id=on_hub.hub_id if on_hub else None,
        hub_id_basis="matched by name" if on_hub else None,
        hub_created=None,
        price_in_usd_per_mtok=None,
        price_out_usd_per_mtok=None,
        price_source=None,
        notes=None,
    )


def _benchmark(row: VintageBenchmark, known: BenchmarkFacts | None) -> BenchmarkFacts:
    if known is not None:
        return replace(known, superseded_by=row.superseded_by or known.superseded_by)
    return BenchmarkFacts(
        benchmark=row.benchmark,
        chance=min(max(row.chance, 0.0), 0.99),
        ceiling=min(max(row.ceiling, min(max(row.chance, 0.0), 0.99) + 0.01), 1.0),
        chance_basis=WITH_VINTAGE,
        source_scale="fraction",
        description="",
        released=row.released,
        released_basis=WITH_VINTAGE if row.released else None,
        private_by=None,
        domain="not classified",
        superseded_by=row.superseded_by,
        slope_anchor=False,  # the shipped tables name it; a second one would be ambiguous
        n_items=None,
        lm_eval_task=None,
        lm_eval_match=None,
        url=None,
        notes=None,
    )


def _index(vintage: Vintage, data: VintageData, *, is_refitted: bool) -> IngestedIndex:
    rows = [row for row in data.models if row.index is not None]
    value = np.array([row.index for row in rows], dtype=float)
    low, high = (
        np.array([np.nan if end is None else end for end in ends], dtype=float)
        for ends in ([row.ci_low for row in rows], [row.ci_high for row in rows])
    )
    n_draws = max((len(row.draws) for row in rows), default=0)
    if n_draws > 1:
        columns = [row.draws if len(row.draws) == n_draws else (row.index,) * n_draws for row in rows]
        draws = np.array(columns, dtype=float).T
    else:
        draws = draws_of(value, low, high)
    return IngestedIndex(
        vintage_id=vintage.vintage_id,
        day=vintage.day,
        ingested_on=vintage.ingested_at.date(),
        confirmed_on=vintage.confirmed_at.date(),
        digest=vintage.digest,
        is_refitted=is_refitted,
        models=tuple(row.model for row in rows),
        value=value,
        ci_low=low,
        ci_high=high,
        draws=draws,
    )


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
