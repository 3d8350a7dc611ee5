"""`tracker schedule`: run `tracker weekly` from a timer."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from tracker.cli import print_json
from tracker.cli.help import command_app
from tracker.cli.tables import moment, plain
from tracker.errors import TrackerError, UnknownNameError
from tracker.settings import load_settings

if TYPE_CHECKING:
    from tracker.weekly.schedule import Plan

JsonFlag = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON document.")]
DEFAULT_MINUTES = 600.0
Minutes = Annotated[float, Parameter(name="--minutes", help="Minutes of measuring per week.")]
MaxGb = Annotated[float | None, Parameter(name="--max-gb", help="Maximum download per week in GB.")]
Suite = Annotated[str | None, Parameter(name="--suite", help="Suite to run; default: quick.")]

app = command_app(name="schedule", help="Run `tracker weekly` from a timer.")


def _plan(minutes: float, max_gb: float | None, suite: str | None) -> Plan:
    from tracker.suites import stored_suite
    from tracker.weekly.schedule import plan

    settings = load_settings()
    if suite is not None:
        stored_suite(suite, own=settings.suites_path)  # a typo is refused now, not at night
    return plan(settings, minutes=minutes, max_gb=max_gb, suite=suite)


@app.command(name="print")
def print_(
    *,
    kind: str = "systemd",
    minutes: Minutes = DEFAULT_MINUTES,
    max_gb: MaxGb = None,
    suite: Suite = None,
    as_json: JsonFlag = False,
) -> None:
    """Print the timer for this home without installing it.

    Parameters
    ----------
    kind
        systemd, cron, launchd, github, container or hf-jobs.
    """
    from tracker.weekly.schedule import KINDS, render

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
    """Install or update the timer for this user.

    Parameters
    ----------
    kind
        systemd or cron; default: systemd if its user instance is running, else cron.
    """
    from tracker.answers.weekly_timer import installed_timer
    from tracker.weekly.schedule import INSTALLABLE, KINDS
    from tracker.weekly.schedule import install as install_timer

    if kind is not None and kind not in KINDS:
        raise UnknownNameError("kind of timer", kind, known=KINDS)
    if kind is not None and kind not in INSTALLABLE:
        raise TrackerError(
            f"a timer for `{kind}` can only be printed, not installed",
            hint=f"tracker schedule print --kind {kind}",
        )
    taken = install_timer(_plan(minutes, max_gb, suite), kind=kind)
    detail = installed_timer(load_settings().now()).detail
    if as_json:
        print_json({"kind": taken, "detail": detail})
    else:
        print(f"installed for {taken}: {detail}")


@app.command
def status(*, as_json: JsonFlag = False) -> None:
    """Show the installed timer with its next start and budget, the last digest, and the sources' state."""
    from tracker.answers.weekly_timer import budget_text, weekly_schedule

    settings = load_settings()
    found = weekly_schedule(settings, settings.now())
    timer, last = found.timer, found.last_digest
    if as_json:
        digest = None if last is None else plain([asdict(last)])[0]
        print_json(plain([asdict(timer)])[0] | {"last_digest": digest, "sources": plain(found.sources)})
        return
    print(f"timer: {timer.kind or 'none'}: {timer.detail}")
    if timer.kind is not None:
        print(f"next start: {moment(timer.next_at)}; budget: {budget_text(timer)}")
    if last is not None:
        changes = ", ".join(f"{title}: {n:,}" for title, n in last.changes.items()) or "nothing changed"
        print(f"last digest: {moment(last.until_at)}: {changes}")
    if not found.sources:
        print("nothing has been ingested yet; run `tracker ingest`")
    for row in found.sources:
        age = _age(row["age_days"])
        late = ", overdue" if row["is_overdue"] else ""
        print(f"{row['source']:<20} {row['status']:<28} {moment(row['completed_at'])} ({age}{late})")


def _age(age_days: float | None) -> str:
    if age_days is None:
        return "never complete"
    return "in the future: a clock was ahead" if age_days < -1 else f"{max(age_days, 0):.0f} days ago"


@app.command
def remove(*, as_json: JsonFlag = False) -> None:
    """Remove the timer."""
    from tracker.weekly.schedule import remove as remove_timer

    removed = remove_timer()
    if as_json:
        print_json({"removed": removed})
    else:
        print(f"removed: {', '.join(removed)}" if removed else "no timer was installed")
