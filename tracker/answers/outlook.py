"""The gap over time and its outlook: when open models reach today's closed level, and whether the gap closes.

Each month end is answered in hindsight, from one vintage, with the models released by then. How the gap was
believed on a day of the past is another question: `Question.vintage`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from typing import Any

from tracker.answers.frontier import is_fitted, models_to_leave_out, needs_scores
from tracker.answers.vintages import DataAge, age_document, data_age, tables_for
from tracker.errors import TrackerError, UsageError
from tracker.frontier.axis import Axis
from tracker.frontier.cache import cached_gap_history
from tracker.frontier.definitions import HEADLINE, Window, definition
from tracker.frontier.outlook import WINDOW_MONTHS, CatchUp, Trend, catch_up, distance, trend
from tracker.frontier.question import Fitted, Question, axis, fitted, window
from tracker.frontier.tables import ATTRIBUTION, Tables
from tracker.settings import Settings

HISTORY_MONTHS = 36
MONTH = "%b %Y"
DAY = "%d %b %Y"
HINDSIGHT = "every month end is computed from the data of {vintage}, with the models released by then"
BACK_TEST = "the projection assumes that the pace stays; docs/method.md has its back-test"


@dataclass(frozen=True, slots=True)
class MonthEnd:
    """The gap on one day, with its 90% interval where there is one."""

    as_of: date
    value: float
    ci_low: float | None
    ci_high: float | None
    n: int


@dataclass(frozen=True, slots=True)
class GapHistory:
    """The gap by one definition at the end of each month."""

    definition: str  # its id
    question: str
    unit: str  # "months", or the axis's own unit
    axis: str
    vintage: date  # last day of the data
    age: DataAge
    months: tuple[MonthEnd, ...]  # oldest first; the last one is the day of the question
    notes: tuple[str, ...]
    attribution: tuple[str, ...] = ATTRIBUTION


@dataclass(frozen=True, slots=True)
class Outlook:
    """The distance of the day, its trend, and when open models reach today's best closed level."""

    as_of: date
    vintage: date  # last day of the data
    age: DataAge
    distance: float  # best closed minus best open model, in index points
    trend: Trend
    catch_up: CatchUp | None  # None: a note says why
    sentences: tuple[str, ...]
    notes: tuple[str, ...]
    attribution: tuple[str, ...] = ATTRIBUTION


def gap_history(question: Question, settings: Settings, *, name: str = HEADLINE) -> GapHistory:
    """The gap by the definition `name` at the end of each month of the three years up to the question's day.

    Raises:
        UnknownNameError: there is no such definition.
        TrackerError: the question cannot be answered, or the definition has no value on any of these days.
    """
    definition(name)  # a wrong name is told before seconds are spent
    tables = tables_for(settings, question, is_fitted=needs_scores(question))
    found = fitted(tables, question, settings.frontier_path) if is_fitted(tables, question) else None
    return history_on_tables(tables, question, found, settings, name=name)


def history_on_tables(
    tables: Tables, question: Question, found: Fitted | None, settings: Settings, *, name: str = HEADLINE
) -> GapHistory:
    """The same from a fitted index with draws; `found` is None if `is_fitted` says that none is needed.

    Raises:
        UnknownNameError: there is no such definition.
        TrackerError: the question cannot be answered, or the definition has no value on any of these days.
    """
    rule = definition(name)
    as_of = window(tables, question).as_of
    chosen = _axis(tables, question, found, as_of)
    unit = "index" if question.benchmark is None else "score"
    windows = [Window.year_to(day) for day in month_ends(chosen, as_of)]
    gaps = cached_gap_history(rule, chosen, windows, settings.frontier_path, unit=unit)
    months = tuple(
        MonthEnd(days.as_of, gap.value, gap.ci_low, gap.ci_high, gap.n)
        for days, gap in zip(windows, gaps, strict=True)
        if gap.value is not None
    )
    if not months:
        raise TrackerError(
            f"{name} has no value at any month end up to {as_of}: {gaps[-1].note}",
            hint="use another definition, or fewer filters",
        )
    age = data_age(tables, question, settings)
    return GapHistory(
        definition=name,
        question=rule.question,
        unit=rule.unit_on(unit),
        axis=chosen.name,
        vintage=age.day,
        age=age,
        months=months,
        notes=(HINDSIGHT.format(vintage=age.day),),
    )


def _axis(tables: Tables, question: Question, found: Fitted | None, as_of: date) -> Axis:
    """The models of the question; one to leave out may already be gone by another filter."""
    whole = axis(tables, replace(question, without=()), found)
    known = models_to_leave_out(tables, question, found.fit if found else None) if question.without else []
    gone = set(known) - set(whole.models)
    return whole.without([model for model in question.without if model not in gone]).until(as_of)


