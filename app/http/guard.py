"""Whom the server answers: requests for its own names, of its own pages, with the token of its address.

Every request passes four checks: its host name (against DNS rebinding), its origin (against pages of other
sites and ports), its path (under the base path, and a page or a route that exists) and its token (against
other users of this machine). The token comes in the address or in `Authorization: Bearer`; a browser gets a
cookie for it and is sent on to the same address without it, so that no link that is passed on has it.
Not covered: encryption; and cookies know no ports, so another server of this machine that the same browser
visits under the same host name is sent the cookie.
"""

from __future__ import annotations

import functools
import hashlib
import html
import ipaddress
import secrets
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BAD_REQUEST, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, NOT_ALLOWED, SEE_OTHER = 400, 401, 403, 404, 405, 303
READING = ("GET", "HEAD")
ONLY_READ = "This address only answers questions: it accepts GET, and nothing is changed through it"
HOW_TO_WRITE = (
    "benches are started and the queue is changed on the pages of `tracker app --allow-write`, or with"
    " `tracker bench` and `tracker queue`"
)
FOREIGN_HOST = "Invalid host header"
FOREIGN_ORIGIN = "Requests from pages of other origins are refused"
NO_TOKEN = "This dashboard needs its token"  # noqa: S105 (the sentence, not a token)
HOW_TO_BE_LET_IN = (
    "open the address that `tracker app` printed, which ends in `?token=…`, or send the token in the header"
    " `Authorization: Bearer TOKEN`"
)
TOKEN = "token"  # noqa: S105 (the parameter of the address)
TOKEN_BYTES = 32
OPEN_TO_ALL = ("/health", "/_stcore/health")  # a container asks them, and they tell no result
FOR_PROGRAMS = ("api", "feed.atom", "health")
# Streamlit's own files and routes; each is checked there
OF_STREAMLIT = (
    "_stcore",
    "app",
    "component",
    "media",
    "static",
    "favicon.png",
    "index.html",
    "manifest.json",
)
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
PLAIN_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>
:root {{ color-scheme: light dark }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 38rem; margin: 4rem auto; padding: 0 1rem }}
</style></head><body><main><h1>{title}</h1><p>{text}</p></main></body></html>
"""


@dataclass(frozen=True, slots=True)
class Admission:
    """Which requests a server answers."""

    names: tuple[str, ...]  # of the server, besides localhost
    or_any_address: bool = False  # also under every numeric address: rebinding needs a name
    token: str = field(default="", repr=False)  # empty: everyone who reaches the server is answered
    base: str = ""  # the path under which everything is, such as /tracker
    cookie: str = "tracker"  # cookies know no ports: the name tells two dashboards of one machine apart
    once: set[str] = field(default_factory=set, repr=False)  # tokens that are good for one visit

    def middleware(self) -> Middleware:
        """The checks as a layer around the whole application."""
        return Middleware(RequestCheck, admission=self)

    def token_for_one_visit(self) -> str:
        """A token to start a browser with: users of this machine may see how a program was started."""
        if not self.token:
            return ""
        self.once.add(secrets.token_urlsafe(TOKEN_BYTES))
        return next(iter(self.once))

    def accepts(self, given: str) -> bool:
        """Whether this is the token, or one for a single visit, which this was."""
        if given in self.once:
            self.once.discard(given)
            return True
        return _is_same(given, self.token)

    @property
    def cookie_value(self) -> str:
        """It shows that a browser had the token, without telling it."""
        return hashlib.sha256(f"dashboard {self.token}".encode()).hexdigest()


class RequestCheck:
    """Answers HTTP requests and WebSocket connections that pass the checks, and refuses the others."""

    def __init__(self, app: ASGIApp, *, admission: Admission) -> None:
        self._app = app
        self._admission = admission
        self._names = {"localhost", *(name.casefold() for name in admission.names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        guarded = _guarded(send)
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, guarded)
            return
        await self._app(_without_token(scope), receive, guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        """The answer to a request that is not passed on; None for one that is."""
        headers = Headers(scope=scope)
        if not self._is_ours(headers.get("host", "")):
            return PlainTextResponse(FOREIGN_HOST, status_code=BAD_REQUEST)
        if not _is_own_origin(headers):
            return PlainTextResponse(FOREIGN_ORIGIN, status_code=FORBIDDEN)
        return self._refusal_of_own(scope, headers)

    def _refusal_of_own(self, scope: Scope, headers: Headers) -> Response | None:
        """The answer to a request for this server, from no other's page; None to pass it on."""
        path, base = scope["path"], self._admission.base
        if path != base and not path.startswith(f"{base}/"):
            return _not_found(path, base)
        rest = path.removeprefix(base)
        asked = _token_of(scope)
        is_known_by_address = asked is not None and self._admission.accepts(asked)
        if not (is_known_by_address or rest in OPEN_TO_ALL or self._is_known(headers)):
            return _no_token(rest)
        if not _exists(rest):
            return _not_found(path, base)
        if scope["type"] == "http" and scope["method"] not in READING and not _is_of_streamlit(rest):
            told = {"error": ONLY_READ, "hint": HOW_TO_WRITE}
            return JSONResponse(told, status_code=NOT_ALLOWED, headers={"Allow": ", ".join(READING)})
        if asked is not None and scope["type"] == "http" and _page_of(rest) is not None:
            return self._without_token(scope, set_cookie=is_known_by_address)
        return None

    def _is_ours(self, host: str) -> bool:
        name = _hostname(host)
        if name in self._names:
            return True
        return self._admission.or_any_address and _is_address(name)

    def _is_known(self, headers: Headers) -> bool:
        if not self._admission.token:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.casefold() == "bearer" and _is_same(given.strip(), self._admission.token):
            return True
        cookies = cookie_parser(headers.get("cookie", ""))
        return _is_same(cookies.get(self._admission.cookie, ""), self._admission.cookie_value)

    def _without_token(self, scope: Scope, *, set_cookie: bool) -> Response:
        """Send a browser on to the same page without the token, which its history must not keep."""
        query = _query(scope)
        page = _page_of(scope["path"].removeprefix(self._admission.base))
        place = f"{self._admission.base}/{page}" + (f"?{query}" if query else "")
        answer = RedirectResponse(place, status_code=SEE_OTHER, headers={"Cache-Control": "no-store"})
        if set_cookie and self._admission.token:
            answer.set_cookie(
                self._admission.cookie,
                self._admission.cookie_value,
                path=self._admission.base or "/",
                httponly=True,
                samesite="lax",
            )
        return answer


