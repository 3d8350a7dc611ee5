"""OpenRouter's daily export of token shares: the 50 most used models of each day, and `other` for the rest.

Its documentation says that the export covers the last 30 days, under CC BY 4.0. The newest days are revised a
little, so the newest export counts. A row names a model by its slug, `maker/model-YYYYMMDD[:variant]`.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tracker.records.published import Batch, DatedValue, SourceFacts
from tracker.settings import Settings
from tracker.sources import SourceRequest
from tracker.sources.errors import LayoutError
from tracker.sources.fetch import Fetcher
from tracker.sources.fields import (
    built,
    day,
    entries,
    mapping,
    number,
    parsed,
    require_columns,
    required,
    whole,
)
from tracker.sources.one_answer import address

URL = "https://openrouter.ai/api/v1/datasets/exports/rankings-daily/latest.json"
SERIES = "OpenRouter tokens"
COLUMNS = ("date", "model_permaslug", "share_of_daily_tokens")
ROUNDING = 0.02  # how far the shares of a whole day may be from 1

FACTS = SourceFacts(
    name="openrouter-usage",
    title="OpenRouter, shares of tokens",
    url="https://openrouter.ai/rankings",
    license="CC BY 4.0",
    attribution="Shares of tokens: OpenRouter, openrouter.ai/rankings, CC BY 4.0, summed by openness",
)


class OpenRouterUsage:
    """The share of each model in the tokens of each day."""

    facts = FACTS

    def __init__(self, settings: Settings) -> None:
        self._url = address(FACTS, URL, settings)

    def missing_credential(self) -> str | None:
        """None: the export is open."""
        return None

    def read(self, request: SourceRequest, fetch: Fetcher) -> Iterator[Batch]:
        """Yield the days of the newest export."""
        del request  # a mirror may hold the same rows as CSV
        yield parse(fetch.get(self._url).body)


def parse(body: bytes) -> Batch:
    """The shares of each day whose shares add up to one; days cut off are left out and named.

    Raises:
        LayoutError: it is neither the JSON nor the CSV form of the export.
    """
    rows, n_expected = _rows(body)
    found, problems = built(rows, _value)
    days: dict[Any, list[DatedValue]] = defaultdict(list)
    for value in found:
        days[value.day].append(value)
    missing = []
    if n_expected is not None and len(rows) < n_expected:
        missing.append(f"OpenRouter: the export says that it has {n_expected:,} rows and has {len(rows):,}")
    whole_days: list[DatedValue] = []
    for on, values in sorted(days.items()):
        total = sum(value.value for value in values)
        if abs(total - 1) > ROUNDING:
            missing.append(f"OpenRouter's shares of {on} add up to {total:.1%}")
        else:
            whole_days += values
    return Batch(history=tuple(whole_days), problems=tuple(problems), missing=tuple(missing))


def _rows(body: bytes) -> tuple[list[Mapping[str, Any]], int | None]:
    """The rows, and how many there should be."""
    if body.lstrip().startswith(b"{"):
        document = mapping(parsed(body, "OpenRouter"))
        if "rows" not in document:
            raise LayoutError("OpenRouter: the export has no `rows`; its layout may have changed")
        rows = [mapping(row) for row in entries(document["rows"], "OpenRouter: `rows`")]
        _require(rows[0] if rows else {})
        return rows, whole(document.get("row_count"))
    try:
        reader = csv.DictReader(io.StringIO(body.decode("utf-8-sig")))
        _require(reader.fieldnames or ())
        return list(reader), None
    except (UnicodeDecodeError, csv.Error) as error:
        raise LayoutError("OpenRouter: the export is neither JSON nor CSV") from error


def _require(names: Iterable[str]) -> None:
    require_columns(names, COLUMNS, "OpenRouter: export of token shares")


def _value(row: Mapping[str, Any]) -> DatedValue:
    problem = "OpenRouter: a row lacks its day, model or share"
    on, share = day(row.get("date")), number(row.get("share_of_daily_tokens"))
    if on is None or share is None:
        raise ValueError(problem)
    return DatedValue(SERIES, on, required(row.get("model_permaslug"), problem), share, unit="fraction")