def month_ends(axis: Axis, as_of: date, *, n_months: int = HISTORY_MONTHS) -> list[date]:
    """The month ends of `n_months` months before `as_of`, as far as both groups had a model, and `as_of`."""
    first = max(float(axis.released[group].min()) for group in (axis.is_open, ~axis.is_open))

    def backwards() -> Iterator[date]:
        day = as_of
        for _ in range(n_months):
            day = day.replace(day=1) - timedelta(days=1)
            if day.toordinal() < first:
                return
            yield day

    return [*reversed(list(backwards())), as_of]


def outlook(question: Question, settings: Settings) -> Outlook:
    """The outlook on the index, from the models released by the question's day.

    Raises:
        UsageError: the question is about one benchmark, for which the projection has no back-test.
        TrackerError: the question cannot be answered, or one of the groups has less than a year of models.
    """
    tables = tables_for(settings, question, is_fitted=needs_scores(question))
    found = fitted(tables, question, settings.frontier_path) if is_fitted(tables, question) else None
    return outlook_on_tables(tables, question, found, settings)


def outlook_on_tables(
    tables: Tables, question: Question, found: Fitted | None, settings: Settings
) -> Outlook:
    """The same from a fitted index with draws; `found` is None if `is_fitted` says that none is needed.

    Raises:
        UsageError: a filter of the question selects benchmarks or sizes, for which there is no back-test.
        TrackerError: the question cannot be answered, or one of the groups has less than a year of models.
    """
    if replace(question, benchmark=None, only=None, max_params=None) != question:
        raise _not_back_tested(question)
    as_of = window(tables, question).as_of
    chosen = _axis(tables, question, found, as_of)
    slope = trend(chosen, as_of)
    notes = [BACK_TEST]
    reached: CatchUp | None = None
    try:
        reached = catch_up(chosen, as_of)
    except TrackerError as error:
        notes.insert(0, str(error))
    sentences = [] if reached is None else [_catch_up_sentence(reached, as_of)]
    age = data_age(tables, question, settings)
    return Outlook(
        as_of=as_of,
        vintage=age.day,
        age=age,
        distance=distance(chosen, as_of),
        trend=slope,
        catch_up=reached,
        sentences=(*sentences, _trend_sentence(slope, as_of)),
        notes=tuple(notes),
    )


def _not_back_tested(question: Question) -> UsageError:
    filters = {
        "--benchmark": question.benchmark,
        "--only": question.only,
        "--max-params": question.max_params,
    }
    names = " and ".join(f"`{name}`" for name, value in filters.items() if value is not None)
    return UsageError(
        f"there is no outlook with {names}: its projection is back-tested on the whole index only",
        hint="the gap over time takes these filters",
    )


def _catch_up_sentence(found: CatchUp, as_of: date) -> str:
    level = f"the level of the best closed model, {found.model} ({found.level:.1f}),"
    pace = f"At the pace of the {WINDOW_MONTHS} months to {as_of:{DAY}}, an open model reaches {level}"
    return (
        f"{pace} {_around(found.expected)} (90% interval: {_month(found.ci_low)} to {_month(found.ci_high)})."
    )


def _around(day: date | None) -> str:
    return f"around {day:{MONTH}}" if day else "only after more than five years"


def _month(day: date | None) -> str:
    return f"{day:{MONTH}}" if day else "more than five years later"


def _trend_sentence(found: Trend, as_of: date) -> str:
    amount = f"{signed(found.per_year)} points a year over the {found.n_months} months to {as_of:{DAY}}"
    ends = f"(90% interval: {signed(found.ci_low)} to {signed(found.ci_high)})"
    changed = f"the distance between the best closed and the best open model changed by {amount} {ends}"
    if not found.is_shown:
        return f"In index points, neither a closing nor a widening gap is shown: {changed}."
    return f"In index points, the gap is {'closing' if found.per_year < 0.0 else 'widening'}: {changed}."


def signed(value: float) -> str:
    """The number with its sign: `+1.1`, `−0.4`."""
    return f"{value:+.1f}".replace("-", "−")


def history_document(found: GapHistory) -> dict[str, Any]:
    """The history as plain JSON values."""
    return {
        "definition": found.definition,
        "question": found.question,
        "unit": found.unit,
        "axis": found.axis,
        "vintage": found.vintage.isoformat(),
        **age_document(found.age),
        "months": [asdict(row) | {"as_of": row.as_of.isoformat()} for row in found.months],
        "notes": list(found.notes),
        "attribution": list(found.attribution),
    }


def outlook_document(found: Outlook) -> dict[str, Any]:
    """The outlook as plain JSON values."""
    days = ("expected", "ci_low", "ci_high")
    reached = None
    if found.catch_up is not None:
        plain = asdict(found.catch_up)
        reached = plain | {name: plain[name].isoformat() if plain[name] else None for name in days}
    return {
        "as_of": found.as_of.isoformat(),
        "vintage": found.vintage.isoformat(),
        **age_document(found.age),
        "distance": found.distance,
        "trend": asdict(found.trend) | {"is_shown": found.trend.is_shown},
        "catch_up": reached,
        "sentences": list(found.sentences),
        "notes": list(found.notes),
        "attribution": list(found.attribution),
    }
