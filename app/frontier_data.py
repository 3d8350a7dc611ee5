"""The frontier as the pages show it: the shipped tables, the fitted index, the six definitions.

Central values are there at once. The bootstrap draws behind the intervals take seconds the first time: they
are made in a thread, kept for the life of the server and in the home, and shown when they are ready.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app import boards
from tracker.errors import StoreError, TrackerError
from tracker.frontier.axis import Axis
from tracker.frontier.dataset import select
from tracker.frontier.facts import Access
from tracker.frontier.gap import Gap, Window, central_gaps, gaps
from tracker.frontier.index import INTERVAL, IndexDraws, IndexFit, fit_index
from tracker.frontier.jaggedness import Jaggedness, jaggedness
from tracker.frontier.lags import lags
from tracker.frontier.population import labels, sizes, small_name
from tracker.frontier.question import Fitted, Only, Question, axis, fitted, window
from tracker.frontier.tables import Tables, load_tables
from tracker.settings import load_settings

ASKS = {
    "G1": "How much later is a level reached, on average over all levels?",
    "G2": "The same, but open has caught up once its interval touches the level (Epoch AI's rule).",
    "G3": "How old is the closed level that the best open model equals?",
    "G4": "How long until a closed record is no longer significantly ahead?",
    "G5": "How many points apart are the two best, on average over a year?",
    "G6": "How old is the closed level that open offers, on average over a year?",
}
NEEDS_DRAWS = ("G2", "G4")  # their central value goes by intervals
BEING_DRAWN = "being computed"
KEPT_VIEWS = 64  # one per combination of the page's filters
KEPT_FITS = 8  # vintages, and what they are narrowed to
WAIT_S = 0.2  # draws that are in the home are read in less


@dataclass(frozen=True, slots=True)
class Frontier:
    """One answered question; `points` has one row per model.

    Columns of `points`: `model organization access released value ci_low ci_high n_params is_record`.
    """

    points: pd.DataFrame
    gaps: tuple[Gap, ...]
    axis: str
    unit: str  # "index", "score" or "rating"
    as_of: date
    vintage: date
    has_intervals: bool
    notes: tuple[str, ...] = ()  # what a reader must know of the axis

    def gap(self, name: str) -> Gap:
        """The answer of one definition."""
        return next(row for row in self.gaps if row.id == name)

    def best(self, access: str) -> pd.Series[Any]:
        """The best model of a group; the earlier one if two are level."""
        group = self.points[self.points["access"] == access]
        return group.sort_values(["value", "released"], ascending=[False, True]).iloc[0]


@st.cache_resource(show_spinner=False)
def tables() -> Tables:
    """The published tables that the program ships."""
    return load_tables()


def frontier(question: Question) -> Frontier:
    """The answer, with intervals as soon as they are there.

    Raises:
        TrackerError: the filters leave nothing to compare, or contradict each other.
    """
    found = None if question.benchmark else drawn(question)
    is_whole = question.benchmark is not None or found is not None
    return _frontier(repr(question), is_whole, question, found)


def on_board(name: str, question: Question, snapshot: str) -> Frontier:
    """The answer on an Elo board of what was ingested; of the question, only who is left out counts.

    Raises:
        TrackerError: the board has no dated open or no dated closed model, or is gone.
    """
    return _on_board(snapshot, name, question.without)


def models_on_board(name: str, snapshot: str) -> list[str]:
    """The models that can be left out of a board, by name; none if it cannot be compared."""
    try:
        return sorted(_on_board(snapshot, name, ()).points["model"], key=str.casefold)
    except StoreError:
        raise
    except TrackerError:  # whoever asks for its answer is told so
        return []


@st.cache_resource(max_entries=KEPT_FITS, show_spinner=False)
def _on_board(snapshot: str, name: str, without: tuple[str, ...]) -> Frontier:
    found = boards.read(name)
    days = Window.year_to(found.vintage)
    chosen = found.axis.without(without).until(days.as_of)
    answers = gaps(chosen, days, unit=boards.UNIT)
    return Frontier(
        _points(chosen), answers, name, boards.UNIT, days.as_of, found.vintage, chosen.has_draws, found.notes
    )


def drawn(question: Question, *, wait_s: float = WAIT_S) -> Fitted | None:
    """The index of the question's vintage with its draws; None while they are being made."""
    return _desk().ready(question, wait_s=wait_s)


def warm() -> None:
    """Begin to draw what the first page asks for."""
    drawn(Question(), wait_s=0.0)


@st.cache_resource(max_entries=KEPT_VIEWS, show_spinner=False)
def _frontier(key: str, is_whole: bool, _question: Question, _found: Fitted | None) -> Frontier:
    """`key` and `is_whole` stand in the cache's key; what they stand for comes along."""
    known, days = tables(), window(tables(), _question)
    if _found is None and _question.benchmark is None:
        _found = _undrawn(_fit(repr(_question.vintage), _question))
    whole = axis(known, replace(_question, without=()), _found)
    chosen = whole.without(_still_there(whole, _question)).until(days.as_of)
    unit = "score" if _question.benchmark else "index"
    if is_whole:
        answers = gaps(chosen, days, unit=unit)
    else:
        central = central_gaps(chosen, days)
        answers = tuple(
            Gap(name, "months" if name != "G5" else unit, None if name in NEEDS_DRAWS else value, None, None,
                0, 0, BEING_DRAWN)
            for name, value in central.items()
        )  # fmt: skip
    vintage = _question.vintage or known.vintages[-1]
    return Frontier(_points(chosen), answers, chosen.name, unit, days.as_of, vintage, is_whole)


