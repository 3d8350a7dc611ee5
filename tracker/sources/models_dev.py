"""models.dev: openness, release dates and prices per provider."""

from __future__ import annotations

from typing import Any

from tracker.records.published import (
    Access,
    Batch,
    SourceFacts,
    SourceModel,
)
from tracker.settings import Settings
from tracker.sources.errors import LayoutError
from tracker.sources.fields import built, mapping, moment, price, repository, text, whole
from tracker.sources.one_answer import OneAnswer, address

URL = "https://models.dev/api.json"
HUB = "huggingface"  # the provider whose names are repositories of the Hub


FACTS = SourceFacts(
    name="models-dev",
    title="models.dev",
    url="https://models.dev",
    license="MIT",
    attribution="Openness, release dates and prices: models.dev, MIT",
    is_whole=True,
)


def source(settings: Settings) -> OneAnswer:
    """Every model of every provider that models.dev lists."""
    return OneAnswer(FACTS, address(FACTS, URL, settings), lambda answer: [parse(answer.json())])


def parse(document: Any) -> Batch:
    """The models of all providers, named `provider/model`.

    Raises:
        LayoutError: there are no providers, or none has models.
    """
    providers = mapping(document)
    if not providers or not any("models" in mapping(p) for p in providers.values()):
        raise LayoutError("models.dev: no provider has `models`; its layout may have changed")
    rows = [
        (str(provider), str(name), mapping(entry))
        for provider, listed in providers.items()
        for name, entry in mapping(mapping(listed).get("models")).items()
    ]
    models, problems = built(rows, lambda row: _model(*row))
    return Batch(models=tuple(models), problems=tuple(problems))


def _model(provider: str, name: str, entry: Any) -> SourceModel:
    cost, limit = mapping(entry.get("cost")), mapping(entry.get("limit"))
    is_open = entry.get("open_weights")
    access = Access.OPEN if is_open is True else Access.CLOSED if is_open is False else Access.UNKNOWN
    return SourceModel(
        name=f"{provider}/{name}",
        hub_id=repository(name) if provider == HUB and "/" in name else None,
        organization=text(entry.get("family")),
        access=access,
        released_at=moment(entry.get("release_date")),
        max_context=whole(limit.get("context")),
        price_in_usd_per_mtok=price(cost.get("input")),
        price_out_usd_per_mtok=price(cost.get("output")),
    )
