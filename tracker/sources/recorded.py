"""Record what a source is answered, and answer it the same again later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from tracker.addresses import kept_url, shown
from tracker.errors import StoreError, TrackerError, TransientError, UnreachableError
from tracker.redaction import masked
from tracker.sources.errors import AbsentError, LayoutError, RefusedError, TimeUpError, TooLargeError
from tracker.sources.fetch import Fetcher, SourceResponse
from tracker.sources.ingest_log import Answered, Failed, IngestLog, LoggedIngest
from tracker.sources.raw import RawStore

FOREVER_S = 1e9
PLAIN_ERRORS = (LayoutError, RefusedError, TimeUpError, TransientError, UnreachableError, StoreError)


class LogEndsError(Exception):
    """The log of an ingest has no further answer: its process ended here."""


class RecordingFetcher(Fetcher):
    """Fetches, and logs every answer and failure of an ingest."""

    def __init__(self, raw: RawStore, log: IngestLog, *, deadline_s: float) -> None:
        super().__init__(raw, deadline_s=deadline_s)
        self._log = log

    def get(self, url: str, *, params: Any = (), headers: Mapping[str, str] | None = None) -> SourceResponse:
        """Fetch an address outside the Hub, as `Fetcher.get` does."""
        asked = asked_url(url, params)
        try:
            return self._answered(asked, super().get(url, params=params, headers=headers))
        except TrackerError as error:
            self._log.add(_failure(asked, error))
            raise

    def hub(self, place: str, *, params: Any = (), max_bytes: int | None = None) -> SourceResponse:
        """Fetch from the Hub, as `Fetcher.hub` does."""
        asked = asked_url(self.hub_url(place), params)
        try:
            return self._answered(asked, super().hub(place, params=params, max_bytes=max_bytes))
        except TrackerError as error:
            self._log.add(_failure(asked, error))
            raise

    def _answered(self, asked: str, response: SourceResponse) -> SourceResponse:
        final = logged_url(response.url)
        next_url = masked(response.next_url) if response.next_url else None
        self._log.add(Answered(asked, response.sha256, next_url, final if final != asked else None))
        return response


class ReplayFetcher(Fetcher):
    """Answers from the log of one past ingest; asks nobody.

    A request is matched by its address, then by its path: a newer version may ask with other parameters.
    """

    def __init__(self, raw: RawStore, ingest: LoggedIngest, earlier: Mapping[str, str]) -> None:
        """Answer as in `ingest`; `earlier`: the hash of each answer before it, by address."""
        super().__init__(raw, deadline_s=FOREVER_S)
        self._raw = raw
        self._left = list(ingest.answers)
        self._in_log = {answer.url for answer in ingest.answers}
        self._endpoint = ingest.begun.endpoint
        self._was_cut_off = ingest.ended is None or ingest.ended.is_interrupted
        self._earlier = earlier
        self.problems: list[str] = []  # answers that are not there

    def get(self, url: str, *, params: Any = (), headers: Mapping[str, str] | None = None) -> SourceResponse:
        """The logged answer of an address outside the Hub."""
        del headers
        return self._replayed(asked_url(url, params))

    def hub(self, place: str, *, params: Any = (), max_bytes: int | None = None) -> SourceResponse:
        """The logged answer of the Hub."""
        del max_bytes
        return self._replayed(asked_url(self.hub_url(place), params))

    def hub_url(self, place: str) -> str:  # type: ignore[override]  # the Hub of that time
        """The address of a path on the Hub that was asked."""
        return place if place.startswith("http") else f"{self._endpoint}{place}"

    def known(self, url: str) -> SourceResponse | None:
        """The answer that was stored before this ingest; None if it was fetched in it."""
        place = kept_url(url)
        sha256 = self._earlier.get(place)
        if place in self._in_log or sha256 is None:
            return None
        return SourceResponse(url, self._stored(sha256, place), sha256)

    def _replayed(self, url: str) -> SourceResponse:
        event = self._next(url)
        if isinstance(event, Failed):
            raise _error(event)
        body = self._stored(event.sha256, url)
        self.sha256.append(event.sha256)
        return SourceResponse(event.final_url or url, body, event.sha256, event.next_url)

    def _next(self, url: str) -> Answered | Failed:
        path = _path(url)
        same = [event for event in self._left if event.url == url]
        like = [event for event in self._left if _path(event.url) == path]
        for event in (*same, *like):
            self._left.remove(event)
            return event
        if self._was_cut_off:
            raise LogEndsError
        problem = f"no answer of {shown(url)} is in its log"
        self.problems.append(problem)
        raise UnreachableError(problem)

    def _stored(self, sha256: str, url: str) -> bytes:
        try:
            return self._raw.read(sha256)
        except StoreError as error:
            problem = f"the answer of {shown(url)} is lost: {error}"
            self.problems.append(problem)
            raise UnreachableError(problem) from error


def asked_url(url: str, params: Any) -> str:
    """The address of a request as it is logged: with its parameters, without user and password."""
    return logged_url(f"{url}?{urlencode(list(params))}" if params else url)


def logged_url(url: str) -> str:
    """The address as it is kept, also if it is none."""
    try:
        return kept_url(url)
    except ValueError:  # not an address; the request fails
        return url.rpartition("@")[2]


def _path(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:
        return url


def _failure(url: str, error: TrackerError) -> Failed:
    status = error.status if isinstance(error, AbsentError) else None
    next_url = error.next_url if isinstance(error, TooLargeError) else None
    kept = masked(next_url) if next_url else None
    return Failed(url, type(error).__name__, str(error), error.hint, status, kept)


def _error(event: Failed) -> TrackerError:
    """The exception that was logged; a kind that this version does not know is a temporary failure."""
    if event.error == TooLargeError.__name__:
        return TooLargeError(event.message, next_url=event.next_url)
    if event.error == AbsentError.__name__ and event.status is not None:
        return AbsentError(event.message, status=event.status)
    kinds = {kind.__name__: kind for kind in PLAIN_ERRORS}
    return kinds.get(event.error, TransientError)(event.message, hint=event.hint)
