"""The tools over HTTP on this machine alone: MCP's streamable HTTP, and plain JSON for everything else.

    GET  /v1/tools        the tools, as OpenAI-compatible servers take them
    POST /v1/tools/NAME   the arguments as a JSON object; the answer is `text` and `is_error`
    *    /mcp             the same tools for clients of the Model Context Protocol

It listens on the loopback address. Every request needs the key, which is drawn when the server starts. A page
in a browser of this machine could send requests too, also under another name for our address (DNS rebinding):
so `Host` must be ours, and an `Origin`, which only browsers send, must be ours as well.
"""

from __future__ import annotations

import json
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from runners.research.tools.catalog import BY_NAME, openai_tools
from runners.research.tools.mcp_face import called, mcp_server
from runners.research.tools.session import ToolSession
from tracker.errors import TrackerError
from tracker.records.studies import StudyStatus

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")  # under which a client may call us
KEY_BYTES = 32
MAX_BODY_BYTES = 1 << 20
LINGER_S = 5.0  # after the end of the study and the last request, so that a client reads how it ended
CLOSE_S = 2  # for requests that are waiting when the server ends
LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Address:
    """Where the tools are, and the key that every request needs."""

    port: int
    key: str

    @property
    def url(self) -> str:
        """Of the server."""
        return f"http://{HOST}:{self.port}"

    @property
    def mcp_url(self) -> str:
        """For clients of the Model Context Protocol."""
        return f"{self.url}/mcp"


def refusal(headers: Mapping[bytes, bytes], address: Address) -> tuple[int, str] | None:
    """Why a request with these headers is refused; None if it is served."""
    ours = {f"{name}:{address.port}" for name in NAMES}
    if headers.get(b"host", b"").decode("latin-1").lower() not in ours:
        return 421, "this server answers under 127.0.0.1 and localhost alone"
    origin = headers.get(b"origin")
    if origin is not None and origin.decode("latin-1").lower() not in {f"http://{name}" for name in ours}:
        return 403, "requests from web pages are refused"
    given = headers.get(b"authorization", b"")
    if not secrets.compare_digest(given, f"Bearer {address.key}".encode()):
        return 401, "the key is missing or wrong: send `Authorization: Bearer KEY`"
    return None


class Guard:
    """Refuses requests that are not from our client; the rest never sees them."""

    def __init__(self, app: ASGIApp, address: Address) -> None:
        self._app = app
        self._address = address
        self.last_request = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, or refuse it."""
        if scope["type"] == "http":
            from starlette.responses import JSONResponse

            self.last_request = time.monotonic()
            why = refusal(dict(scope["headers"]), self._address)
            if why is not None:
                status, message = why
                await JSONResponse({"error": message}, status_code=status)(scope, receive, send)
                return
        elif scope["type"] != "lifespan":
            return
        await self._app(scope, receive, send)
        self.last_request = time.monotonic()


def http_app(session: ToolSession, address: Address) -> Guard:
    """The application that serves `session`."""
    import anyio.to_thread
    from mcp.server.transport_security import TransportSecuritySettings
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def tools(_request: Request) -> Response:
        return JSONResponse({"tools": openai_tools()})

    async def call(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in BY_NAME:
            return JSONResponse({"error": f"there is no tool called `{name}`"}, status_code=404)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY_BYTES:
                return JSONResponse({"error": "the request is too long"}, status_code=413)
        try:
            arguments = json.loads(body or b"{}")
        except (ValueError, RecursionError):
            return JSONResponse({"error": "the body is not valid JSON"}, status_code=400)
        work = partial(called, session, name, arguments)
        result = await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
        return JSONResponse({"text": result.text, "is_error": result.is_error})

    routes = [
        Route("/v1/tools", tools, methods=["GET"]),
        Route("/v1/tools/{name}", call, methods=["POST"]),
    ]
    checked_by_us = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    app = mcp_server(session).streamable_http_app(
        custom_starlette_routes=routes, transport_security=checked_by_us
    )
    return Guard(app, address)


def serve_http(session: ToolSession, *, port: int, tell: Callable[[Address], None]) -> None:
    """Serve until the study has ended, or a signal comes; `tell` gets the address once it can be used.

    Raises:
        TrackerError: the port is taken.
    """
    import uvicorn

    listener = _listener(port)
    address = Address(listener.getsockname()[1], secrets.token_urlsafe(KEY_BYTES))
    guard = http_app(session, address)
    config = uvicorn.Config(
        guard,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=CLOSE_S,
    )
    server = uvicorn.Server(config)

    def end_with_study() -> None:
        while not server.should_exit:
            is_over = session.study.status is not StudyStatus.RUNNING
            if is_over and time.monotonic() - guard.last_request > LINGER_S:
                server.should_exit = True
            time.sleep(LOOK_S)

    threading.Thread(target=end_with_study, name="end-with-study", daemon=True).start()
    tell(address)
    server.run(sockets=[listener])


def _listener(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        message = f"port {port} of {HOST} cannot be used: {error.strerror}"
        raise TrackerError(message, hint="choose another, or 0 for any that is free") from error
    listener.listen()
    return listener
