"""OpenRouter: prices, and the Hub repositories of its models.

The indices of Artificial Analysis that it includes are left out: they may not be redistributed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tracker.records.published import (
    Access,
    Batch,
    SourceFacts,
    SourceModel,
)
from tracker.settings import Settings
from tracker.sources.fields import built, data_of, mapping, number, price, repository, required, whole
from tracker.sources.one_answer import address
from tracker.sources.paged import PagedAnswer

URL = "https://openrouter.ai/api/v1/models"
PER_MILLION = 1e6  # its prices are per token, as strings
MAX_EPOCH_S = 4e9  # the year 2096


FACTS = SourceFacts(
    name="openrouter",
    title="OpenRouter",
    url="https://openrouter.ai/models",
    license="site terms: show with a link, do not republish in full; its daily exports are CC BY 4.0",
    attribution="Prices: OpenRouter, openrouter.ai/models",
    is_private=True,
    is_whole=True,
)


def source(settings: Settings) -> PagedAnswer:
    """The models that OpenRouter offers."""
    return PagedAnswer(FACTS, address(FACTS, URL, settings), parse)


def parse(document: Any) -> Batch:
    """The models in its list.

    Raises:
        LayoutError: it has no `data`.
    """
    models, problems = built(data_of(document, "OpenRouter"), _model)
    return Batch(models=tuple(models), problems=tuple(problems))


def _model(entry: Any) -> SourceModel:
    name = required(entry.get("id"), "OpenRouter: a model has no `id`")
    hub_id, pricing = repository(entry.get("hugging_face_id")), mapping(entry.get("pricing"))
    created_s = number(entry.get("created"))
    is_time = created_s is not None and 0 < created_s < MAX_EPOCH_S
    return SourceModel(
        name=name,
        hub_id=hub_id,
        organization=name.partition("/")[0],
        access=Access.OPEN if hub_id else Access.UNKNOWN,  # a model without a link may still be open
        released_at=datetime.fromtimestamp(created_s, UTC) if is_time and created_s else None,
        max_context=whole(entry.get("context_length")),
        price_in_usd_per_mtok=price(pricing.get("prompt"), per=PER_MILLION),
        price_out_usd_per_mtok=price(pricing.get("completion"), per=PER_MILLION),
    )
