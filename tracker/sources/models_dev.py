"""models.dev: which models are open, since when, and what each provider asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tracker.ingested import Access, Batch, SourceFacts, SourceModel
from tracker.settings import Settings
from tracker.sources import Question
from tracker.sources.errors import LayoutError
from tracker.sources.fetch import Fetcher
from tracker.sources.fields import mapping, moment, number, text, whole

URL = "https://models.dev/api.json"
HUB = "huggingface"  # the provider whose names are repositories of the Hub


class ModelsDev:
    """Every model of every provider that models.dev lists."""

    facts = SourceFacts(
        name="models-dev",
        title="models.dev",
        url="https://models.dev",
        license="MIT",
        attribution="Openness, release dates and prices: models.dev, MIT",
        is_whole=True,
    )

    def __init__(self, settings: Settings) -> None:
        self._url = settings.source_urls.get(self.facts.name, URL)

    def missing_credential(self) -> str | None:
        """None: it is open."""
        return None

    def read(self, question: Question, fetch: Fetcher) -> Iterator[Batch]:
        """One batch: the whole list."""
        del question
        yield parse(fetch.get(self._url).json())


def parse(document: Any) -> Batch:
    """The models of all providers, named `provider/model`.

    Raises:
        LayoutError: there are no providers in it, or a provider has no models.
    """
    providers = mapping(document)
    if not providers or not any("models" in mapping(p) for p in providers.values()):
        raise LayoutError("models.dev: no provider with `models`, so its layout has changed")
    models, problems = [], []
    for provider, listed in providers.items():
        for name, entry in mapping(mapping(listed).get("models")).items():
            try:
                models.append(_model(str(provider), str(name), mapping(entry)))
            except ValueError as error:
                problems.append(str(error))
    return Batch(models=tuple(models), problems=tuple(problems))


def _model(provider: str, name: str, entry: Any) -> SourceModel:
    cost, limit = mapping(entry.get("cost")), mapping(entry.get("limit"))
    is_open = entry.get("open_weights")
    access = {True: Access.OPEN, False: Access.CLOSED}.get(is_open, Access.UNKNOWN)
    return SourceModel(
        name=f"{provider}/{name}",
        hub_id=name if provider == HUB and "/" in name else None,
        organization=text(entry.get("family")),
        access=access,
        released_at=moment(entry.get("release_date")),
        max_context=whole(limit.get("context")),
        price_in_usd_per_mtok=number(cost.get("input")),
        price_out_usd_per_mtok=number(cost.get("output")),
    )
