"""A source whose whole is one answer at one address, which a function turns into batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tracker.ingested import Batch, SourceFacts
from tracker.settings import Settings
from tracker.sources import Question
from tracker.sources.fetch import Answer, Fetcher


@dataclass(frozen=True, slots=True)
class Key:
    """What must be sent along: the header that carries it, and the variable that holds it."""

    header: str
    variable: str
    value: str


@dataclass(frozen=True, slots=True)
class OneAnswer:
    """The source at `url`."""

    facts: SourceFacts
    url: str
    parse: Callable[[Answer], Iterable[Batch]]
    key: Key | None = None

    def missing_credential(self) -> str | None:
        """The variable that should hold the key, where one is needed and there is none."""
        return self.key.variable if self.key is not None and not self.key.value else None

    def read(self, question: Question, fetch: Fetcher) -> Iterator[Batch]:
        """The batches of the whole answer."""
        del question  # there is no asking for a part of it
        headers = {self.key.header: self.key.value} if self.key is not None else None
        yield from self.parse(fetch.get(self.url, headers=headers))


def address(facts: SourceFacts, url: str, settings: Settings) -> str:
    """Where the source is asked: at `url`, unless the settings name a mirror."""
    return settings.source_urls.get(facts.name, url)
