"""`tracker digest`: what changed."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated

from cyclopts import Parameter

from tracker.cli import print_json
from tracker.errors import UnknownNameError
from tracker.settings import load_settings

DEFAULT_DAYS = 7


def digest(
    *,
    since: str | None = None,
    until: str | None = None,
    format: str = "markdown",
    write: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Say what changed: new models, scores, records, claims that a measurement contradicts, outages.

    Parameters
    ----------
    since
        From this day or moment on; default: a week ago.
    until
        Up to this day or moment; default: now.
    format
        markdown, json or atom; atom is the feed of the digests that were written.
    write
        Also keep it under the home, in every format.
    json
        The same as `--format json`.
    """
    from tracker.cli.ingest import day
    from tracker.digest import digest as make_digest
    from tracker.digest_forms import FORMATS, atom, document, keep, kept, markdown

    if format not in FORMATS:
        raise UnknownNameError("format", format, known=FORMATS)
    settings = load_settings()
    end = day(until, flag="--until") if until else datetime.now(UTC)
    start = day(since, flag="--since") if since else end - timedelta(days=DEFAULT_DAYS)
    found = make_digest(settings, since=start, until=end)
    if write:
        for path in keep(found, settings.digests_path):
            print(path, file=sys.stderr)
    if json or format == "json":
        print_json(document(found))
    elif format == "atom":
        sys.stdout.write(atom([*kept(settings.digests_path), document(found)]).decode() + "\n")
    else:
        sys.stdout.write(markdown(found))
