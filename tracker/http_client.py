"""The one HTTP client: every answer is limited in size, time, redirects and depth, whoever sends it.

All requests of the sources, of OpenAI-compatible servers and of our own model server go through here. An
answer is read in parts and counted after decompression; the time counts from the first lookup of the name to
the last byte, so that a server that sends a byte now and then ends nothing but its own request. Redirects
are followed here and not by the library, as `tracker.addresses.led_to` allows.
Not covered: what the Hub's own library downloads (weights, data sets).
"""

from __future__ import annotations

import asyncio
import functools
import json
import ssl
import threading
import urllib.request
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2

from tracker.addresses import (
    RefusedAddressError,
    is_public_address,
    is_same_origin,
    led_to,
    shown,
)
from tracker.errors import UnreachableError

MIB = 2**20
CONNECT_S = 10.0  # to look up the name and connect; a distant host takes one second
MAX_REDIRECTS = 5  # the Hub's own downloads need two
MAX_DEPTH = 100  # of nested JSON; the deepest answer of a source has nine
MAX_EVENT_BYTES = 8 * MIB  # one event of a stream; a whole answer of 32,768 tokens in one is 0.2 MiB
MAX_WORDS_BYTES = MIB // 4  # of the answer of a refused request, which only explains
CLOSE_S = 5.0  # for the background thread to close its connections
THIS_MACHINE = ("all://127.0.0.1", "all://localhost", "all://[::1]")
REDIRECTS = (301, 302, 303, 307, 308)
# Headers that any host may see; every other one may carry a secret and stays with the host it is for.
OPEN_HEADERS = frozenset({"accept", "accept-encoding", "if-none-match", "user-agent"})

Answered = TypeVar("Answered")


@dataclass(frozen=True, slots=True)
class AnswerLimits:
    """Limits of one answer."""

    max_bytes: int  # of the body, decompressed
    silence_s: float  # without a byte
    total_s: float  # from the lookup of the name to the last byte


