"""The best open model that fits a card over time, by the bits of its weights."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from tracker.answers.asked import FrontierOptions
from tracker.answers.best_that_fits import CardBudget, best_that_fits, best_that_fits_document
from tracker.answers.frontier import FrontierAnswer, answer_on_tables, undrawn
from tracker.errors import TrackerError, UsageError
from tracker.frontier.dataset import select
from tracker.frontier.index import fit_index
from tracker.frontier.population import sizes
from tracker.frontier.question import Fitted, Question
from tracker.frontier.tables import load_tables
from tracker.memory_estimate import needed_bytes, params_that_fit, stored_bits
from tracker.settings import Settings

TABLES, SETTINGS = load_tables(), Settings(home=Path("nowhere"))


@pytest.fixture(scope="module")
def fit() -> Fitted:
    return undrawn(fit_index(select(TABLES), Question().options))


def answered(fit: Fitted, budget: CardBudget) -> FrontierAnswer:
    return answer_on_tables(TABLES, Question(max_params=budget.max_params), fit, SETTINGS)


@pytest.mark.parametrize("bits", [2, 4, 4.5, 8, 16])
@pytest.mark.parametrize("memory_gb", [8, 24, 80])
def test_params_that_fit_is_the_inverse_of_the_one_memory_rule(memory_gb: float, bits: float) -> None:
    most = params_that_fit(memory_gb, bits)
    needed = [needed_bytes(weights_bytes=n * stored_bits(bits) / 8) or 0 for n in (most, most * 1.001)]
    assert needed[0] <= memory_gb * 1e9 < needed[1]


def test_fewer_bits_let_a_larger_model_fit_and_the_curve_rise(fit: Fitted) -> None:
    best = []
    for bits in (16, 8, 4):
        budget = CardBudget(24, bits)
        found = best_that_fits(answered(fit, budget), budget, sizes(TABLES))
        values = [row.value for row in found.steps]
        assert values == sorted(values)
        assert [row.released for row in found.steps] == sorted(row.released for row in found.steps)
        assert all((row.needed_gb or 99) <= 24 for row in found.steps)
        best.append(found.steps[-1])
    assert [row.value for row in best] == sorted(row.value for row in best)
    assert (best[0].model, round(best[0].months_behind or 0, 1)) == ("Qwen3.5-9B (thinking, TECI)", 13.4)
    assert (best[2].model, round(best[2].months_behind or 0, 1)) == ("Qwen3.8-27B (thinking, TECI)", 7.7)


def test_last_step_is_behind_by_the_standing_lag_of_the_answer(fit: Fitted) -> None:
    budget = CardBudget(24, 4)
    answer = answered(fit, budget)
    last = best_that_fits(answer, budget, sizes(TABLES)).steps[-1]
    assert last.months_behind == pytest.approx(answer.gap("G3").value)


def test_step_below_every_closed_record_is_a_bound_or_nothing(fit: Fitted) -> None:
    budget = CardBudget(24, 4)
    first, *_, early = best_that_fits(answered(fit, budget), budget, sizes(TABLES)).steps[:4]
    assert first.released < date(2023, 3, 14)
    assert first.months_behind is None
    assert (early.months_bound, (early.months_behind or -1) > 0) == ("at_least", True)


def test_curve_says_what_it_assumes(fit: Fitted) -> None:
    packed, whole = CardBudget(24, 4), CardBudget(24)
    note = best_that_fits(answered(fit, packed), packed, {}).note
    assert "assumed to keep the score of its published weights" in note
    assert "24 GB at 4 bits: at most 34.1B parameters" in note
    assert "4 bits take 4.89 a weight as Q4_K_M" in note
    document = best_that_fits_document(best_that_fits(answered(fit, whole), whole, {}))["best_that_fits"]
    assert (document["bits"], "assumed" in document["note"]) == (16, False)
    assert "at 16 bits" in document["note"]
    assert "Q4_K_M" not in document["note"]


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        (FrontierOptions(bits=4), UsageError, "needs `--fits-gb`"),
        (FrontierOptions(fits_gb=24, bits=0), TrackerError, "from 1 to 32, got 0"),
        (FrontierOptions(fits_gb=24, bits=float("nan")), TrackerError, "from 1 to 32, got nan"),
        (FrontierOptions(fits_gb=float("inf"), bits=4), TrackerError, "positive and finite, got inf"),
        (FrontierOptions(fits_gb=-3, bits=4), TrackerError, "positive and finite, got -3"),
    ],
)
def test_budget_out_of_range_is_refused_with_its_value(
    options: FrontierOptions, error: type[TrackerError], says: str
) -> None:
    with pytest.raises(error, match=says):
        options.question()
