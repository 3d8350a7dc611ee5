"""`tracker app`: open the dashboard."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter, validators

from tracker.cli import print_json


def app(
    *,
    port: Annotated[int | None, Parameter(validator=validators.Number(gte=1, lte=65535))] = None,
    browser: bool = True,
    json: bool = False,
) -> None:
    """Open the dashboard in the browser; Ctrl-C stops it.

    It is served to this machine only, reads the published snapshot and asks nothing of the network.

    Parameters
    ----------
    port:
        Port on 127.0.0.1; without it the first free one from 8501 on.
    browser:
        Open a browser window.
    json:
        Print the address as one JSON document.
    """
    from app.server import free_port, serve

    def announce(url: str) -> None:
        if json:
            print_json({"url": url, "health": f"{url}/_stcore/health"})
        else:
            print(f"dashboard: {url}")
            print("Ctrl-C stops it", file=sys.stderr)
        sys.stdout.flush()

    try:
        serve(free_port(port), open_browser=browser, announce=announce)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
