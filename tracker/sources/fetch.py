"""One answer of a source: bounded in size and time, asked again a bounded number of times, kept as it came.

Answers are kept with their hash, and an address whose ETag has not changed is not sent again. A token goes
to the Hub's own address only, and stands in no message and no file.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

import httpx2
import stamina
from huggingface_hub import constants, get_session
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.utils import build_hf_headers, parse_ratelimit_headers

from tracker.errors import StoreError, TransientError, UnreachableError
from tracker.sources.errors import AbsentError, RefusedError, TimeUpError, TooLargeError
from tracker.sources.fields import parsed
from tracker.sources.raw import RawEntry, RawStore

MIB = 2**20
MAX_BYTES = 48 * MIB  # of one answer, unpacked; the largest that we ask for, Epoch's ZIP, is below 10 MiB
REQUEST_S = 30.0  # without a byte
ATTEMPTS = 4
LONGEST_WAIT_S = 330.0  # the Hub's window is 300 s
SERVER_ERROR = 500
DISABLED = "is disabled"  # the Hub's words, by which its own library knows it too
USER_AGENT = "open-weight-tracker"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, and where the next page is."""

    url: str
    body: bytes
    sha256: str
    next_url: str | None = None

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            LayoutError: it is none.
        """
        return parsed(self.body, shown(self.url))


class Fetcher:
    """Asks addresses for one source until its time is up."""

    def __init__(self, raw: RawStore, *, deadline_s: float) -> None:
        self._raw = raw
        self._deadline_at_s = time.monotonic() + deadline_s
        self._deadline_s = deadline_s
        self._client: httpx2.Client | None = None
        self.sha256: list[str] = []  # of each answer, in their order

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()

    def get(self, url: str, *, params: Any = (), headers: Mapping[str, str] | None = None) -> Answer:
        """The answer of an address that is not the Hub's.

        Raises:
            TransientError, UnreachableError: it is down, or time is up.
            RefusedError, AbsentError: it refuses the key, or has no such thing.
            LayoutError: the answer is too large.
        """
        if self._client is None:
            self._client = httpx2.Client(follow_redirects=True)
        return self._asked(self._client, _with(url, params), {"user-agent": USER_AGENT} | dict(headers or {}))

    def hub(self, place: str, *, params: Any = ()) -> Answer:
        """The answer of the Hub, through the client of its own library; `place` is a path or its address."""
        url = self.hub_url(place)
        return self._asked(get_session(), _with(url, params), _hub_headers(url))

    @staticmethod
    def hub_url(place: str) -> str:
        """The address of a path on the Hub."""
        return place if place.startswith("http") else f"{constants.ENDPOINT}{place}"

    def known(self, url: str) -> Answer | None:
        """An answer that can never change, if it was asked for before."""
        entry = self._raw.newest(kept_url(url))
        if entry is None:
            return None
        with suppress(TransientError):  # damaged: asked for again
            return Answer(url, self._unchanged(entry, url), entry.sha256)
        return None

    def _asked(self, client: httpx2.Client, url: str, headers: dict[str, str]) -> Answer:
        left_s = self._left_s()
        for attempt in stamina.retry_context(on=self._wait_s, attempts=ATTEMPTS, timeout=left_s):
            with attempt:
                return self._once(client, url, headers)
        raise AssertionError("the last attempt returns or raises")

    def _once(self, client: httpx2.Client, url: str, headers: dict[str, str]) -> Answer:
        place = kept_url(url)
        known = self._raw.newest(place)
        if known is not None and known.etag:
            headers = headers | {"if-none-match": known.etag}
        with (
            _named(url),
            client.stream(
                "GET",
                url,
                headers=headers,
                timeout=min(REQUEST_S, self._left_s()),
                follow_redirects=True,
            ) as response,
        ):
            next_url = _next(response)
            if response.status_code == 304 and known is not None:
                body = self._unchanged(known, url)
                self.sha256.append(known.sha256)
                return Answer(url, body, known.sha256, next_url)
            _raise_for(response, url)
            body = self._body(response, url, next_url)
        entry = self._raw.add(
            body,
            url=place,
            status=response.status_code,
            at=datetime.now(UTC),
            etag=response.headers.get("etag"),
        )
        self.sha256.append(entry.sha256)
        return Answer(url, body, entry.sha256, next_url)

    def _unchanged(self, known: RawEntry, url: str) -> bytes:
        """What was kept of this address; if that is damaged, it is dropped and asked for again."""
        try:
            return self._raw.read(known.sha256)
        except StoreError as error:
            self._raw.drop(known.sha256)
            raise TransientError(f"{shown(url)}: what was kept of it is damaged") from error

    def _body(self, response: httpx2.Response, url: str, next_url: str | None) -> bytes:
        parts, n_bytes = [], 0
        for part in response.iter_bytes():
            n_bytes += len(part)
            if n_bytes > MAX_BYTES:
                message = f"{shown(url)} answers with more than {MAX_BYTES / MIB:.0f} MiB"
                raise TooLargeError(message, next_url=next_url)
            self._left_s()
            parts.append(part)
        declared = response.headers.get("content-length", "")
        if declared.isdigit() and "content-encoding" not in response.headers and n_bytes != int(declared):
            raise TransientError(f"{shown(url)}: the answer was cut off after {n_bytes} bytes")
        return b"".join(parts)

    def _left_s(self) -> float:
        left_s = self._deadline_at_s - time.monotonic()
        if left_s <= 0:
            raise TimeUpError(f"not done after {self._deadline_s:.0f} s")
        return left_s

    def _wait_s(self, error: Exception) -> bool | float:
        if not isinstance(error, TransientError):
            return False
        asked_s = error.wait_s if isinstance(error, LimitError) else None
        if asked_s is None:
            return True
        return asked_s if asked_s <= min(LONGEST_WAIT_S, self._left_s()) else False


class LimitError(TransientError):
    """Too many requests; `wait_s` is how long the server asks to wait."""

    def __init__(self, message: str, *, wait_s: float | None) -> None:
        hint = f"try again in {wait_s:.0f} s" if wait_s else "try again later"
        super().__init__(message, hint=hint)
        self.wait_s = wait_s


def shown(url: str) -> str:
    """The address without its query, user and password, which may carry secrets."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def kept_url(url: str) -> str:
    """The address as the log of answers has it: without user and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


@contextmanager
def _named(url: str) -> Iterator[None]:
    """Say what the client's errors mean for `url`."""
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise UnreachableError("the Hub is not asked because HF_HUB_OFFLINE is set") from error
    except httpx2.ConnectError as error:
        raise UnreachableError(f"{shown(url)} cannot be reached") from error
    except (httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
        raise UnreachableError(f"{shown(url)} is no address") from error
    except httpx2.TransportError as error:
        raise TransientError(f"{shown(url)} does not answer ({type(error).__name__})") from error
    except httpx2.HTTPError as error:  # too many redirects, a broken encoding
        raise UnreachableError(f"{shown(url)}: {type(error).__name__}") from error


def _raise_for(response: httpx2.Response, url: str) -> None:
    status = response.status_code
    if status < 400:
        return
    if status in (401, 403):
        if response.headers.get("x-error-code") in ("RepoNotFound", "GatedRepo"):
            raise AbsentError(f"{shown(url)} is private, gated or absent", status=status)
        if DISABLED in response.headers.get("x-error-message", ""):
            raise AbsentError(f"{shown(url)} is disabled", status=status)
        raise RefusedError(f"{shown(url)} refuses the access token or key (HTTP {status})")
    if status == 429:
        raise LimitError(f"{shown(url)}: the rate limit is reached", wait_s=_asked_wait_s(response.headers))
    if status >= SERVER_ERROR:
        raise LimitError(f"{shown(url)} is down (HTTP {status})", wait_s=_asked_wait_s(response.headers))
    raise AbsentError(f"{shown(url)} answers HTTP {status}", status=status)


def _asked_wait_s(headers: Mapping[str, str]) -> float | None:
    limit = parse_ratelimit_headers(headers)
    if limit is not None and limit.remaining == 0:
        return limit.reset_in_seconds + 1.0
    retry_after = headers.get("retry-after", "")
    return float(retry_after) if retry_after.isdigit() else None


def _hub_headers(url: str) -> dict[str, str]:
    """With the user's token, if the address is the Hub's own: a next page may point anywhere."""
    own = urlsplit(url)[:2] == urlsplit(constants.ENDPOINT)[:2]
    return dict(build_hf_headers(token=None if own else False, library_name=USER_AGENT))


def _next(response: httpx2.Response) -> str | None:
    found = re.search(r'<([^>]+)>;\s*rel="?next"?', response.headers.get("link", ""))
    return str(httpx2.URL(str(response.url)).join(found.group(1))) if found else None


def _with(url: str, params: Any) -> str:
    try:
        urlsplit(url)
    except ValueError as error:
        raise UnreachableError(f"`{url}` is no address") from error
    return f"{url}?{urlencode(list(params))}" if params else url
