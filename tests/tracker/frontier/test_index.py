"""The capability index: it reproduces the published values, and refuses what it cannot be fitted to."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from tests.builders.shipped_draws import shipped_fit
from tracker.errors import TrackerError, UnknownNameError
from tracker.frontier.cache import cached_upper_ends, stored_draws, upper_ends
from tracker.frontier.dataset import Dataset, dataset, select
from tracker.frontier.facts import PublishedScore, ReportedBy
from tracker.frontier.index import DrawMethod, FitOptions, IndexFit, draw_index, fit_index, problem_of
from tracker.frontier.published import fit_as_published
from tracker.frontier.solver import Copies, Parameters, StopRule, objective, solve
from tracker.frontier.tables import Tables, load_published_index, load_tables

NEWEST = date(2026, 8, 11)
APRIL = date(2026, 4, 29)


@cache
def tables() -> Tables:
    return load_tables()


@cache
def fit(vintage: date = NEWEST) -> IndexFit:
    return fit_index(select(tables(), vintage=vintage))


def errors(vintage: date, data: Dataset, index: np.ndarray) -> np.ndarray:
    rows = [row for row in load_published_index() if row.vintage == vintage]
    return np.array([abs(index[data.models.index(row.model)] - row.index) for row in rows])


@pytest.mark.parametrize("vintage", [NEWEST, APRIL], ids=str)
def test_the_exact_minimum_reproduces_the_published_index(vintage: date) -> None:
    found = fit(vintage)
    error = errors(vintage, found.data, found.index)
    assert error.mean() <= (0.025 if vintage == NEWEST else 0.04)
    assert error.max() <= 0.25


def test_index_the_published_optimizer_comes_closer_still_because_it_stops_at_the_same_place() -> None:
    data = select(tables(), vintage=NEWEST)
    error = errors(NEWEST, data, fit_as_published(data).index[0])
    assert error.mean() <= 0.02
    assert error.max() <= 0.1


def test_index_the_minimum_is_the_known_one_and_is_reached_from_any_start() -> None:
    found = fit()
    assert found.objective == pytest.approx(6.520695815, abs=1e-8)
    rng = np.random.default_rng(7)
    n_models, n_benchmarks = len(found.data.models), len(found.data.benchmarks)
    first = Parameters(
        rng.normal(size=(1, n_models)), rng.normal(size=(1, n_benchmarks)), np.ones((1, n_benchmarks))
    )
    once = Copies(np.ones((1, found.data.score.size)), found.data.score[None, :])
    again = solve(found.problem, once, first, stop=StopRule())
    assert again.objective[0] == pytest.approx(found.objective, rel=1e-10)


def test_index_the_objective_is_flat_in_every_direction_at_the_minimum() -> None:
    found = fit()
    once = Copies(np.ones((1, found.data.score.size)), found.data.score[None, :])
    here = objective(found.problem, once, found.parameters)[0]
    rng = np.random.default_rng(3)
    for _ in range(20):
        at = found.parameters
        move = Parameters(
            at.capability + 1e-3 * rng.normal(size=at.capability.shape),
            at.difficulty + 1e-3 * rng.normal(size=at.difficulty.shape),
            at.slope,
        )
        assert objective(found.problem, once, move)[0] >= here


def test_index_the_anchors_stand_where_they_are_published() -> None:
    index = dict(zip(fit().data.models, fit().index, strict=True))
    assert index["Claude 3.5 Sonnet"] == pytest.approx(130.0)
    assert index["GPT-5"] == pytest.approx(150.0)


def test_index_intervals_are_close_to_the_published_ones() -> None:
    found = fit()
    low, high = draw_index(found, n_draws=150, method=DrawMethod.ROWS).interval()
    published = [row for row in load_published_index() if row.vintage == NEWEST and row.index_ci_low]
    place = [found.data.models.index(row.model) for row in published]
    assert np.median(np.abs(low[place] - [row.index_ci_low for row in published])) < 0.6
    assert np.median(np.abs(high[place] - [row.index_ci_high for row in published])) < 0.5


def test_index_shipped_draws_are_those_of_the_shipped_tables(tmp_path: Path) -> None:
    found = shipped_fit()
    shipped = stored_draws(found, tmp_path)
    assert shipped is not None, "run `python -m tests.builders.shipped_draws`"
    drawn = draw_index(found)
    assert (shipped.n_drawn, shipped.seed) == (drawn.n_drawn, drawn.seed)
    np.testing.assert_array_equal(shipped.kept, drawn.kept)
    for name in ("index", "difficulty", "slope"):
        np.testing.assert_allclose(getattr(shipped, name), getattr(drawn, name), rtol=1e-6, atol=1e-6)
    ends = cached_upper_ends(found, tmp_path)
    np.testing.assert_allclose(ends, upper_ends(found), rtol=1e-6)
    assert not list(tmp_path.iterdir())


def test_index_the_same_seed_gives_the_same_draws() -> None:
    first, second = (draw_index(fit(), n_draws=4, seed=5).index for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    "options",
    [FitOptions(ridge=1e-3), FitOptions(log_slope=True), FitOptions(binomial=True)],
    ids=["smaller ridge", "log slope", "binomial"],
)
def test_index_every_option_keeps_the_order_of_models_and_the_anchors(options: FitOptions) -> None:
    changed = fit_index(fit().data, options)
    assert spearmanr(changed.index, fit().index).statistic > 0.99
    assert changed.index[changed.data.models.index("GPT-5")] == pytest.approx(150.0)
    assert np.isfinite(changed.index).all()


def test_index_the_published_method_is_the_default() -> None:
    assert FitOptions() == FitOptions(ridge=0.1, log_slope=False, binomial=False)
    problem = problem_of(fit().data, FitOptions())
    assert problem.penalty == pytest.approx(0.1 / (222 + 2 * 57 - 1))
    assert problem.trials is None


def test_index_a_known_truth_is_recovered_from_scores_without_noise() -> None:
    """A tiny ridge, so that the penalty does not move the answer."""
    found = fit()
    expected = np.clip(found.data.score - found.residual, 0.001, 0.999)
    again = fit_index(replace(found.data, score=expected), FitOptions(ridge=1e-4))
    strong = found.index > 125
    np.testing.assert_allclose(again.index[strong], found.index[strong], atol=0.5)


def some_scores(models: int, benchmarks: list[str], offset: float = 0.0) -> list[PublishedScore]:
    names = ["Claude 3.5 Sonnet", "GPT-5", *[f"model {i}" for i in range(models - 2)]][:models]
    return [
        PublishedScore(
            NEWEST, name, None, benchmark, min(0.1 + offset + 0.04 * i + 0.02 * j, 1.0), None,
            ReportedBy.THIRD_PARTY, "epoch_run", None, None, None,
        )
        for i, name in enumerate(names)
        for j, benchmark in enumerate(benchmarks)
    ]  # fmt: skip


FOUR = ["Winogrande", "MMLU", "GSM8K", "HellaSwag"]
OTHER_FOUR = ["WeirdML", "SimpleBench", "HLE", "GPQA diamond"]


def refused(rows: list[PublishedScore]) -> str:
    with pytest.raises(TrackerError) as raised:
        fit_index(dataset(rows, tables().benchmarks, name="the vintage", vintage=NEWEST))
    return str(raised.value)


def test_index_too_few_models_are_refused() -> None:
    assert "only 9 models have scores on at least 4 benchmarks" in refused(some_scores(9, FOUR))


def test_index_nothing_at_all_is_refused() -> None:
    assert "only 0 models" in refused([])


def test_index_groups_without_a_common_benchmark_are_refused_and_named() -> None:
    others = [replace(row, model=f"island {row.model}") for row in some_scores(11, OTHER_FOUR)]
    message = refused(some_scores(12, FOUR) + others)
    assert "fall into 2 groups that share no benchmark" in message
    assert "island" in message


def test_index_equal_scores_are_refused() -> None:
    rows = [replace(row, score=0.5) for row in some_scores(12, FOUR)]
    assert "all scores are equal" in refused(rows)


def test_index_a_missing_anchor_model_is_refused() -> None:
    rows = [row for row in some_scores(14, FOUR) if row.model != "GPT-5"]
    assert "`GPT-5`, which anchors the scale" in refused(rows)


def test_index_a_missing_slope_anchor_is_refused() -> None:
    assert "no scores on Winogrande" in refused(some_scores(12, OTHER_FOUR))


def test_index_a_benchmark_with_one_model_is_left_out_and_said_so() -> None:
    rows = some_scores(12, FOUR)
    rows.append(replace(rows[0], benchmark="HLE"))
    data = dataset(rows, tables().benchmarks, name="the vintage", vintage=NEWEST)
    assert data.benchmarks == ("GSM8K", "HellaSwag", "MMLU", "Winogrande")
    assert "single model" in data.notes[0]
    assert "HLE" in data.notes[0]


def test_index_an_unknown_vintage_is_refused_with_the_known_ones() -> None:
    with pytest.raises(TrackerError) as raised:
        select(tables(), vintage=date(2020, 1, 1))
    assert "2026-08-11" in raised.value.hint


def test_index_an_unknown_model_gets_near_names() -> None:
    with pytest.raises(UnknownNameError) as raised:
        fit().data.rows_of("Kimi K33")
    assert "Kimi K3" in raised.value.hint


def test_index_a_ridge_of_zero_is_refused() -> None:
    with pytest.raises(TrackerError, match="must be more than 0"):
        FitOptions(ridge=0.0)