IsFinished = Callable[[bytes], bool]  # whether a body is a whole answer


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A whole answer; `url` is where it came from, after redirects."""

    url: str
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes = field(repr=False)


class AnswerTooLargeError(UnreachableError):
    """The answer is larger than its limit; `headers` are its headers."""

    def __init__(self, message: str, *, url: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.url, self.headers = url, headers or {}


class AnswerTooSlowError(UnreachableError):
    """The answer did not end in time, although bytes may have come."""


class TooDeepError(ValueError):
    """JSON that is nested too deeply."""


def parse_json(body: bytes | str) -> Any:
    """Parse JSON of strangers.

    Raises:
        ValueError: it is not JSON, or nested more than `MAX_DEPTH` deep.
    """
    try:
        found = json.loads(body)
    except RecursionError as error:
        raise TooDeepError(f"nested more than {MAX_DEPTH} deep") from error
    if _opens(body) > MAX_DEPTH:
        level = [found] if isinstance(found, dict | list) else []
        for _ in range(MAX_DEPTH):
            level = [
                inner
                for outer in level
                for inner in (outer.values() if isinstance(outer, dict) else outer)
                if isinstance(inner, dict | list)
            ]
        if level:
            raise TooDeepError(f"nested more than {MAX_DEPTH} deep")
    return found


def _opens(body: bytes | str) -> int:
    return body.count("[") + body.count("{") if isinstance(body, str) else body.count(b"[") + body.count(b"{")


@functools.cache
def certificates() -> ssl.SSLContext:
    """The trusted certificates, cached because reading them takes longer than a request."""
    return httpx2.create_ssl_context()


def _plain_client() -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        limits=httpx2.Limits(max_connections=None),
        verify=certificates(),
        mounts=dict.fromkeys(THIS_MACHINE),  # asked without the proxy, which need not see what is sent
    )


class HttpClient:
    """Connections to any hosts, within limits; an async context manager."""

    def __init__(
        self,
        *,
        headers: Mapping[str, str] | None = None,
        make: Callable[[], httpx2.AsyncClient] | None = None,
    ) -> None:
        """`headers` go with every request to the address that is asked, and to no other host.

        `make` builds the library's client where another configures it, as the Hub's does.
        """
        self._headers = dict(headers or {})
        self._client = (make or _plain_client)()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def get(
        self,
        url: str,
        limits: AnswerLimits,
        *,
        headers: Mapping[str, str] | None = None,
        follows: bool = False,
        method: str = "GET",
    ) -> HttpAnswer:
        """Fetch a whole answer; `follows`: also by way of redirects.

        Raises:
            AnswerTooLargeError, AnswerTooSlowError: it is over its limits.
            RefusedAddressError: it leads where nothing is asked.
            UnreachableError: too many redirects.
            httpx2.HTTPError, httpx2.InvalidURL: as the library raises them.
        """
        sent = self._headers | dict(headers or {})
        asked, is_elsewhere = url, False
        async with _deadline(limits, url):
            for _ in range(MAX_REDIRECTS + 1):
                async with self._stream(method, asked, limits, headers=sent) as response:
                    if is_elsewhere:
                        _check_peer(response, asked)
                    place = response.headers.get("location")
                    if not (follows and response.status_code in REDIRECTS and place):
                        return await _whole(response, asked, limits)
                target = await asyncio.to_thread(led_to, asked, place, what="redirect")
                if not is_same_origin(asked, target):
                    is_elsewhere = True
                    sent = {name: value for name, value in sent.items() if name.lower() in OPEN_HEADERS}
                asked = target
        raise UnreachableError(f"{shown(url)} redirects more than {MAX_REDIRECTS} times")

    async def post(self, url: str, body: object, limits: AnswerLimits) -> HttpAnswer:
        """Send JSON and fetch the whole answer; redirects are not followed. Raises as `get` does."""
        async with (
            _deadline(limits, url),
            self._stream("POST", url, limits, headers=self._headers, json=body) as response,
        ):
            return await _whole(response, url, limits)

    @asynccontextmanager
    async def events(
        self, url: str, body: object, limits: AnswerLimits, *, is_finished: IsFinished
    ) -> AsyncIterator[EventStream]:
        """Send JSON and read the answer event by event; redirects are not followed. Raises as `get` does.

        `is_finished` tells of a document that came in place of events whether it is one although its
        connection was cut.
        """
        headers = self._headers | {"accept": "text/event-stream", "cache-control": "no-store"}
        async with (
            _deadline(limits, url),
            self._stream("POST", url, limits, headers=headers, json=body) as response,
        ):
            yield EventStream(response, url, limits, is_finished)

    @asynccontextmanager
    async def _stream(
        self, method: str, url: str, limits: AnswerLimits, *, headers: Mapping[str, str], json: object = None
    ) -> AsyncIterator[httpx2.Response]:
        for name, value in headers.items():
            if not (value.isascii() and value.isprintable()):
                message = f"the value for the header `{name}` has a character that HTTP does not allow"
                raise UnreachableError(message, hint="check the key for line breaks and accents")
        timeout = httpx2.Timeout(limits.silence_s, connect=min(CONNECT_S, limits.silence_s))
        self._client.cookies.clear()  # nobody's cookie goes to anybody
        async with self._client.stream(
            method, url, headers=dict(headers), json=json, timeout=timeout, follow_redirects=False
        ) as response:
            yield response


BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventStream:
    """The events of one answer; `status` is known before the first."""

    def __init__(
        self, response: httpx2.Response, url: str, limits: AnswerLimits, is_finished: IsFinished
    ) -> None:
        self._response, self._url, self._limits = response, url, limits
        self._is_finished = is_finished
        self.status = response.status_code
        self.headers = response.headers
        self.document = b""  # what came instead of events, once `data` has ended: one JSON object

    async def whole(self) -> HttpAnswer:
        """The answer as a whole, for one that is no stream."""
        return await _whole(self._response, self._url, self._limits, is_finished=self._is_finished)

    async def data(self) -> AsyncGenerator[bytes, None]:
        """Yield the data of each event, as text/event-stream defines it, and of a last one without its end.

        Some servers send one JSON object under this name: it becomes `document`, and nothing is yielded.

        Raises:
            AnswerTooLargeError: one event or all together are over the limit.
            AnswerTooSlowError: no event came in time, although other bytes may have.
        """
        pending, lines, n_held = bytearray(), list[bytes](), 0  # n_held: bytes of the event so far
        loop = asyncio.get_running_loop()
        event_at_s = loop.time()
        async for part in self._events_or_document():
            if loop.time() - event_at_s > self._limits.silence_s:
                raise AnswerTooSlowError(
                    f"{shown(self._url)} sent no event for {self._limits.silence_s:.0f} s"
                )
            pending += part
            if b"\n" in part or b"\r" in part:
                *whole, rest = _lines(bytes(pending))
                pending = bytearray(rest)
                for line in whole:
                    name, _, value = line.partition(b":")
                    if name == b"data":
                        lines.append(value.removeprefix(b" "))
                        n_held += len(line) + 1
                    elif not line and lines:
                        event_at_s = loop.time()
                        yield b"\n".join(lines)
                        lines, n_held = [], 0
            if len(pending) + n_held > MAX_EVENT_BYTES:
                message = f"one event of {shown(self._url)} is larger than {MAX_EVENT_BYTES / MIB:.0f} MiB"
                raise AnswerTooLargeError(message)
        name, _, value = bytes(pending).strip().partition(b":")
        lines += [value.removeprefix(b" ")] if name == b"data" else []
        if lines:
            yield b"\n".join(lines)

    async def _events_or_document(self) -> AsyncGenerator[bytes, None]:
        """The parts of the answer, unless it is one JSON object, which no event begins like."""
        body = bytearray()
        is_document = False
        try:
            async for received in _parts(self._response, self._url, self._limits):
                part = received if body else received.removeprefix(BYTE_ORDER_MARK)
                is_document = is_document or (not body and part.lstrip()[:1] == b"{")
                if is_document:
                    body += part
                else:
                    body = body or bytearray(part.strip()[:1])
                    yield part
        except httpx2.RemoteProtocolError:
            if not self._is_finished(bytes(body)):
                raise
        if is_document:
            self.document = bytes(body)


def _lines(text: bytes) -> list[bytes]:
    """The lines, and what follows the last end of a line; a final CR may be the first half of one."""
    end = b"\r" if text.endswith(b"\r") else b""
    text = text.removesuffix(end) if end else text
    lines = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    lines[-1] += end
    return lines


async def _whole(
    response: httpx2.Response, url: str, limits: AnswerLimits, *, is_finished: IsFinished | None = None
) -> HttpAnswer:
    """The answer; `is_finished` tells whether it is one although its connection was cut."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    is_refused = response.status_code >= 400
    most = min(limits.max_bytes, MAX_WORDS_BYTES) if is_refused else limits.max_bytes
    body = bytearray()
    try:
        async for part in _parts(response, url, limits, max_bytes=most):
            body += part
    except AnswerTooLargeError:
        if not is_refused:
            raise
    except httpx2.RemoteProtocolError:
        if is_finished is None or not is_finished(bytes(body)):
            raise
    return HttpAnswer(url, response.status_code, headers, bytes(body))


