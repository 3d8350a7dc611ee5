"""`tracker digest`: report what is new."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from typing import Annotated

from cyclopts import Parameter

from tracker.cli import print_json
from tracker.cli.help import OUTPUT, JsonDocument
from tracker.errors import UnknownNameError
from tracker.settings import load_settings

DEFAULT_DAYS = 7


def digest(
    *,
    since: str | None = None,
    until: str | None = None,
    format: Annotated[str, Parameter(group=OUTPUT)] = "markdown",
    write: Annotated[bool, Parameter(group=OUTPUT)] = False,
    json: JsonDocument = False,
) -> None:
    """Report new models, scores and records, claims contradicted by measurements, and source outages.

    Parameters
    ----------
    since
        Start, as a date or time; default: a week before `--until`.
    until
        End, as a date or time; default: now.
    format
        markdown, json or atom; atom is a feed of all saved digests.
    write
        Also save it under TRACKER_HOME in every format.
    json
        Print one JSON document; same as `--format json`.
    """
    from tracker.answers.digest import digest as make_digest
    from tracker.answers.digest_formats import (
        FORMATS,
        atom,
        document,
        keep,
        kept,
        markdown,
    )
    from tracker.cli.ingest import day

    if format not in FORMATS:
        raise UnknownNameError("format", format, known=FORMATS)
    settings = load_settings()
    end = day(until, flag="--until") if until else settings.now()
    start = day(since, flag="--since") if since else _before(end)
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


def _before(end: datetime) -> datetime:
    """The beginning of the last days before `end`, within the calendar."""
    return end - min(timedelta(days=DEFAULT_DAYS), end - datetime.min.replace(tzinfo=end.tzinfo))
