"""Which definition of the gap is the steadiest: the evidence behind `HEADLINE`.

At the end of each month of two years, from the newest vintage: how far each definition moves if one model
that set a record is left out (the worst of them), how wide its interval is, and how far it moves to the next
month. `python -m benchmarks.headline` takes about a minute.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from tracker.frontier.axis import Axis, steps
from tracker.frontier.definitions import DEFINITIONS, Window
from tracker.frontier.gap import central_gaps, gaps
from tracker.frontier.population import index_axis, labels
from tracker.frontier.question import Question, fitted
from tracker.frontier.tables import load_tables
from tracker.settings import load_settings

N_MONTHS = 23  # with fewer than two years of records on both sides, some definitions have no value


def record_setters(axis: Axis) -> set[str]:
    """The models of both groups that were the best of their group when they came out."""
    names = set()
    for group in (axis.is_open, ~axis.is_open):
        place = np.flatnonzero(group)
        names |= {axis.models[place[i]] for i in steps(axis.released[place], axis.value[place]).member}
    return names


def month_ends(last: date) -> list[date]:
    days = [last]
    for _ in range(N_MONTHS):
        days.append(days[-1].replace(day=1) - timedelta(days=1))
    return days[::-1]


def main() -> None:
    tables = load_tables()
    found = fitted(tables, Question(), load_settings().frontier_path)
    axis = index_axis(found.fit, found.draws, labels(tables), high=found.high)
    ids = [each.id for each in DEFINITIONS]
    values, moved, widths = [], [], []
    for day in month_ends(tables.vintages[-1]):
        known, window = axis.until(day), Window.year_to(day)
        rows = gaps(known, window)
        central = {row.id: np.nan if row.value is None else row.value for row in rows}
        values.append([central[name] for name in ids])
        widths.append(
            [
                np.nan if row.ci_low is None or row.ci_high is None else row.ci_high - row.ci_low
                for row in rows
            ]
        )
        worst = dict.fromkeys(ids, 0.0)
        for model in record_setters(known):
            for name, value in central_gaps(known.without([model]), window).items():
                if value is not None:
                    worst[name] = max(worst[name], abs(value - central[name]))
        moved.append([worst[name] for name in ids])
    step = np.abs(np.diff(np.array(values), axis=0))
    table = {
        "one model left out, median of the worst": np.nanmedian(moved, axis=0),
        "one model left out, largest": np.nanmax(moved, axis=0),
        "width of the 90% interval, median": np.nanmedian(widths, axis=0),
        "from one month to the next, mean": np.nanmean(step, axis=0),
        "from one month to the next, largest": np.nanmax(step, axis=0),
    }
    print(f"{'months (G5: points)':42}", *(f"{name:>5}" for name in ids))
    for what, numbers in table.items():
        print(f"{what:42}", *(f"{number:5.1f}" for number in numbers))


if __name__ == "__main__":
    main()
