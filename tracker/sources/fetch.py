"""Fetch responses of sources: limited in size, time and retries, and stored unmodified.

Responses are stored by hash, and one whose ETag has not changed is not downloaded again. The token is sent
to the Hub only, and appears in no message and no file.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import httpx2
import stamina
from huggingface_hub import constants, get_async_session
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.utils import build_hf_headers, parse_ratelimit_headers

from tracker.addresses import RefusedAddressError, is_same_origin, kept_url, led_to, shown, without_user
from tracker.errors import StoreError, TransientError, UnreachableError
from tracker.http_client import (
    MIB,
    OPEN_HEADERS,
    AnswerLimits,
    AnswerTooLargeError,
    AnswerTooSlowError,
    HttpAnswer,
    HttpClient,
    WaitingLoop,
)
from tracker.redaction import repeats
from tracker.settings import address_secrets
from tracker.sources.errors import AbsentError, LayoutError, RefusedError, TimeUpError, TooLargeError
from tracker.sources.fields import parsed
from tracker.sources.raw import RawEntry, RawStore

MAX_BYTES = 48 * MIB  # of one response, unpacked; the largest expected one, Epoch's ZIP, is below 10 MiB
REQUEST_S = 30.0  # without a byte
RESPONSE_S = 600.0  # for one response: 48 MiB at 0.7 Mbit/s
ATTEMPTS = 4
LONGEST_WAIT_S = 330.0  # the Hub's window is 300 s
SERVER_ERROR = 500
DISABLED = "is disabled"  # in the Hub's message; its own library checks for it too
USER_AGENT = "open-weight-tracker"


@dataclass(frozen=True, slots=True)
class SourceResponse:
    """A response, and the address of the next page."""

    url: str
    body: bytes
    sha256: str
    next_url: str | None = None

    def json(self) -> Any:
        """Parse the body as JSON.

        Raises:
            LayoutError: it is not JSON.
        """
        return parsed(self.body, shown(self.url))


class Fetcher:
    """Fetch addresses for one source within its time limit."""

    def __init__(self, raw: RawStore, *, deadline_s: float) -> None:
        self._raw = raw
        self._deadline_at_s = time.monotonic() + deadline_s
        self._deadline_s = deadline_s
        self._background: WaitingLoop | None = None
        self._clients: dict[str, HttpClient] = {}
        self.sha256: list[str] = []  # of each response, in order

    def close(self) -> None:
        """Close the connections."""
        if self._background is not None:
            for client in self._clients.values():
                self._background.run(client.close())
            self._background.close()
        self._background, self._clients = None, {}

    def get(self, url: str, *, params: Any = (), headers: Mapping[str, str] | None = None) -> SourceResponse:
        """Fetch an address outside the Hub. `headers` go to its own host only.

        Raises:
            TransientError, UnreachableError: it is down, or the time limit is reached.
            RefusedError, AbsentError: it refuses the key, or the resource does not exist.
            LayoutError: the response is too large.
        """
        client = self._clients.get("web") or self._clients.setdefault("web", HttpClient())
        return self._asked(client, _with(url, params), {"user-agent": USER_AGENT} | dict(headers or {}))

    def hub(self, place: str, *, params: Any = (), max_bytes: int | None = None) -> SourceResponse:
        """Fetch from the Hub through the client of its own library; `place` is a path or an address."""
        url = self.hub_url(place)
        if not is_same_origin(url, constants.ENDPOINT):  # a next page, or a file that an answer names
            try:
                url = led_to(constants.ENDPOINT, url, what="answer")
            except RefusedAddressError as error:
                raise LayoutError(str(error)) from error
        else:  # a next page is kept without the user and password of the mirror
            url = urlsplit(url)._replace(netloc=urlsplit(constants.ENDPOINT).netloc).geturl()
        client = self._clients.get("hub") or self._clients.setdefault("hub", HttpClient(make=_hub_client))
        return self._asked(client, _with(url, params), _hub_headers(url), max_bytes)

    @staticmethod
    def hub_url(place: str) -> str:
        """The address of a path on the Hub."""
        return place if place.startswith("http") else f"{constants.ENDPOINT}{place}"

    def known(self, url: str) -> SourceResponse | None:
        """The stored response of an address whose content never changes; None if there is none."""
        entry = self._newest(url)
        if entry is None:
            return None
        with suppress(TransientError):  # damaged: fetched again
            return SourceResponse(url, self._unchanged(entry, url), entry.sha256)
        return None

    def _newest(self, url: str) -> RawEntry | None:
        return self._raw.newest(kept_url(url)) or self._raw.newest(without_user(url))

    def _asked(
        self, client: HttpClient, url: str, headers: dict[str, str], max_bytes: int | None = None
    ) -> SourceResponse:
        left_s = self._left_s()
        for attempt in stamina.retry_context(on=self._wait_s, attempts=ATTEMPTS, timeout=left_s):
            with attempt:
                return self._once(client, url, headers, max_bytes or MAX_BYTES)
        raise AssertionError("the last attempt returns or raises")

    def _once(self, client: HttpClient, url: str, headers: dict[str, str], max_bytes: int) -> SourceResponse:
        place = kept_url(url)
        known = self._newest(url)
        if known is not None and known.etag:
            headers = headers | {"if-none-match": known.etag}
        left_s = self._left_s()
        limits = AnswerLimits(max_bytes, silence_s=min(REQUEST_S, left_s), total_s=min(RESPONSE_S, left_s))
        self._background = self._background or WaitingLoop()
        with _named(url):
            try:
                answer = self._background.run(client.get(url, limits, headers=headers, follows=True))
            except AnswerTooLargeError as error:
                raise TooLargeError(str(error), next_url=_next(error.url, error.headers)) from error
            except AnswerTooSlowError:
                self._left_s()  # which names the limit of the source, if that was reached
                raise
        next_url = _next(answer.url, answer.headers)
        if answer.status == 304 and known is not None:
            body = self._unchanged(known, url)
            self.sha256.append(known.sha256)
            return SourceResponse(url, body, known.sha256, next_url)
        _raise_for(answer, url)
        if any(repeats(answer.body, secret) for secret in _sent_secrets(url, headers)):
            raise LayoutError(f"the response of {shown(url)} repeats the key that was sent; it is not stored")
        entry = self._raw.add(
            answer.body,
            url=place,
            status=answer.status,
            at=datetime.now(UTC),
            etag=answer.headers.get("etag"),
        )
        self.sha256.append(entry.sha256)
        return SourceResponse(url, answer.body, entry.sha256, next_url)

    def _unchanged(self, known: RawEntry, url: str) -> bytes:
        """The stored response of this address; if damaged, it is deleted and fetched again."""
        try:
            return self._raw.read(known.sha256)
        except StoreError as error:
            self._raw.drop(known.sha256)
            raise TransientError(f"the stored response of {shown(url)} is damaged") from error

    def _left_s(self) -> float:
        left_s = self._deadline_at_s - time.monotonic()
        if left_s <= 0:
            raise TimeUpError(f"the source took longer than its limit of {self._deadline_s:.0f} s")
        return left_s

    def _wait_s(self, error: Exception) -> bool | float:
        if not isinstance(error, TransientError):
            return False
        asked_s = error.wait_s if isinstance(error, LimitError) else None
        if asked_s is None:
            return True
        return asked_s if asked_s <= min(LONGEST_WAIT_S, self._left_s()) else False


class LimitError(TransientError):
    """Too many requests; `wait_s` is the wait that the server requests."""

    def __init__(self, message: str, *, wait_s: float | None) -> None:
        hint = f"try again in {wait_s:.0f} s" if wait_s else "try again later"
        super().__init__(message, hint=hint)
        self.wait_s = wait_s


@contextmanager
def _named(url: str) -> Iterator[None]:
    """Convert the client's errors to ours, with `url`."""
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise UnreachableError("the Hub is not queried because HF_HUB_OFFLINE is set") from error
    except httpx2.ConnectError as error:
        raise UnreachableError(f"{shown(url)} cannot be reached") from error
    except (httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
        raise UnreachableError(f"`{shown(url)}` is not a valid address") from error
    except httpx2.TransportError as error:
        raise TransientError(f"{shown(url)} does not answer ({type(error).__name__})") from error
    except httpx2.HTTPError as error:  # too many redirects, a broken encoding
        raise UnreachableError(f"{shown(url)}: {type(error).__name__}") from error


def _raise_for(response: HttpAnswer, url: str) -> None:
    status = response.status
    if status < 300:
        return
    if status in (401, 403):
        if response.headers.get("x-error-code") in ("RepoNotFound", "GatedRepo"):
            raise AbsentError(f"{shown(url)} does not exist, or is private or gated", status=status)
        if DISABLED in response.headers.get("x-error-message", ""):
            raise AbsentError(f"{shown(url)} is disabled", status=status)
        raise RefusedError(f"{shown(url)} refuses the access token or key (HTTP {status})")
    if status == 429:
        raise LimitError(
            f"{shown(url)} limits requests (HTTP {status})", wait_s=_asked_wait_s(response.headers)
        )
    if status >= SERVER_ERROR:
        raise LimitError(f"{shown(url)} is down (HTTP {status})", wait_s=_asked_wait_s(response.headers))
    raise AbsentError(f"{shown(url)} returned HTTP {status}", status=status)


def _asked_wait_s(headers: Mapping[str, str]) -> float | None:
    limit = parse_ratelimit_headers(headers)
    if limit is not None and limit.remaining == 0:
        return limit.reset_in_seconds + 1.0
    retry_after = headers.get("retry-after", "")
    return float(retry_after) if retry_after.isascii() and retry_after.isdigit() else None


def _hub_headers(url: str) -> dict[str, str]:
    """Headers with the user's token only for the Hub: the link to a next page may point elsewhere."""
    own = is_same_origin(url, constants.ENDPOINT)
    return dict(build_hf_headers(token=None if own else False, library_name=USER_AGENT))


def _sent_secrets(url: str, headers: Mapping[str, str]) -> set[str]:
    """What of a request only its receiver may know."""
    named = {value for name, value in headers.items() if name.lower() not in OPEN_HEADERS}
    return {*address_secrets(url), *(value.removeprefix("Bearer ") for value in named)}


def _hub_client() -> httpx2.AsyncClient:
    """The client of the Hub's library, without its hook that reads every refusal whole."""
    client = get_async_session()
    client.event_hooks = {"request": client.event_hooks["request"], "response": []}
    return client


def _next(url: str, headers: Mapping[str, str]) -> str | None:
    """The next page, named by a header; where it may lead is checked when it is asked.

    Raises:
        LayoutError: it is no address.
    """
    found = re.search(r'<([^>]+)>;\s*rel="?next"?', headers.get("link", ""))
    if found is None:
        return None
    try:
        return without_user(urljoin(url, found.group(1)))
    except ValueError as error:
        raise LayoutError(f"the next page of {shown(url)} is at no valid address") from error


def _with(url: str, params: Any) -> str:
    try:
        urlsplit(url)
    except ValueError as error:
        raise UnreachableError(f"`{shown(url)}` is not a valid address") from error
    return f"{url}?{urlencode(list(params))}" if params else url
