"""A question about the frontier, and the axis that answers it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tracker.errors import TrackerError, UsageError
from tracker.frontier.axis import Axis
from tracker.frontier.cache import cached_draws, cached_upper_ends
from tracker.frontier.dataset import Array, Dataset, newest_vintage, select
from tracker.frontier.definitions import Window
from tracker.frontier.facts import OverrideKind, PrivateList, ReportedBy
from tracker.frontier.index import DRAWS, FitOptions, IndexDraws, IndexFit, fit_index
from tracker.frontier.ingested import published_axis
from tracker.frontier.licenses import redistributable
from tracker.frontier.population import (
    at_most,
    benchmark_axis,
    index_axis,
    labels,
    projected_axis,
    sizes,
    with_small_models,
)
from tracker.frontier.projection import project
from tracker.frontier.tables import Tables


class Only(StrEnum):
    """The kind of benchmarks to include."""

    PRIVATE = "private"
    PUBLIC = "public"


@dataclass(frozen=True, slots=True)
class Question:
    """A question; by default about the newest vintage with its source's labels."""

    vintage: date | None = None
    as_of: date | None = None  # None: the day of the vintage
    since: date | None = None  # first day of averages over days; None: twelve months before as_of
    without: tuple[str, ...] = ()
    only: Only | None = None
    private_list: PrivateList = PrivateList.EXTENDED
    reported_by: ReportedBy | None = None
    redistributable: bool = False  # only scores whose license allows redistribution
    max_params: int | None = None  # of open models
    overrides: frozenset[OverrideKind] = frozenset()
    benchmark: str | None = None  # the axis; None: the index
    options: FitOptions = field(default_factory=FitOptions)
    n_draws: int = DRAWS


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """The index of a question's vintage with its draws and upper interval ends as published."""

    fit: IndexFit
    draws: IndexDraws
    high: Array  # (M,)


def fitted(tables: Tables, question: Question, cache: Path | None) -> Fitted:
    """The index for the question; draws are stored in `cache` if given.

    Raises:
        TrackerError: no index can be fitted to the selection.
    """
    fit = fit_index(selection(tables, question), question.options)
    draws = cached_draws(fit, cache, n_draws=question.n_draws)
    return Fitted(fit, draws, cached_upper_ends(fit, cache, n_draws=question.n_draws))


def selection(tables: Tables, question: Question) -> Dataset:
    """The scores to which the index of the question is fitted.

    Raises:
        TrackerError: no index can be fitted to them.
    """
    known = licensed(tables, question)
    return select(known, vintage=question.vintage, reported_by=question.reported_by)


def licensed(tables: Tables, question: Question) -> Tables:
    """The tables, without scores whose terms do not allow redistribution if the question says so.

    Raises:
        TrackerError: no score is left.
    """
    if not question.redistributable:
        return tables
    return redistributable(tables, newest_vintage(tables, question.vintage))


def window(tables: Tables, question: Question) -> Window:
    """The window of the question; it ends with the data, since nothing is known of later days.

    Raises:
        TrackerError: the vintage does not exist.
    """
    vintage = newest_vintage(tables, question.vintage)
    as_of = min(question.as_of or vintage, vintage)
    whole_year = Window.year_to(as_of)
    return Window(question.since, as_of) if question.since else whole_year


def axis(tables: Tables, question: Question, found: Fitted | None) -> Axis:
    """The models of the question on its axis, before the window's last day is applied.

    `found` is the fitted index; it may be None when the axis is a benchmark, or for a vintage of published
    values alone: they are the axis then.

    Raises:
        TrackerError: a filter leaves nothing, or two filters contradict each other.
        UnknownNameError: a benchmark or a model to leave out that is not there.
    """
    published = tables.only_published(newest_vintage(tables, question.vintage))
    if question.benchmark is None and found is None and published is not None:
        chosen = published_axis(published, labels(tables, question.overrides))
    elif question.benchmark is not None or found is None:
        chosen = _benchmark_axis(tables, question)
    elif question.only is not None:
        chosen = _subset_axis(tables, question, found)
    else:
        chosen = index_axis(found.fit, found.draws, labels(tables, question.overrides), high=found.high)
    if question.max_params is not None:
        if chosen.name == "index":
            chosen = with_small_models(chosen, tables.small_open_models)
        chosen = at_most(chosen, sizes(tables), max_params=question.max_params)
    return chosen.without(question.without) if question.without else chosen


def private_rows(tables: Tables, data: Dataset, private_list: PrivateList) -> npt.NDArray[np.bool_]:
    """(R,) whether each row's benchmark is private by that list."""
    flags = [tables.benchmarks[name].is_private(private_list) for name in data.benchmarks]
    rows: npt.NDArray[np.bool_] = np.array(flags, dtype=np.bool_)[data.benchmark_of]
    return rows


def _benchmark_axis(tables: Tables, question: Question) -> Axis:
    if question.benchmark is None:
        raise TrackerError("the index axis needs a fitted index")
    if question.only is not None or question.reported_by is not None:
        raise UsageError(
            "`--only` and `--reported-by` apply to the index and cannot be combined with `--benchmark`",
            hint="omit one of the options",
        )
    by_model = labels(tables, question.overrides)
    known = licensed(tables, question)
    return benchmark_axis(known, question.benchmark, by_model, vintage=question.vintage)


def _subset_axis(tables: Tables, question: Question, found: Fitted) -> Axis:
    """The index from only private or only public benchmarks, with fixed difficulties."""
    rows = private_rows(tables, found.fit.data, question.private_list)
    if question.only is Only.PUBLIC:
        rows = ~rows
    placed = project(found.fit, found.draws, rows)
    name = f"index on {question.only} benchmarks"
    by_model = labels(tables, question.overrides)
    return projected_axis(name, found.fit.data.models, by_model, placed.value, placed.draws)
