"""The options of `tracker frontier` as people give them, and the answer to them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date

from tracker.answers.best_that_fits import BestThatFits, CardBudget, best_that_fits, best_that_fits_document
from tracker.answers.frontier import (
    Document,
    FrontierAnswer,
    answer_on_series,
    answer_question,
    frontier_document,
)
from tracker.answers.measured import answer_measured, measured_document
from tracker.answers.options import choice, day, size_limit
from tracker.answers.vintages import tables_for
from tracker.errors import UsageError
from tracker.frontier.facts import OverrideKind, PrivateList, ReportedBy
from tracker.frontier.population import sizes
from tracker.frontier.question import Only, Question
from tracker.memory_estimate import BITS
from tracker.settings import Settings

ALL = "all"


@dataclass(frozen=True, slots=True)
class FrontierOptions:
    """The options of `tracker frontier`; None leaves the default of `Question`."""

    as_of: date | str | None = None
    since: date | str | None = None
    vintage: date | str | None = None
    without: tuple[str, ...] = ()
    only: str | None = None
    private_list: str = PrivateList.EXTENDED.value
    reported_by: str | None = None
    redistributable: bool = False
    max_params: int | str | None = None
    fits_gb: float | None = None
    bits: float | None = None  # of a weight, for `fits_gb`; None: 16
    override: tuple[str, ...] = ()
    benchmark: str | None = None
    series: str | None = None

    def question(self) -> Question:
        """The question that these options ask.

        Raises:
            FieldError: a value is no date or no number of parameters.
            UnknownNameError: no choice of an option is called so.
        """
        return Question(
            vintage=day("vintage", self.vintage),
            as_of=day("as_of", self.as_of),
            since=day("since", self.since),
            without=self.without,
            only=Only(choice("choice of `only`", self.only, Only)) if self.only else None,
            private_list=PrivateList(choice("private list", self.private_list, PrivateList)),
            reported_by=ReportedBy(choice("reporter", self.reported_by, ReportedBy))
            if self.reported_by
            else None,
            redistributable=self.redistributable,
            max_params=size_limit(self.max_params, self.fits_gb, self.bits),
            overrides=override_kinds(self.override),
            benchmark=self.benchmark,
        )


def answer_asked(asked: FrontierOptions, settings: Settings) -> FrontierAnswer:
    """The answer to the options of `tracker frontier`, from the published tables or on a dated series.

    Raises:
        UsageError: a series was asked for beside options that belong to the published tables.
        TrackerError: the question cannot be answered; says why.
    """
    question = asked.question()
    if asked.series is None:
        return answer_question(question, settings)
    if replace(question, as_of=None, since=None, without=()) != Question():
        raise UsageError(
            "`--series` can be combined only with `--as-of`, `--since` and `--without`",
            hint="leave out the other options, or `--series`",
        )
    return answer_on_series(asked.series, question, settings)


def asked_document(asked: FrontierOptions, answer: FrontierAnswer, settings: Settings) -> Document:
    """The answer as plain JSON values, with the models measured here and the best that fits."""
    here = answer_measured(asked.question(), settings) if asked.series is None else None
    fits = curve_asked(asked, answer, settings)
    return frontier_document(answer) | measured_document(here) | best_that_fits_document(fits)


def curve_asked(asked: FrontierOptions, answer: FrontierAnswer, settings: Settings) -> BestThatFits | None:
    """The best open model that fits over time; None if `fits_gb` was not asked for."""
    if asked.fits_gb is None:
        return None
    budget = CardBudget(asked.fits_gb, BITS if asked.bits is None else asked.bits)
    return best_that_fits(answer, budget, sizes(tables_for(settings)))


def override_kinds(names: Iterable[str]) -> frozenset[OverrideKind]:
    """The kinds of override that are named; `all` is every one.

    Raises:
        UnknownNameError: there is no such kind.
    """
    kinds: set[OverrideKind] = set()
    for name in names:
        if name == ALL:
            kinds |= set(OverrideKind)
        else:
            kinds.add(OverrideKind(choice("override", name, [*OverrideKind, ALL])))
    return frozenset(kinds)
