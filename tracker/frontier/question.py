"""A question about the frontier, and the axis on which it is answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tracker.errors import TrackerError
from tracker.frontier.axis import Axis
from tracker.frontier.cache import cached_draws
from tracker.frontier.dataset import Array, Dataset, newest_vintage, select
from tracker.frontier.facts import OverrideKind, PrivateList, ReportedBy
from tracker.frontier.gap import Window
from tracker.frontier.index import DRAWS, DrawMethod, FitOptions, IndexDraws, IndexFit, fit_index
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
    """Which benchmarks count."""

    PRIVATE = "private"
    PUBLIC = "public"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked; the defaults are the newest vintage as its source labels it."""

    vintage: date | None = None
    as_of: date | None = None  # None: the vintage's own day
    since: date | None = None  # first day that G5 and G6 average over; None: twelve months before as_of
    without: tuple[str, ...] = ()
    only: Only | None = None
    private_list: PrivateList = PrivateList.EXTENDED
    reported_by: ReportedBy | None = None
    max_params: int | None = None  # of open models
    overrides: frozenset[OverrideKind] = frozenset()
    benchmark: str | None = None  # the axis; None: the index
    options: FitOptions = field(default_factory=FitOptions)
    n_draws: int = DRAWS


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """The index of a question's vintage with its draws, and the published kind of upper interval ends."""

    fit: IndexFit
    draws: IndexDraws
    high: Array  # (M,)


def fitted(tables: Tables, question: Question, cache: Path | None) -> Fitted:
    """The index that the question is about; the draws are kept in `cache` if one is given.

    Raises:
        TrackerError: no index can be fitted to the selection.
    """
    data = select(tables, vintage=question.vintage, reported_by=question.reported_by)
    fit = fit_index(data, question.options)
    draws = cached_draws(fit, cache, n_draws=question.n_draws)
    rows = cached_draws(fit, cache, n_draws=question.n_draws, method=DrawMethod.ROWS)
    return Fitted(fit, draws, rows.interval()[1])


def window(tables: Tables, question: Question) -> Window:
    """The days asked about.

    Raises:
        TrackerError: as_of is later than the vintage, which knows no model after its day.
    """
    vintage = newest_vintage(tables, question.vintage)
    as_of = question.as_of or vintage
    if as_of > vintage:
        raise TrackerError(
            f"--as-of {as_of} is later than the data, which ends on {vintage}",
            hint="leave --as-of away for the newest answer",
        )
    whole_year = Window.year_to(as_of)
    return Window(question.since, as_of) if question.since else whole_year


def axis(tables: Tables, question: Question, found: Fitted | None) -> Axis:
    """The models of the question on its axis, before the window's last day is applied.

    `found` is the fitted index; it may be None when the axis is a benchmark.

    Raises:
        TrackerError: a filter leaves nothing, or two filters contradict each other.
        UnknownNameError: a benchmark or a model to leave out that is not there.
    """
    if question.benchmark is not None or found is None:
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
        raise TrackerError(
            "--only and --reported-by choose benchmarks and scores for the index, not for one benchmark",
            hint="leave one of the options away",
        )
    by_model = labels(tables, question.overrides)
    return benchmark_axis(tables, question.benchmark, by_model, vintage=question.vintage)


def _subset_axis(tables: Tables, question: Question, found: Fitted) -> Axis:
    """The index from private or public benchmarks alone, difficulties held."""
    rows = private_rows(tables, found.fit.data, question.private_list)
    if question.only is Only.PUBLIC:
        rows = ~rows
    placed = project(found.fit, found.draws, rows)
    name = f"index on {question.only} benchmarks"
    by_model = labels(tables, question.overrides)
    return projected_axis(name, found.fit.data.models, by_model, placed.value, placed.draws)
