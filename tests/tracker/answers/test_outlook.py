"""The gap over time and the outlook as answers: one axis, every month end, a sentence for each refusal."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tracker.answers.outlook import (
    Outlook,
    history_document,
    history_on_tables,
    month_ends,
    outlook_document,
    outlook_on_tables,
)
from tracker.errors import TrackerError, UsageError
from tracker.frontier.axis import Axis
from tracker.frontier.dataset import select
from tracker.frontier.definitions import HEADLINE, Window, definition
from tracker.frontier.gap import gaps
from tracker.frontier.index import draw_index, fit_index
from tracker.frontier.population import index_axis, labels
from tracker.frontier.question import Fitted, Only, Question
from tracker.frontier.tables import Tables, load_tables
from tracker.settings import Settings

AS_OF = date(2026, 5, 29)


@cache
def tables() -> Tables:
    return load_tables()


@cache
def found() -> Fitted:
    """The newest index with few draws."""
    fit = fit_index(select(tables()))
    draws = draw_index(fit, n_draws=120)
    return Fitted(fit, draws, draws.interval()[1])


@cache
def ahead() -> Outlook:
    return outlook_on_tables(tables(), Question(), found(), Settings())


def test_history_each_month_equals_the_frontier_asked_on_that_day(tmp_path: Path) -> None:
    history = history_on_tables(tables(), Question(as_of=AS_OF), found(), Settings(home=tmp_path))
    whole = index_axis(found().fit, found().draws, labels(tables()), high=found().high)
    for month in (history.months[0], history.months[20], history.months[-1]):
        (gap,) = (row for row in gaps(whole, Window.year_to(month.as_of)) if row.id == HEADLINE)
        assert (month.value, month.ci_low, month.ci_high, month.n) == (
            gap.value,
            gap.ci_low,
            gap.ci_high,
            gap.n,
        )
    assert history.months[-1].as_of == AS_OF
    assert [month.as_of.month for month in history.months[-4:-1]] == [2, 3, 4]


def test_history_is_read_from_the_home_the_second_time(tmp_path: Path) -> None:
    first = history_on_tables(tables(), Question(as_of=AS_OF), found(), Settings(home=tmp_path))
    (kept,) = (tmp_path / "frontier").glob("history-*.json")
    kept.write_text(kept.read_text().replace(f'"n": {first.months[-1].n}', '"n": 999'))
    assert (
        history_on_tables(tables(), Question(as_of=AS_OF), found(), Settings(home=tmp_path)).months[-1].n
        == 999
    )
    kept.write_text("broken")
    assert history_on_tables(tables(), Question(as_of=AS_OF), found(), Settings(home=tmp_path)) == first


def test_history_of_a_definition_in_points_has_the_unit_of_the_axis(tmp_path: Path) -> None:
    history = history_on_tables(tables(), Question(as_of=AS_OF), found(), Settings(home=tmp_path), name="G5")
    document = history_document(history)
    assert (document["unit"], document["definition"]) == ("index", "G5")
    assert document["question"] == definition("G5").question
    on_gpqa = history_on_tables(tables(), Question(benchmark="GPQA diamond"), None, Settings(home=tmp_path))
    assert on_gpqa.axis == "GPQA diamond"
    assert all(month.ci_low is not None for month in on_gpqa.months[-6:])


def test_history_a_model_to_leave_out_that_a_filter_dropped_is_no_error(tmp_path: Path) -> None:
    asked = Question(as_of=AS_OF, max_params=40_000_000_000)
    alone = history_on_tables(tables(), asked, found(), Settings(home=tmp_path))
    assert (
        history_on_tables(tables(), replace(asked, without=("Kimi K3",)), found(), Settings(home=tmp_path))
        == alone
    )


def test_history_month_ends_stop_where_a_group_begins() -> None:
    began = date(2026, 2, 10)
    days = [float(began.toordinal()), 736_000.0]
    one = np.array([1.0, 2.0])
    axis = Axis("made up", ("a", "b"), np.array([True, False]), np.array(days), one, one[None, :], one)
    asked = date(2026, 4, 30)
    assert month_ends(axis, asked) == [date(2026, 2, 28), date(2026, 3, 31), asked]
    assert month_ends(axis, began) == [began]


def test_outlook_document_has_days_and_both_intervals() -> None:
    document = outlook_document(ahead())
    reached = document["catch_up"]
    assert document["as_of"] < reached["ci_low"] <= reached["expected"] <= reached["ci_high"]
    assert document["trend"]["ci_low"] < document["trend"]["per_year"] < document["trend"]["ci_high"]
    assert document["age_days"] == ahead().age.age_days
    assert document["distance"] == pytest.approx(4.64, abs=0.05)
    assert document["sentences"][0].startswith("At the pace of the 24 months to 11 Aug 2026, an open model")


def test_outlook_where_open_leads_keeps_the_trend_and_says_why_there_is_no_day() -> None:
    closed = tuple(
        row.model
        for row in tables().models.values()
        if row.access == "closed" and row.released > date(2026, 2, 1)
    )
    present = tuple(model for model in closed if model in found().fit.data.models)
    alone = outlook_on_tables(tables(), Question(without=present), found(), Settings())
    assert alone.catch_up is None
    assert "open models lead with `Kimi K3`" in alone.notes[0]
    assert len(alone.sentences) == 1
    assert outlook_document(alone)["catch_up"] is None


@pytest.mark.parametrize(
    ("question", "says"),
    [
        (Question(benchmark="GPQA diamond"), "no outlook with `--benchmark`"),
        (Question(only=Only.PRIVATE, max_params=1), "no outlook with `--only` and `--max-params`"),
    ],
    ids=["benchmark", "filters"],
)
def test_outlook_of_what_was_not_back_tested_is_refused(question: Question, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        outlook_on_tables(tables(), question, found(), Settings())


def test_outlook_a_vintage_with_too_few_benchmarks_is_one_sentence() -> None:
    three = {row.benchmark for row in tables().scores[:400]}
    few = sorted(three)[:3]
    poor = replace(tables(), scores=tuple(row for row in tables().scores if row.benchmark in few))
    with pytest.raises(TrackerError) as raised:
        select(poor)
    assert "benchmarks" in str(raised.value)
