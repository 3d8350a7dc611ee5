"""The timer of `tracker weekly`: is one installed, when does it start next, its budget, and its last digest.

Only read here; `tracker/weekly/schedule.py` writes it.
"""

from __future__ import annotations

import itertools
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import platformdirs

from tracker.answers.digest_formats import kept
from tracker.errors import TrackerError
from tracker.settings import Settings
from tracker.store import open_snapshot

NAME = "tracker-weekly"
BEGIN, END = "# >>> tracker weekly >>>", "# <<< tracker weekly <<<"
COMMAND_S = 20.0
DEFAULT_SUITE = "quick"  # of `tracker weekly`
NOT_INSTALLED = "not installed; `tracker schedule install` installs one"
NUMBER = re.compile(r"\d+", re.ASCII)
DAYS_AHEAD = 370  # a crontab line that names a day of the month starts within a year
SUNDAY = 7  # in a crontab line as in `isoweekday`; there 0 is Sunday as well
NEXT, LAST = "NextElapseUSecRealtime", "LastTriggerUSec"  # properties of a systemd timer


@dataclass(frozen=True, slots=True)
class Installed:
    """The installed timer, with its last and next start, UTC; None where it is not known."""

    kind: str | None  # systemd or cron
    detail: str
    next_at: datetime | None = None
    last_at: datetime | None = None
    home: Path | None = None
    minutes: float | None = None  # of measuring per week; None: no limit
    max_gb: float | None = None  # of downloads per week; None: no limit
    suite: str | None = None


@dataclass(frozen=True, slots=True)
class LastDigest:
    """The newest saved digest: its period, UTC, and the number of changes of each kind that had some."""

    since_at: datetime
    until_at: datetime
    changes: Mapping[str, int]  # by title of the section


@dataclass(frozen=True, slots=True)
class WeeklySchedule:
    """The timer of this user on this machine, the last digest, and the sources as in `ingest_health`."""

    timer: Installed
    last_digest: LastDigest | None
    sources: tuple[Mapping[str, Any], ...]


def weekly_schedule(settings: Settings, now: datetime) -> WeeklySchedule:
    """The schedule of the home at `now`, with a time zone: asks systemd and cron, and reads the snapshot and
    the saved digests.

    Raises:
        StoreError: the snapshot cannot be read.
        TrackerError: `crontab -l` failed.
    """
    with open_snapshot(settings) as snapshot:
        sources = snapshot.query("ingest_health", now=now.replace(tzinfo=None))
    return WeeklySchedule(installed_timer(now), last_digest(settings), tuple(sources))


def budget_text(timer: Installed) -> str:
    """The weekly budget in words: `600 minutes of measuring, downloads up to 40 GB, suite quick`."""
    minutes = "no limit of time" if timer.minutes is None else f"{timer.minutes:g} minutes of measuring"
    size = "no limit of downloads" if timer.max_gb is None else f"downloads up to {timer.max_gb:g} GB"
    return f"{minutes}, {size}, suite {timer.suite or DEFAULT_SUITE}"


def last_digest(settings: Settings) -> LastDigest | None:
    """The newest saved digest that can be read; None if there is none."""
    found = []
    for one in kept(settings.digests_path):
        try:
            changes = {str(part["title"]): int(part["n"]) for part in one["sections"] if part["n"]}
            since, until = datetime.fromisoformat(one["since"]), datetime.fromisoformat(one["until"])
        except (KeyError, TypeError, ValueError):
            continue
        found.append(LastDigest(since, until, changes))
    return max(found, key=lambda one: one.until_at, default=None)


def installed_timer(now: datetime) -> Installed:
    """The timer of this user on this machine; `now` has a time zone.

    Raises:
        TrackerError: `crontab -l` failed.
    """
    unit = unit_folder() / f"{NAME}.timer"
    if unit.exists():
        return _systemd_timer(unit)
    if shutil.which("crontab"):
        lines = read_crontab()
        if BEGIN in lines[:-1]:
            line = lines[lines.index(BEGIN) + 1]
            command = line.replace(r"\%", "%")
            return _with_budget(Installed("cron", line, next_at=next_cron_start(line, now)), command)
    return Installed(None, NOT_INSTALLED)