@st.cache_resource(max_entries=KEPT_FITS, show_spinner=False)
def _fit(key: str, _question: Question) -> IndexFit:
    return fit_index(select(tables(), vintage=_question.vintage, reported_by=_question.reported_by))


def _undrawn(fit: IndexFit) -> Fitted:
    """The fit with itself as its only draw, which says that no uncertainty is known."""
    only = IndexDraws(fit.index[None], fit.difficulty[None], fit.slope[None], np.zeros(1, dtype=np.intp), 1)
    return Fitted(fit, only, fit.index)


def _points(chosen: Axis) -> pd.DataFrame:
    facts = tables().models
    low, high = np.quantile(chosen.draws, INTERVAL, axis=0)
    rows = pd.DataFrame(
        {
            "model": chosen.models,
            "organization": [facts[m].organization if m in facts else "" for m in chosen.models],
            "access": np.where(chosen.is_open, "open", "closed"),
            "released": [date.fromordinal(int(day)) for day in chosen.released],
            "value": chosen.value,
            "ci_low": low if chosen.has_draws else np.nan,
            "ci_high": high if chosen.has_draws else np.nan,
            "n_params": [facts[m].n_params if m in facts else None for m in chosen.models],
        }
    )
    rows = rows.sort_values(["released", "value"], ascending=[True, False], ignore_index=True)
    best_before = rows.groupby("access")["value"].transform(
        lambda group: group.cummax().shift(fill_value=-1e9)
    )
    return rows.assign(is_record=rows["value"] > best_before)


def benchmark_lags(question: Question) -> pd.DataFrame:
    """The standing lag (G3) on each benchmark, the largest first; the fields of `Lag` as columns.

    Of the question, the vintage, the models left out, the size and the kind of benchmarks count.

    Raises:
        TrackerError: no benchmark is left that has scores of both groups.
    """
    found = _lags(question.vintage, frozenset(question.without), question.max_params)
    if question.only is None:
        return found
    return found[found["is_private"] == (question.only is Only.PRIVATE)].reset_index(drop=True)


@st.cache_resource(max_entries=KEPT_FITS, show_spinner=False)
def _lags(vintage: date | None, without: frozenset[str], max_params: int | None) -> pd.DataFrame:
    known, parameters = labels(tables()), sizes(tables())
    for model, label in known.items():
        is_too_large = max_params is not None and parameters.get(model, max_params + 1) > max_params
        if model in without or (is_too_large and label.access is Access.OPEN):
            known[model] = replace(label, access=Access.UNKNOWN)  # counted in neither group
    found = lags(tables(), known, vintage=vintage)
    return pd.DataFrame([{name: getattr(row, name) for name in row.__slots__} for row in found])


@st.cache_resource(max_entries=KEPT_FITS, show_spinner=False)
def jagged(vintage: date | None) -> dict[str, Jaggedness]:
    """How uneven each model with enough benchmarks is, by its name on the index."""
    fit = _fit(repr(vintage), Question(vintage=vintage))
    return {row.model: row for row in jaggedness(fit)}


def axes(vintage: date | None) -> list[str]:
    """The benchmarks of a vintage that have scores of both groups."""
    return sorted(benchmark_lags(Question(vintage=vintage))["benchmark"], key=str.casefold)


def models_to_leave_out(question: Question) -> list[str]:
    """The models on the axis of a question before any filter but the vintage, by name.

    Where it is about models of a size, those that are on the index by estimate alone are among them.
    """
    if question.benchmark is None:
        names = set(_fit(repr(question.vintage), Question(vintage=question.vintage)).data.models)
        names |= {small_name(row) for row in tables().small_open_models if question.max_params}
    else:
        vintage = question.vintage or tables().vintages[-1]
        of_vintage = [row for row in tables().scores if row.vintage == vintage]
        names = {row.model for row in of_vintage if row.benchmark == question.benchmark}
    return sorted(names, key=str.casefold)


def _still_there(whole: Axis, question: Question) -> list[str]:
    """Who of `without` is to be left out yet: another filter may have dropped a model that there is."""
    dropped = set(models_to_leave_out(question)) - set(whole.models) if question.without else ()
    return [model for model in question.without if model not in dropped]


class _Desk:
    """Draws one question after the other and keeps what is done; its threads end with the server."""

    def __init__(self) -> None:
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._jobs: dict[object, Future[Fitted]] = {}

    def ready(self, question: Question, *, wait_s: float) -> Fitted | None:
        """What was drawn for the question; None if that takes longer than `wait_s`.

        Raises:
            TrackerError: no index can be fitted to the selection.
        """
        key = (question.vintage, question.reported_by, question.options, question.n_draws)
        with self._lock:
            job = self._jobs.get(key)
            if job is None:
                job = self._jobs[key] = Future()
                threading.Thread(target=self._draw, args=(job, question), daemon=True).start()
        try:
            return job.result(timeout=wait_s)
        except TimeoutError:
            return None

    def _draw(self, job: Future[Fitted], question: Question) -> None:
        asked = Question(
            question.vintage,
            reported_by=question.reported_by,
            options=question.options,
            n_draws=question.n_draws,
        )
        with self._turn:
            try:
                job.set_result(fitted(tables(), asked, load_settings().frontier_path))
            except TrackerError as error:  # it is raised again where it is asked for
                job.set_exception(error)
            finally:
                job.cancel()  # a bug must not leave a page waiting; has no effect on what is done


@st.cache_resource(show_spinner=False)
def _desk() -> _Desk:
    return _Desk()
