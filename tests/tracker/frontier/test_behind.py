"""Months by which one level is behind the closed frontier."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from tracker.frontier.axis import steps
from tracker.frontier.behind import AT_LEAST, AT_MOST, behind_closed

DAYS = np.array([float(date(2025, month, 1).toordinal()) for month in (1, 3, 6)])
CLOSED = steps(DAYS, np.array([100.0, 95.0, 120.0]))  # two records: 100 in January, 120 in June
UNTIL = date(2025, 9, 1)


@pytest.mark.parametrize(
    ("level", "day", "months", "bound"),
    [
        (100.0, date(2025, 4, 1), 90 / 30.4375, None),
        (110.0, date(2025, 8, 1), 61 / 30.4375, None),
        (110.0, date(2025, 5, 1), -31 / 30.4375, None),
        (130.0, date(2025, 8, 1), -31 / 30.4375, AT_MOST),
        (90.0, date(2025, 4, 1), 90 / 30.4375, AT_LEAST),
    ],
    ids=["at a record", "between two", "before it was reached", "above every one", "below every one"],
)
def test_behind_counts_from_the_day_on_which_closed_models_reached_the_level(
    level: float, day: date, months: float, bound: str | None
) -> None:
    found = behind_closed(CLOSED, level, day, until=UNTIL)
    assert found is not None
    assert (found.months, found.bound) == (pytest.approx(months), bound)


def test_behind_of_a_low_level_before_the_first_closed_record_is_unknown() -> None:
    assert behind_closed(CLOSED, 90.0, date(2024, 12, 1), until=UNTIL) is None
