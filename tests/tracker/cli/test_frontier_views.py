"""What lies behind the one number: lags per benchmark, jaggedness, contamination, Pareto, placement."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from functools import cache

import numpy as np
import pytest

from tracker.errors import TrackerError
from tracker.frontier.axis import Axis
from tracker.frontier.bridges import MIN_BRIDGES, Bridge
from tracker.frontier.contamination import contamination
from tracker.frontier.dataset import dataset
from tracker.frontier.facts import PrivateList
from tracker.frontier.index import IndexFit, fit_index, predicted
from tracker.frontier.jaggedness import jaggedness
from tracker.frontier.lags import lags, median_months
from tracker.frontier.pareto import pareto_frontier, undominated
from tracker.frontier.placement import Measured, Placement, Scale, Unplaced, place
from tracker.frontier.population import labels, prices, sizes
from tracker.frontier.question import Fitted, Only, Question, axis, fitted, window
from tracker.frontier.tables import Tables, load_tables

NEWEST = date(2026, 8, 11)
QUESTION = Question(n_draws=100)


@cache
def tables() -> Tables:
    return load_tables()


@cache
def found() -> Fitted:
    return fitted(tables(), QUESTION, None)


@cache
def whole_axis() -> Axis:
    return axis(tables(), QUESTION, found())


@cache
def scale() -> Scale:
    return Scale(found().fit, found().draws, whole_axis(), tables().benchmarks, NEWEST)


# ---- per benchmark ----


@pytest.mark.parametrize(
    ("private_list", "n_private", "private", "public"),
    [(PrivateList.EPOCH, 7, 4.8, 4.3), (PrivateList.EXTENDED, 10, 6.2, 2.7)],
    ids=["publisher's list", "extended list"],
)
def test_the_private_contrast_hangs_on_the_list(
    private_list: PrivateList, n_private: int, private: float, public: float
) -> None:
    rows = lags(tables(), labels(tables()), private_list=private_list)
    assert sum(row.is_private and not row.is_stale for row in rows) == n_private
    assert median_months(rows, is_private=True) == pytest.approx(private, abs=0.05)
    assert median_months(rows, is_private=False) == pytest.approx(public, abs=0.05)


def test_a_lag_says_when_open_was_last_looked_at_and_which_definition_it_is() -> None:
    rows = {row.benchmark: row for row in lags(tables(), labels(tables()))}
    assert all(row.definition == "G3" for row in rows.values())
    assert rows["HellaSwag"].is_stale
    assert rows["HellaSwag"].newest_open_released == date(2024, 12, 24)
    assert not rows["GPQA diamond"].is_stale


def test_a_day_without_any_common_benchmark_is_refused() -> None:
    with pytest.raises(TrackerError, match="no benchmark has scores of both"):
        lags(tables(), labels(tables()), as_of=date(2023, 2, 24))


# ---- jaggedness ----


def test_the_most_and_least_even_models_are_the_known_ones() -> None:
    rows = {row.model: row for row in jaggedness(found().fit, permutations=200)}
    gpt_oss = rows["gpt-oss-120b"]
    assert gpt_oss.j2 == pytest.approx(1.56, abs=0.02)
    assert gpt_oss.j3 == pytest.approx(6.8, abs=0.1)
    assert gpt_oss.p_value < 0.05
    assert gpt_oss.worst[0].benchmark == "Fiction.LiveBench"
    assert gpt_oss.best[0].benchmark == "OTIS Mock AIME 2024-2025"
    assert rows["Kimi K2.6"].j2 == pytest.approx(0.66, abs=0.02)
    assert rows["Kimi K2.6"].p_value > 0.5


def test_models_on_few_benchmarks_are_not_called_smooth() -> None:
    assert min(row.n_benchmarks for row in jaggedness(found().fit, permutations=2)) >= 8


# ---- contamination ----


def test_the_model_that_does_worst_on_what_it_cannot_have_seen_is_the_known_one() -> None:
    rows = contamination(tables(), found().fit, found().draws, labels(tables()), PrivateList.EPOCH)
    assert rows[0].model == "gpt-oss-120b"
    assert rows[0].difference == pytest.approx(-5.0, abs=0.4)
    for row in rows:
        assert row.ci_low <= row.difference <= row.ci_high
        assert row.n_unseen < row.n_benchmarks


# ---- the question ----


def test_only_private_benchmarks_put_open_further_behind_than_public_ones() -> None:
    from tracker.frontier.gap import central_gaps

    days = window(tables(), QUESTION)
    private, public = (
        central_gaps(axis(tables(), replace(QUESTION, only=only), found()), days)
        for only in (Only.PRIVATE, Only.PUBLIC)
    )
    assert private["G1"] is not None
    assert public["G1"] is not None
    assert private["G1"] > public["G1"] + 1.0


def test_on_a_day_after_the_data_the_window_ends_with_the_data() -> None:
    assert window(tables(), Question(as_of=date(2026, 9, 1))) == window(tables(), Question())


def test_filters_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(TrackerError, match="cannot be combined with `--benchmark`"):
        axis(tables(), Question(benchmark="HLE", only=Only.PRIVATE), None)


# ---- Pareto ----


def test_domination_is_by_cost_and_value_together() -> None:
    cost = np.array([1.0, 2.0, 2.0, 3.0, 3.0, 1.0])
    value = np.array([5.0, 5.0, 6.0, 6.0, 9.0, 5.0])
    assert undominated(cost, value).tolist() == [True, False, True, False, True, True]


def test_membership_is_a_probability_and_the_best_model_is_certain_to_be_on() -> None:
    rows = pareto_frontier(whole_axis(), sizes(tables()))
    assert [row.cost for row in rows] == sorted(row.cost for row in rows)
    assert all(0.0 <= row.probability <= 1.0 for row in rows)
    by_model = {row.model: row for row in rows}
    assert by_model["Kimi K3"].probability > 0.95
    assert 0.0 < by_model["Gemma 2 9B"].probability < 0.6
    assert any(not row.is_open for row in pareto_frontier(whole_axis(), prices(tables())))


def test_a_frontier_of_one_model_is_refused() -> None:
    with pytest.raises(TrackerError, match="needs two models with a cost and a score"):
        pareto_frontier(whole_axis(), {"Kimi K3": 1.0})


# ---- placement ----


def published_tasks(fit: IndexFit, model: str, tasks: dict[str, str]) -> list[Measured]:
    """A model's published scores as if they had been measured here."""
    rows = {fit.data.benchmarks[fit.data.benchmark_of[row]]: row for row in fit.data.rows_of(model)}
    measured = []
    for task, benchmark in tasks.items():
        facts = tables().benchmarks[benchmark]
        score = float(fit.data.score[rows[benchmark]])
        measured.append(Measured(task, facts.chance + (facts.ceiling - facts.chance) * score, None))
    return measured


