"""The answers of the JSON routes as plain values; `app/http/routes.py` serves them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import partial
from typing import Any

import pandas as pd

from app.data import (
    benchmarks,
    digests,
    frontier_views,
    gap_histories,
    ladders,
    listed_models,
    measured_models,
    placements,
    published_comparisons,
    queries,
    rating_boards,
    what_fits,
)
from tracker.answers.agent_board import board as agents_board
from tracker.answers.benchmarks import benchmark_document, benchmarks_document
from tracker.answers.best_that_fits import CardBudget, best_that_fits, best_that_fits_document
from tracker.answers.comparison import compare_named, comparison_document
from tracker.answers.documents import json_row, json_rows, placement_document
from tracker.answers.fits import fits_document, read_fits
from tracker.answers.frontier import frontier_document, point_document
from tracker.answers.index_places import place_columns, with_index
from tracker.answers.ladder import ladder_document
from tracker.answers.leaderboard import (
    Narrowing,
    choose_task,
    episodes_document,
    exported,
    narrowed,
    ranked_rows,
    read_leaderboard,
)
from tracker.answers.measured import measured_document
from tracker.answers.model_record import read_model
from tracker.answers.model_table import model_table_document
from tracker.answers.outlook import history_document, outlook_document
from tracker.answers.pareto import (
    MeasuredCost,
    PublishedCost,
    measured_offers,
    pareto_document,
    published_offers,
)
from tracker.answers.placement import newest_placement
from tracker.answers.published_comparison import published_comparison_document
from tracker.answers.vintages import age_document
from tracker.answers.what_fits import WhatFitsAsked, what_fits_document
from tracker.errors import TrackerError
from tracker.frontier.definitions import HEADLINE, definition
from tracker.frontier.gap import BEING_DRAWN
from tracker.frontier.placement import Unplaced
from tracker.frontier.population import sizes
from tracker.frontier.question import Only, Question
from tracker.frontier.tables import ATTRIBUTION
from tracker.memory_estimate import BITS, MOST_BITS, SHORT_CONTEXT
from tracker.settings import load_settings

WAIT_S = 20.0  # for the models measured here: a program should not get half an answer
FEED_DAYS = 7
MOST_DAYS = 3660  # ten years
MOST_GB = 1e6  # a petabyte, more than any machine has
CARD_GB = "24"  # the default of the page “Run it”
Answer = Callable[[Mapping[str, str]], Any]


def leaderboard_route(asked: Mapping[str, str]) -> Any:
    """The scores on `?suite=`, ranked within each task; `?task=` and `?fits_gb=` filter."""
    known = queries.board_tasks()
    if not known:
        return []
    suite, _ = choose_task(known, suite=asked.get("suite", known[0]["suite"]), task=asked.get("task"))
    tasks = [asked["task"]] if "task" in asked else [row["task"] for row in known if row["suite"] == suite]
    scores = queries.task_scores(suite, tasks)
    ranked = pd.concat([ranked_rows(scores, task, ()) for task in tasks], ignore_index=True)
    limit = _gigabytes("fits_gb", asked["fits_gb"]) if "fits_gb" in asked else None
    shown = narrowed(ranked, Narrowing(fits_gb=limit))
    return json_rows(exported(with_index(shown, measured_models.index_places(wait_s=WAIT_S))))


def episodes_route(asked: Mapping[str, str]) -> Any:
    """What success costs on `?task=` of the suite of episodes `?suite=`, and what discovery costs in `home`.

    By default the suite of episodes with the most scores; `?fits_gb=` filters.
    """
    suites = dict.fromkeys(row["suite"] for row in queries.board_tasks())
    if not suites:
        return []
    of_episodes = queries.suites_of_episodes()
    default = next((suite for suite in suites if suite in of_episodes), None)
    narrowing = Narrowing(fits_gb=_gigabytes("fits_gb", asked["fits_gb"]) if "fits_gb" in asked else None)
    found = read_leaderboard(
        load_settings(), suite=asked.get("suite", default), task=asked.get("task"), by=narrowing
    )
    return {"suite": found.suite, "task": found.task, "episodes": episodes_document(found.episodes)}


def fits_route(asked: Mapping[str, str]) -> Any:
    """The models that fit `?gb=` with `?context=` tokens, by the score on `?suite=` and `?task=`."""
    found = read_fits(
        load_settings(),
        memory_gb=_gigabytes("gb", asked.get("gb", CARD_GB)),
        context=_whole_number(asked, "context", default=SHORT_CONTEXT),
        suite=asked.get("suite"),
        task=asked.get("task"),
    )
    return fits_document(found)


def what_fits_route(asked: Mapping[str, str]) -> Any:
    """The open models that fit `?gpu=` or `?gb=`, best first; also `?context=&bits=&license=&limit=`."""
    if "gpu" in asked and "gb" in asked:
        raise TrackerError("`gpu` and `gb` cannot be combined", hint="gpu=RTX 4090")
    wanted = WhatFitsAsked(
        context=_whole_number(asked, "context", default=SHORT_CONTEXT),
        bits=_bits(asked) if "bits" in asked else None,
        license=asked.get("license"),
        limit=_whole_number(asked, "limit", default=0) if "limit" in asked else None,
    )
    memory_gb = _gigabytes("gb", asked.get("gb", CARD_GB))
    found = what_fits.what_fits(asked.get("gpu"), memory_gb, wanted, wait_s=WAIT_S)
    return json_row(what_fits_document(found))


def compare_route(asked: Mapping[str, str]) -> Any:
    """`?first=` against `?second=` on the items that both answered; by default the newest that share a suite.

    With `?published=true`, two models of the index by published scores; by default the best of each group.
    """
    if _one_of(asked, "published", ["false", "true"]) == "true":
        if "suite" in asked or "task" in asked:
            raise TrackerError("`published` cannot be combined with `suite` or `task`")
        best = published_comparisons.best_of_each_group()
        names = [asked.get("first", best[0]), asked.get("second", best[1])]
        return published_comparison_document(published_comparisons.comparison(names))
    newest = queries.newest_pair()
    if len(newest) < 2:
        return []
    first, second = asked.get("first", newest[0]), asked.get("second", newest[1])
    found = compare_named(first, second, load_settings(), suite=asked.get("suite"), task=asked.get("task"))
    return json_row(comparison_document(found))


def ladders_route(asked: Mapping[str, str]) -> Any:
    """What the copies of `?model=` lose, the newest ladder first; by default the ladder measured last."""
    found = ladders.ladders_named(asked["model"]) if "model" in asked else ladders.newest_ladder()
    return [json_row(ladder_document(one)) for one in found]


def placement_route(asked: Mapping[str, str]) -> Any:
    """The placement of the model of `?run_id=`, by default of the newest complete run that is placed."""
    complete = [row["run_id"] for row in queries.latest_runs() if row["status"] == "complete"]
    wanted = [_scored_run(asked["run_id"])] if "run_id" in asked else complete
    newest = newest_placement(wanted, partial(placements.run_placement, queries.snapshot()))
    if newest is None:
        return []
    run_id, found = newest
    return json_row({"run_id": run_id} | placement_document(found or Unplaced(BEING_DRAWN)))


def _scored_run(run_id: str) -> str:
    """The id of a run, which names a folder, once the store has one.

    Raises:
        TrackerError: no run with scores has it.
    """
    if queries.run_scores(run_id).empty:
        raise TrackerError(f"no run with scores is called `{run_id}`", hint="`/api/runs.json` lists the runs")
    return run_id


def pareto_route(asked: Mapping[str, str]) -> Any:
    """The Pareto front of score against `?cost=`; for memory and time, the score is on `?task=`."""
    cost = _one_of(asked, "cost", [*PublishedCost, *MeasuredCost])
    if cost in tuple(MeasuredCost):
        found = measured_offers(load_settings(), MeasuredCost(cost), task=asked.get("task"))
    elif "task" in asked:
        text = f"`task` cannot be combined with `cost={cost}`, which uses published scores"
        raise TrackerError(text, hint="cost=memory, time or speed")
    else:
        found = published_offers(load_settings(), PublishedCost(cost), Question())
    return json_row(pareto_document(found))


def frontier_route(asked: Mapping[str, str]) -> Any:
    """The gap by each definition, and the models measured here.

    Filters: `?vintage=`, `?axis=`, `?only=`, `?fits_gb=` with `?bits=`, `?without=`,
    `?redistributable=true`.
    """
    budget, question = _budget(asked), _question(asked)
    if question.benchmark in rating_boards.names():
        if budget is not None or replace(question, without=(), benchmark=None) != Question():
            raise TrackerError("a rating board can be combined only with `without`")
        found = frontier_views.on_board(question.benchmark, question, queries.snapshot())
    else:
        found = frontier_views.frontier(question)
    answer = found.answer
    fits = best_that_fits(answer, budget, sizes(frontier_views.tables())) if budget else None
    document = frontier_document(answer) | measured_document(
        measured_models.measured(question, wait_s=WAIT_S)
    )
    models = [point_document(point) for point in answer.points]
    return document | best_that_fits_document(fits) | {"models": models, "attribution": list(ATTRIBUTION)}


def _budget(asked: Mapping[str, str]) -> CardBudget | None:
    """The memory of `?fits_gb=` and the bits of a weight of `?bits=`.

    Raises:
        TrackerError: a value is no number or out of range, or there are bits without memory.
    """
    if "fits_gb" not in asked:
        if "bits" in asked:
            raise TrackerError("`bits` needs `fits_gb`", hint="fits_gb=24&bits=4")
        return None
    return CardBudget(_gigabytes("fits_gb", asked["fits_gb"]), _bits(asked))


def _bits(asked: Mapping[str, str]) -> float:
    """The bits of a weight of `?bits=`, by default as published.

    Raises:
        TrackerError: it is no number, or out of range.
    """
    try:
        bits = float(asked.get("bits", BITS))
    except ValueError:
        bits = math.nan
    if not 1.0 <= bits <= MOST_BITS:
        raise TrackerError(f"`bits` must be a number from 1 to {MOST_BITS:g}, got `{asked['bits']}`")
    return bits


def over_time_route(asked: Mapping[str, str]) -> Any:
    """The gap by `?definition=` at past month ends, and the outlook, with the filters of `frontier`."""
    name = definition(asked.get("definition", HEADLINE)).id
    found = gap_histories.over_time(_question(asked), name)
    if found is None:
        return {"status": BEING_DRAWN, "history": None, "outlook": None}
    if found.history is None:
        raise TrackerError(found.problem, hint=found.hint)
    ahead = outlook_document(found.outlook) if found.outlook else None
    return {"status": found.problem or "given", "history": history_document(found.history), "outlook": ahead}


def _question(asked: Mapping[str, str]) -> Question:
    budget = _budget(asked)
    return Question(
        vintage=_day(asked["vintage"]) if "vintage" in asked else None,
        only=Only(_one_of(asked, "only", list(Only))) if "only" in asked else None,
        max_params=budget.max_params if budget else None,
        redistributable=_one_of(asked, "redistributable", ["false", "true"]) == "true",
        without=(asked["without"],) if "without" in asked else (),
        benchmark=asked.get("axis"),
    )


def _gigabytes(name: str, text: str) -> float:
    """Parse an amount of memory in GB.

    Raises:
        TrackerError: it is not a number, or out of range.
    """
    try:
        memory_gb = float(text)
    except ValueError:
        memory_gb = math.nan
    if not 0.0 < memory_gb <= MOST_GB:
        raise TrackerError(f"`{name}` must be a number of GB above 0 and at most 1,000,000, got `{text}`")
    return memory_gb


def _whole_number(asked: Mapping[str, str], name: str, *, default: int) -> int:
    """Parse a whole number.

    Raises:
        TrackerError: it is not one.
    """
    text = asked.get(name, str(default))
    try:
        return int(text)
    except ValueError as error:
        raise TrackerError(f"`{name}` must be a whole number, got `{text}`") from error


def _day(text: str) -> date:
    """Parse the date of a vintage.

    Raises:
        TrackerError: it is not a date.
    """
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise TrackerError(f"`vintage` must be a date such as 2026-04-29, got `{text}`") from error


def lags_route(_: Mapping[str, str]) -> Any:
    """The current lag on each benchmark."""
    return json_rows(frontier_views.benchmark_lags(Question()))


def benchmarks_route(asked: Mapping[str, str]) -> Any:
    """Every benchmark with published scores; with `?benchmark=` everything about one."""
    if "benchmark" in asked:
        return benchmark_document(benchmarks.page(asked["benchmark"]))
    age = frontier_views.lags_age(Question())
    return benchmarks_document(benchmarks.summaries(), {"vintage": age.day.isoformat()} | age_document(age))


def models_route(asked: Mapping[str, str]) -> Any:
    """The models measured here, each with its newest run; with `?model=` every run of one."""
    if "model" in asked:
        return read_model(asked["model"], load_settings()).plain_document()
    places = measured_models.index_places(wait_s=WAIT_S)
    return [json_row(row | place_columns(places.of(row))) for row in queries.measured_models()]


def all_models_route(_: Mapping[str, str]) -> Any:
    """Every model with a place on the index, open and closed, the best first."""
    return model_table_document(listed_models.listed_models())


def research_route(_: Mapping[str, str]) -> Any:
    """The agent leaderboard by group of comparable studies, as in `tracker research board --json`."""
    return [json_row(asdict(group)) for group in agents_board(queries.complete_studies())]


def runs_route(_: Mapping[str, str]) -> Any:
    """The newest runs."""
    return [json_row(row) for row in queries.latest_runs()]


def queue_route(_: Mapping[str, str]) -> Any:
    """The queue, next job first."""
    return json_rows(queries.jobs())


def sources_route(_: Mapping[str, str]) -> Any:
    """The newest ingest of each source."""
    return json_rows(queries.source_ingests())


def changes_route(asked: Mapping[str, str]) -> Any:
    """The changes of the last `?days=` days, by default a week."""
    days = _whole_number(asked, "days", default=FEED_DAYS)
    if not 1 <= days <= MOST_DAYS:
        raise TrackerError(f"`days` must be from 1 to {MOST_DAYS:,}, got {days}")
    return json_rows(digests.change_rows(digests.recent_digest(days, most=None)))


@dataclass(frozen=True, slots=True)
class ApiTable:
    """One JSON table, and the parameters that it takes."""

    answer: Answer
    parameters: tuple[str, ...] = ()

    def rows(self, asked: Iterable[tuple[str, str]]) -> Any:
        """The answer to a question.

        Raises:
            TrackerError: it has a parameter that is unknown, empty, twice or out of range.
        """
        given: dict[str, str] = {}
        for name, value in asked:
            if name not in self.parameters:
                known = ", ".join(self.parameters)
                hint = f"known: {known}" if known else "this table takes no parameters"
                raise TrackerError(f"no parameter is called `{name}`", hint=hint)
            if name in given:
                raise TrackerError(f"`{name}` is given twice", hint="give it once")
            if not value.strip():
                raise TrackerError(f"`{name}` is empty", hint="give it a value, or leave it away")
            given[name] = value
        return self.answer(given)


OF_QUESTION = ("vintage", "axis", "only", "fits_gb", "bits", "without", "redistributable")
TABLES: dict[str, ApiTable] = {
    "leaderboard": ApiTable(leaderboard_route, ("suite", "task", "fits_gb")),
    "episodes": ApiTable(episodes_route, ("suite", "task", "fits_gb")),
    "fits": ApiTable(fits_route, ("gb", "context", "suite", "task")),
    "what-fits": ApiTable(what_fits_route, ("gpu", "gb", "context", "bits", "license", "limit")),
    "compare": ApiTable(compare_route, ("first", "second", "suite", "task", "published")),
    "ladders": ApiTable(ladders_route, ("model",)),
    "placement": ApiTable(placement_route, ("run_id",)),
    "pareto": ApiTable(pareto_route, ("cost", "task")),
    "frontier": ApiTable(frontier_route, OF_QUESTION),
    "frontier-over-time": ApiTable(over_time_route, ("definition", *OF_QUESTION)),
    "lags": ApiTable(lags_route),
    "benchmarks": ApiTable(benchmarks_route, ("benchmark",)),
    "models": ApiTable(models_route, ("model",)),
    "all-models": ApiTable(all_models_route),
    "research": ApiTable(research_route),
    "runs": ApiTable(runs_route),
    "queue": ApiTable(queue_route),
    "sources": ApiTable(sources_route),
    "changes": ApiTable(changes_route, ("days",)),
}


def feed_route() -> bytes:
    """The Atom feed."""
    return digests.atom_feed(FEED_DAYS)


def shown_snapshot() -> str:
    """The id of the newest snapshot, after one query to check that it is readable.

    Raises:
        StoreError: it cannot be read.
    """
    queries.board_tasks()
    return queries.snapshot().rpartition(":")[2]


def _one_of(asked: Mapping[str, str], key: str, known: list[str]) -> str:
    """The value of a parameter, by default the first known one.

    Raises:
        TrackerError: the value is not among the known ones.
    """
    name = asked.get(key, known[0])
    if name not in known:
        raise TrackerError(f"`{key}` must be one of {', '.join(known)}; got `{name}`")
    return name