def _is_same(given: str, expected: str) -> bool:
    return secrets.compare_digest(given.encode(), expected.encode())


def _token_of(scope: Scope) -> str | None:
    """The token in the address; None if there is none."""
    query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    return next((value for name, value in query if name == TOKEN), None)


def _query(scope: Scope) -> str:
    """The query of the address without the token."""
    query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    return urlencode([(name, value) for name, value in query if name != TOKEN])


def _without_token(scope: Scope) -> Scope:
    if _token_of(scope) is None:
        return scope
    return {**scope, "query_string": _query(scope).encode()}


@functools.cache
def _pages() -> frozenset[str]:
    """The paths of the pages; the first one is the start page."""
    from app.pages import find_pages

    return frozenset(["", *(page.name for page in find_pages()[1:])])


def _page_of(rest: str) -> str | None:
    """The page with this path; None if there is none."""
    name = rest.removeprefix("/")
    name = name if name == "/" else name.removesuffix("/")
    return name if name in _pages() else None


def _exists(rest: str) -> bool:
    """Whether this is a page, or in a place where routes are, which then answer for themselves."""
    if _page_of(rest) is not None:
        return True
    return rest.removeprefix("/").partition("/")[0] in FOR_PROGRAMS or _is_of_streamlit(rest)


def _is_of_streamlit(rest: str) -> bool:
    return rest.removeprefix("/").partition("/")[0] in OF_STREAMLIT


def _not_found(path: str, base: str) -> Response:
    shown = html.escape(path)
    text = f"There is no page <code>{shown}</code>. The dashboard begins at <a href='{base}/'>{base}/</a>."
    return HTMLResponse(PLAIN_PAGE.format(title="Page not found", text=text), status_code=NOT_FOUND)


def _no_token(rest: str) -> Response:
    headers = {"WWW-Authenticate": "Bearer", "Cache-Control": "no-store"}
    if _page_of(rest) is None:
        told = {"error": NO_TOKEN, "hint": HOW_TO_BE_LET_IN}
        return JSONResponse(told, status_code=UNAUTHORIZED, headers=headers)
    text = (
        "Open the address that <code>tracker app</code> printed in its terminal: it ends in"
        " <code>?token=…</code>. Each start has a new token, unless <code>TRACKER_APP_TOKEN</code> sets one."
    )
    page = PLAIN_PAGE.format(title=NO_TOKEN, text=text)
    return HTMLResponse(page, status_code=UNAUTHORIZED, headers=headers)


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
