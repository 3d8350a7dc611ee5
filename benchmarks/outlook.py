"""Back-test of the outlook: projected against real dates at past month ends, and coverage of the trend.

For each month end since May 2024, with the models released by then: when open models were projected to reach
the best closed level of that day, and when they did. The scores are those of the newest vintage (hindsight);
the older vintages follow with what was known on their own day. Then what fails: other windows, a straight
line, the same projection of the closed group. Then the trend of the distance: coverage of its interval on
distances simulated with a known trend, and whether it predicts the next year.
`python -m benchmarks.outlook` takes about a minute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
from scipy import special

from tracker.frontier.axis import DAYS_PER_MONTH, Array, Axis, steps
from tracker.frontier.outlook import (
    BLOCK_MONTHS,
    WINDOW_MONTHS,
    distance,
    month_ends,
    months_until,
    records_of,
    slope_interval,
    trend,
)
from tracker.frontier.population import index_axis, labels
from tracker.frontier.question import Question, fitted
from tracker.frontier.tables import Tables, load_tables
from tracker.settings import load_settings

FIRST = date(2024, 5, 31)
SHARES = (0.05, 0.1, 0.5, 0.9, 0.95)  # ends of both intervals, and the median
POINTS_ABOVE = (2.0, 4.0, 6.0, 8.0, 10.0)  # levels above a group's best, for the projection of either group
WORLDS = 400
TRENDS = (-4.0, 0.0, 4.0)  # index points per year
NAIVE_BLOCK = 6  # months of residuals resampled together


@dataclass(frozen=True)
class Projected:
    """A projection at one cut-off with what happened; days since 0001-01-01."""

    cut_off: date
    level: float
    ends: Array  # at `SHARES`
    real: float  # infinite: not yet
    data_end: date

    @property
    def error_months(self) -> float:
        return float(self.ends[2] - self.real) / DAYS_PER_MONTH

    def held(self, nominal: int) -> bool:
        """Whether the interval contains the real day, or does not end before the data where there is none."""
        low, high = (self.ends[0], self.ends[4]) if nominal == 90 else (self.ends[1], self.ends[3])
        end = float(self.data_end.toordinal())
        return bool(low <= self.real <= high) if np.isfinite(self.real) else bool(high > end)


def drawn_axis(tables: Tables, vintage: date) -> Axis:
    found = fitted(tables, Question(vintage=vintage), load_settings().frontier_path)
    return index_axis(found.fit, found.draws, labels(tables), high=found.high)


def cut_offs(last: date) -> Iterator[date]:
    """Month ends from `FIRST` on, before `last`."""
    day = FIRST
    while day < last:
        yield day
        day = (day + timedelta(days=32)).replace(day=1) - timedelta(days=1)


def reached(axis: Axis, level: float, *, is_open: bool) -> float:
    group = axis.is_open == is_open
    return float(steps(axis.released[group], axis.value[group]).reached(np.array([level]))[0])


def resampled(axis: Axis, day: date, *, window: int = WINDOW_MONTHS, block: int = BLOCK_MONTHS) -> Array:
    """The days at `SHARES` on which open models reach the best closed level, by the product's method."""
    known = axis.until(day)
    records = records_of(known, known.is_open, month_ends(known, day, window=window))
    return ends_after(day, months_until(records, known.draws[:, known.best(is_open=False)], block=block))


def ends_after(day: date, waited: Array) -> Array:
    """The days at `SHARES` of the waiting times in months."""
    months = np.asarray(np.quantile(waited, SHARES, method="nearest"), dtype=np.float64)
    return day.toordinal() + DAYS_PER_MONTH * months


def straight_line(axis: Axis, day: date) -> Array:
    """The same from a line through the records, with normal errors of its residuals."""
    known = axis.until(day)
    days = month_ends(known, day)
    height = records_of(known, known.is_open, days, known.value[None, :])[0]
    slope, start = np.polyfit(days, height, 1)
    spread = np.std(height - start - slope * days) / slope
    crossing = (known.value[known.best(is_open=False)] - start) / slope
    ends: Array = crossing + spread * special.ndtri(np.array(SHARES))
    return np.maximum(day.toordinal(), ends).astype(np.float64)


