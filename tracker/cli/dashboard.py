"""`tracker app`: open the dashboard."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

from tracker.cli import print_json
from tracker.cli.help import JsonDocument
from tracker.errors import UsageError

if TYPE_CHECKING:
    from tracker.settings import Settings

OPEN_WARNING = (
    "warning: `{host}` is reachable from other machines: there is no encryption, and {who} can read all"
    " results and stop studies and benches{more}"
)
MAY_WRITE = ", start benches and change the queue"
N_LISTS = 3  # exported files from which all others are reached
WITH_TOKEN = "anyone with the token, which others on the network may read,"  # noqa: S105 (a sentence)


def app(
    *,
    port: Annotated[int | None, Parameter(validator=validators.Number(gte=1, lte=65535))] = None,
    host: str = "127.0.0.1",
    name: tuple[str, ...] = (),
    base_path: str = "",
    token: Annotated[bool, Parameter(negative="--no-token")] = True,
    browser: Annotated[bool, Parameter(negative="--no-browser")] = True,
    allow_write: Annotated[bool, Parameter(negative="")] = False,
    export: Path | None = None,
    json: JsonDocument = False,
) -> None:
    """Open the dashboard in the browser; Ctrl-C stops it.

    By default only this machine can connect, and only with the token of the printed address. The dashboard
    reads the published snapshot and never uses the network.

    Parameters
    ----------
    port
        Port; default: the first free one from 8501.
    host
        Address to listen on. With any address other than 127.0.0.1, other machines can connect: there is no
        encryption, and who has the token can read all results and stop studies and benches. A container needs
        0.0.0.0, with its port published on 127.0.0.1.
    name
        Additional host name to accept, such as a proxy's; repeatable.
    base_path
        Path under which a reverse proxy serves the dashboard, such as /tracker: pages, API, feed and files.
    token
        Answer only who has the token of the printed address, or everyone who can connect. TRACKER_APP_TOKEN
        sets one that stays; default: a new one at each start.
    browser
        Open a browser window, or do not; default: open it.
    allow_write
        Let the pages start benches and change the queue, as `tracker bench` and `tracker queue` do; needs the
        token. A bench that was started there outlives the dashboard.
    export
        Write the frontier, the models and the benchmarks, with a page of each, as HTML files into this folder
        instead: they open without Python and without the network.
    json
        Print one JSON document: `url`, `health`, `open_url`, which has the token, `token`, `home` and
        `allow_write`; with `--export`: `files`.
    """
    from app.data import work
    from app.http.server import binding, choose_token, serve
    from tracker.cli.page_work import PageWork
    from tracker.settings import load_settings

    settings = load_settings()
    if export is not None:
        _export(export, settings, json=json)
        return
    if allow_write and not token:
        raise UsageError("`--allow-write` needs the token", hint="omit `--no-token`")
    secret = choose_token(settings.app_token) if token else ""
    where = binding(port, host=host, names=name, base_path=base_path, token=secret)
    if not where.is_local:
        who = WITH_TOKEN if secret else "anyone who can connect"
        print(OPEN_WARNING.format(host=host, who=who, more=MAY_WRITE if allow_write else ""), file=sys.stderr)
    if allow_write:
        work.allow(PageWork(settings))

    def announce() -> None:
        open_url = where.url_with(secret)
        if json:
            document = {"url": where.url, "health": f"{where.url}/_stcore/health"}
            document |= {"open_url": open_url, "token": secret, "home": str(settings.home)}
            print_json(document | {"allow_write": allow_write})
        else:
            print(f"dashboard: {open_url}")
            print(f"home: {settings.home}", file=sys.stderr)
            print("Ctrl-C stops it", file=sys.stderr)
        sys.stdout.flush()

    with suppress(KeyboardInterrupt):  # the server may also take the signal as its own and return
        serve(where, open_browser=browser, announce=announce)
    print("stopped", file=sys.stderr)


def _export(folder: Path, settings: Settings, *, json: bool) -> None:
    from streamlit.logger import set_log_level

    set_log_level("error")  # it warns of being used without its server
    from app.export.site import export_site

    paths = export_site(folder, settings)
    if json:
        print_json({"files": [str(path) for path in paths]})
    else:
        print("\n".join(str(path) for path in paths[:N_LISTS]))
        print(f"and {len(paths) - N_LISTS:,} pages of models and benchmarks", file=sys.stderr)
