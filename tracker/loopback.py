"""An HTTP server for programs of this machine alone, whose every request needs a key.

It listens on the loopback address. A page in a browser of this machine could send requests too, also under
another name for our address (DNS rebinding): so `Host` must be ours, and an `Origin`, which only browsers
send, must be ours as well.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracker.errors import TrackerError

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp, Receive, Scope, Send

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")  # under which a client may call us
KEY_BYTES = 32
CLOSE_S = 2  # for requests that are waiting when the server ends


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is, and the key that every request needs."""

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


def listener(port: int) -> tuple[socket.socket, Address]:
    """A socket that listens on `port`, 0 for any that is free, and its address with a new key.

    Raises:
        TrackerError: the port is taken.
    """
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((HOST, port))
    except OSError as error:
        found.close()
        message = f"port {port} of {HOST} cannot be used: {error.strerror}"
        raise TrackerError(message, hint="choose another, or 0 for any that is free") from error
    except OverflowError as error:
        found.close()
        raise TrackerError(f"`{port}` is not a port", hint="a number from 0 to 65535") from error
    found.listen()
    return found, Address(found.getsockname()[1], secrets.token_urlsafe(KEY_BYTES))


def http_server(app: Guard) -> uvicorn.Server:
    """A server that says nothing of itself and does not believe what proxies say of a client."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=CLOSE_S,
    )
    return uvicorn.Server(config)