async def _parts(
    response: httpx2.Response, url: str, limits: AnswerLimits, *, max_bytes: int | None = None
) -> AsyncGenerator[bytes, None]:
    """Yield the decompressed parts, each at most one MiB, up to the limit."""
    most = limits.max_bytes if max_bytes is None else max_bytes
    n_bytes = 0
    async for part in response.aiter_bytes():
        n_bytes += len(part)
        if n_bytes > most:
            message = f"the response of {shown(url)} is larger than {most / MIB:.3g} MiB"
            headers = {name.lower(): value for name, value in response.headers.items()}
            raise AnswerTooLargeError(message, url=url, headers=headers)
        yield part


def _check_peer(response: httpx2.Response, url: str) -> None:
    """Refuse the answer of a private address to which a redirect led us by a name that looked public."""
    stream = response.extensions.get("network_stream")
    peer = stream.get_extra_info("server_addr") if stream is not None else None
    if peer and not urllib.request.getproxies() and not is_public_address(str(peer[0])):
        raise RefusedAddressError(f"{shown(url)} is not a public address")


@asynccontextmanager
async def _deadline(limits: AnswerLimits, url: str) -> AsyncIterator[None]:
    """End whatever waits inside after the total time of the limits."""
    try:
        async with asyncio.timeout(limits.total_s):
            yield
    except TimeoutError as error:
        message = f"{shown(url)} did not finish its answer within {limits.total_s:.3g} s"
        raise AnswerTooSlowError(message) from error


class WaitingLoop:
    """An event loop in a thread of its own, for callers that wait; also from inside another loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="http-client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Answered]) -> Answered:
        """Wait for the result; Ctrl-C ends the work too."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """End the thread and what still runs in it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_S)

    def _serve(self) -> None:
        self._loop.run_forever()
        for task in (waiting := asyncio.all_tasks(self._loop)):
            task.cancel()
        if waiting:
            self._loop.run_until_complete(asyncio.wait(waiting, timeout=CLOSE_S))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


def fetched(
    url: str, limits: AnswerLimits, *, method: str = "GET", headers: Mapping[str, str] | None = None
) -> HttpAnswer:
    """One whole answer, for a caller that waits; redirects are not followed. Raises as `HttpClient.get`."""

    async def fetch() -> HttpAnswer:
        async with HttpClient() as client:
            return await client.get(url, limits, method=method, headers=headers)

    background = WaitingLoop()
    try:
        return background.run(fetch())
    finally:
        background.close()
