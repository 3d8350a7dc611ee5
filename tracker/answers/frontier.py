"""How far open models are behind closed models: answers for the command line, the app and the API.

They call these functions and compute nothing themselves. An answer is a record; its JSON document is built
from it here too.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from tracker.answers.headlines import headline_sentence
from tracker.answers.licenses import license_notes
from tracker.answers.rating_series import read_series
from tracker.answers.vintages import (
    DataAge,
    age_document,
    age_of,
    data_document,
    published_index,
    tables_for,
)
from tracker.frontier.axis import Axis
from tracker.frontier.cache import cached_draws, cached_gaps
from tracker.frontier.contamination import Contamination, contamination
from tracker.frontier.dataset import newest_vintage
from tracker.frontier.definitions import HEADLINE, STANDING_LAG, Window, definition
from tracker.frontier.facts import Access, OverrideKind, PrivateList, PublishedIndex
from tracker.frontier.gap import BEING_DRAWN, Gap, central_gaps, undrawn_gaps
from tracker.frontier.index import INTERVAL, FitOptions, IndexDraws, IndexFit, fit_index
from tracker.frontier.jaggedness import Jaggedness, jaggedness
from tracker.frontier.lags import Lag, lags, median_months
from tracker.frontier.population import labels, sizes, small_name
from tracker.frontier.question import (
    Fitted,
    Only,
    Question,
    axis,
    fitted,
    licensed,
    selection,
    window,
)
from tracker.frontier.tables import ATTRIBUTION, Tables
from tracker.settings import Settings

Document = dict[str, Any]
LEAST_BENCHMARKS = 8  # with fewer, a model looks too even
GIVEN, NOT_KNOWN = "given", "not known"  # intervals; a third state is `BEING_DRAWN`


@dataclass(frozen=True, slots=True)
class ModelPoint:
    """One model on an axis."""

    model: str
    organization: str
    access: str  # "open" or "closed"
    released: date
    value: float
    ci_low: float | None  # ends of its 90% interval
    ci_high: float | None
    n_params: int | None
    is_record: bool  # better than every earlier model of its group


@dataclass(frozen=True, slots=True)
class FrontierAnswer:
    """The gap between open and closed models on one axis, with the data behind it."""

    axis: str
    unit: str  # of the axis: "index", "score" or "rating"
    as_of: date
    since: date  # first day of averages over days
    vintage: date  # last day of the data
    points: tuple[ModelPoint, ...]  # by date, the best of a day first
    best_open: ModelPoint
    best_closed: ModelPoint
    gaps: tuple[Gap, ...]  # one per definition
    intervals: str  # GIVEN, NOT_KNOWN or BEING_DRAWN
    overrides: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    attribution: tuple[str, ...] = ()
    age: DataAge | None = None  # of the published data; None only while an answer is built

    def gap(self, name: str) -> Gap:
        """The gap by one definition."""
        return next(row for row in self.gaps if row.id == name)


def answer_question(question: Question, settings: Settings) -> FrontierAnswer:
    """The full answer from the published tables, with intervals.

    Raises:
        TrackerError: the question cannot be answered; the message says why.
    """
    tables = tables_for(settings, question, is_fitted=needs_scores(question))
    found = fitted(tables, question, settings.frontier_path) if is_fitted(tables, question) else None
    return answer_on_tables(tables, question, found, settings)


def needs_scores(question: Question) -> bool:
    """Whether the published values of a vintage alone cannot answer the question."""
    asks = (question.benchmark, question.only, question.reported_by)
    is_narrowed = any(asked is not None for asked in asks) or question.redistributable
    return is_narrowed or question.options != FitOptions()


def is_fitted(tables: Tables, question: Question) -> bool:
    """Whether the answer needs a fitted index: neither a benchmark nor published values are its axis."""
    only_published = tables.only_published(newest_vintage(tables, question.vintage))
    return question.benchmark is None and only_published is None


def answer_on_tables(
    tables: Tables, question: Question, found: Fitted | None, settings: Settings
) -> FrontierAnswer:
    """The answer from a fitted index; `found` is None if `is_fitted` says that none is needed.

    A fit without draws (`undrawn`) gives central values, and `BEING_DRAWN` for values that need draws.

    Raises:
        TrackerError: the question cannot be answered; the message says why.
    """
    days, cache = window(tables, question), settings.frontier_path
    whole = axis(tables, replace(question, without=()), found)
    chosen = whole.without(_still_there(tables, question, whole, found)).until(days.as_of)
    unit = "index" if question.benchmark is None else "score"
    vintage = newest_vintage(tables, question.vintage)
    is_undrawn = found is not None and len(found.draws.index) < 2
    gaps = (
        undrawn_gaps(chosen, days, unit=unit) if is_undrawn else cached_gaps(chosen, days, cache, unit=unit)
    )
    return replace(
        _answer(tables, chosen, days, gaps, unit=unit),
        as_of=question.as_of or days.as_of,
        vintage=vintage,
        age=age_of(vintage, settings, confirmed_on=_confirmed_on(tables, vintage)),
        intervals=BEING_DRAWN if is_undrawn else GIVEN if chosen.has_draws else NOT_KNOWN,
        overrides=tuple(sorted(question.overrides)),
        notes=tuple(_notes(tables, question, found, chosen)),
        attribution=ATTRIBUTION,
    )


def answer_on_series(name: str, question: Question, settings: Settings) -> FrontierAnswer:
    """The answer on a dated series: an ingested rating board, or a CSV file.

    Only the days and the excluded models of the question are used.

    Raises:
        UnknownNameError: the store has no such series, or the series no such model.
        TrackerError: too many models, or one of the best, have no date or label; or none is open or closed.
    """
    found = read_series(name, settings)
    as_of = question.as_of or found.vintage
    days = Window(question.since or Window.year_to(as_of).since, as_of)
    chosen = found.axis.without(question.without).until(as_of)
    gaps = cached_gaps(chosen, days, settings.frontier_path, unit=found.unit)
    answer = _answer(tables_for(settings), chosen, days, gaps, unit=found.unit)
    return replace(answer, vintage=found.vintage, notes=found.notes, age=age_of(found.vintage, settings))


def _confirmed_on(tables: Tables, vintage: date) -> date | None:
    found = tables.ingested
    return found.confirmed_on if found is not None and found.day == vintage else None


def _answer(
    tables: Tables, chosen: Axis, days: Window, gaps: tuple[Gap, ...], *, unit: str
) -> FrontierAnswer:
    points = _points(tables, chosen)
    by_model = {point.model: point for point in points}
    return FrontierAnswer(
        axis=chosen.name,
        unit=unit,
        as_of=days.as_of,
        since=days.since,
        vintage=days.as_of,
        points=points,
        best_open=by_model[chosen.models[chosen.best(is_open=True)]],
        best_closed=by_model[chosen.models[chosen.best(is_open=False)]],
        gaps=gaps,
        intervals=GIVEN if chosen.has_draws else NOT_KNOWN,
    )


def _points(tables: Tables, chosen: Axis) -> tuple[ModelPoint, ...]:
    low, high = np.quantile(chosen.draws, INTERVAL, axis=0)
    best = {True: -np.inf, False: -np.inf}
    points = []
    for i in np.lexsort((-chosen.value, chosen.released)):
        is_open, value = bool(chosen.is_open[i]), float(chosen.value[i])
        facts = tables.models.get(chosen.models[i])
        points.append(
            ModelPoint(
                model=chosen.models[i],
                organization=facts.organization if facts else "",
                access="open" if is_open else "closed",
                released=date.fromordinal(int(chosen.released[i])),
                value=value,
                ci_low=float(low[i]) if chosen.has_draws else None,
                ci_high=float(high[i]) if chosen.has_draws else None,
                n_params=facts.n_params if facts else None,
                is_record=value > best[is_open],
            )
        )
        best[is_open] = max(best[is_open], value)
    return tuple(points)


def undrawn(fit: IndexFit) -> Fitted:
    """The fit with itself as its only draw, for use before the uncertainty is known."""
    only = IndexDraws(fit.index[None], fit.difficulty[None], fit.slope[None], np.zeros(1, dtype=np.intp), 1)
    return Fitted(fit, only, fit.index)


def _still_there(tables: Tables, question: Question, whole: Axis, found: Fitted | None) -> list[str]:
    """The models of `without` that are on the axis; other filters may already have removed some."""
    if not question.without:
        return []
    dropped = set(models_to_leave_out(tables, question, found.fit if found else None)) - set(whole.models)
    return [model for model in question.without if model not in dropped]


def models_to_leave_out(tables: Tables, question: Question, fit: IndexFit | None) -> list[str]:
    """The names of the models on the axis of a question, before any filter except the vintage.

    If the question limits the size, models that are on the index only by an estimate are included.
    """
    if question.benchmark is None and fit is not None:
        names = set(fit.data.models)
        names |= {small_name(row) for row in tables.small_open_models if question.max_params}
    elif question.benchmark is None:
        published = tables.only_published(newest_vintage(tables, question.vintage))
        names = set(published.models) if published else set()
    else:
        vintage = newest_vintage(tables, question.vintage)
        of_vintage = [row for row in licensed(tables, question).scores if row.vintage == vintage]
        names = {row.model for row in of_vintage if row.benchmark == question.benchmark}
    return sorted(names, key=str.casefold)


def frontier_document(answer: FrontierAnswer) -> Document:
    """The answer as plain JSON values, without its points."""
    return {
        "as_of": answer.as_of.isoformat(),
        "since": answer.since.isoformat(),
        "vintage": answer.vintage.isoformat(),
        **age_document(answer.age),
        "axis": answer.axis,
        "intervals": answer.intervals,
        "best_open": _best(answer.best_open, answer.unit),
        "best_closed": _best(answer.best_closed, answer.unit),
        "n_open": sum(point.access == "open" for point in answer.points),
        "n_closed": sum(point.access == "closed" for point in answer.points),
        "headline": HEADLINE,
        "sentence": headline_sentence(answer.gap(HEADLINE), answer.axis, answer.unit),
        "definitions": [
            asdict(row) | {"title": definition(row.id).title, "question": definition(row.id).question}
            for row in answer.gaps
        ],
        "overrides": list(answer.overrides),
        "notes": list(answer.notes),
        "attribution": list(answer.attribution),
    }


def point_document(point: ModelPoint) -> Document:
    """One model of an answer as plain JSON values."""
    return asdict(point) | {"released": point.released.isoformat()}


def _best(point: ModelPoint, unit: str) -> Document:
    return {"model": point.model, unit: point.value} | point_document(point)


def benchmark_lags(tables: Tables, question: Question) -> tuple[Lag, ...]:
    """The standing lag on each benchmark, largest first.

    The axis, the fit options and the reporter of the question are ignored.

    Raises:
        TrackerError: no benchmark has scores of both groups.
    """
    by_model, parameters = labels(tables, question.overrides), sizes(tables)
    limit = question.max_params
    for model, label in by_model.items():
        is_too_large = limit is not None and parameters.get(model, limit + 1) > limit
        if model in question.without or (is_too_large and label.access is Access.OPEN):
            by_model[model] = replace(label, access=Access.UNKNOWN)  # counted in neither group
    found = lags(
        licensed(tables, question),
        by_model,
        vintage=question.vintage,
        as_of=question.as_of,
        private_list=question.private_list,
    )
    if question.only is None:
        return found
    return tuple(row for row in found if row.is_private == (question.only is Only.PRIVATE))


def lags_document(rows: tuple[Lag, ...], private_list: PrivateList, data: Document) -> Document:
    """The lags as plain values, with their medians over private and over public benchmarks.

    `data`: the day and the age of the data, from `data_document`.
    """
    return {
        **data,
        "definition": STANDING_LAG,
        "private_list": private_list.value,
        "median_private": median_months(rows, is_private=True),
        "median_public": median_months(rows, is_private=False),
        "benchmarks": [asdict(row) for row in rows],
        "notes": ["medians are over benchmarks with an open model of the last 14 months"],
        "attribution": list(ATTRIBUTION),
    }


def uneven_models(
    tables: Tables, question: Question, *, least_benchmarks: int = LEAST_BENCHMARKS
) -> tuple[Jaggedness, ...]:
    """The unevenness of each model with at least `least_benchmarks` benchmarks, most uneven first."""
    fit = fit_index(selection(tables, question), question.options)
    return jaggedness(fit, least_benchmarks=least_benchmarks)


def unseen_models(tables: Tables, question: Question, cache: Path | None) -> tuple[Contamination, ...]:
    """Each model's index on benchmarks it cannot have seen and on all, lowest difference first."""
    found = fitted(tables, question, cache)
    by_model = labels(tables, question.overrides)
    return contamination(tables, found.fit, found.draws, by_model, question.private_list)


