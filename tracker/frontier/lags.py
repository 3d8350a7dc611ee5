"""The lag of open models on each benchmark, with the date of the newest open model that was scored.

A large lag may mean that open models are worse, or that no new one was evaluated; the date of the newest open
model with a score shows which.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from tracker.errors import TrackerError
from tracker.frontier.axis import Axis
from tracker.frontier.dataset import newest_vintage
from tracker.frontier.definitions import STANDING_LAG, Window
from tracker.frontier.facts import Access, PrivateList, PublishedScore
from tracker.frontier.gap import gap
from tracker.frontier.population import Label, benchmark_axis
from tracker.frontier.tables import Tables

STALE_DAYS = 426  # 14 months: beyond it the lag says more about evaluation than about models


@dataclass(frozen=True, slots=True)
class Lag:
    """The standing lag (G3) on one benchmark."""

    benchmark: str
    domain: str
    is_private: bool
    months: float
    definition: str  # always `STANDING_LAG`
    best_open: str
    best_closed: str
    gap: float  # centered score of the best closed minus that of the best open model
    n_open: int
    n_closed: int
    newest_open: str  # the newest open model that has a score
    newest_open_released: date
    open_evaluated_on: date | None  # last evaluation of an open model, if the source gives it
    is_stale: bool  # no open model of the last 14 months has a score


def lags(
    tables: Tables,
    by_model: dict[str, Label],
    *,
    vintage: date | None = None,
    as_of: date | None = None,
    private_list: PrivateList = PrivateList.EXTENDED,
) -> tuple[Lag, ...]:
    """Every benchmark with scores of both groups, largest lag first.

    Raises:
        TrackerError: no benchmark is left.
    """
    vintage = newest_vintage(tables, vintage)
    window = Window.year_to(as_of or vintage)
    scores: dict[str, list[PublishedScore]] = {}
    for row in tables.scores:
        if row.vintage == vintage:
            scores.setdefault(row.benchmark, []).append(row)
    found = []
    for name in sorted(scores):
        known = replace(tables, scores=tuple(scores[name]))
        if {Access.OPEN, Access.CLOSED} <= _groups(known, by_model, window.as_of):
            axis = benchmark_axis(known, name, by_model, vintage=vintage, n_draws=1).until(window.as_of)
            found.append(_lag(known, axis, window, private_list=private_list))
    if not found:
        raise TrackerError(f"on {window.as_of} no benchmark has scores of both open and closed models")
    return tuple(sorted(found, key=lambda row: -row.months))


def median_months(rows: tuple[Lag, ...], *, is_private: bool) -> float | None:
    """Median standing lag over benchmarks that are not stale; None if there are none."""
    chosen = [row.months for row in rows if row.is_private == is_private and not row.is_stale]
    return float(np.median(chosen)) if chosen else None


def _groups(tables: Tables, by_model: dict[str, Label], as_of: date) -> set[Access]:
    return {by_model[row.model].access for row in tables.scores if by_model[row.model].released <= as_of}


def _lag(tables: Tables, axis: Axis, window: Window, *, private_list: PrivateList) -> Lag:
    """`tables` has the scores of the benchmark alone."""
    best_open, best_closed = axis.best(is_open=True), axis.best(is_open=False)
    places = np.flatnonzero(axis.is_open)
    newest = int(places[np.argmax(axis.released[places])])
    released = date.fromordinal(int(axis.released[newest]))
    open_models = {axis.models[place] for place in places}
    evaluated = [
        row.evaluated_on for row in tables.scores if row.model in open_models and row.evaluated_on is not None
    ]
    months = gap(STANDING_LAG, axis, window)
    assert months is not None  # both groups are there
    return Lag(
        benchmark=axis.name,
        domain=tables.benchmarks[axis.name].domain,
        is_private=tables.benchmarks[axis.name].is_private(private_list),
        months=months,
        definition=STANDING_LAG,
        best_open=axis.models[best_open],
        best_closed=axis.models[best_closed],
        gap=float(axis.value[best_closed] - axis.value[best_open]),
        n_open=len(open_models),
        n_closed=len(axis.models) - len(open_models),
        newest_open=axis.models[newest],
        newest_open_released=released,
        open_evaluated_on=max(evaluated, default=None),
        is_stale=(window.as_of - released).days > STALE_DAYS,
    )
