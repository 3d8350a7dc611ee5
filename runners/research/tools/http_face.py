"""The tools over HTTP on this machine alone: MCP's streamable HTTP, and plain JSON for everything else.

    GET  /v1/tools        the tools, as OpenAI-compatible servers take them
    POST /v1/tools/NAME   the arguments as a JSON object; the answer is `text` and `is_error`
    *    /mcp             the same tools for clients of the Model Context Protocol

`tracker.loopback` says who may call.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from runners.research.tools.catalog import BY_NAME, openai_tools
from runners.research.tools.mcp_face import called, mcp_server
from runners.research.tools.session import ToolSession
from tracker.loopback import Address, Guard, http_server, listener
from tracker.records.studies import StudyStatus

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

MAX_BODY_BYTES = 1 << 20
LINGER_S = 5.0  # after the end of the study and the last request, so that a client reads how it ended
LOOK_S = 0.5


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
    socket, address = listener(port)
    guard = http_app(session, address)
    server = http_server(guard)

    def end_with_study() -> None:
        while not server.should_exit:
            is_over = session.study.status is not StudyStatus.RUNNING
            if is_over and time.monotonic() - guard.last_request > LINGER_S:
                server.should_exit = True
            time.sleep(LOOK_S)

    threading.Thread(target=end_with_study, name="end-with-study", daemon=True).start()
    tell(address)
    server.run(sockets=[socket])
