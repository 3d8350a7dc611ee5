"""Serve the dashboard on the loopback address until it is interrupted.

Not covered: serving other machines. There is no login, so the address is fixed to 127.0.0.1.
"""

from __future__ import annotations

import errno
import importlib
import pkgutil
import socket
import threading
import tomllib
import webbrowser
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tracker.errors import TrackerError

FOLDER = Path(__file__).parent
ADDRESS = "127.0.0.1"
DEFAULT_PORT = 8501  # Streamlit's own
PORT_TRIES = 50  # more dashboards at once than anyone opens


def serve(port: int, *, open_browser: bool, announce: Callable[[str], None]) -> None:
    """Serve on `port` until SIGINT or SIGTERM; tell `announce` the address once it answers."""
    import streamlit as st  # here: it takes seconds, and the port is checked before

    from app import routes

    url = f"http://{ADDRESS}:{port}"

    @asynccontextmanager
    async def lifespan(_: st.App) -> AsyncIterator[None]:
        announce(url)
        threading.Thread(target=_warm, daemon=True).start()
        if open_browser and has_window_browser():
            threading.Thread(target=webbrowser.open, args=[url], daemon=True).start()
        yield

    dashboard = st.App(
        FOLDER / "main.py", lifespan=lifespan, routes=routes.ROUTES, middleware=[routes.only_for(ADDRESS)]
    )
    dashboard.run(config={**config_options(), "server.port": port, "server.address": ADDRESS})


def _warm() -> None:
    """Import what the pages need and begin to draw what the first one shows, before somebody looks.

    Here and not at the top: what Streamlit caches must be made while its server runs.
    """
    import app

    for module in pkgutil.iter_modules(app.__path__):
        if module.name not in ("main", "server", "app_pages"):
            importlib.import_module(f"app.{module.name}")
    from app import frontier_data

    frontier_data.warm()


def has_window_browser() -> bool:
    """Whether there is a browser with a window; one in the terminal would take our own screen."""
    try:
        return not isinstance(webbrowser.get(), webbrowser.GenericBrowser)
    except webbrowser.Error:
        return False


def config_options() -> dict[str, Any]:
    """The options of `app/.streamlit/config.toml` by their dotted names."""
    return dict(_dotted(tomllib.loads((FOLDER / ".streamlit" / "config.toml").read_text())))


def _dotted(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    options: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            options |= _dotted(value, f"{prefix}{key}.")
        else:
            options[prefix + key] = value
    return options


def free_port(wanted: int | None) -> int:
    """`wanted` if it is free; without a wish the first free one from 8501 on.

    Raises:
        TrackerError: it is taken, may not be opened, or none is free.
    """
    if wanted is not None:
        if (problem := _bind_problem(wanted)) is not None:
            hint = (
                "leave out `--port` to take the next free one" if wanted >= 1024 else "take a port above 1023"
            )
            raise TrackerError(f"port {wanted} cannot be used: {problem}", hint=hint)
        return wanted
    for port in range(DEFAULT_PORT, DEFAULT_PORT + PORT_TRIES):
        if _bind_problem(port) is None:
            return port
    last = DEFAULT_PORT + PORT_TRIES - 1
    raise TrackerError(
        f"every port from {DEFAULT_PORT} to {last} is taken", hint="name another with `--port`"
    )


def _bind_problem(port: int) -> str | None:
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as the server does: no wait after a stop
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            return {
                errno.EADDRINUSE: "another program listens on it",
                errno.EACCES: "it needs administrator rights",
            }.get(error.errno or 0, error.strerror or str(error))
    return None