def override_document(tables: Tables, question: Question, settings: Settings) -> Document:
    """The effect of each kind of override, and of all together, on every definition; and every override."""
    days = window(tables, question)
    found = fitted(tables, question, settings.frontier_path)
    choices: list[tuple[str, frozenset[OverrideKind]]] = [("none", frozenset())]
    choices += [(kind.value, frozenset({kind})) for kind in OverrideKind]
    choices.append(("all", frozenset(OverrideKind)))
    effects = []
    for name, kinds in choices:
        chosen = axis(tables, replace(question, overrides=kinds), found)
        effects.append({"overrides": name, "definitions": central_gaps(chosen, days)})
    return {
        "as_of": days.as_of.isoformat(),
        **data_document(tables, question, settings),
        "effects": effects,
        "overrides": [asdict(row) for row in tables.overrides],
    }


def fit_document(tables: Tables, question: Question, settings: Settings) -> Document:
    """A fit's size, objective, seconds and distance to the published values."""
    data = selection(tables, question)
    began = time.perf_counter()
    fit = fit_index(data, question.options)
    fitted_at = time.perf_counter()
    draws = cached_draws(fit, settings.frontier_path, n_draws=question.n_draws)
    drawn_at = time.perf_counter()
    return {
        **data_document(tables, question, settings),
        "n_scores": int(data.score.size),
        "n_models": len(data.models),
        "n_benchmarks": len(data.benchmarks),
        "objective": fit.objective,
        "fit_s": fitted_at - began,
        "draws_s": drawn_at - fitted_at,
        "n_draws": int(draws.index.shape[0]),
        "published": agreement(tables, fit),
        "notes": [*data.notes, *license_notes(tables, question)],
    }


