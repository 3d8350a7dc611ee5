"""The outlook: projections known in closed form, intervals that hold, and a sentence where there is none."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from tracker.errors import TrackerError
from tracker.frontier.axis import DAYS_PER_MONTH, Array, Axis
from tracker.frontier.outlook import (
    HORIZON_MONTHS,
    catch_up,
    distance,
    month_ends,
    months_until,
    records_of,
    slope_interval,
    trend,
)

AS_OF = date(2026, 6, 30)
LAST = float(AS_OF.toordinal())


def steady(
    *, open_per_month: float = 1.0, closed_per_month: float = 1.0, ahead: float = 6.0, n: int = 30
) -> Axis:
    """Both groups release one model a month, the newest on `AS_OF`; closed ends `ahead` points above open."""
    back = np.arange(n - 1, -1, -1, dtype=np.float64)
    value = np.concatenate([150.0 - open_per_month * back, 150.0 + ahead - closed_per_month * back])
    return Axis(
        "made up",
        tuple(f"open {i}" for i in range(n)) + tuple(f"closed {i}" for i in range(n)),
        np.repeat([True, False], n),
        np.tile(LAST - DAYS_PER_MONTH * back, 2),
        value,
        np.tile(value, (3, 1)),
        value,
    )


def months_to(day: date | None) -> float:
    assert day is not None
    return (day - AS_OF).days / DAYS_PER_MONTH


def test_outlook_a_steady_pace_reaches_the_level_when_division_says() -> None:
    found = catch_up(steady(open_per_month=1.0, ahead=5.5), AS_OF)
    assert (found.model, found.level) == ("closed 29", 155.5)
    assert months_to(found.expected) == pytest.approx(5.5, abs=0.05)
    assert found.ci_low == found.expected == found.ci_high


def test_outlook_a_slower_pace_is_later_and_a_level_beyond_the_horizon_has_no_day() -> None:
    assert months_to(catch_up(steady(open_per_month=0.5), AS_OF).expected) == pytest.approx(11.5, abs=0.05)
    far = catch_up(steady(open_per_month=0.05), AS_OF)
    assert (far.expected, far.ci_low, far.ci_high) == (None, None, None)


def test_outlook_paths_take_the_gains_of_their_own_draw() -> None:
    slow: Array = np.arange(25, dtype=np.float64)
    fast: Array = np.arange(0, 50, 2, dtype=np.float64)
    waited = months_until(np.stack([slow, fast]), np.array([24.0 + 8.0, 48.0 + 8.0]))
    assert set(np.unique(waited)) == {3.5, 7.5}
    assert months_until(slow[None], np.array([20.0])).max() == 0.0  # already there
    assert np.isinf(months_until(slow[None], np.array([25.0 + HORIZON_MONTHS]))).all()


def test_outlook_records_never_fall_and_count_all_models_of_a_day() -> None:
    found = steady()
    days = month_ends(found, AS_OF)
    records = records_of(found, found.is_open, days, found.value[None, :])
    brute = [found.value[found.is_open & (found.released <= day)].max() for day in days]
    assert records[0] == pytest.approx(brute)
    assert days.size == 25


@pytest.mark.parametrize(("open_pace", "closed_pace"), [(1.0, 1.0), (1.0, 1.5), (1.5, 1.0)])
def test_outlook_the_trend_is_twelve_times_the_difference_of_steady_paces(
    open_pace: float, closed_pace: float
) -> None:
    found = trend(steady(open_per_month=open_pace, closed_per_month=closed_pace, ahead=20.0), AS_OF)
    assert found.per_year == pytest.approx(12.0 * (closed_pace - open_pace), abs=1e-6)
    assert found.n_months == 24
    assert found.is_shown == (open_pace != closed_pace)


def test_outlook_the_slope_is_that_of_least_squares() -> None:
    change = np.random.default_rng(1).normal(size=24)
    path = np.append(0.0, np.cumsum(change))
    assert slope_interval(change)[0] == pytest.approx(np.polyfit(np.arange(25) / 12.0, path, 1)[0])


def test_outlook_the_interval_of_the_trend_holds_nine_times_in_ten() -> None:
    rng = np.random.default_rng(2)
    held = []
    for _ in range(400):
        slope, half = slope_interval(0.25 + rng.normal(size=24))
        held.append(abs(slope - 3.0) <= half)
    assert np.mean(held) == pytest.approx(0.9, abs=0.04)


def test_outlook_noise_in_the_scores_widens_the_trend() -> None:
    still = steady()
    noisy = replace(
        still, draws=still.value + 3.0 * np.random.default_rng(0).normal(size=(200, still.value.size))
    )
    assert trend(noisy, AS_OF).ci_high > trend(still, AS_OF).ci_high + 0.1


def test_outlook_distance_is_between_the_best_two() -> None:
    assert distance(steady(ahead=6.0), AS_OF) == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (steady(ahead=-3.0), "open models lead with `open 29`, so there is no closed level to reach"),
        (steady(open_per_month=0.0), "no open model set a record in 24 months"),
        (steady(n=9), "12 months are needed"),
    ],
    ids=["open leads", "open stands still", "too short a history"],
)
def test_outlook_without_a_projection_there_is_a_sentence(found: Axis, says: str) -> None:
    with pytest.raises(TrackerError, match=says):
        catch_up(found, AS_OF)


@pytest.mark.parametrize("is_open", [True, False])
def test_outlook_without_a_group_there_is_a_sentence(is_open: bool) -> None:
    found = steady()
    late = np.where(found.is_open == is_open, LAST + 10.0, found.released)
    with pytest.raises(TrackerError, match=f"no {'open' if is_open else 'closed'} model is left"):
        trend(replace(found, released=late), AS_OF)
