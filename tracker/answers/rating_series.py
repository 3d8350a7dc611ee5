"""Dated score series as axes for the gap definitions: an ingested rating board, or a CSV file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from tracker.answers.model_labels import ModelLabel, ModelLabels
from tracker.answers.vintages import tables_for
from tracker.errors import TrackerError, UnknownNameError
from tracker.frontier.axis import Axis
from tracker.frontier.population import Rated, series_axis
from tracker.frontier.tables import load_series
from tracker.records.published import Access as Label
from tracker.settings import Settings
from tracker.stats import normal_stderr
from tracker.store import open_snapshot

RATING = "rating"  # the unit of an Elo board
UNITS = {
    RATING: RATING,
    "index": "index",
    "fraction": "score",
    "minutes": "minutes",
    "points": "points",
}  # of a source → of an axis
TOP = 3  # the best models of a series decide its gap
MOST_LACKING = 0.2  # of the models: with more undated or unlabeled ones, a gap is that of another series
NAMED = 5  # more names do not help
HINT = (
    "`tracker ingest models-dev epoch hub-models` fetches dates and labels, and `tracker models --unmatched` "
    "lists open models to match; or give the series as a .csv file with your own"
)


@dataclass(frozen=True, slots=True)
class Known:
    """A series in the store."""

    source: str
    benchmark: str
    variant: str
    unit: str  # of its values, such as "rating"
    n_models: int

    @property
    def name(self) -> str:
        """Its name on the command line: `source:benchmark[/variant]`."""
        return f"{self.source}:{self.benchmark}" + (f"/{self.variant}" if self.variant else "")


@dataclass(frozen=True, slots=True)
class Series:
    """An axis, the last day of its data, and notes."""

    axis: Axis
    vintage: date
    notes: tuple[str, ...]
    unit: str = RATING


@dataclass(frozen=True, slots=True)
class _Listed:
    """One model of a series, best first, with what is known of it."""

    name: str
    label: ModelLabel
    value: float
    ci_low: float | None
    ci_high: float | None


def read_series(name: str, settings: Settings) -> Series:
    """The series in a CSV file, or the ingested series `source:benchmark[/variant]`.

    Raises:
        UnknownNameError: the store has no such series.
        TrackerError: the file cannot be read, or too many models have no date or no label open or closed.
    """
    if not name.endswith(".csv"):
        return _ingested(name, settings)
    points = load_series(Path(name))
    listed = [
        _Listed(
            row.model, ModelLabel(Label(row.access.value), row.released), row.value, row.ci_low, row.ci_high
        )
        for row in sorted(points, key=lambda row: -row.value)
    ]
    usable = _usable(name, listed, hint="write `open` or `closed` in the column `access`")
    vintage = max(point.released for point in points)
    return Series(series_axis(Path(name).name, usable), vintage, _left_out(len(points) - len(usable)))


def _ingested(name: str, settings: Settings) -> Series:
    with open_snapshot(settings) as snapshot:
        known = {row.name: row for row in map(_known, snapshot.query("series"))}
        if not known:
            raise TrackerError(
                f"there is no series `{name}`: no series has been ingested yet",
                hint="`tracker ingest` fetches LMArena and others; or use a .csv file",
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
        said = snapshot.query("model_labels")
    labels = ModelLabels(said, tables_for(settings))
    listed = [
        _Listed(row["name"], _label(row, labels), row["value"], row["ci_low"], row["ci_high"]) for row in rows
    ]
    usable = _usable(name, listed, hint=HINT)
    notes = _left_out(len(rows) - len(usable))
    return Series(series_axis(name, usable), _data_of(rows, usable), notes, UNITS[chosen.unit])


def _label(row: Mapping[str, Any], labels: ModelLabels) -> ModelLabel:
    """The label that the source gives, else the Hub, else another source."""
    own = ModelLabel(Label(row["own_access"] or "unknown"), _day(row["own_released_at"]))
    on_hub = ModelLabel(Label.OPEN, _day(row["hub_released_at"])) if row["is_on_hub"] else ModelLabel()
    known = own.or_else(on_hub)
    return known if known.is_complete else known.or_else(labels.find(row["name"], row["organization"]))


def _usable(name: str, listed: Sequence[_Listed], *, hint: str) -> list[Rated]:
    """The models with a date and a label.

    Raises:
        TrackerError: one of the best, or a fifth of all, lacks them: the gap would be that of other models.
    """
    lacking = [row for row in listed if not row.label.is_complete]
    top = [row for row in listed[:TOP] if not row.label.is_complete]
    if top or len(lacking) >= MOST_LACKING * len(listed):
        names = ", ".join(f"`{row.name}`" for row in (top or lacking)[:NAMED])
        if top:
            which = f"{names}, among its {TOP} best models, {_have(len(top))}"
        else:
            more = f" and {len(lacking) - NAMED} more" if len(lacking) > NAMED else ""
            which = f"{len(lacking)} of its {len(listed)} models {_have(len(lacking))}: {names}{more}"
        raise TrackerError(f"`{name}` gives no gap: {which}", hint=hint)
    return [
        Rated(row.name, row.label.access is Label.OPEN, row.label.released, row.value, _stderr(row))
        for row in listed
        if row.label.released is not None and row.label.access is not Label.UNKNOWN
    ]


def _have(n: int) -> str:
    return f"{'has' if n == 1 else 'have'} no date or no label open or closed"


def rating_boards(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The names of the Elo boards among the rows of query `series`, the largest first."""
    boards = [known for known in map(_known, rows) if known.unit == RATING]
    return [known.name for known in sorted(boards, key=lambda known: (-known.n_models, known.name))]


def _known(row: dict[str, Any]) -> Known:
    return Known(row["source"], row["benchmark"], row["variant"], row["unit"], row["n_models"])


def _stderr(row: _Listed) -> float | None:
    known = row.ci_low is not None and row.ci_high is not None
    return normal_stderr(row.ci_low or 0.0, row.ci_high or 0.0) if known else None


def _day(moment: datetime | None) -> date | None:
    return moment.date() if moment is not None else None


def _data_of(rows: Sequence[Mapping[str, Any]], usable: Sequence[Rated]) -> date:
    """The day of the newest evaluation of the series.

    Where its rows name no day, the newest day in the source's data: of another evaluation, or of a release.
    """
    evaluated: list[date] = [
        row["evaluated_on"]
        for row in rows
        if row["evaluated_on"] is not None and row["evaluated_on"] <= row["seen_at"].date()  # else a mistake
    ]
    if evaluated:
        return max(evaluated)
    read_on: date = max(row["seen_at"].date() for row in rows)
    days = [rows[0]["source_evaluated_on"], *(row.released for row in usable)]
    return min(max((day for day in days if day is not None), default=read_on), read_on)


def _left_out(n: int) -> tuple[str, ...]:
    if n == 0:
        return ()
    some = "1 model of the series is" if n == 1 else f"{n} models of the series are"
    return (f"{some} left out: no date, or no open or closed label",)