def index_document(tables: Tables, question: Question, settings: Settings) -> Document:
    """`vintage`, `models` with index and interval, `benchmarks` with difficulty and slope.

    Each model has the published index beside the refit, where that is known; `published` is their distance.
    """
    found = fitted(tables, question, settings.frontier_path)
    fit, data = found.fit, found.fit.data
    by_model = labels(tables, question.overrides)
    low, high = np.quantile(found.draws.index, INTERVAL, axis=0)
    published = {row.model: row for row in published_index(tables) if row.vintage == data.vintage}
    counts = data.n_benchmarks_of
    models = [
        {
            "model": model,
            "index": float(fit.index[i]),
            "ci_low": float(low[i]),
            "ci_high": float(high[i]),
            "access": by_model[model].access.value,
            "released": by_model[model].released.isoformat(),
            "n_benchmarks": int(counts[i]),
            **_as_published(published.get(model)),
        }
        for i, model in enumerate(data.models)
    ]
    scatter = fit.scatter()
    benchmarks = [
        {
            "benchmark": benchmark,
            "difficulty": float(fit.difficulty[i]),
            "slope": float(fit.slope[i]),
            "scatter": float(scatter[i]),
            "n_models": int(np.sum(data.benchmark_of == i)),
        }
        for i, benchmark in enumerate(data.benchmarks)
    ]
    return {
        **data_document(tables, question, settings),
        "published": agreement(tables, fit),
        "models": sorted(models, key=lambda row: -float(str(row["index"]))),
        "benchmarks": sorted(benchmarks, key=lambda row: -float(str(row["difficulty"]))),
        "objective": fit.objective,
        "n_draws": int(found.draws.index.shape[0]),
        "options": asdict(fit.options),
        "notes": [*data.notes, *license_notes(tables, question)],
        "attribution": list(ATTRIBUTION),
    }


