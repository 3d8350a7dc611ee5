"""OpenRouter: prices, and which of its models is which repository of the Hub.

The indices of Artificial Analysis that it repeats are left out: they come without a right to pass them on.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from tracker.ingested import Access, Batch, SourceFacts, SourceModel
from tracker.settings import Settings
from tracker.sources import Question
from tracker.sources.errors import LayoutError
from tracker.sources.fetch import Fetcher
from tracker.sources.fields import entries, mapping, number, text, whole

URL = "https://openrouter.ai/api/v1/models"
PER_MILLION = 1e6  # its prices are per token, as text
MAX_EPOCH_S = 4e9  # the year 2096


class OpenRouter:
    """The models that OpenRouter sells access to."""

    facts = SourceFacts(
        name="openrouter",
        title="OpenRouter",
        url="https://openrouter.ai/models",
        license="site terms: show with a link, do not republish as a whole",
        attribution="Prices: OpenRouter, openrouter.ai/models",
        is_private=True,
        is_whole=True,
    )

    def __init__(self, settings: Settings) -> None:
        self._url = settings.source_urls.get(self.facts.name, URL)

    def missing_credential(self) -> str | None:
        """None: its list is open."""
        return None

    def read(self, question: Question, fetch: Fetcher) -> Iterator[Batch]:
        """One batch: the whole list."""
        del question
        yield parse(fetch.get(self._url).json())


def parse(document: Any) -> Batch:
    """The models in its list.

    Raises:
        LayoutError: there is no `data` in it.
    """
    if "data" not in mapping(document):
        raise LayoutError("OpenRouter: there is no `data`, so its layout has changed")
    models, problems = [], []
    for row in entries(document["data"], "OpenRouter"):
        entry = mapping(row)
        name = text(entry.get("id"))
        if name is None:
            problems.append("OpenRouter: a model without `id`")
            continue
        try:
            models.append(_model(name, entry))
        except ValueError as error:
            problems.append(str(error))
    return Batch(models=tuple(models), problems=tuple(problems))


def _model(name: str, entry: Any) -> SourceModel:
    hub_id, pricing = text(entry.get("hugging_face_id")), mapping(entry.get("pricing"))
    created_s = number(entry.get("created"))
    is_time = created_s is not None and 0 < created_s < MAX_EPOCH_S
    return SourceModel(
        name=name,
        hub_id=hub_id,
        organization=name.partition("/")[0],
        access=Access.OPEN if hub_id else Access.UNKNOWN,  # a model without a link may still be open
        released_at=datetime.fromtimestamp(created_s, UTC) if is_time and created_s else None,
        max_context=whole(entry.get("context_length")),
        price_in_usd_per_mtok=_per_million(pricing.get("prompt")),
        price_out_usd_per_mtok=_per_million(pricing.get("completion")),
    )


def _per_million(price: Any) -> float | None:
    found = number(price)
    # rounded: a price per token has 17 digits of binary noise when multiplied
    return None if found is None or found < 0 else round(found * PER_MILLION, 6)
