"""Intervals of gaps hold the truth as often as they say, also where records and dates jump."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from tracker.frontier.axis import Axis
from tracker.frontier.calibration import LARGEST_TAIL, calibrated_tail, depth, interval
from tracker.frontier.definitions import Window
from tracker.frontier.gap import central_gaps, gap_intervals

N_DRAWS = 150
NOISE = 2.0  # index points
rng = np.random.default_rng(3)
DAYS = np.array([738_000.0 + 20 * i for i in range(40)])
IS_OPEN = np.arange(40) % 2 == 1
TRUTH = 100.0 + np.arange(40) * 0.8 - 5.0 * IS_OPEN + rng.normal(size=40)
WINDOW = Window.year_to(date.fromordinal(int(DAYS[-1])))


def board(value: np.ndarray, draws: np.ndarray) -> Axis:
    names = tuple(f"m{i}" for i in range(len(value)))
    return Axis("points", names, IS_OPEN, DAYS, value, draws, np.quantile(draws, 0.95, axis=0))


def test_calibration_depth_counts_what_equals_the_truth_on_both_sides() -> None:
    draws = np.array([1.0, 2.0, 2.0, 3.0])
    assert depth(draws, 2.0) == 0.75
    assert depth(draws, 1.0) == 0.25
    assert depth(draws, 0.5) == 0.0


def test_calibration_a_tail_is_never_so_large_that_the_interval_is_empty() -> None:
    assert calibrated_tail([1.0] * 50) == LARGEST_TAIL
    ends = interval(np.array([4.0, 4.0, 4.0]), LARGEST_TAIL)
    assert ends == (4.0, 4.0)


def test_calibration_where_the_truth_lies_outside_of_most_draws_the_tail_shrinks() -> None:
    assert calibrated_tail([0.0] * 10 + [0.3] * 90) < 0.05


@pytest.fixture(scope="module")
def seen() -> list[dict[str, tuple[float, float] | None]]:
    """The intervals of ten boards that noise made of one truth."""
    found = []
    for _ in range(10):
        value = TRUTH + NOISE * rng.normal(size=TRUTH.size)
        draws = value + NOISE * rng.normal(size=(N_DRAWS, TRUTH.size))
        found.append(gap_intervals(board(value, draws), WINDOW))
    return found


@pytest.mark.parametrize("name", ["G1", "G3", "G5", "G6"])
def test_calibration_intervals_hold_the_truth_nine_times_in_ten(
    name: str, seen: list[dict[str, tuple[float, float] | None]]
) -> None:
    """Ten boards show a gross failure; `benchmarks/coverage.py` measures."""
    known = central_gaps(board(TRUTH, np.tile(TRUTH, (2, 1))), WINDOW)[name]
    assert known is not None
    ends = [one[name] or (np.inf, -np.inf) for one in seen]
    assert sum(low - 1e-9 <= known <= high + 1e-9 for low, high in ends) >= 8