def back_test(axis: Axis, end: date, project: Callable[[Axis, date], Array]) -> list[Projected]:
    found = []
    for day in cut_offs(end):
        known = axis.until(day)
        level = float(known.value[known.best(is_open=False)])
        if distance(axis, day) > 0.0:
            real = reached(axis, level, is_open=True)
            found.append(Projected(day, level, project(axis, day), real, end))
    return found


def summary(name: str, rows: list[Projected]) -> None:
    known = [row for row in rows if np.isfinite(row.real)]
    errors = np.array([row.error_months for row in known])
    levels = len({round(row.level, 6) for row in known})
    in_80, in_90 = (np.mean([row.held(nominal) for row in known]) for nominal in (80, 90))
    open_ended = [row.held(90) for row in rows if not np.isfinite(row.real)]
    print(
        f"{name}: {len(known)} cut-offs ({levels} levels), 80% interval holds {in_80:.0%}, 90% {in_90:.0%};"
        f" mean error {np.abs(errors).mean():.1f} months, bias {errors.mean():+.1f};"
        f" not yet reached: {sum(open_ended)} of {len(open_ended)} consistent"
    )


def day_of(days: float) -> str:
    return date.fromordinal(round(days)).isoformat() if np.isfinite(days) else "later"


def print_rows(rows: list[Projected]) -> None:
    print("cut-off     level  projected   80% interval             90% interval             real")
    for row in rows:
        low90, low80, middle, high80, high90 = (day_of(day) for day in row.ends)
        real = day_of(row.real) if np.isfinite(row.real) else "not yet"
        print(f"{row.cut_off}  {row.level:.1f}  {middle}  {low80}…{high80}  {low90}…{high90}  {real}")


def on_older_vintages(tables: Tables, newest: Axis, end: date) -> None:
    """What each older vintage projected on its own day, beside the day that the newest vintage knows."""
    for vintage in tables.vintages[:-1]:
        then = drawn_axis(tables, vintage)
        leader = then.models[then.best(is_open=False)]
        level = float(newest.value[newest.models.index(leader)])
        row = Projected(vintage, level, resampled(then, vintage), reached(newest, level, is_open=True), end)
        print(f"vintage {vintage}, level of {leader}:")
        print_rows([row])


def each_group(axis: Axis, end: date) -> None:
    """Projections of both groups to fixed distances above their own best."""
    for name, flags in (("open", axis.is_open), ("closed", ~axis.is_open)):
        as_open = replace(axis, is_open=flags)
        rows = []
        for day in cut_offs(end):
            known = as_open.until(day)
            records = records_of(known, known.is_open, month_ends(known, day))
            for above in POINTS_ABOVE:
                level = float(known.value[known.best(is_open=True)]) + above
                real = reached(as_open, level, is_open=True)
                if np.isfinite(real):
                    waited = months_until(records, np.full(len(records), level))
                    rows.append(Projected(day, level, ends_after(day, waited), real, end))
        summary(f"{name} models, 2 to 10 points above their best", rows)


# ---- the trend of the distance ----


def wandering(axis: Axis, end: date, per_year: float, rng: np.random.Generator) -> Array:
    """A distance whose groups' monthly gains are redrawn one by one, with a known drift."""
    days = month_ends(axis, end, window=36)
    closed, opened = (
        np.diff(records_of(axis, group, days, axis.value[None, :])[0])
        for group in (~axis.is_open, axis.is_open)
    )
    change = rng.choice(closed, WINDOW_MONTHS) - rng.choice(opened, WINDOW_MONTHS)
    change += per_year / 12.0 - (closed.mean() - opened.mean())
    return np.append(0.0, np.cumsum(change))


