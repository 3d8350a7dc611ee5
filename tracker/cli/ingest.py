"""`tracker ingest`: bring the store up to date from the Hub and the published-score sources."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from tracker.cli import print_json
from tracker.cli.tables import console, printable
from tracker.errors import TrackerError
from tracker.ingested import IngestOutcome
from tracker.settings import load_settings


def ingest(
    *source: str,
    since: str | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Pull models and published scores; what has not changed is not new, so repeating it is safe.

    Exit code 4 if a source was down, incomplete or wrong; nothing that is stored is lost by that.

    Parameters
    ----------
    source
        Names of sources; default: all of them. A wrong name lists them.
    since
        For the Hub: ask again for everything that moved since this day, such as 2026-11-01.
    json
        Print one JSON document: `sources`.
    """
    from tracker.bench import bench_lock
    from tracker.ingest import exit_code
    from tracker.ingest import ingest as run_ingest

    settings = load_settings()
    moment = day(since, flag="--since") if since else None
    with bench_lock(settings, what="ingest"):
        outcomes = run_ingest(
            source, settings, since=moment, on_outcome=lambda _: None if json else print_outcome(_)
        )
    if json:
        print_json({"sources": [document(outcome) for outcome in outcomes]})
    code = exit_code(outcomes)
    if code:
        print("\nhint: what was stored is kept; repeat the command later", file=sys.stderr)
        sys.exit(code)


def day(text: str, *, flag: str) -> datetime:
    """The day as a moment; one without a zone is UTC.

    Raises:
        TrackerError: it is no day, or lies ahead.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise TrackerError(f"`{flag} {text}` is no day", hint=f"{flag} 2026-11-01") from error
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    if found > datetime.now(UTC):
        raise TrackerError(f"`{flag} {text}` lies ahead", hint=f"{flag} 2026-11-01")
    return found


def document(outcome: IngestOutcome) -> dict[str, object]:
    """The outcome by the contract of the command line."""
    names = ("source", "status", "n_seen", "n_new", "n_changed", "n_gone", "duration_s", "reason", "problems")
    return {name: getattr(outcome, name) for name in names}


def print_outcome(outcome: IngestOutcome) -> None:
    """One line as soon as a source is through."""
    counts = f"{outcome.n_seen:,} seen, {outcome.n_new:,} new, {outcome.n_changed:,} changed, "
    counts += f"{outcome.n_gone:,} gone"
    console().print(
        f"{outcome.source:<20} {outcome.status:<28} {counts}  ({outcome.duration_s:.1f} s)",
        highlight=False,
        markup=False,
    )
    if outcome.reason:
        print(f"  {outcome.source}: {printable(outcome.reason)}", file=sys.stderr)
    if outcome.problems:
        some = f"{len(outcome.problems)} left out, such as: {outcome.problems[0]}"
        print(f"  {outcome.source}: {printable(some)}", file=sys.stderr)
