"""Read the tables under `data/frontier/`, refusing invalid rows.

An error names file and line. The published numbers keep their license: see `data/README.md`.
"""

from __future__ import annotations

import csv
import hashlib
import io
import types
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from tracker.errors import TrackerError
from tracker.frontier.facts import (
    BenchmarkFacts,
    BoardLicense,
    Card,
    CatalogRow,
    HarnessScore,
    ModelFacts,
    ModelShape,
    Override,
    PublishedIndex,
    PublishedScore,
    SelfReportedScore,
    SeriesPoint,
    SmallOpenModel,
)

if TYPE_CHECKING:
    from tracker.frontier.ingested import IngestedIndex

Row = TypeVar("Row")
Columns = dict[str, Callable[[str], Any]]  # parsers of cells by column

IN_CHECKOUT = Path(__file__).resolve().parents[2] / "data" / "frontier"
IN_WHEEL = Path(__file__).resolve().parent / "data"  # the build copies the tables here

FIRST_ZONE = timedelta(hours=14)  # UTC+14, Kiribati; no zone is further ahead
ATTRIBUTION = (
    'Capability index and evaluations run by Epoch AI: Epoch AI, "AI Benchmarking Hub" and '
    '"Epoch Capabilities Index", epoch.ai, CC BY 4.0, modified.',
    "Other benchmark scores: collected by Epoch AI from leaderboards, papers and model cards, which keep "
    "their own terms (`tracker frontier licenses`).",
    "Small open models: estimates by Tim Duffy (TECI), CC BY 4.0, derived from Epoch AI's data; "
    "not Epoch AI's own figures.",
    "Self-reported scores: LLM-Stats, github.com/JonathanChavezTamales/llm-leaderboard, CC BY 4.0, modified.",
    "lm-eval scores behind placements: Open LLM Leaderboard (Hugging Face), copied by sloth (MIT), "
    "ObsScaling (Apache-2.0) and TECI (CC BY 4.0); Tenstorrent, vLLM Ascend (Apache-2.0); Lambda (MIT).",
    "Prices: models.dev, MIT.",
)


@dataclass(frozen=True, slots=True)
class Tables:
    """All published tables shipped with the program, checked row by row."""

    scores: tuple[PublishedScore, ...]
    models: dict[str, ModelFacts]
    benchmarks: dict[str, BenchmarkFacts]
    overrides: tuple[Override, ...]
    small_open_models: tuple[SmallOpenModel, ...]
    digest: str  # sha256 of the files behind the index, for caches
    ingested: IngestedIndex | None = None  # the vintage that was ingested, if an answer needs one

    @property
    def vintages(self) -> tuple[date, ...]:
        """The days of the published data, oldest first."""
        days = {row.vintage for row in self.scores}
        return tuple(sorted(days | ({self.ingested.day} if self.ingested else set())))

    def only_published(self, vintage: date) -> IngestedIndex | None:
        """The published values of that vintage if they are all it has: no scores to fit an index to."""
        found = self.ingested
        return found if found is not None and found.day == vintage and not found.is_refitted else None


def default_folder() -> Path:
    """The tables in the checkout, else those inside the installed package."""
    return IN_CHECKOUT if IN_CHECKOUT.is_dir() else IN_WHEEL


def load_tables(folder: Path | None = None, *, today: date | None = None) -> Tables:
    """All tables in `folder` that the frontier needs.

    Raises:
        TrackerError: a missing file or column, an unknown column, a duplicate, an invalid
            value, a date after `today`, a row that names an unknown model or benchmark; with
            file and line.
    """
    folder = folder or default_folder()
    read = _Reader(folder, today or _latest_today())
    models = read.rows("models.csv", ModelFacts, key=lambda row: row.model)
    benchmarks = read.rows("benchmarks.csv", BenchmarkFacts, key=lambda row: row.benchmark)
    known_models = {row.model for row in models}
    known_benchmarks = {row.benchmark for row in benchmarks}
    scores = read.rows(
        "scores.csv",
        PublishedScore,
        key=lambda row: (row.vintage, row.model, row.benchmark),
        known=lambda row: row.model in known_models and row.benchmark in known_benchmarks,
    )
    overrides = read.rows(
        "overrides.csv",
        Override,
        key=lambda row: (row.kind, row.model, row.field),
        known=lambda row: row.model in known_models,
    )
    small = read.rows("small_open_models.csv", SmallOpenModel, key=lambda row: (row.model, row.variant))
    return Tables(
        scores=scores,
        models={row.model: row for row in models},
        benchmarks={row.benchmark: row for row in benchmarks},
        overrides=overrides,
        small_open_models=small,
        digest=read.digest(),
    )


def load_published_index(folder: Path | None = None) -> tuple[PublishedIndex, ...]:
    """The published index of about half of the models by vintage, to check a refit."""
    read = _Reader(folder or default_folder(), _latest_today())
    return read.rows("published_index.csv", PublishedIndex, key=lambda row: (row.vintage, row.model))


def load_licenses(folder: Path | None = None) -> tuple[BoardLicense, ...]:
    """The terms of the leaderboards behind the scores, one row per benchmark."""
    read = _Reader(folder or default_folder(), _latest_today())
    return read.rows("licenses.csv", BoardLicense, key=lambda row: row.benchmark)


def load_self_reported(folder: Path | None = None) -> tuple[SelfReportedScore, ...]:
    """The scores that developers report; several values for one pair may differ in settings."""
    read = _Reader(folder or default_folder(), _latest_today())
    return read.rows("self_reported.csv", SelfReportedScore, key=None)


def load_harness_scores(folder: Path | None = None) -> tuple[HarnessScore, ...]:
    """The lm-eval scores of open models with an index; several values for one pair differ in settings."""
    read = _Reader(folder or default_folder(), _latest_today())
    return read.rows("harness_scores.csv", HarnessScore, key=None)


