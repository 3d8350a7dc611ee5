"""LMArena's leaderboards: ratings from human votes, from its dataset on the Hub.

Each board has the split `latest`, and `full` with every board ever published. Of `full`, the ratings over all
categories are read into the dated series; it has about a million rows, so it is read every 30 days, and
`latest` adds the boards in between. Categories are read for the text board alone.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tracker.http_client import MIB
from tracker.records.published import (
    Access,
    Batch,
    DatedValue,
    SourceFacts,
    SourceModel,
    SourceScore,
)
from tracker.settings import Settings
from tracker.sources import SourceRequest
from tracker.sources.errors import AbsentError, LayoutError
from tracker.sources.fetch import Fetcher
from tracker.sources.fields import (
    built,
    day,
    ends,
    entries,
    mapping,
    number,
    require_columns,
    required,
    text,
    whole,
)

DATASET = "lmarena-ai/leaderboard-dataset"
OVERALL = "overall"  # the category of all votes
CLOSED = ("proprietary", "closed")  # how the license of a closed model begins
UNSTATED = frozenset(
    {"-", "\N{EN DASH}", "\N{EM DASH}", "?", "n/a", "na", "none", "null", "tbd", "unknown", "other"}
)
FULL_DAYS = 30  # between two reads of every board
FULL_BYTES = 256 * MIB  # of `full`; 52 MB for the largest in October 2026
LICENSE = "CC BY 4.0"
LICENSES = {"cc-by-4.0": LICENSE}


@dataclass(frozen=True, slots=True)
class Board:
    """One board: its config in the dataset, the name of its series, and its columns."""

    config: str
    benchmark: str
    unit: str = "rating"
    value: str = "rating"
    low: str = "rating_lower"
    high: str = "rating_upper"
    n_items: str = "vote_count"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        named = ("model_name", "organization", "license", "category", "leaderboard_publish_date")
        return (*named, self.value, self.low, self.high, self.n_items)


TEXT = Board("text", "LMArena text")
BOARDS = (
    TEXT,
    Board("text_style_control", "LMArena text, style control"),
    Board("webdev", "LMArena WebDev"),
    Board(  # an average gain over the other models, which may be negative
        "agent", "LMArena agent", "index", "score", "score_ci_lower", "score_ci_upper", "observation_count"
    ),
)  # fmt: skip


class LMArena:
    """The boards as last published, and as they were on each day of publication."""

    facts = SourceFacts(
        name="lmarena",
        title="LMArena leaderboard",
        url=f"https://huggingface.co/datasets/{DATASET}",
        license=LICENSE,
        attribution="Arena ratings: LMArena, lmarena.ai, CC BY 4.0",
        is_whole=True,
    )

    def __init__(self, settings: Settings) -> None:
        del settings

    def missing_credential(self) -> str | None:
        """None: the dataset is open."""
        return None

    def read(self, request: SourceRequest, fetch: Fetcher) -> Iterator[Batch]:
        """Yield one batch per file, newest boards first. A board that cannot be read costs only itself."""
        for board in BOARDS:
            try:
                for url in _files(board, "latest", fetch):
                    yield parse(fetch.hub(url).body, board)
            except (AbsentError, LayoutError) as error:
                if board is TEXT:  # without it, the dataset itself has changed
                    raise
                yield Batch(missing=(f"LMArena, board `{board.config}`: {error}",))
        self.facts = replace(self.facts, license=_license(fetch))
        if request.since is not None and request.now - request.since < timedelta(days=FULL_DAYS):
            return
        for board in BOARDS:
            try:
                for url in _files(board, "full", fetch):
                    yield parse_full(fetch.hub(url, max_bytes=FULL_BYTES).body, board)
            except (AbsentError, LayoutError) as error:
                yield Batch(missing=(f"LMArena, all boards of `{board.config}`: {error}",))
        yield Batch(watermark=request.now)


def _license(fetch: Fetcher) -> str:
    """The license on the dataset's card at this moment: it was missing once, in April 2026."""
    try:
        card = mapping(fetch.hub(f"/api/datasets/{DATASET}").json())
    except (AbsentError, LayoutError):
        return LICENSE
    stated = text(mapping(card.get("cardData")).get("license"))
    if stated is None:
        return f"none stated on its card; {LICENSE} before" if "cardData" in card else LICENSE
    return LICENSES.get(stated, stated)