def agreement(tables: Tables, fit: IndexFit) -> Document | None:
    """Distance of a fit to the published index: `n`, `mean_abs_error`, `max_abs_error`; None if unknown."""
    place = {model: i for i, model in enumerate(fit.data.models)}
    errors = [
        abs(float(fit.index[place[row.model]]) - row.index)
        for row in published_index(tables)
        if row.vintage == fit.data.vintage and row.model in place
    ]
    if not errors:
        return None
    return {"n": len(errors), "mean_abs_error": float(np.mean(errors)), "max_abs_error": max(errors)}


def _as_published(row: PublishedIndex | None) -> Document:
    if row is None:
        return {"published_index": None, "published_ci_low": None, "published_ci_high": None}
    return {
        "published_index": row.index,
        "published_ci_low": row.index_ci_low,
        "published_ci_high": row.index_ci_high,
    }


def _notes(tables: Tables, question: Question, found: Fitted | None, chosen: Axis) -> list[str]:
    notes = list(found.fit.data.notes) if found else []
    vintage = newest_vintage(tables, question.vintage)
    if question.as_of is not None and question.as_of > vintage:
        notes.append(f"the data ends on {vintage}; nothing is assumed about later days")
    if tables.only_published(vintage) is not None and question.benchmark is None:
        notes.append("index as published: this vintage has no scores that an index could be fitted to")
    estimates = {small_name(row) for row in tables.small_open_models} & set(chosen.models)
    if estimates:
        notes.append(
            f"{len(estimates)} of the open models are third-party estimates (TECI) with only the month known"
        )
    if question.max_params is not None:
        notes.append(f"open models: at most {question.max_params:,} parameters; closed models: all")
    if question.only is not None:
        notes.append(
            f"private according to `{question.private_list}`; difficulties are fixed at those of the full fit"
        )
    if not question.overrides:
        n = len(tables.overrides)
        notes.append(f"dates and labels are the source's; `tracker frontier overrides` lists {n} corrections")
    return [*notes, *license_notes(tables, question)]
