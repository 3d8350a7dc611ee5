"""The gap definitions: they reproduce what is published and keep the promises of their formulas."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders.shipped_draws import first_questions
from tracker.answers.frontier import answer_question
from tracker.answers.outlook import gap_history
from tracker.errors import TrackerError, UnknownNameError
from tracker.frontier.axis import DAYS_PER_MONTH, Axis, steps
from tracker.frontier.dataset import select
from tracker.frontier.definitions import DEFINITIONS, Window
from tracker.frontier.facts import OverrideKind
from tracker.frontier.gap import gap, gaps
from tracker.frontier.index import DrawMethod, draw_index, fit_index
from tracker.frontier.population import (
    Rated,
    at_most,
    benchmark_axis,
    index_axis,
    labels,
    series_axis,
    sizes,
    with_small_models,
)
from tracker.frontier.question import axis as asked_axis
from tracker.frontier.question import fitted
from tracker.frontier.survival import restricted_mean
from tracker.frontier.tables import Tables, load_tables
from tracker.memory_estimate import needed_bytes, params_that_fit
from tracker.settings import Settings

NEWEST = date(2026, 8, 11)
YEAR = Window.year_to(NEWEST)
YEAR_TO_DATE = Window(date(2026, 1, 1), NEWEST)


@cache
def tables() -> Tables:
    return load_tables()


@cache
def axis(*overrides: OverrideKind) -> Axis:
    fit = fit_index(select(tables(), vintage=NEWEST))
    _, high = draw_index(fit, n_draws=150, method=DrawMethod.ROWS).interval()
    return index_axis(fit, draw_index(fit, n_draws=150), labels(tables(), overrides), high=high)


def months(found: Axis, window: Window = YEAR_TO_DATE) -> dict[str, float]:
    return {row.id: row.value for row in gaps(found, window) if row.value is not None}


def test_gap_g2_reproduces_the_lag_published_under_its_rule() -> None:
    """Epoch AI, 2025-10-30: 3.5 months. Its page of 2026-05-29 has another rule, G7."""
    assert gap("G2", axis(), Window.year_to(date(2025, 10, 30))) == pytest.approx(3.5, abs=0.3)


@pytest.mark.parametrize(
    ("vintage", "until", "expected_months", "expected_points"),
    [(date(2026, 4, 29), date(2026, 4, 28), 4.3, 8.8), (NEWEST, date(2026, 5, 28), 6.4, 9.4)],
    ids=["April, before the page", "August, refitted since"],
)
def test_gap_g7_beside_the_published_4_months_and_8_points_of_2026(
    vintage: date, until: date, expected_months: float, expected_points: float
) -> None:
    """What docs/method.md says: near on the data of the time, further off on the later refit."""
    fit = fit_index(select(tables(), vintage=vintage))
    found = index_axis(fit, draw_index(fit), labels(tables()), high=fit.index)
    days = Window(date(2026, 1, 1), until)
    assert gap("G7", found, days) == pytest.approx(expected_months, abs=0.1)
    assert gap("G5", found, days) == pytest.approx(expected_points, abs=0.1)


def g7_day_by_day(found: Axis, window: Window, row: np.ndarray) -> float:
    """G7 from its sentence alone: one loop over the days, one back through time."""
    is_open = found.is_open
    days = range(
        max(window.since.toordinal(), *(int(found.released[group].min()) for group in (is_open, ~is_open))),
        window.as_of.toordinal() + 1,
    )

    def best(group: np.ndarray, day: int) -> int | None:
        there = np.flatnonzero(group & (found.released <= day))
        return None if not there.size else int(there[np.argmax(row[there])])

    def is_better(c: int, o: int) -> bool:
        apart, central = found.draws[:, c] - found.draws[:, o], found.value[c] - found.value[o]
        return bool(row[c] - row[o] > max(central - np.quantile(apart, 0.05), 0.0))

    ages = []
    for today in days:
        o, then = best(is_open, today), today
        assert o is not None
        while (c := best(~is_open, then)) is not None and is_better(c, o):
            then -= 1
        ages.append(today - then)
    return float(np.mean(ages)) / DAYS_PER_MONTH


@pytest.mark.parametrize("seed", range(6))
def test_gap_g7_equals_a_count_day_by_day(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 24
    value = 100.0 + np.sort(rng.normal(size=n)) * 8.0 + rng.normal(size=n) * 3.0
    is_open = rng.random(n) < 0.5
    is_open[:2] = True, False
    released = 738_000.0 + np.sort(rng.integers(0, 400, n)).astype(np.float64)
    draws = value + rng.normal(size=(60, n)) * 2.0
    found = Axis("made up", tuple(map(str, range(n))), is_open, released, value, draws, value + 3.0)
    window = Window(date.fromordinal(738_150), date.fromordinal(738_420))
    assert gap("G7", found, window) == pytest.approx(g7_day_by_day(found, window, value), abs=1e-9)


def test_gap_g7_on_the_shipped_data_equals_a_count_day_by_day() -> None:
    found, window = axis(), Window(date(2026, 1, 1), date(2026, 5, 28))
    expected = g7_day_by_day(found, window, found.value)
    assert gap("G7", found.until(window.as_of), window) == pytest.approx(expected, abs=1e-9)


def test_gap_the_newest_vintage_gives_the_known_values() -> None:
    found = months(axis())
    assert found["G1"] == pytest.approx(5.65, abs=0.15)
    assert found["G2"] == pytest.approx(4.2, abs=0.2)
    assert found["G3"] == pytest.approx(4.37, abs=0.05)
    assert 5.2 <= found["G4"] <= 6.3
    assert found["G5"] == pytest.approx(8.9, abs=0.1)
    assert found["G6"] == pytest.approx(7.4, abs=0.1)


def test_gap_fifteen_of_eighteen_closed_records_have_been_caught_up_with() -> None:
    g4 = gaps(axis(), YEAR_TO_DATE)[3]
    assert (g4.n, g4.n_censored) == (18, 3)


def test_gap_redating_alone_moves_g1_from_5_6_to_5_0() -> None:
    redated = months(axis(OverrideKind.RELEASE_SCORED))
    assert redated["G1"] == pytest.approx(5.0, abs=0.1)
    assert months(axis(OverrideKind.WEIGHTS_PUBLISHED))["G3"] == pytest.approx(4.7, abs=0.05)


def test_gap_without_the_best_open_model_the_standing_lag_nearly_doubles() -> None:
    assert months(axis().without(["Kimi K3"]))["G3"] == pytest.approx(8.4, abs=0.05)


def test_gap_every_definition_is_finite_with_an_ordered_interval() -> None:
    for row in gaps(axis(), YEAR_TO_DATE):
        assert row.value is not None
        assert row.ci_low is not None
        assert row.ci_high is not None
        assert np.isfinite([row.value, row.ci_low, row.ci_high]).all()
        assert row.ci_low < row.ci_high
        assert row.unit == ("index" if row.id == "G5" else "months")


# ---- properties, on made-up groups in which open is always behind ----


@st.composite
def worlds(draw: st.DrawFn) -> Axis:
    """Closed models improve; each open one nearly equals an earlier closed one, half a year or more later."""
    n = draw(st.integers(3, 8))
    seed = draw(st.integers(0, 2**31))
    rng = np.random.default_rng(seed)
    closed_day = 738_000 + np.cumsum(rng.integers(40, 120, n)).astype(float)
    level = 100.0 + np.cumsum(rng.uniform(1.0, 6.0, n))
    open_day = closed_day + rng.integers(180, 200, n)
    value = np.concatenate([level, level - 0.01])
    return Axis(
        "made up",
        tuple(f"closed {i}" for i in range(n)) + tuple(f"open {i}" for i in range(n)),
        np.repeat([False, True], n),
        np.concatenate([closed_day, open_day]),
        value,
        value + rng.normal(size=(20, 2 * n)) * 0.1,
        value + 0.16,
    )


def whole(found: Axis) -> Window:
    first, last = int(found.released.min()), int(found.released.max())
    return Window(date.fromordinal(first), date.fromordinal(last + 40))


@given(found=worlds())
@settings(max_examples=15, deadline=None)
def test_gap_moving_all_closed_dates_a_month_back_adds_a_month(found: Axis) -> None:
    moved = replace(found, released=found.released - DAYS_PER_MONTH * ~found.is_open)
    window = whole(found)
    for name in ("G1", "G2", "G3", "G4"):
        before, after = gap(name, found, window), gap(name, moved, window)
        assert before is not None
        assert after == pytest.approx(before + 1.0, abs=1e-9)
    # G6 averages over the days on which both groups had a model: the same days before and after
    later = Window(date.fromordinal(int(found.released[found.is_open].min())), window.as_of)
    reached = gap("G6", found, later)
    assert reached is not None
    assert gap("G6", moved, later) == pytest.approx(reached + 1.0, abs=1e-9)


@given(found=worlds())
@settings(max_examples=15, deadline=None)
def test_gap_swapping_the_groups_flips_the_sign_of_g1_g3_g5_and_g6(found: Axis) -> None:
    swapped = replace(found, is_open=~found.is_open)
    for name in ("G1", "G3", "G5", "G6"):
        value = gap(name, found, whole(found))
        assert value is not None
        assert gap(name, swapped, whole(found)) == pytest.approx(-value, abs=1e-9)


@given(found=worlds())
@settings(max_examples=15, deadline=None)
def test_gap_swapping_the_groups_brings_g2_to_zero_because_the_leader_is_never_late(found: Axis) -> None:
    swapped = replace(found, is_open=~found.is_open)
    assert gap("G2", swapped, whole(found)) == pytest.approx(0.0, abs=1e-9)


@given(found=worlds(), factor=st.floats(0.01, 100.0))
@settings(max_examples=15, deadline=None)
def test_gap_stretching_the_scale_leaves_months_alone_and_stretches_points(
    found: Axis, factor: float
) -> None:
    stretched = replace(
        found, value=found.value * factor, draws=found.draws * factor, high=found.high * factor
    )
    for name in (each.id for each in DEFINITIONS):
        value = gap(name, found, whole(found))
        assert value is not None
        expected = value * factor if name == "G5" else value
        assert gap(name, stretched, whole(found)) == pytest.approx(expected, rel=1e-6)


@given(found=worlds())
@settings(max_examples=15, deadline=None)
def test_gap_without_the_best_open_model_g3_is_that_of_the_second_best(found: Axis) -> None:
    best = found.best(is_open=True)
    rest = found.without([found.models[best]])
    second = rest.best(is_open=True)
    closed = steps(rest.released[~rest.is_open], rest.value[~rest.is_open])
    reached = closed.reached(rest.value[[second]])[0]
    assert gap("G3", rest, whole(found)) == pytest.approx((rest.released[second] - reached) / DAYS_PER_MONTH)


# ---- corners ----


def test_gap_a_filter_that_leaves_no_group_is_refused() -> None:
    with pytest.raises(TrackerError, match="no open model is left"):
        axis().until(date(2023, 2, 1))
    with pytest.raises(TrackerError, match="no open model is left"):
        at_most(axis(), sizes(tables()), max_params=1000)


def test_gap_an_unknown_model_to_leave_out_gets_near_names() -> None:
    with pytest.raises(UnknownNameError) as raised:
        axis().without(["Kimi K33"])
    assert "Kimi K3" in raised.value.hint


def test_gap_groups_without_a_common_level_say_so_instead_of_giving_a_number() -> None:
    day = date(2025, 1, 1)
    apart = series_axis("Elo", [Rated("a", True, day, 1.0, None), Rated("b", False, day, 9.0, None)])
    by_id = {row.id: row for row in gaps(apart, Window.year_to(date(2025, 6, 1)))}
    assert by_id["G1"].value is None
    assert "no level in common" in by_id["G1"].note
    assert by_id["G5"].value == pytest.approx(8.0)
    assert by_id["G5"].ci_low is None
    assert "uncertainty of these scores is unknown" in by_id["G5"].note


def test_gap_an_elo_series_and_a_benchmark_are_axes_too() -> None:
    gpqa = benchmark_axis(tables(), "GPQA diamond", labels(tables()))
    assert gpqa.has_draws  # 198 items
    assert 0.0 < months(gpqa)["G3"] < 12.0
    weird = benchmark_axis(tables(), "WeirdML", labels(tables()))
    assert not weird.has_draws  # how many items it has is not known
    with pytest.raises(UnknownNameError):
        benchmark_axis(tables(), "GPQA", labels(tables()))


def test_gap_small_models_are_placed_by_their_published_estimates() -> None:
    grown = with_small_models(axis(), tables().small_open_models)
    small = at_most(grown, sizes(tables()), max_params=40_000_000_000)
    assert small.models[small.best(is_open=True)].startswith("Qwen3.8-27B")
    assert months(small)["G3"] == pytest.approx(7.7, abs=0.3)


def test_memory_estimate_the_largest_model_that_fits_is_the_inverse_of_what_a_model_needs() -> None:
    for gigabytes in (8.0, 24.0, 80.0):
        largest = params_that_fit(gigabytes)
        assert needed_bytes(n_params=largest) == pytest.approx(gigabytes * 1e9, abs=3)
        assert (needed_bytes(n_params=largest + 10) or 0) > gigabytes * 1e9
    assert params_that_fit(24.0) == 10_416_666_666  # (24e9 - 1.5e9) / (2 * 1.08)
    assert params_that_fit(1.0) == 0  # the engine alone takes more
    with pytest.raises(TrackerError, match="--fits-gb must be positive"):
        params_that_fit(0.0)


def test_gap_what_a_new_home_asks_first_is_shipped_as_it_would_be_computed(tmp_path: Path) -> None:
    home = Settings(home=tmp_path)
    questions = first_questions()
    answers = [answer_question(question, home) for question in questions]
    for rule in DEFINITIONS:
        gap_history(questions[0], home, name=rule.id)
    assert not home.frontier_path.exists(), "run `python -m tests.builders.shipped_draws`"
    for place in (0, -1):
        found = asked_axis(tables(), questions[place], fitted(tables(), questions[place], tmp_path))
        for row, counted in zip(answers[place].gaps, gaps(found, YEAR), strict=True):
            assert (row.id, row.unit, row.n, row.n_censored) == (
                counted.id, counted.unit, counted.n, counted.n_censored,
            )  # fmt: skip
            assert (row.value, row.ci_low, row.ci_high) == pytest.approx(
                (counted.value, counted.ci_low, counted.ci_high), abs=1e-6
            )


def test_gap_a_window_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(TrackerError, match="is after `--as-of"):
        Window(date(2026, 2, 1), date(2026, 1, 1))


@pytest.mark.parametrize(
    ("duration", "ended", "expected"),
    [
        ([1.0, 2.0, 3.0], [True, True, True], 2.0),
        ([1.0, 2.0], [True, False], 1.5),
        ([1.0, 3.0, 2.0], [True, True, False], 1 / 3 + 2 / 3 * 3.0),
        ([-1.0, 1.0], [True, True], 0.0),
    ],
    ids=["all ended: the mean", "last one runs on", "one cut off early counts as the rest", "negative"],
)
def test_gap_durations_that_still_run_are_not_thrown_away(
    duration: list[float], ended: list[bool], expected: float
) -> None:
    mean = restricted_mean(np.array([duration]), np.array([ended]))
    assert mean[0] == pytest.approx(expected)
