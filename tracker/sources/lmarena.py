"""LMArena's leaderboard: ratings from human votes, from its data set on the Hub."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tracker.ingested import Access, Batch, SourceFacts, SourceModel, SourceScore
from tracker.settings import Settings
from tracker.sources import Question
from tracker.sources.errors import LayoutError
from tracker.sources.fetch import Fetcher
from tracker.sources.fields import built, day, entries, number, require_columns, required, text, whole

DATASET = "lmarena-ai/leaderboard-dataset"
CONFIG, SPLIT = "text", "latest"
COLUMNS = (
    "model_name", "organization", "license", "rating", "rating_lower", "rating_upper", "vote_count",
    "category", "leaderboard_publish_date",
)  # fmt: skip
CLOSED = "proprietary"


class LMArena:
    """The text board as last published."""

    facts = SourceFacts(
        name="lmarena",
        title="LMArena leaderboard",
        url=f"https://huggingface.co/datasets/{DATASET}",
        license="CC BY 4.0 as reusers state it; see the data set card",
        attribution="Arena ratings: LMArena, lmarena.ai",
        is_whole=True,
    )

    def __init__(self, settings: Settings) -> None:
        del settings

    def missing_credential(self) -> str | None:
        """None: the data set is open."""
        return None

    def read(self, question: Question, fetch: Fetcher) -> Iterator[Batch]:
        """One batch per file of the newest publication."""
        del question
        listed = fetch.hub(f"/api/datasets/{DATASET}/parquet/{CONFIG}/{SPLIT}")
        urls = [url for url in entries(listed.json(), DATASET) if isinstance(url, str)]
        if not urls:
            raise LayoutError(f"{DATASET}: there is no file of `{CONFIG}/{SPLIT}`")
        for url in urls:
            yield parse(fetch.hub(url).body)


def parse(body: bytes) -> Batch:
    """Models, and one rating per model and category.

    Raises:
        LayoutError: it is no Parquet, or lacks a column.
    """
    try:
        table = pq.read_table(io.BytesIO(body))
        require_columns(table.column_names, COLUMNS, DATASET)
        rows = table.select(list(COLUMNS)).to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise LayoutError(f"{DATASET}: the file is no Parquet") from error
    found, problems = built(rows, _row)
    models = {model.name: model for model, _ in found}
    scores = tuple(score for _, score in found)
    return Batch(models=tuple(models.values()), scores=scores, problems=tuple(problems))


def _row(row: Mapping[str, Any]) -> tuple[SourceModel, SourceScore]:
    problem = f"{DATASET}: a row without a model, rating or category"
    name, category, rating = (
        required(row["model_name"], problem), required(row["category"], problem), number(row["rating"]),
    )  # fmt: skip
    if rating is None:
        raise ValueError(problem)
    license_ = text(row["license"])
    closed = license_ is not None and license_.casefold() == CLOSED
    access = Access.CLOSED if closed else Access.OPEN if license_ else Access.UNKNOWN
    score = SourceScore(
        name,
        "LMArena text",
        rating,
        variant=category,
        unit="rating",
        ci_low=number(row["rating_lower"]),
        ci_high=number(row["rating_upper"]),
        n_items=whole(row["vote_count"]),
        reporter="LMArena",
        source_url="https://lmarena.ai/leaderboard/text",
        evaluated_on=day(row["leaderboard_publish_date"]),
    )
    model = SourceModel(name, organization=text(row["organization"]), access=access, license=license_)
    return model, score