def _systemd_timer(unit: Path) -> Installed:
    given = [line.partition("=") for line in _lines_of(unit.with_suffix(".service"))]
    command = " ".join(value for name, _, value in given if name in ("ExecStart", "Environment"))
    timer = _with_budget(Installed("systemd", ""), command.replace("%%", "%").replace("$$", "$"))
    if not has_user_systemd():
        return replace(timer, detail="the units are installed, but no systemd user instance is running")
    of = ["systemctl", "--user"]
    shown = _output([*of, "list-timers", unit.name, "--no-pager", "--no-legend"])
    times = _output([*of, "show", unit.name, "--timestamp=unix", f"--property={NEXT},{LAST}"])
    detail = shown.strip() or "the timer is installed but not started"
    return with_unit_times(replace(timer, detail=detail), times)


def with_unit_times(timer: Installed, shown: str) -> Installed:
    """The timer with its starts by lines of `systemctl show --timestamp=unix`; one that is unset is None."""
    lines = dict(line.partition("=")[::2] for line in shown.splitlines())
    return replace(timer, next_at=_unix_time(lines.get(NEXT)), last_at=_unix_time(lines.get(LAST)))


def _unix_time(value: str | None) -> datetime | None:
    seconds = (value or "").removeprefix("@")
    return datetime.fromtimestamp(int(seconds), UTC) if NUMBER.fullmatch(seconds) and int(seconds) else None


def next_cron_start(line: str, now: datetime) -> datetime | None:
    """The first start after `now` of a crontab line, whose clock is local; None if its time is not plain.

    Plain is what `tracker schedule install` writes: numbers or `*` for the days, numbers for hour and minute.
    """
    fields = line.split()[:5]
    plain = len(fields) == 5 and all(NUMBER.fullmatch(part) for part in fields[:2])
    if not plain or not all(part == "*" or NUMBER.fullmatch(part) for part in fields[2:]):
        return None
    minute, hour = (int(part) for part in fields[:2])
    today = now.astimezone().replace(tzinfo=None)
    for days in range(DAYS_AHEAD):
        day = (today + timedelta(days=days)).date()
        if _is_cron_day(day.day, day.month, day.isoweekday(), fields[2:]):
            try:
                start = datetime(day.year, day.month, day.day, hour, minute).astimezone(UTC)
            except ValueError:  # such as an hour of 30
                return None
            if start > now:
                return start
    return None


def _is_cron_day(day: int, month: int, weekday: int, fields: list[str]) -> bool:
    """Whether cron starts on that day: if day and weekday are both given, either suffices."""
    of_month, of_year, of_week = fields
    if of_year != "*" and int(of_year) != month:
        return False
    is_day, is_weekday = (
        of_month == str(day),
        (int(of_week) or SUNDAY) == weekday if of_week != "*" else False,
    )
    if of_month != "*" and of_week != "*":
        return is_day or is_weekday
    return (of_month == "*" or is_day) and (of_week == "*" or is_weekday)


def _with_budget(timer: Installed, command: str) -> Installed:
    """The timer with the home, the budget and the suite of the command that it starts."""
    try:
        words = shlex.split(command)
    except ValueError:  # edited by the user
        return timer
    after = dict(itertools.pairwise(words))
    home = next((word.partition("=")[2] for word in words if word.startswith("TRACKER_HOME=")), "")
    return replace(
        timer,
        home=Path(home) if home else None,
        minutes=_number(after.get("--minutes")),
        max_gb=_number(after.get("--max-gb")),
        suite=after.get("--suite"),
    )


def _number(word: str | None) -> float | None:
    try:
        return None if word is None else float(word)
    except ValueError:
        return None


def has_user_systemd() -> bool:
    """Whether a systemd user instance is running."""
    if shutil.which("systemctl") is None:
        return False
    done = subprocess.run(
        ["systemctl", "--user", "show-environment"], capture_output=True, check=False, timeout=COMMAND_S
    )
    return done.returncode == 0


def unit_folder() -> Path:
    """Folder of the user's systemd units."""
    return Path(platformdirs.user_config_path("systemd")) / "user"


def read_crontab() -> list[str]:
    """The lines of the user's crontab.

    Raises:
        TrackerError: there is no `crontab`, or it failed.
    """
    if shutil.which("crontab") is None:
        raise TrackerError(
            "found neither a systemd user instance nor `crontab`",
            hint="`tracker schedule print --kind cron` prints a line for another scheduler",
        )
    done = subprocess.run(["crontab", "-l"], capture_output=True, text=True, check=False, timeout=COMMAND_S)
    if done.returncode and "no crontab" not in done.stderr.lower():
        raise TrackerError(f"`crontab -l` failed: {done.stderr.strip()[:200]}")
    return done.stdout.splitlines()


def _lines_of(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMMAND_S).stdout
