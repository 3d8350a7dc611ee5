"""A source at one address whose JSON answer may come in pages: read to the end, or said to be incomplete.

Understood are a link to the next page (`links.next`, `pagination.next`, `next`), numbered pages
(`pagination.has_more` or `total_pages`, requested with `page=N`), and a total (`total_count`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

from tracker.addresses import is_same_origin, shown
from tracker.records.published import Batch, SourceFacts
from tracker.sources import SourceRequest
from tracker.sources.fetch import Fetcher
from tracker.sources.fields import listed, mapping, text, whole
from tracker.sources.one_answer import Key

MAX_PAGES = 100


@dataclass(frozen=True, slots=True)
class PagedAnswer:
    """The source at `url`; `parse` reads the records of one page."""

    facts: SourceFacts
    url: str
    parse: Callable[[Any], Batch]
    key: Key | None = None

    def missing_credential(self) -> str | None:
        """The variable for the key, if a key is needed but not set."""
        return self.key.variable if self.key is not None and not self.key.value else None

    def read(self, request: SourceRequest, fetch: Fetcher) -> Iterator[Batch]:
        """Yield one batch per page, and one that names what is missing if the end was not reached."""
        del request  # the list is always read in full
        headers = {self.key.header: self.key.value} if self.key is not None else None
        url: str | None = self.url
        total: int | None = None
        n_rows, hashes = 0, set[str]()
        while url is not None:
            answer = fetch.get(url, headers=headers)
            if answer.sha256 in hashes:
                yield self._missing(f"repeats itself after {len(hashes)} pages")
                return
            hashes.add(answer.sha256)
            parsed = answer.json()
            yield self.parse(parsed)
            document = mapping(parsed)
            n_rows += len(listed(document.get("data")))
            total = _total(document) or total
            url = _next_url(document, url)
            if url is not None and not is_same_origin(url, self.url):
                yield self._missing(f"continues at another address, {shown(url)}")  # which gets no key
                return
            if len(hashes) == MAX_PAGES and url is not None:
                yield self._missing(f"has more than {MAX_PAGES} pages")
                return
        if total is not None and n_rows < total:
            yield self._missing(f"says that it has {total:,} entries and sent {n_rows:,}")

    def _missing(self, why: str) -> Batch:
        return Batch(missing=(f"{self.facts.title}: the list {why}",))


def _next_url(document: Mapping[str, Any], url: str) -> str | None:
    """The address of the next page; None on the last one."""
    pagination = _pagination(document)
    links = mapping(document.get("links"))
    for place in (
        links.get("next"),
        pagination.get("next"),
        pagination.get("next_url"),
        document.get("next"),
    ):
        link = text(place) or text(mapping(place).get("href"))
        if link is not None:
            try:
                return urljoin(url, link)
            except ValueError:  # no address at all, which is said as one of another host
                return link
    page = whole(pagination.get("page")) or whole(dict(parse_qsl(urlsplit(url).query)).get("page")) or 1
    is_more = pagination.get("has_more") is True or page < (whole(pagination.get("total_pages")) or 1)
    return _with_page(url, page + 1) if is_more else None


def _total(document: Mapping[str, Any]) -> int | None:
    places = (document, _pagination(document), mapping(document.get("meta")))
    names = ("total_count", "total", "total_items")
    return next((n for place in places for name in names if (n := whole(place.get(name)))), None)


def _pagination(document: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping(document.get("pagination")) or mapping(mapping(document.get("meta")).get("pagination"))


def _with_page(url: str, page: int) -> str:
    parts = urlsplit(url)
    words = [(name, value) for name, value in parse_qsl(parts.query) if name != "page"]
    return urlunsplit(parts._replace(query=urlencode([*words, ("page", str(page))])))