def around_lines(axis: Axis, end: date, per_year: float, rng: np.random.Generator) -> Array:
    """A distance of records of models that lie around two lines: as many as were released in three years."""
    days = end.toordinal() - DAYS_PER_MONTH * np.arange(WINDOW_MONTHS, -1, -1, dtype=np.float64)
    records = []
    for group, sign in ((~axis.is_open, 0.5), (axis.is_open, -0.5)):
        recent = group & (axis.released > end.toordinal() - 36 * DAYS_PER_MONTH)
        slope, start = np.polyfit(axis.released[recent], axis.value[recent], 1)
        residual = axis.value[recent] - start - slope * axis.released[recent]
        released = end.toordinal() - rng.random(residual.size) * 36 * DAYS_PER_MONTH
        value = 15.0 / 365.25 * (released - end.toordinal()) + rng.choice(residual, residual.size)
        value += start + slope * end.toordinal() + sign * per_year / 365.25 * (released - end.toordinal())
        records.append(steps(released, value).height(days))
    return np.asarray(records[0] - records[1], dtype=np.float64)


def by_residuals(path: Array, rng: np.random.Generator) -> tuple[float, float]:
    """The interval that was tried first: blocks of residuals around the fitted line."""
    n = path.size
    year = (np.arange(n) - 0.5 * (n - 1)) / 12.0
    weight = year / (year @ year)
    slope = float(path @ weight)
    residual = path - path.mean() - slope * year
    start = rng.integers(n, size=(300, -(-n // NAIVE_BLOCK), 1))
    chosen = ((start + np.arange(NAIVE_BLOCK)) % n).reshape(300, -1)[:, :n]
    low, high = np.quantile(residual[chosen] @ weight, (0.05, 0.95))
    return slope + float(low), slope + float(high)


def trend_coverage(axis: Axis, end: date) -> None:
    rng = np.random.default_rng(7)
    for name, world in (("a distance that wanders", wandering), ("models around two lines", around_lines)):
        held, naive, width = [], [], []
        for i in range(WORLDS):
            known = TRENDS[i % len(TRENDS)]
            path = world(axis, end, known, rng)
            if not np.isfinite(path).all():
                continue
            slope, half = slope_interval(np.diff(path))
            held.append(abs(slope - known) <= half)
            width.append(2.0 * half)
            low, high = by_residuals(path, rng)
            naive.append(low <= known <= high)
        print(
            f"{name}: the 90% interval of the trend holds {np.mean(held):.0%} of {len(held)}, mean width"
            f" {np.mean(width):.0f} points a year; blocks of residuals: {np.mean(naive):.0%}"
        )


def next_year(axis: Axis, end: date) -> None:
    """Whether the trend of the distance predicts its change in the following year."""
    by_trend, unchanged = [], []
    for day in cut_offs(end - timedelta(days=365)):
        change = distance(axis, day + timedelta(days=365)) - distance(axis, day)
        by_trend.append(abs(trend(axis, day).per_year - change))
        unchanged.append(abs(change))
    print(
        f"distance a year later, {len(unchanged)} cut-offs: mean error {np.mean(by_trend):.1f} points if the"
        f" trend goes on, {np.mean(unchanged):.1f} if nothing changes"
    )


def main() -> None:
    tables = load_tables()
    end = tables.vintages[-1]
    axis = drawn_axis(tables, end)
    rows = back_test(axis, end, resampled)
    print_rows(rows)
    summary("open models at the best closed level", rows)
    print()
    on_older_vintages(tables, axis, end)
    print("\nother choices")
    for window in (12, 18, 36):
        summary(f"{window} months", back_test(axis, end, lambda a, d, w=window: resampled(a, d, window=w)))  # type: ignore[misc]
    for block in (1, 6):
        summary(f"blocks of {block}", back_test(axis, end, lambda a, d, b=block: resampled(a, d, block=b)))  # type: ignore[misc]
    summary("a straight line", back_test(axis, end, straight_line))
    each_group(axis, end)
    print("\nthe trend of the distance")
    trend_coverage(axis, end)
    next_year(axis, end)


if __name__ == "__main__":
    main()
