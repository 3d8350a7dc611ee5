"""What the server answers beside its pages: the main tables as JSON, the feed, whether it is well. Read only.

The tables are imported when they are first asked for: what Streamlit caches must be made while it runs.
"""

from __future__ import annotations

from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tracker.errors import StoreError, TrackerError

SCHEMA_VERSION = 1  # of these documents
BAD_REQUEST, UNAVAILABLE = 400, 503


def only_for(address: str) -> Middleware:
    """Refuse a request under a foreign name that was made to resolve to this machine."""
    return Middleware(TrustedHostMiddleware, allowed_hosts=[address, "localhost"])


def _index(_: Request) -> Response:
    from app.api import TABLES

    return JSONResponse(
        {"schema_version": SCHEMA_VERSION, "tables": [f"/api/{name}.json" for name in TABLES]}
    )


def _table(request: Request) -> Response:
    from app.api import TABLES

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
    from app.api import feed

    try:
        return Response(feed(), media_type="application/atom+xml")
    except TrackerError as error:
        return _problem(error, UNAVAILABLE)


def _health(_: Request) -> Response:
    """Well as long as the store can be read."""
    from app.api import shown_snapshot

    try:
        return JSONResponse({"status": "ok", "snapshot": shown_snapshot()})
    except TrackerError as error:
        return _problem(error, UNAVAILABLE)


def _problem(error: Exception, status_code: int) -> Response:
    hint = error.hint if isinstance(error, TrackerError) else ""
    return JSONResponse({"error": str(error), "hint": hint}, status_code=status_code)


ROUTES = [
    Route("/api", _index, methods=["GET"]),
    Route("/api/{name}.json", _table, methods=["GET"]),
    Route("/feed.atom", _feed, methods=["GET"]),
    Route("/health", _health, methods=["GET"]),
]
