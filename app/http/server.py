"""Serve the dashboard on the loopback address or another requested one, until interrupted.

Every visitor needs the token of the printed address, unless that was switched off (`app/http/guard.py`).
Not covered: encryption. Whoever can read along on the way to a non-loopback address learns the token; the
command warns about it.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import importlib
import ipaddress
import pkgutil
import re
import secrets
import socket
import threading
import tomllib
import webbrowser
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from app.http.guard import TOKEN_BYTES, Admission
from tracker.errors import TrackerError

FOLDER = Path(__file__).resolve().parents[1]
ADDRESS = "127.0.0.1"
DEFAULT_PORT = 8501  # Streamlit's own
HOST_HINT = "use 127.0.0.1 for this machine only, 0.0.0.0 for all its addresses, or one of its addresses"
NO_SUCH_ADDRESS = "this machine does not have that address"
# New objects between two collections of garbage; with Python's 700 the imports alone take 0.07 CPU s more
GARBAGE_EVERY = 50_000
# Of the C library, glibc's mallopt(3): freed memory is kept apart for so many threads; each visit is a thread
M_ARENA_MAX, ARENAS = -8, 2
PORT_TRIES = 50  # more dashboards at once than anyone opens
BASE_PATH = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
LEAST_TOKEN_CHARS = 16  # of a token that the user chose: random letters that nobody guesses


@dataclass(frozen=True, slots=True)
class Binding:
    """The address and port on which the dashboard listens, and what a visitor needs."""

    port: int
    host: str = ADDRESS
    names: tuple[str, ...] = ()  # further host names that it accepts
    base: str = ""  # the path under which everything is, such as /tracker
    token: str = field(default="", repr=False)  # empty: none is needed

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return ipaddress.ip_address(self.host).is_loopback

    @property
    def url(self) -> str:
        """The URL for a browser on this machine, without the token."""
        address = ipaddress.ip_address(self.host)
        if address.is_unspecified:  # every address, so the loopback one too
            host = ADDRESS if address.version == 4 else "[::1]"
        else:
            host = self.host if address.version == 4 else f"[{self.host}]"
        return f"http://{host}:{self.port}{self.base}"

    def url_with(self, token: str) -> str:
        """The URL that lets a browser in."""
        return f"{self.url}/?token={quote(token, safe='')}" if token else self.url

    def admission(self) -> Admission:
        """Whom the server answers; numeric addresses pass if other machines can reach it."""
        own = () if self.is_local else (socket.gethostname(),)
        return Admission(
            (self.host, *own, *self.names),
            or_any_address=not self.is_local,
            token=self.token,
            base=self.base,
            cookie=f"tracker-{self.port}",
        )

    def config(self) -> dict[str, Any]:
        """The Streamlit options for this binding."""
        options = {**config_options(), "server.port": self.port, "server.address": self.host}
        options["server.baseUrlPath"] = self.base
        if not self.is_local or self.names or self.host != ADDRESS:
            options["server.allowedHosts"] = ["*"]  # `middleware` decides, for WebSockets too
        return options


def binding(
    port: int | None,
    *,
    host: str = ADDRESS,
    names: Sequence[str] = (),
    base_path: str = "",
    token: str = "",
) -> Binding:
    """Choose where to listen: `port`, or without one the first free port from 8501 up.

    Raises:
        TrackerError: `host` is not a numeric address, the port cannot be used there, or `base_path` is not a
            path.
    """
    base = "/" + base_path.strip("/") if base_path.strip("/") else ""
    if not BASE_PATH.fullmatch(base):
        raise TrackerError(
            f"`--base-path {base_path}` is not a path", hint="example: /tracker; letters, digits and ._~-"
        )
    known = {"localhost": ADDRESS}.get(host, host).strip("[]")
    try:
        ipaddress.ip_address(known)
    except ValueError as error:
        raise TrackerError(f"`--host {host}` is not an IP address", hint=HOST_HINT) from error
    return Binding(free_port(port, host=known), known, tuple(names), base, token)


def choose_token(setting: str) -> str:
    """The token of TRACKER_APP_TOKEN, or else a new one.

    Raises:
        TrackerError: it is so short that it can be guessed.
    """
    if setting and len(setting) < LEAST_TOKEN_CHARS:
        raise TrackerError(
            f"TRACKER_APP_TOKEN has fewer than {LEAST_TOKEN_CHARS} characters",
            hint="`openssl rand -hex 16` prints a good one; `--no-token` needs none",
        )
    return setting or secrets.token_urlsafe(TOKEN_BYTES)


def serve(where: Binding, *, open_browser: bool, announce: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM; call `announce` once the server is ready."""
    gc.set_threshold(GARBAGE_EVERY)
    share_freed_memory()
    import streamlit as st  # here: it takes seconds, and the port is checked before
    from streamlit.runtime.pages_manager import PagesManager

    from app.http import routes

    admission = where.admission()

    @asynccontextmanager
    async def lifespan(_: st.App) -> AsyncIterator[None]:
        announce()
        threading.Thread(target=_warm, daemon=True).start()
        if open_browser and has_window_browser():
            url = where.url_with(admission.token_for_one_visit())
            threading.Thread(target=webbrowser.open, args=[url], daemon=True).start()
        yield

    # Until the first session has run, Streamlit takes a folder `pages` beside the main script for its own
    # navigation and answers links to our pages with “Page not found”
    PagesManager.uses_pages_directory = False
    dashboard = st.App(
        FOLDER / "main.py",
        lifespan=lifespan,
        routes=routes.routes_under(where.base),
        middleware=[admission.middleware()],
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
    from app.data import frontier_views, queries

    queries.share_snapshots()
    frontier_views.warm()
    gc.freeze()  # collections pass over what has just been loaded


def share_freed_memory() -> None:
    """Let all threads take memory from the same few pools, so that what one has freed serves the next.

    Only glibc has such pools; elsewhere nothing is changed.
    """
    with suppress(OSError, AttributeError, TypeError):  # TypeError: Windows has no library of the process
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)


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