def _files(board: Board, split: str, fetch: Fetcher) -> list[str]:
    listed = fetch.hub(f"/api/datasets/{DATASET}/parquet/{board.config}/{split}")
    urls = [url for url in entries(listed.json(), DATASET) if isinstance(url, str)]
    if not urls:
        raise LayoutError(f"{DATASET}: no file for `{board.config}/{split}`")
    return urls


def parse(body: bytes, board: Board = TEXT) -> Batch:
    """Models, one score per model and category, and the board as of its day.

    Raises:
        LayoutError: it is not Parquet, or lacks a column.
    """
    category = None if board is TEXT else OVERALL
    found, problems = built(_rows(body, board, category=category), lambda row: _row(row, board))
    models = {model.name: model for model, _ in found}
    return Batch(
        models=tuple(models.values()),
        scores=tuple(score for _, score in found),
        problems=tuple(problems),
        history=tuple(_dated(found)),
    )


def parse_full(body: bytes, board: Board) -> Batch:
    """The ratings over all categories by day of publication.

    Raises:
        LayoutError: it is not Parquet, or lacks a column.
    """
    found, problems = built(_rows(body, board, category=OVERALL), lambda row: _row(row, board))
    return Batch(problems=tuple(problems), history=tuple(_dated(found)))


def _rows(body: bytes, board: Board, *, category: str | None = None) -> list[dict[str, Any]]:
    try:
        names = pq.read_schema(io.BytesIO(body)).names
        require_columns(names, board.columns, f"{DATASET}, `{board.config}`")
        filters = None if category is None else [("category", "==", category)]
        table = pq.read_table(io.BytesIO(body), columns=list(board.columns), filters=filters)
        rows: list[dict[str, Any]] = table.to_pylist()
        return rows
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise LayoutError(f"{DATASET}: the file is not valid Parquet") from error


def _row(row: Mapping[str, Any], board: Board) -> tuple[SourceModel, SourceScore]:
    problem = f"{DATASET}: a row lacks its model, rating or category"
    name, category, rating = (
        required(row["model_name"], problem), required(row["category"], problem), number(row[board.value]),
    )  # fmt: skip
    if rating is None:
        raise ValueError(problem)
    license_ = text(row["license"])
    low, high = ends(row[board.low], rating, row[board.high])
    score = SourceScore(
        name,
        board.benchmark,
        rating,
        variant=category,
        unit=board.unit,
        ci_low=low,
        ci_high=high,
        n_items=whole(row[board.n_items]),
        reporter="LMArena",
        source_url=f"https://lmarena.ai/leaderboard/{board.config.removesuffix('_style_control')}",
        evaluated_on=day(row["leaderboard_publish_date"]),
    )
    model = SourceModel(
        name, organization=text(row["organization"]), access=_access(license_), license=license_
    )
    return model, score


def _access(license_: str | None) -> Access:
    """Whether the weights are open; unknown if a license is not stated."""
    if license_ is None or license_.casefold() in UNSTATED:
        return Access.UNKNOWN
    return Access.CLOSED if license_.casefold().startswith(CLOSED) else Access.OPEN


def _dated(rows: Iterable[tuple[SourceModel, SourceScore]]) -> Iterator[DatedValue]:
    """The ratings over all categories as values of their day."""
    for model, score in rows:
        if score.variant == OVERALL and score.evaluated_on is not None:
            interval = (score.ci_low, score.ci_high)
            yield DatedValue(
                score.benchmark, score.evaluated_on, score.name, score.value, score.unit, *interval,
                access=model.access,
            )  # fmt: skip
