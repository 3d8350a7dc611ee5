"""A source that consists of one document at one address, parsed into batches by a function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tracker.records.published import Batch, SourceFacts
from tracker.settings import Settings
from tracker.sources import SourceRequest
from tracker.sources.fetch import Fetcher, SourceResponse


@dataclass(frozen=True, slots=True)
class Key:
    """An API key: its header, its environment variable and its value."""

    header: str
    variable: str
    value: str


@dataclass(frozen=True, slots=True)
class OneAnswer:
    """The source at `url`."""

    facts: SourceFacts
    url: str
    parse: Callable[[SourceResponse], Iterable[Batch]]
    key: Key | None = None

    def missing_credential(self) -> str | None:
        """The variable for the key, if a key is needed but not set."""
        return self.key.variable if self.key is not None and not self.key.value else None

    def read(self, request: SourceRequest, fetch: Fetcher) -> Iterator[Batch]:
        """Yield the batches of the document."""
        del request  # the document is always read in full
        headers = {self.key.header: self.key.value} if self.key is not None else None
        yield from self.parse(fetch.get(self.url, headers=headers))


def address(facts: SourceFacts, url: str, settings: Settings) -> str:
    """The address of the source: `url`, unless the settings name a mirror."""
    return settings.source_urls.get(facts.name, url)
