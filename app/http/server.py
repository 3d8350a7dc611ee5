"""Serve the dashboard on the loopback address or another requested one, until interrupted.

Not covered: login and encryption. Anyone who can reach a non-loopback address can read all results and
stop a running study; the command warns about it.
"""

from __future__ import annotations

import errno
import importlib
import ipaddress
import pkgutil
import socket
import threading
import tomllib
import webbrowser
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracker.errors import TrackerError

if TYPE_CHECKING:
    from starlette.middleware import Middleware

FOLDER = Path(__file__).resolve().parents[1]
ADDRESS = "127.0.0.1"
DEFAULT_PORT = 8501  # Streamlit's own
HOST_HINT = "use 127.0.0.1 for this machine only, 0.0.0.0 for all its addresses, or one of its addresses"
NO_SUCH_ADDRESS = "this machine does not have that address"
PORT_TRIES = 50  # more dashboards at once than anyone opens


@dataclass(frozen=True, slots=True)
class Binding:
    """The address and port on which the dashboard listens, and further host names that it accepts."""

    port: int
    host: str = ADDRESS
    names: tuple[str, ...] = ()

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return ipaddress.ip_address(self.host).is_loopback

    @property
    def url(self) -> str:
        """The URL for a browser on this machine."""
        address = ipaddress.ip_address(self.host)
        if address.is_unspecified:  # every address, so the loopback one too
            return f"http://{ADDRESS if address.version == 4 else '[::1]'}:{self.port}"
        return f"http://{self.host if address.version == 4 else f'[{self.host}]'}:{self.port}"

    def middleware(self) -> Middleware:
        """The check of host names; numeric addresses pass if other machines can reach the server."""
        from app.http import routes

        own = () if self.is_local else (socket.gethostname(),)
        return routes.only_for(self.host, *own, *self.names, or_any_address=not self.is_local)

    def config(self) -> dict[str, Any]:
        """The Streamlit options for this binding."""
        options = {**config_options(), "server.port": self.port, "server.address": self.host}
        if not self.is_local or self.names or self.host != ADDRESS:
            options["server.allowedHosts"] = ["*"]  # `middleware` decides, for WebSockets too
        return options


def binding(port: int | None, *, host: str = ADDRESS, names: Sequence[str] = ()) -> Binding:
    """Choose where to listen: `port`, or without one the first free port from 8501 up.

    Raises:
        TrackerError: `host` is not a numeric address, or the port cannot be used there.
    """
    known = {"localhost": ADDRESS}.get(host, host).strip("[]")
    try:
        ipaddress.ip_address(known)
    except ValueError as error:
        raise TrackerError(f"`--host {host}` is not an IP address", hint=HOST_HINT) from error
    return Binding(free_port(port, host=known), known, tuple(names))


def serve(where: Binding, *, open_browser: bool, announce: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; call `announce` with the URL once the server is ready."""
    import streamlit as st  # here: it takes seconds, and the port is checked before
    from streamlit.runtime.pages_manager import PagesManager

    from app.http import routes

    url = where.url

    @asynccontextmanager
    async def lifespan(_: st.App) -> AsyncIterator[None]:
        announce(url)
        threading.Thread(target=_warm, daemon=True).start()
        if open_browser and has_window_browser():
            threading.Thread(target=webbrowser.open, args=[url], daemon=True).start()
        yield

    # Until the first session has run, Streamlit takes a folder `pages` beside the main script for its own
    # navigation and answers links to our pages with “Page not found”
    PagesManager.uses_pages_directory = False
    dashboard = st.App(
        FOLDER / "main.py", lifespan=lifespan, routes=routes.ROUTES, middleware=[where.middleware()]
    )
    dashboard.run(config=where.config())


def _warm() -> None:
    """Import the modules of the pages and compute the first page's intervals before the first visit.

    Not at the top of the module: Streamlit's caches need its running server.
    """
    import app

    for module in pkgutil.walk_packages(app.__path__, "app."):
        if module.name != "app.main" and not module.name.endswith(".page"):  # Streamlit runs those
            importlib.import_module(module.name)
    from app.data import frontier_views

    frontier_views.warm()


def has_window_browser() -> bool:
    """Whether a graphical browser exists; a text browser would take over the terminal."""
    try:
        return not isinstance(webbrowser.get(), webbrowser.GenericBrowser)
    except webbrowser.Error:
        return False


def config_options() -> dict[str, Any]:
    """The options in `app/.streamlit/config.toml`, by dotted name."""
    return dict(_dotted(tomllib.loads((FOLDER / ".streamlit" / "config.toml").read_text())))


def _dotted(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    options: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            options |= _dotted(value, f"{prefix}{key}.")
        else:
            options[prefix + key] = value
    return options


def free_port(wanted: int | None, *, host: str = ADDRESS) -> int:
    """Return `wanted` if it is free; without it, the first free port from 8501 up.

    Raises:
        TrackerError: `wanted` is taken or not permitted, or no port is free.
    """
    if wanted is not None:
        if (problem := _bind_problem(wanted, host)) is not None:
            hint = (
                HOST_HINT
                if problem == NO_SUCH_ADDRESS
                else (
                    "omit `--port` to use the next free port" if wanted >= 1024 else "use a port above 1023"
                )
            )
            raise TrackerError(f"port {wanted} cannot be used: {problem}", hint=hint)
        return wanted
    for port in range(DEFAULT_PORT, DEFAULT_PORT + PORT_TRIES):
        if _bind_problem(port, host) is None:
            return port
    last = DEFAULT_PORT + PORT_TRIES - 1
    raise TrackerError(
        f"all ports from {DEFAULT_PORT} to {last} are in use", hint="choose another port with `--port`"
    )


def _bind_problem(port: int, host: str) -> str | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as the server does: no wait after a stop
        try:
            probe.bind((host, port))
        except OSError as error:
            return {
                errno.EADDRINUSE: "another program is using it",
                errno.EACCES: "it needs administrator rights",
                errno.EADDRNOTAVAIL: NO_SUCH_ADDRESS,
            }.get(error.errno or 0, error.strerror or str(error))
    return None
