"""Compare models by published data: their places on the index, and the benchmarks on which all have a score.

Open and closed models are compared alike. The items behind published scores are not known, so a difference on
a benchmark counts both samples of items as independent, which makes its interval wider than a paired one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from itertools import combinations
from typing import Any

import numpy as np

from tracker.answers.benchmarks import BenchmarkScore, benchmark_scores
from tracker.answers.documents import json_row
from tracker.answers.frontier import answer_question
from tracker.answers.model_table import ListedModel, model_table
from tracker.answers.vintages import tables_for
from tracker.errors import TrackerError, UnknownNameError
from tracker.frontier.dataset import newest_vintage
from tracker.frontier.facts import PrivateList
from tracker.frontier.index import INTERVAL
from tracker.frontier.question import Fitted, Question, fitted
from tracker.frontier.tables import ATTRIBUTION, Tables
from tracker.settings import Settings
from tracker.stats import published_difference


@dataclass(frozen=True, slots=True)
class IndexDifference:
    """The first model's index minus the second's, with a 90% interval from joint draws."""

    first: str
    second: str
    difference: float
    ci_low: float | None
    ci_high: float | None


@dataclass(frozen=True, slots=True)
class SharedBenchmark:
    """The scores of all compared models on one benchmark."""

    benchmark: str
    domain: str
    is_private: bool
    n_items: int | None
    scores: tuple[BenchmarkScore, ...]  # in the order of the models
    difference: float  # of the first two models
    ci_low: float | None  # 90% interval; None: the number of items is not known
    ci_high: float | None


@dataclass(frozen=True, slots=True)
class PublishedComparison:
    """Two or more models of the index side by side."""

    models: tuple[ListedModel, ...]
    vintage: date
    index_differences: tuple[IndexDifference, ...]  # of every pair
    benchmarks: tuple[SharedBenchmark, ...]


def compare_published(
    names: Sequence[str], listed: Collection[ListedModel], tables: Tables, found: Fitted | None
) -> PublishedComparison:
    """The models by their names on the index or their repositories; `found` has the draws, if there are any.

    Raises:
        UnknownNameError: a model has no place on the index.
        TrackerError: fewer than two different models.
    """
    models = tuple(listed_model(name, listed) for name in names)
    if len({row.model for row in models}) < max(len(models), 2):
        raise TrackerError("a comparison needs two different models", hint="name two models of the index")
    vintage = newest_vintage(tables, None)
    pairs = tuple(_index_difference(first, second, found) for first, second in combinations(models, 2))
    return PublishedComparison(models, vintage, pairs, tuple(_shared(models, tables)))


def listed_model(name: str, listed: Iterable[ListedModel]) -> ListedModel:
    """The model of that name or repository, in any case.

    Raises:
        UnknownNameError: there is none.
    """
    wanted, rows = name.casefold(), tuple(listed)
    for row in rows:
        if row.model.casefold() == wanted:
            return row
    for row in rows:
        if row.hub_id is not None and row.hub_id.casefold() == wanted:
            return row
    raise UnknownNameError("model of the index", name, known=[row.model for row in rows])


def answer_published_comparison(names: Sequence[str], settings: Settings) -> PublishedComparison:
    """The comparison on the newest published data, with intervals.

    Raises:
        UnknownNameError: a model has no place on the index.
        TrackerError: fewer than two different models.
    """
    tables = tables_for(settings)
    listed = model_table(answer_question(Question(), settings), tables, {}, ())
    models = [listed_model(name, listed).model for name in names]  # before the draws are computed
    return compare_published(models, listed, tables, fitted(tables, Question(), settings.frontier_path))


def _index_difference(first: ListedModel, second: ListedModel, found: Fitted | None) -> IndexDifference:
    low = high = None
    if found is not None and len(found.draws.index) > 1:
        places = {model: place for place, model in enumerate(found.fit.data.models)}
        if first.model in places and second.model in places:
            draws = found.draws.index[:, places[first.model]] - found.draws.index[:, places[second.model]]
            low, high = (float(end) for end in np.quantile(draws, INTERVAL))
    return IndexDifference(first.model, second.model, first.index - second.index, low, high)


def _shared(models: Sequence[ListedModel], tables: Tables) -> Iterable[SharedBenchmark]:
    wanted = {row.model for row in models}
    of_name: dict[str, dict[str, BenchmarkScore]] = {}
    for name, scores in benchmark_scores(tables).items():
        of_model = {row.model: row for row in scores if row.model in wanted}
        if len(of_model) == len(wanted):
            of_name[name] = of_model
    for name in sorted(of_name, key=str.casefold):
        facts, scores_of = tables.benchmarks[name], of_name[name]
        scores = tuple(scores_of[row.model] for row in models)
        first, second = scores[0].score, scores[1].score
        ends = published_difference(first, second, facts.n_items) if facts.n_items else (None, None)
        yield SharedBenchmark(
            benchmark=name,
            domain=facts.domain.replace("_", " "),
            is_private=facts.is_private(PrivateList.EXTENDED),
            n_items=facts.n_items,
            scores=scores,
            difference=first - second,
            ci_low=ends[0],
            ci_high=ends[1],
        )


def published_comparison_document(found: PublishedComparison) -> dict[str, Any]:
    """The comparison as plain JSON values."""
    return {
        "vintage": found.vintage.isoformat(),
        "models": [json_row(asdict(row)) for row in found.models],
        "index_differences": [asdict(row) for row in found.index_differences],
        "benchmarks": [json_row(asdict(row)) for row in found.benchmarks],
        "attribution": list(ATTRIBUTION),
    }
