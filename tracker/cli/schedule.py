"""`tracker schedule`: run `tracker weekly` by a timer."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from tracker.cli import print_json
from tracker.cli.tables import moment, plain
from tracker.errors import TrackerError, UnknownNameError
from tracker.settings import load_settings

if TYPE_CHECKING:
    from tracker.schedule import Plan

JsonFlag = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON document.")]
DEFAULT_MINUTES = 600.0
Minutes = Annotated[float, Parameter(name="--minutes", help="How long each week may measure.")]
MaxGb = Annotated[float | None, Parameter(name="--max-gb", help="How much each week may download.")]
Suite = Annotated[str | None, Parameter(name="--suite", help="The suite to measure with; default: quick.")]

app = App(name="schedule", help="Run `tracker weekly` by a timer.")


def _plan(minutes: float, max_gb: float | None, suite: str | None) -> Plan:
    from tracker.schedule import plan
    from tracker.suites import get_suite

    if suite is not None:
        get_suite(suite)  # a typo is told now, not in the night
    return plan(load_settings(), minutes=minutes, max_gb=max_gb, suite=suite)


@app.command(name="print")
def print_(
    *,
    kind: str = "systemd",
    minutes: Minutes = DEFAULT_MINUTES,
    max_gb: MaxGb = None,
    suite: Suite = None,
    as_json: JsonFlag = False,
) -> None:
    """Print the timer for this home: to read it, or to put it where it belongs.

    Parameters
    ----------
    kind
        systemd, cron, launchd, github, container or hf-jobs.
    """
    from tracker.schedule import KINDS, render

    if kind not in KINDS:
        raise UnknownNameError("kind of timer", kind, known=KINDS)
    text = render(kind, _plan(minutes, max_gb, suite))
    if as_json:
        print_json({"kind": kind, "text": text})
    else:
        sys.stdout.write(text)


@app.command
def install(
    *,
    kind: str | None = None,
    minutes: Minutes = DEFAULT_MINUTES,
    max_gb: MaxGb = None,
    suite: Suite = None,
    as_json: JsonFlag = False,
) -> None:
    """Install the timer for this user, or bring it up to date.

    Parameters
    ----------
    kind
        systemd or cron; default: systemd where it runs timers of this user, else cron.
    """
    from tracker.schedule import INSTALLABLE, KINDS, installed
    from tracker.schedule import install as install_timer

    if kind is not None and kind not in KINDS:
        raise UnknownNameError("kind of timer", kind, known=KINDS)
    if kind is not None and kind not in INSTALLABLE:
        raise TrackerError(f"`{kind}` can only be printed", hint=f"tracker schedule print --kind {kind}")
    taken = install_timer(_plan(minutes, max_gb, suite), kind=kind)
    detail = installed().detail
    if as_json:
        print_json({"kind": taken, "detail": detail})
    else:
        print(f"installed for {taken}: {detail}")


@app.command
def status(*, as_json: JsonFlag = False) -> None:
    """Say whether a timer is installed, and when each source was last complete."""
    from tracker.schedule import installed
    from tracker.store import open_snapshot

    found = installed()
    with open_snapshot(load_settings()) as snapshot:
        sources = snapshot.query("ingest_health")
    if as_json:
        print_json({"kind": found.kind, "detail": found.detail, "sources": plain(sources)})
        return
    print(f"timer: {found.kind or 'none'}: {found.detail}")
    if not sources:
        print("nothing has been ingested yet: `tracker ingest`")
    for row in sources:
        age = "never complete" if row["age_days"] is None else f"{row['age_days']:.0f} days ago"
        late = ", overdue" if row["is_overdue"] else ""
        print(f"{row['source']:<20} {row['status']:<28} {moment(row['completed_at'])} ({age}{late})")


@app.command
def remove(*, as_json: JsonFlag = False) -> None:
    """Take the timer out again."""
    from tracker.schedule import remove as remove_timer

    removed = remove_timer()
    if as_json:
        print_json({"removed": removed})
    else:
        print(f"removed: {', '.join(removed)}" if removed else "no timer was installed")
