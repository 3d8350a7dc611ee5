"""The frontier for the pages: cached answers of `tracker.answers.frontier`.

Central values are available immediately. The bootstrap draws behind the intervals take seconds the first
time: a thread computes them, they are cached in memory and in the home, and pages show them once ready.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date
from typing import Any

import pandas as pd
import streamlit as st

from app.data import queries
from app.data.background import Background
from tracker.answers import frontier as answers
from tracker.answers.best_that_fits import BestThatFits, CardBudget, best_that_fits
from tracker.answers.frontier import FrontierAnswer, ModelPoint
from tracker.answers.vintages import DataAge, data_age, tables_for, vintage_days
from tracker.errors import DiskFullError, StoreError, TrackerError
from tracker.frontier.definitions import STANDING_LAG
from tracker.frontier.gap import BEING_DRAWN, Gap
from tracker.frontier.index import IndexFit, fit_index
from tracker.frontier.jaggedness import Jaggedness
from tracker.frontier.lags import Lag
from tracker.frontier.population import sizes, small_name
from tracker.frontier.question import Fitted, Question, fitted, selection
from tracker.frontier.tables import Tables
from tracker.settings import load_settings

KEPT_VIEWS = 64  # one per combination of the page's filters
KEPT_FITS = 8  # vintages, each with the filters that change its fit
WAIT_S = 0.2  # reading draws from the home takes less


@dataclass(frozen=True, slots=True)
class Frontier:
    """An answer for the pages: `points` has a row per model, with the fields of `ModelPoint` as columns."""

    answer: FrontierAnswer
    points: pd.DataFrame
    notes: tuple[str, ...] = ()  # of a rating board; pages have their own texts about the published data

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """The gap by each definition."""
        return self.answer.gaps

    @property
    def axis(self) -> str:
        """The name of the axis."""
        return self.answer.axis

    @property
    def unit(self) -> str:
        """The unit of the axis: "index", "score" or "rating"."""
        return self.answer.unit

    @property
    def as_of(self) -> date:
        """The day for which the gaps are computed."""
        return self.answer.as_of

    @property
    def vintage(self) -> date:
        """The day of the published data."""
        return self.answer.vintage

    @property
    def age(self) -> DataAge:
        """The age of the published data on the day of asking."""
        age = self.answer.age
        if age is None:
            raise ValueError("a finished answer has the age of its data")
        return age

    @property
    def has_intervals(self) -> bool:
        """Whether the intervals have been computed, as far as the data allow."""
        return self.answer.intervals != BEING_DRAWN

    def gap(self, name: str) -> Gap:
        """The gap by the definition of that id."""
        return self.answer.gap(name)

    def best(self, access: str) -> pd.Series[Any]:
        """The best open or closed model as a row of `points`."""
        best = self.answer.best_open if access == "open" else self.answer.best_closed
        return self.points.iloc[self.answer.points.index(best)]


def tables(question: Question | None = None, *, is_fitted: bool = True) -> Tables:
    """The published data that the question needs; by default the newest whose index can be fitted."""
    return tables_for(load_settings(), question, is_fitted=is_fitted)


def vintages() -> tuple[date, ...]:
    """The day of every vintage, shipped or ingested, the oldest first."""
    return vintage_days(load_settings())


def lags_age(question: Question) -> DataAge:
    """The age of the data that the lags of a question rest on."""
    return data_age(tables(question), question, load_settings())


def frontier(question: Question) -> Frontier:
    """The answer to a question, with intervals once they are computed.

    Raises:
        TrackerError: the filters leave nothing to compare or contradict each other.
    """
    known = tables(question, is_fitted=answers.needs_scores(question))
    is_drawn = answers.is_fitted(known, question)
    found = drawn(question) if is_drawn else None
    key = f"{queries.state('vintages')} {known.digest} {queries.now():%Y-%m-%d} {question}"
    return _frontier(key, not is_drawn or found is not None, known, question, found)


def best_for_card(budget: CardBudget) -> BestThatFits | None:
    """The best open model that fits a card over time, on the newest index; None if none is that small."""
    try:
        found = frontier(Question(max_params=budget.max_params))
    except (StoreError, DiskFullError):
        raise
    except TrackerError:
        return None
    return best_that_fits(found.answer, budget, sizes(tables()))


def standing_lag() -> float | None:
    """The months between closed models and the best open model of any size, at its release."""
    return frontier(Question()).gap(STANDING_LAG).value


def repository(model: str) -> str:
    """The Hub repository of an estimated small model, under which it has its page; else its name."""
    return repositories().get(model) or model


def is_estimate(model: str) -> bool:
    """Whether a model is on the index only by a third party's estimate."""
    return model in repositories()


def repositories() -> Mapping[str, str | None]:
    """The estimated small models, by name, and the Hub repository under which each has its page."""
    known = tables()
    return _repositories(known.digest, known)


