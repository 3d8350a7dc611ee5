"""`tracker app`: open the dashboard."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Annotated

from cyclopts import Parameter, validators

from tracker.cli import print_json
from tracker.cli.help import JsonDocument

OPEN_WARNING = (
    "warning: `{host}` is reachable from other machines: anyone who can connect can read all results and stop"
    " studies; there is no login and no encryption"
)


def app(
    *,
    port: Annotated[int | None, Parameter(validator=validators.Number(gte=1, lte=65535))] = None,
    host: str = "127.0.0.1",
    name: tuple[str, ...] = (),
    browser: Annotated[bool, Parameter(negative="--no-browser")] = True,
    json: JsonDocument = False,
) -> None:
    """Open the dashboard in the browser; Ctrl-C stops it.

    By default only this machine can connect. The dashboard reads the published snapshot and never uses the
    network.

    Parameters
    ----------
    port
        Port; default: the first free one from 8501.
    host
        Address to listen on. With any address other than 127.0.0.1, others can read all results and stop
        studies: there is no login and no encryption. A container needs 0.0.0.0, with its port published on
        127.0.0.1.
    name
        Additional host name to accept, such as a proxy's; repeatable.
    browser
        Open a browser window, or do not; default: open it.
    json
        Print one JSON document: `url`, `health`.
    """
    from app.http.server import binding, serve

    where = binding(port, host=host, names=name)
    if not where.is_local:
        print(OPEN_WARNING.format(host=host), file=sys.stderr)

    def announce(url: str) -> None:
        if json:
            print_json({"url": url, "health": f"{url}/_stcore/health"})
        else:
            print(f"dashboard: {url}")
            print("Ctrl-C stops it", file=sys.stderr)
        sys.stdout.flush()

    with suppress(KeyboardInterrupt):  # the server may also take the signal as its own and return
        serve(where, open_browser=browser, announce=announce)
    print("stopped", file=sys.stderr)