def load_cards(folder: Path | None = None) -> tuple[Card, ...]:
    """The graphics cards and computers that a user may name."""
    read = _Reader(folder or default_folder(), _latest_today())
    return read.rows("cards.csv", Card, key=lambda row: row.card.casefold())


def load_shapes(folder: Path | None = None) -> tuple[ModelShape, ...]:
    """The shapes of open models, one row per repository."""
    read = _Reader(folder or default_folder(), _latest_today())
    return read.rows("model_shapes.csv", ModelShape, key=lambda row: row.hub_id.casefold())


def load_catalog(folder: Path | None = None) -> tuple[CatalogRow, ...]:
    """The open models that can be told about in a home where nothing was stored yet, by name."""
    read = _Reader(folder or default_folder(), _latest_today())
    return read.rows("catalog.csv", CatalogRow, key=lambda row: row.hub_id.casefold())


def load_series(path: Path, *, today: date | None = None) -> tuple[SeriesPoint, ...]:
    """A dated score series from a CSV file with the columns of `SeriesPoint`, in their order.

    Raises:
        TrackerError: as `load_tables`, with file and line.
    """
    read = _Reader(path.parent, today or _latest_today())
    return read.rows(path.name, SeriesPoint, key=lambda row: row.model)


def _latest_today() -> date:
    """Today in the earliest time zone, since a date in a table may be from any zone."""
    read_at = datetime.now(UTC)
    return (read_at + FIRST_ZONE).date()


class _Reader:
    """Reader of the tables in one folder that keeps a digest of what it read."""

    def __init__(self, folder: Path, today: date) -> None:
        self._folder = folder
        self._today = today
        self._hash = hashlib.sha256()

    def digest(self) -> str:
        return self._hash.hexdigest()

    def rows(
        self,
        name: str,
        record: type[Row],
        *,
        key: Callable[[Row], Hashable] | None,
        known: Callable[[Row], bool] | None = None,
    ) -> tuple[Row, ...]:
        """The rows of one file as `record`s; `key` must differ, `known` must hold, in every row."""
        path = self._folder / name
        try:
            raw = path.read_bytes()
            text = raw.decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TrackerError(f"cannot read {path}: {error}") from error
        self._hash.update(raw)
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        columns = _columns(record)
        try:
            _check_header(path, next(reader, []), known=tuple(columns))
            found = [
                (reader.line_num, self._row(f"{path}:{reader.line_num}", cells, record, columns))
                for cells in reader
            ]
        except csv.Error as error:
            raise TrackerError(f"{path}:{reader.line_num}: {error}") from error
        if not found:
            raise TrackerError(f"{path}: no rows")
        _check_rows(path, found, key=key, known=known)
        return tuple(row for _, row in found)

    def _row(self, where: str, cells: Sequence[str], record: type[Row], columns: Columns) -> Row:
        if len(cells) != len(columns):
            raise TrackerError(f"{where}: {len(cells)} cells where {len(columns)} are expected")
        values: dict[str, Any] = {}
        for (name, parse), cell in zip(columns.items(), cells, strict=True):
            try:
                values[name] = parse(cell)
            except ValueError as error:
                raise TrackerError(f"{where}: {name}: {error}") from error
            if isinstance(values[name], date) and values[name] > self._today:
                raise TrackerError(
                    f"{where}: {name} {cell} is in the future (today is {self._today})",
                    hint="correct the date, or the clock of this machine",
                )
        try:
            return record(**values)
        except ValueError as error:
            raise TrackerError(f"{where}: {error}") from error


def _check_header(path: Path, header: Sequence[str], *, known: tuple[str, ...]) -> None:
    for name in header:
        if name not in known:
            raise TrackerError(f"{path}:1: unknown column `{name}`", hint="known: " + ", ".join(known))
    for name in known:
        if name not in header:
            raise TrackerError(f"{path}:1: column `{name}` is missing")
    if tuple(header) != known:
        raise TrackerError(
            f"{path}:1: columns are duplicated or out of order", hint="order: " + ", ".join(known)
        )


def _check_rows(
    path: Path,
    found: Sequence[tuple[int, Row]],
    *,
    key: Callable[[Row], Hashable] | None,
    known: Callable[[Row], bool] | None,
) -> None:
    seen: dict[Hashable, int] = {}
    for line, row in found:
        if known is not None and not known(row):
            raise TrackerError(f"{path}:{line}: unknown model or benchmark: {row}")
        if key is None:
            continue
        first = seen.setdefault(key(row), line)
        if first != line:
            raise TrackerError(f"{path}:{line}: the same row as line {first}: {key(row)}")


def _columns(record: type[Any]) -> Columns:
    hints = get_type_hints(record)
    return {field.name: _parser(hints[field.name]) for field in fields(record)}


def _parser(kind: Any) -> Callable[[str], Any]:
    """The parser of a cell of the annotated type; an empty cell is None if the type allows it."""
    if get_origin(kind) in {Union, types.UnionType}:
        inner = _parser(next(arg for arg in get_args(kind) if arg is not type(None)))
        return lambda cell: inner(cell) if cell else None
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind
    parsers: dict[Any, Callable[[str], Any]] = {
        str: str,
        float: _number,
        int: int,
        bool: _truth,
        date: date.fromisoformat,
    }
    return parsers[kind]


def _number(cell: str) -> float:
    value = float(cell)
    if value - value != 0.0:  # NaN and the infinities
        raise ValueError(f"not a finite number: {cell}")
    return value


def _truth(cell: str) -> bool:
    if cell not in {"true", "false"}:
        raise ValueError(f"must be `true` or `false`, got {cell!r}")
    return cell == "true"
