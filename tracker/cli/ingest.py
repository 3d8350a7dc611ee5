"""`tracker ingest`: update the store from the Hub and the sources of published scores."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from tracker.cli import print_json
from tracker.cli.help import JsonDocument
from tracker.cli.tables import console
from tracker.errors import TrackerError, UsageError
from tracker.foreign_text import one_line
from tracker.records.published import IngestOutcome
from tracker.settings import load_settings


def ingest(
    *source: str,
    since: str | None = None,
    accept: bool = False,
    json: JsonDocument = False,
) -> None:
    """Fetch models and published scores; safe to repeat, since unchanged rows are not stored twice.

    Exit code 4 if a source was unreachable, incomplete or invalid; stored data is kept.

    Parameters
    ----------
    source
        Names of sources, or `package.module:Class`; default: all built-in and installed sources.
    since
        Hub only: fetch everything modified since this date again, e.g. 2026-11-01.
    accept
        Take the answers of the named sources as they are, also if much that was known is missing from them.
    json
        Print one JSON document: `sources`.
    """
    from tracker.bench.run import bench_lock
    from tracker.ingest.run import exit_code
    from tracker.ingest.run import ingest as run_ingest

    if accept and not source:
        raise UsageError("`--accept` needs the name of a source", hint="`tracker ingest epoch --accept`")
    settings = load_settings()
    moment = day(since, flag="--since") if since else None
    with bench_lock(settings, what="ingest"):
        outcomes = run_ingest(
            source,
            settings,
            since=moment,
            accept=accept,
            on_outcome=lambda _: None if json else print_outcome(_),
        )
    if json:
        print_json({"sources": [document(outcome) for outcome in outcomes]})
    code = exit_code(outcomes)
    if code:
        print("\nhint: stored data is kept; repeat the command later", file=sys.stderr)
        sys.exit(code)


def day(text: str, *, flag: str) -> datetime:
    """The start of a date, in UTC unless it names another zone.

    Raises:
        TrackerError: it is not a date, or is in the future.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise TrackerError(f"`{flag} {text}` is not a date", hint=f"example: `{flag} 2026-11-01`") from error
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    now = load_settings().now()
    if found > now:
        message = f"`{flag} {text}` is in the future: it is {now:%Y-%m-%d %H:%M} UTC"
        raise TrackerError(message, hint=f"example: `{flag} 2026-11-01`")
    return found


def document(outcome: IngestOutcome) -> dict[str, object]:
    """The outcome as JSON values."""
    names = (
        "source", "status", "n_seen", "n_new", "n_changed", "n_gone", "n_overwritten", "n_problems",
        "duration_s", "reason", "problems",
    )  # fmt: skip
    return {name: getattr(outcome, name) for name in names}


def print_outcome(outcome: IngestOutcome) -> None:
    """Print the outcome of a source, with its reason and problems on stderr."""
    counts = f"{outcome.n_seen:,} seen, {outcome.n_new:,} new, {outcome.n_changed:,} changed, "
    counts += f"{outcome.n_gone:,} gone"
    console().print(
        f"{outcome.source:<20} {outcome.status:<28} {counts}  ({outcome.duration_s:.1f} s)",
        highlight=False,
        markup=False,
    )
    if outcome.reason:
        print(f"  {outcome.source}: {one_line(outcome.reason)}", file=sys.stderr)
    if outcome.n_problems:
        some = f"{outcome.n_problems:,} left out, for example: {outcome.first_problem}"
        print(f"  {outcome.source}: {one_line(some)}", file=sys.stderr)
    if outcome.n_overwritten:
        several = f"{outcome.n_overwritten:,} replaced by a later result for the same model and benchmark"
        print(f"  {outcome.source}: {one_line(several)}", file=sys.stderr)
