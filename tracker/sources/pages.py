"""A list of the Hub, page by page: it ends where a page comes again, and goes round what is far too large.

`HfApi.list_models` walks the same pages, and is not used for it: it hides the answers, which are kept as they
came, and the address of the next page, at which an ingest that was cut off goes on; and one entry without an
`id` ends it. A test holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from tracker.sources.errors import AbsentError, LayoutError, TooLargeError
from tracker.sources.fetch import Answer, Fetcher

SHRINK = 10  # times: a page that is too large is asked for in so many parts
EMPTY = b"[]"


@dataclass(frozen=True, slots=True)
class Page:
    """One page, and where the next one is; the answer is None for an entry that is too large by itself."""

    answer: Answer | None
    next_url: str | None


def pages(fetch: Fetcher, first_url: str, *, resume_url: str | None = None) -> Iterator[Page]:
    """The pages from `resume_url` on, or from the first one if that place is not given or has expired.

    Raises:
        LayoutError: a page comes again.
        UnreachableError: the Hub is down, or refuses.
    """
    url, n_entries = resume_url or first_url, limit_of(first_url)
    hashes: set[str] = set()
    urls = {url}
    while True:
        try:
            answer = fetch.hub(url)
        except AbsentError:
            if url != resume_url or hashes:
                raise
            url, resume_url = first_url, None
            continue
        except TooLargeError as error:
            limit = limit_of(url)
            if limit > 1:
                url = with_limit(url, max(1, limit // SHRINK))
                continue
            page = Page(None, _next(error.next_url, n_entries))
        else:
            if answer.sha256 in hashes and answer.body.strip() != EMPTY:
                raise LayoutError(f"the Hub's list repeats itself after {len(hashes)} pages")
            hashes.add(answer.sha256)
            page = Page(answer, _next(answer.next_url, n_entries))
        yield page
        if page.next_url is None:
            return
        if page.next_url in urls:
            raise LayoutError(f"the Hub's list repeats itself after {len(hashes)} pages")
        url = page.next_url
        urls.add(url)


def limit_of(url: str) -> int:
    """How many entries a page has at the most; 1 if the address does not say."""
    found = dict(parse_qsl(urlsplit(url).query)).get("limit", "")
    return int(found) if found.isdigit() else 1


def with_limit(url: str, limit: int) -> str:
    """The address of the same page with at most so many entries."""
    parts = urlsplit(url)
    words = [(name, str(limit) if name == "limit" else value) for name, value in parse_qsl(parts.query)]
    return urlunsplit(parts._replace(query=urlencode(words)))


def _next(url: str | None, n_entries: int) -> str | None:
    """The next page, whole again after a small one."""
    return url if url is None or limit_of(url) == n_entries else with_limit(url, n_entries)
