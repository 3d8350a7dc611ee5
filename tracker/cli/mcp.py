"""`tracker mcp`: answer questions of agents over the Model Context Protocol."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from tracker.cli import print_json
from tracker.errors import TrackerError
from tracker.installation import install_command
from tracker.settings import load_settings

if TYPE_CHECKING:
    from tracker.loopback import Address


def mcp(
    *,
    http: int | None = None,
    allow_write: Annotated[bool, Parameter(negative="")] = False,
    skill: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Let agents ask this tracker questions: a server of the Model Context Protocol (MCP).

    It answers on standard input and output, as an MCP client starts it: the frontier gap, leaderboard,
    models, comparisons, what fits a card, items, changes, the research board, SQL. It writes nothing.

    Parameters
    ----------
    http
        Serve on this port of 127.0.0.1 (0: any that is free) instead of standard input and output. The
        address and the key that every request needs are printed as one JSON document.
    allow_write
        Also offer the tool that adds a model to the queue.
    skill
        Print the instructions for coding agents (SKILL.md) and exit.
    """
    if skill:
        from importlib.resources import files

        sys.stdout.write(files("tracker.mcp").joinpath("SKILL.md").read_text(encoding="utf-8"))
        return
    if find_spec("mcp") is None:
        message = "this needs the package `mcp`, which is not installed"
        raise TrackerError(message, hint=install_command("mcp"))
    from tracker.mcp.server import serve_http, serve_stdio

    settings = load_settings()
    if http is None:
        serve_stdio(settings, allow_write=allow_write)
    else:
        serve_http(settings, allow_write=allow_write, port=http, tell=_tell_address)


def _tell_address(address: Address) -> None:
    """Print where the server is; the key is not stored anywhere."""
    print_json({"mcp": address.mcp_url, "key": address.key})
    sys.stdout.flush()
