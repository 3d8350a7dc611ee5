"""Read-only HTTP routes beside the pages: the main tables as JSON, the feed, a health check.

The tables are imported on the first request, because Streamlit's caches need its running server.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tracker.errors import StoreError, TrackerError
from tracker.redaction import masked

SCHEMA_VERSION = 1  # of these documents
BAD_REQUEST, FORBIDDEN, UNAVAILABLE = 400, 403, 503
FOREIGN = "Requests from pages of other origins are refused"
# Streamlit's own pages need inline scripts and styles, and Vega compiles expressions
GUARDS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; base-uri 'self';"
        " form-action 'none'; frame-ancestors 'none'"
    ),
}


def only_for(*names: str, or_any_address: bool = False) -> Middleware:
    """Refuse requests for other host names, against DNS rebinding.

    The attack needs a name: `or_any_address` accepts every numeric address, for a server that listens on
    addresses not known in advance.
    """
    return Middleware(HostCheck, names=names, or_any_address=or_any_address)


class HostCheck:
    """Accept HTTP requests and WebSocket connections for the server's own names only."""

    def __init__(self, app: ASGIApp, *, names: tuple[str, ...], or_any_address: bool) -> None:
        self._app = app
        self._names = {"localhost", *(name.casefold() for name in names)}
        self._or_any_address = or_any_address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request for one of the server's names, or refuse it."""
        if scope["type"] in ("http", "websocket") and not self._is_ours(Headers(scope=scope).get("host", "")):
            refusal = PlainTextResponse("Invalid host header", status_code=BAD_REQUEST)
            await refusal(scope, receive, send)
            return
        if scope["type"] in ("http", "websocket") and not _is_own_origin(Headers(scope=scope)):
            await PlainTextResponse(FOREIGN, status_code=FORBIDDEN)(scope, receive, send)
            return
        await self._app(scope, receive, _guarded(send))

    def _is_ours(self, host: str) -> bool:
        name = _hostname(host)
        if name in self._names:
            return True
        return self._or_any_address and _is_address(name)


def _is_own_origin(headers: Headers) -> bool:
    """Whether the request is no browser's, or comes from a page of this very server, its port included."""
    origin = headers.get("origin")
    if origin is None:
        return True
    scheme, _, rest = origin.casefold().partition("://")
    return scheme in ("http", "https") and rest == headers.get("host", "").casefold()


def _guarded(send: Send) -> Send:
    """`send` with headers that keep other pages from framing ours, and ours from asking other machines."""

    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(GUARDS)
        await send(message)

    return guarded


def _hostname(host: str) -> str:
    """The name in a Host header, without port, brackets and trailing dot; empty if the header is invalid."""
    try:
        parsed = urlsplit(f"//{host}")
        _ = parsed.port  # raises if it is not a number
    except ValueError:
        return ""
    return "" if parsed.netloc != host or "@" in host else (parsed.hostname or "").rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _index(_: Request) -> Response:
    from app.http.api import TABLES

    return JSONResponse(
        {"schema_version": SCHEMA_VERSION, "tables": [f"/api/{name}.json" for name in TABLES]}
    )


def _table(request: Request) -> Response:
    from app.http.api import TABLES

    name = request.path_params["name"]
    if name not in TABLES:
        hint = "known: " + ", ".join(TABLES)
        return JSONResponse({"error": f"no table is called `{name}`", "hint": hint}, status_code=404)
    try:
        rows = TABLES[name](dict(request.query_params))
    except StoreError as error:
        return _problem(error, UNAVAILABLE)
    except (TrackerError, ValueError) as error:
        return _problem(error, BAD_REQUEST)
    return JSONResponse({"schema_version": SCHEMA_VERSION, "table": name, "rows": rows})


def _feed(_: Request) -> Response:
    from app.http.api import feed_route

    try:
        return Response(feed_route(), media_type="application/atom+xml")
    except TrackerError as error:
        return _problem(error, UNAVAILABLE)


def _health(_: Request) -> Response:
    """Report whether the store can be read."""
    from app.http.api import shown_snapshot

    try:
        return JSONResponse({"status": "ok", "snapshot": shown_snapshot()})
    except TrackerError as error:
        return _problem(error, UNAVAILABLE)


def _problem(error: Exception, status_code: int) -> Response:
    hint = error.hint if isinstance(error, TrackerError) else ""
    return JSONResponse({"error": masked(str(error)), "hint": hint}, status_code=status_code)


ROUTES = [
    Route("/api", _index, methods=["GET"]),
    Route("/api/{name}.json", _table, methods=["GET"]),
    Route("/feed.atom", _feed, methods=["GET"]),
    Route("/health", _health, methods=["GET"]),
]
