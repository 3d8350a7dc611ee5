"""Any dated score series as an axis for the gap definitions: an Elo board that was ingested, or a file.

Joins the store and the frontier, as `tracker.placing` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from tracker.errors import TrackerError, UnknownNameError
from tracker.frontier.axis import Axis
from tracker.frontier.facts import Access, SeriesPoint
from tracker.frontier.population import Rated, series_axis
from tracker.frontier.tables import load_series
from tracker.settings import Settings
from tracker.store import open_snapshot

RATING = "rating"  # the unit of an Elo board
Z95 = 1.9600  # half width of a 95 % interval in standard deviations of a normal distribution


@dataclass(frozen=True, slots=True)
class Known:
    """A series that the store holds."""

    source: str
    benchmark: str
    variant: str
    unit: str  # of its values, such as "rating"
    n_models: int

    @property
    def name(self) -> str:
        """How it is asked for: `source:benchmark`, and `/variant` where it has one."""
        return f"{self.source}:{self.benchmark}" + (f"/{self.variant}" if self.variant else "")


@dataclass(frozen=True, slots=True)
class Series:
    """An axis, the last day that its data knows, and what a reader must know of it."""

    axis: Axis
    vintage: date
    notes: tuple[str, ...]


def read_series(name: str, settings: Settings) -> Series:
    """The series of a CSV file, or `source:benchmark[/variant]` of what was ingested.

    Raises:
        UnknownNameError: the store has no such series.
        TrackerError: the file cannot be read, or no dated open or closed model is left.
    """
    if name.endswith(".csv"):
        points = load_series(Path(name))
        vintage = max(point.released for point in points)
        rated = [_rated(point) for point in points if point.access is not Access.UNKNOWN]
        return Series(series_axis(Path(name).name, rated), vintage, _left_out(len(points) - len(rated)))
    return _ingested(name, settings)


def _ingested(name: str, settings: Settings) -> Series:
    with open_snapshot(settings) as snapshot:
        known = {row.name: row for row in map(_known, snapshot.query("series"))}
        if not known:
            raise TrackerError(
                f"the store holds no series, so no `{name}`",
                hint="`tracker ingest` reads LMArena and others; or name a .csv file",
            )
        if name not in known:
            raise UnknownNameError("series", name, known=known)
        chosen = known[name]
        rows = snapshot.query(
            "dated_scores",
            source=chosen.source,
            benchmark=chosen.benchmark,
            variant=chosen.variant or None,
        )
    usable = [row for row in rows if row["released_at"] is not None and row["access"] != "unknown"]
    points = [
        SeriesPoint(
            row["name"],
            Access(row["access"]),
            row["released_at"].date(),
            row["value"],
            row["ci_low"],
            row["ci_high"],
        )
        for row in usable
    ]
    if not points:
        raise TrackerError(
            f"of `{name}`, no model has both a date and a label open or closed",
            hint="`tracker ingest models-dev hub-models` brings dates",
        )
    axis = series_axis(name, [_rated(point) for point in points])
    return Series(axis, _seen_on(rows), _left_out(len(rows) - len(usable)))


def rating_boards(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The names of the Elo boards among the rows of query `series`, the largest first."""
    boards = [known for known in map(_known, rows) if known.unit == RATING]
    return [known.name for known in sorted(boards, key=lambda known: (-known.n_models, known.name))]


def _known(row: dict[str, Any]) -> Known:
    return Known(row["source"], row["benchmark"], row["variant"], row["unit"], row["n_models"])


def _rated(point: SeriesPoint) -> Rated:
    stderr = None
    if point.ci_low is not None and point.ci_high is not None:
        stderr = (point.ci_high - point.ci_low) / (2.0 * Z95)
    return Rated(point.model, point.access is Access.OPEN, point.released, point.value, stderr)


def _seen_on(rows: Sequence[dict[str, Any]]) -> date:
    days: list[date] = [row["evaluated_on"] or row["seen_at"].date() for row in rows]
    return max(days)


def _left_out(n: int) -> tuple[str, ...]:
    if n == 0:
        return ()
    some = "1 model of the series is" if n == 1 else f"{n} models of the series are"
    return (f"{some} left out: no date, or neither open nor closed",)
