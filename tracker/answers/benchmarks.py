"""The published benchmarks: what each asks, how far it is solved, who leads it, and how it is run here.

Scores are raw, as published: fractions of 1. How far a benchmark is solved is the best score on the way from
guessing to the highest score that can be reached.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from tracker.answers.documents import json_row
from tracker.answers.frontier import FrontierAnswer, answer_on_tables, benchmark_lags
from tracker.answers.vintages import DataAge, age_document, data_age, tables_for
from tracker.errors import TrackerError, UnknownNameError
from tracker.frontier.dataset import newest_vintage
from tracker.frontier.definitions import STANDING_LAG
from tracker.frontier.facts import BenchmarkFacts, PrivateList, PublishedScore
from tracker.frontier.gap import Gap
from tracker.frontier.lags import Lag
from tracker.frontier.licenses import terms_of
from tracker.frontier.population import labels
from tracker.frontier.question import Question
from tracker.frontier.tables import ATTRIBUTION, Tables
from tracker.settings import Settings
from tracker.stats import published_share
from tracker.suites import get_suite, suite_names

SATURATED = 0.95  # of the way from guessing to the ceiling; what is left is mostly faulty items
NEARLY = 0.85
STATES = {SATURATED: "saturated", NEARLY: "nearly saturated"}
OPEN_ENDED = "not saturated"


@dataclass(frozen=True, slots=True)
class BenchmarkScore:
    """The published score of one model on one benchmark."""

    model: str
    model_version: str | None  # the release and effort that reached the score
    organization: str
    access: str  # "open", "closed" or "unknown"
    released: date  # the model
    score: float
    ci_low: float | None  # 90% interval of the sample of items
    ci_high: float | None
    is_record: bool  # better than every earlier model of its group
    measured_by: str
    reported_by: str
    license: str
    source: str | None
    source_url: str | None
    evaluated_on: date | None


@dataclass(frozen=True, slots=True)
class BenchmarkSummary:
    """One benchmark of the published data: the row of a list."""

    benchmark: str
    domain: str
    asks: str  # what it asks
    released: date | None
    is_private: bool  # its items are not public
    n_items: int | None
    n_models: int
    best_open: str | None
    best_open_score: float | None
    best_closed: str | None
    best_closed_score: float | None
    solved: float  # the best score, from 0 (guessing) to 1 (the ceiling)
    state: str  # "saturated", "nearly saturated" or "not saturated"
    months_behind: float | None  # G3, without interval; None where a group has no score
    newest_open_released: date | None  # of the open models that have a score
    is_stale: bool | None  # no open model of the last 14 months has one
    lm_eval_task: str | None  # the task of the harness that asks the same, if there is one


@dataclass(frozen=True, slots=True)
class BenchmarkAnswer:
    """Everything known about one benchmark."""

    summary: BenchmarkSummary
    facts: BenchmarkFacts
    vintage: date
    age: DataAge
    scores: tuple[BenchmarkScore, ...]  # the best first
    lag: Gap | None  # G3 with its interval; None where a group has no score
    measured_by: tuple[tuple[str, int], ...]  # who measured, and how many scores
    suites: tuple[str, ...]  # those that have its task
    command: str | None  # that runs it here


def benchmark_list(tables: Tables, lags: Iterable[Lag]) -> tuple[BenchmarkSummary, ...]:
    """Every benchmark of the newest vintage with scores, sorted by name; `lags` are those of its axes."""
    by_name = {row.benchmark: row for row in lags}
    rows = _scores_by_name(tables)
    return tuple(_summary(tables, name, rows[name], by_name.get(name)) for name in benchmark_names(tables))


def benchmark_names(tables: Tables) -> list[str]:
    """The benchmarks of the newest vintage with scores, sorted."""
    return sorted(_scores_by_name(tables), key=str.casefold)


def _scores_by_name(tables: Tables) -> dict[str, list[PublishedScore]]:
    vintage = newest_vintage(tables, None)
    rows: dict[str, list[PublishedScore]] = {}
    for row in tables.scores:
        if row.vintage == vintage:
            rows.setdefault(row.benchmark, []).append(row)
    return rows


def benchmark_page(
    tables: Tables, summaries: Iterable[BenchmarkSummary], name: str, settings: Settings
) -> BenchmarkAnswer:
    """One benchmark, by its name in any case.

    Raises:
        UnknownNameError: no benchmark of the newest vintage has that name.
    """
    known = {row.benchmark: row for row in summaries}
    found = next((one for one in known if one.casefold() == name.casefold()), None)
    if found is None:
        raise UnknownNameError("benchmark", name, known=known)
    vintage, facts = newest_vintage(tables, None), tables.benchmarks[found]
    rows = [row for row in tables.scores if row.vintage == vintage and row.benchmark == found]
    frontier = _frontier(tables, found, settings)
    counts = Counter(terms_of(row).measured_by for row in rows)
    task = facts.lm_eval_task
    return BenchmarkAnswer(
        summary=known[found],
        facts=facts,
        vintage=vintage,
        age=data_age(tables, Question(), settings),
        scores=_scores(tables, rows, facts, frontier),
        lag=frontier.gap(STANDING_LAG) if frontier else None,
        measured_by=tuple(counts.most_common()),
        suites=_suites_with(task, settings),
        command=None if task is None else f"tracker bench ORG/NAME --task {task}",
    )


def answer_benchmarks(settings: Settings) -> tuple[BenchmarkSummary, ...]:
    """Every benchmark of the newest published scores."""
    tables = tables_for(settings)
    return benchmark_list(tables, benchmark_lags(tables, Question()))


def answer_benchmark(name: str, settings: Settings) -> BenchmarkAnswer:
    """One benchmark of the newest published scores.

    Raises:
        UnknownNameError: there is none of that name.
    """
    return benchmark_page(tables_for(settings), answer_benchmarks(settings), name, settings)


def saturation(share: float) -> str:
    """The state of a benchmark whose best score is that far on the way to the ceiling."""
    return next((state for limit, state in STATES.items() if share >= limit), OPEN_ENDED)


def _raw(row: PublishedScore, facts: BenchmarkFacts) -> float:
    return _from_centered(row.score, facts) if row.raw_score is None else row.raw_score


def _from_centered(centered: float, facts: BenchmarkFacts) -> float:
    return min(max(facts.chance + (facts.ceiling - facts.chance) * centered, 0.0), 1.0)


def _summary(tables: Tables, name: str, rows: list[PublishedScore], lag: Lag | None) -> BenchmarkSummary:
    facts, by_model = tables.benchmarks[name], labels(tables)
    best: dict[str, PublishedScore] = {}
    for row in sorted(rows, key=lambda row: (-row.score, by_model[row.model].released, row.model)):
        best.setdefault(by_model[row.model].access.value, row)
    best_open, best_closed = best.get("open"), best.get("closed")
    highest = max(row.score for row in rows)
    return BenchmarkSummary(
        benchmark=name,
        domain=facts.domain.replace("_", " "),
        asks=facts.description,
        released=facts.released,
        is_private=facts.is_private(PrivateList.EXTENDED),
        n_items=facts.n_items,
        n_models=len(rows),
        best_open=best_open.model if best_open else None,
        best_open_score=_raw(best_open, facts) if best_open else None,
        best_closed=best_closed.model if best_closed else None,
        best_closed_score=_raw(best_closed, facts) if best_closed else None,
        solved=highest,
        state=saturation(highest),
        months_behind=lag.months if lag else None,
        newest_open_released=lag.newest_open_released if lag else None,
        is_stale=lag.is_stale if lag else None,
        lm_eval_task=facts.lm_eval_task,
    )


def _frontier(tables: Tables, name: str, settings: Settings) -> FrontierAnswer | None:
    """The answer on the benchmark as an axis; None where a group has no score."""
    try:
        return answer_on_tables(tables, Question(benchmark=name), None, settings)
    except UnknownNameError:
        raise
    except TrackerError:
        return None


def benchmark_scores(tables: Tables) -> dict[str, tuple[BenchmarkScore, ...]]:
    """The newest scores on every benchmark, the best first."""
    vintage, rows = newest_vintage(tables, None), dict[str, list[PublishedScore]]()
    for row in tables.scores:
        if row.vintage == vintage:
            rows.setdefault(row.benchmark, []).append(row)
    return {name: _scores(tables, of, tables.benchmarks[name], None) for name, of in rows.items()}


def _scores(
    tables: Tables, rows: list[PublishedScore], facts: BenchmarkFacts, frontier: FrontierAnswer | None
) -> tuple[BenchmarkScore, ...]:
    records = {point.model for point in frontier.points if point.is_record} if frontier else set()
    by_model = labels(tables)
    found = []
    for row in rows:
        score, terms = _raw(row, facts), terms_of(row)
        low, high = _interval(score, facts.n_items)
        found.append(
            BenchmarkScore(
                model=row.model,
                model_version=row.model_version,
                organization=tables.models[row.model].organization,
                access=by_model[row.model].access.value,
                released=by_model[row.model].released,
                score=score,
                ci_low=low,
                ci_high=high,
                is_record=row.model in records,
                measured_by=terms.measured_by,
                reported_by=row.reported_by.value,
                license=terms.license,
                source=row.source,
                source_url=row.source_url,
                evaluated_on=row.evaluated_on,
            )
        )
    return tuple(sorted(found, key=lambda row: (-row.score, row.released, row.model)))


def _interval(score: float, n_items: int | None) -> tuple[float | None, float | None]:
    """The 90% interval of a share of `n_items` items."""
    if n_items is None:
        return None, None
    return published_share(score, n_items)


def _suites_with(task: str | None, settings: Settings) -> tuple[str, ...]:
    """The shipped suites that have the task."""
    if task is None:
        return ()
    suites = (get_suite(name, own=settings.suites_path) for name in suite_names())
    return tuple(suite.name for suite in suites if any(one.task == task for one in suite.tasks))


def benchmarks_document(rows: Iterable[BenchmarkSummary], data: Mapping[str, Any]) -> dict[str, Any]:
    """The list as plain JSON values; `data`: the day and the age of the data, from `data_document`."""
    return {
        **data,
        "definition": STANDING_LAG,
        "benchmarks": [json_row(asdict(row)) for row in rows],
        "attribution": list(ATTRIBUTION),
    }


def benchmark_document(page: BenchmarkAnswer) -> dict[str, Any]:
    """One benchmark as plain JSON values."""
    facts, lag = page.facts, page.lag
    return {
        "vintage": page.vintage.isoformat(),
        **age_document(page.age),
        **json_row(asdict(page.summary)),
        "definition": STANDING_LAG,
        "chance": facts.chance,
        "ceiling": facts.ceiling,
        "superseded_by": facts.superseded_by,
        "url": facts.url,
        "note": facts.notes,
        "lag": asdict(lag) if lag else None,
        "measured_by": [{"measured_by": who, "n_scores": n} for who, n in page.measured_by],
        "suites": list(page.suites),
        "command": page.command,
        "scores": [json_row(asdict(row)) for row in page.scores],
        "attribution": list(ATTRIBUTION),
    }