@st.cache_resource(max_entries=KEPT_FITS, show_spinner=False)
def _repositories(digest: str, _tables: Tables) -> dict[str, str | None]:
    return {small_name(row): row.hub_id for row in _tables.small_open_models}


def on_board(name: str, question: Question, snapshot: str) -> Frontier:
    """The answer on an ingested rating board; only the filter `without` of the question applies.

    Raises:
        TrackerError: the board has no dated open or closed model, or no longer exists.
    """
    return _on_board(f"{snapshot} {queries.now():%Y-%m-%d}", name, question.without)


def models_on_board(name: str, snapshot: str) -> list[str]:
    """The names of the models that can be excluded from a board, sorted; empty if it has no answer."""
    try:
        return sorted(
            _on_board(f"{snapshot} {queries.now():%Y-%m-%d}", name, ()).points["model"], key=str.casefold
        )
    except StoreError:
        raise
    except TrackerError:  # asking for the answer reports it
        return []


@st.cache_resource(max_entries=KEPT_FITS, show_spinner=False)
def _on_board(key: str, name: str, without: tuple[str, ...]) -> Frontier:
    found = answers.answer_on_series(name, Question(without=without), load_settings())
    return Frontier(found, _frame(found), found.notes)


def drawn(question: Question, *, wait_s: float | None = None) -> Fitted | None:
    """The index of the question's vintage with its draws; None while they are being computed."""
    known = tables(question)
    asked = Question(
        question.vintage,
        reported_by=question.reported_by,
        redistributable=question.redistributable,
        options=question.options,
        n_draws=question.n_draws,
    )
    return _background().ready(
        f"{known.digest} {asked}",
        lambda: fitted(known, asked, load_settings().frontier_path),
        wait_s=WAIT_S if wait_s is None else wait_s,
    )


def warm() -> None:
    """Start computing the draws that the first page needs."""
    drawn(Question(), wait_s=0.0)


@st.cache_resource(max_entries=KEPT_VIEWS, show_spinner=False)
def _frontier(
    key: str, is_whole: bool, _tables: Tables, _question: Question, _found: Fitted | None
) -> Frontier:
    """Compute an answer; the cache's key is `key` and `is_whole`, not the objects that they describe."""
    if not is_whole:
        _found = answers.undrawn(_fit(_fit_key(_tables, _question), _tables, _question))
    found = answers.answer_on_tables(_tables, _question, _found, load_settings())
    return Frontier(found, _frame(found))


@st.cache_resource(max_entries=KEPT_FITS, show_spinner=False)
def _fit(key: str, _tables: Tables, _question: Question) -> IndexFit:
    return fit_index(selection(_tables, _question))


def _fit_key(known: Tables, question: Question) -> str:
    return f"{known.digest} {question.vintage} {question.reported_by} {question.redistributable}"


def _frame(found: FrontierAnswer) -> pd.DataFrame:
    names = [field.name for field in fields(ModelPoint)]
    frame = pd.DataFrame([{name: getattr(point, name) for name in names} for point in found.points])
    return frame.astype({"ci_low": float, "ci_high": float})


def benchmark_lags(question: Question) -> pd.DataFrame:
    """The current lag on each benchmark, largest first, with the fields of `Lag` as columns.

    Raises:
        TrackerError: no remaining benchmark has scores of both groups.
    """
    known = tables(question)
    return _lags(f"{known.digest} {question}", known, question)


@st.cache_resource(max_entries=KEPT_FITS, show_spinner=False)
def _lags(key: str, _tables: Tables, _question: Question) -> pd.DataFrame:
    found = answers.benchmark_lags(_tables, _question)
    names = [field.name for field in fields(Lag)]
    return pd.DataFrame([{name: getattr(row, name) for name in names} for row in found], columns=names)


def jagged(vintage: date | None) -> dict[str, Jaggedness]:
    """The jaggedness of each model with enough benchmarks, by its name on the index."""
    known = tables(Question(vintage=vintage))
    return _jagged(f"{known.digest} {vintage}", known, vintage)


@st.cache_resource(max_entries=KEPT_FITS, show_spinner=False)
def _jagged(key: str, _tables: Tables, _vintage: date | None) -> dict[str, Jaggedness]:
    found = answers.uneven_models(_tables, Question(vintage=_vintage))
    return {row.model: row for row in found}


def axes(vintage: date | None) -> list[str]:
    """The benchmarks of a vintage with scores of both groups, sorted by name."""
    return sorted(benchmark_lags(Question(vintage=vintage))["benchmark"], key=str.casefold)


def models_to_leave_out(question: Question) -> list[str]:
    """The names of the models on the question's axis, with no filter but the vintage."""
    known = tables(question, is_fitted=answers.needs_scores(question))
    whole = Question(vintage=question.vintage, redistributable=question.redistributable)
    fit = _fit(_fit_key(known, whole), known, whole) if answers.is_fitted(known, question) else None
    return answers.models_to_leave_out(known, question, fit)


@st.cache_resource(show_spinner=False)
def _background() -> Background[Fitted]:
    return Background(kept=KEPT_FITS)