@pytest.mark.parametrize("model", ["DeepSeek-V3", "Phi-4", "Gemma 3 27B"])
def test_a_model_left_out_of_the_fit_is_placed_where_the_fit_had_it(model: str) -> None:
    tasks = {"gpqa_diamond_cot_zeroshot": "GPQA diamond", "leaderboard_math_hard": "MATH level 5"}
    rows = [row for row in tables().scores if row.vintage == NEWEST and row.model != model]
    without = fit_index(dataset(rows, tables().benchmarks, name="without it", vintage=NEWEST))
    assert without.data.benchmarks == found().fit.data.benchmarks
    placed = place(published_tasks(found().fit, model, tasks), replace(scale(), fit=without), bridges=None)
    assert isinstance(placed, Placement)
    truth = float(found().fit.index[found().fit.data.models.index(model)])
    assert abs(placed.index - truth) < 4.0
    assert placed.ci_low <= truth <= placed.ci_high


def test_months_carry_their_definition_and_go_by_the_models_own_date_where_it_is_known() -> None:
    measured = [Measured("gpqa_diamond_cot_zeroshot", 0.70, 0.03)]
    dated = place(measured, scale(), released=date(2026, 5, 1))
    undated = place(measured, scale())
    assert isinstance(dated, Placement)
    assert isinstance(undated, Placement)
    assert (dated.definition, undated.definition) == ("G3", "G6")
    assert undated.months_behind - dated.months_behind == pytest.approx(102 / 30.4375)
    assert dated.months_ci_low <= dated.months_behind <= dated.months_ci_high


def test_quick_gives_no_placement_and_says_so() -> None:
    found_none = place([Measured("quick_chain_sum", 0.5, 0.1)], scale())
    assert isinstance(found_none, Unplaced)
    assert "the index contains none of these tasks" in found_none.reason
    assert isinstance(place([], scale()), Unplaced)


def test_without_bridges_a_placement_is_labelled_uncalibrated_with_the_reason() -> None:
    placed = place([Measured("mmlu", 0.6, 0.004), Measured("ifeval", 0.7, 0.02)], scale())
    assert isinstance(placed, Placement)
    assert not placed.calibrated
    assert "mmlu (0 of 8)" in placed.note
    assert "not in the index: ifeval" in placed.note


def measured_elsewhere(*, harder: float, n: int, seed: int = 0) -> list[Bridge]:
    """Bridges on MMLU in a harness in which it is `harder` index points harder, with 2 points of scatter."""
    fit = found().fit
    column = fit.data.benchmarks.index("MMLU")
    rows = fit.data.model_of[fit.data.benchmark_of == column]
    chosen = [row for row in rows if 95 < fit.index[row] < 130][:n]
    at = fit.index[chosen] + np.random.default_rng(seed).normal(0.0, 2.0, len(chosen))
    score = predicted(at, difficulty=fit.difficulty[column] + harder, slope=fit.slope[column])
    return [Bridge(fit.data.models[row], "mmlu", float(y)) for row, y in zip(chosen, score, strict=True)]


def placed_by_mmlu(bridges: list[Bridge], value: float = 0.6) -> Placement:
    placed = place([Measured("mmlu", value, 0.004)], scale(), bridges=bridges)
    assert isinstance(placed, Placement)
    return placed


