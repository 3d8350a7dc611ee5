"""Months by which one level of the index is behind the closed frontier, seen from one day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from tracker.frontier.axis import DAYS_PER_MONTH, Steps

AT_LEAST, AT_MOST = "at_least", "at_most"


@dataclass(frozen=True, slots=True)
class Behind:
    """Months from the day on which a closed model first reached a level to another day."""

    months: float  # negative: no closed model had reached it by that day
    bound: str | None  # AT_LEAST: below every closed record; AT_MOST: above every one


def behind_closed(closed: Steps, level: float, day: date, *, until: date) -> Behind | None:
    """How long before `day` the records of the closed models had reached `level`; data end on `until`.

    None for a level below every closed record on a day before the first: nothing is known of that time.
    """
    reached = min(float(closed.reached(np.array([level]))[0]), float(until.toordinal()))
    bound = AT_MOST if level > closed.level[-1] else AT_LEAST if level < closed.level[0] else None
    months = (day.toordinal() - reached) / DAYS_PER_MONTH
    return None if bound == AT_LEAST and months < 0.0 else Behind(months, bound)
