"""Read a list of the Hub page by page: stops at a repeated page and skips entries that are too large.

`HfApi.list_models` reads the same pages but is not used: it hides the raw responses, which are stored, and
the address of the next page, at which an interrupted ingest resumes; and it fails at an entry without an
`id`. A test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from tracker.sources.errors import AbsentError, LayoutError, TooLargeError
from tracker.sources.fetch import Fetcher, SourceResponse

SHRINK = 10  # a page that is too large is requested again with a limit divided by this
EMPTY = b"[]"


@dataclass(frozen=True, slots=True)
class Page:
    """One page and the address of the next; `answer` is None for a single entry that is too large."""

    answer: SourceResponse | None
    next_url: str | None


def pages(fetch: Fetcher, first_url: str, *, resume_url: str | None = None) -> Iterator[Page]:
    """Yield the pages from `resume_url`, or from the first one if it is None or has expired.

    Raises:
        LayoutError: a page is repeated.
        UnreachableError: the Hub is down or refuses the request.
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
    """Maximum number of entries per page; 1 if the address has no limit."""
    found = dict(parse_qsl(urlsplit(url).query)).get("limit", "")
    return int(found) if found.isdigit() else 1


def with_limit(url: str, limit: int) -> str:
    """The address of the same page with at most `limit` entries."""
    parts = urlsplit(url)
    words = [(name, str(limit) if name == "limit" else value) for name, value in parse_qsl(parts.query)]
    return urlunsplit(parts._replace(query=urlencode(words)))


def _next(url: str | None, n_entries: int) -> str | None:
    """The address of the next page, with the full limit again."""
    return url if url is None or limit_of(url) == n_entries else with_limit(url, n_entries)