def test_a_known_offset_of_our_harness_is_found_from_bridges_and_taken_out() -> None:
    plain, shifted = (placed_by_mmlu(measured_elsewhere(harder=harder, n=30)) for harder in (0.0, 6.0))
    assert plain.calibrated
    assert "calibrated by lm-eval scores of 30 published models" in shifted.note
    assert shifted.index - plain.index == pytest.approx(6.0, abs=0.6)  # the prior holds back a little
    assert (shifted.in_range, shifted.n_bridges) == (True, 30)
    assert shifted.mean_error == pytest.approx(1.6, abs=0.8)  # of 2 points of scatter


def test_a_task_without_bridges_keeps_the_error_that_other_harnesses_have() -> None:
    without, few, many = (
        placed_by_mmlu(measured_elsewhere(harder=0.0, n=n)) for n in (0, MIN_BRIDGES - 1, 30)
    )
    assert (without.calibrated, few.calibrated, many.calibrated) == (False, False, True)
    assert "mmlu (7 of 8)" in few.note
    widths = [each.ci_high - each.ci_low for each in (without, few, many)]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 2 * 1.645 * 5.0  # the spread of the offsets alone


def test_outside_the_range_of_the_bridges_a_placement_says_so() -> None:
    bridges = measured_elsewhere(harder=0.0, n=30)
    inside, outside = (placed_by_mmlu(bridges, value) for value in (0.6, 0.92))
    assert (inside.in_range, outside.in_range) == (True, False)
    assert outside.range_high is not None
    assert outside.index > outside.range_high
    assert f"{outside.index:.0f} is above that range" in outside.note


def test_bridges_that_contradict_each_other_widen_the_interval_and_are_named() -> None:
    agreeing = measured_elsewhere(harder=0.0, n=24)
    torn = [
        Bridge(row.model, row.task, min(max(row.score + (0.35 if i % 2 else -0.35), 0.01), 0.99))
        for i, row in enumerate(agreeing)
    ]
    sure, unsure = placed_by_mmlu(agreeing), placed_by_mmlu(torn)
    assert unsure.ci_high - unsure.ci_low > 2 * (sure.ci_high - sure.ci_low)
    assert "these models contradict each other" in unsure.note
    assert np.isfinite([unsure.index, unsure.ci_low, unsure.ci_high, unsure.months_behind]).all()


@pytest.mark.parametrize("n", [1, 2, 9], ids=lambda n: f"{n} equal bridges")
def test_bridges_with_one_and_the_same_score_place_without_gaps_in_the_arithmetic(n: int) -> None:
    same = [replace(row, score=0.5) for row in measured_elsewhere(harder=0.0, n=n)]
    for value in (0.0, 0.25, 0.6, 1.0):
        placed = placed_by_mmlu(same, value)
        assert np.isfinite([placed.index, placed.ci_low, placed.ci_high]).all()
        assert placed.ci_low <= placed.index <= placed.ci_high


def test_bridges_whose_tasks_contradict_each_other_place_without_gaps_in_the_arithmetic() -> None:
    tasks = ("mmlu", "gsm8k", "arc_challenge")
    models = [row.model for row in measured_elsewhere(harder=0.0, n=30)]
    bridges = []
    for i, (first, second) in enumerate(((0, 1), (1, 2), (0, 2))):  # each pair by ten models of its own
        for n, model in enumerate(models[i::3]):
            high = 0.9 if n % 2 else 0.1
            bridges += [
                Bridge(model, tasks[first], high),
                Bridge(model, tasks[second], high if i else 1.0 - high),
            ]
    placed = place([Measured(task, 0.6, 0.03) for task in tasks], scale(), bridges=bridges)
    assert isinstance(placed, Placement)
    assert np.isfinite([placed.index, placed.ci_low, placed.ci_high]).all()
    assert placed.ci_high - placed.ci_low > 20
    assert "these models contradict each other" in placed.note


def test_answers_without_a_letter_give_no_placement() -> None:
    gpqa = "gpqa_diamond_cot_zeroshot"
    found_none = place([Measured(gpqa, 0.35, 0.03, unparsed_fraction=0.4)], scale())
    assert isinstance(found_none, Unplaced)
    assert "no letter was found in 40% of the answers" in found_none.reason
    beside = place([Measured(gpqa, 0.35, 0.03, unparsed_fraction=0.4), Measured("mmlu", 0.6, 0.01)], scale())
    assert isinstance(beside, Placement)
    assert (beside.tasks, "no letter" in beside.note) == (("mmlu",), True)


@pytest.mark.parametrize(
    ("value", "bound"), [(0.26, "at_least"), (1.0, "at_most")], ids=["below every closed model", "above"]
)
def test_months_outside_what_closed_models_span_are_a_bound(value: float, bound: str) -> None:
    placed = place([Measured("gpqa_diamond_cot_zeroshot", value, 0.03)], scale())
    assert isinstance(placed, Placement)
    assert placed.months_bound == bound
    assert np.isfinite(
        [placed.index, placed.months_behind, placed.months_ci_low, placed.months_ci_high]
    ).all()
