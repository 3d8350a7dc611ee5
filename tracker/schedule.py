"""`tracker weekly` by a timer: units and lines for those who run it, and their installing on this machine.

Systemd's user timer goes first: it catches up after the machine was off. Cron is the second; all else is
printed, to be put where it belongs.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import platformdirs

from tracker.errors import TrackerError
from tracker.settings import Settings

NAME = "tracker-weekly"
BEGIN, END = "# >>> tracker weekly >>>", "# <<< tracker weekly <<<"
CALENDAR = "Sun *-*-* 03:17:00"  # a quiet hour, off the full one when everybody's timers fire
CRON = "17 3 * * 0"
SPREAD = "2h"  # so that not every home asks the sources in the same minute
MINUTES = 600.0  # of benching: a night and a morning
COMMAND_S = 20.0
KINDS = ("systemd", "cron", "launchd", "github", "container", "hf-jobs")
INSTALLABLE = ("systemd", "cron")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run, and where its output goes."""

    home: Path
    python: str
    minutes: float = MINUTES
    max_gb: float | None = None
    suite: str | None = None

    @property
    def command(self) -> list[str]:
        """The command, by full path: a timer has no PATH of ours."""
        size = [] if self.max_gb is None else ["--max-gb", f"{self.max_gb:g}"]
        suite = [] if self.suite is None else ["--suite", self.suite]
        return [self.python, "-m", "tracker", "weekly", "--minutes", f"{self.minutes:g}", *size, *suite]

    @property
    def log_path(self) -> Path:
        """Where cron's output goes."""
        return self.home / "weekly.log"


@dataclass(frozen=True, slots=True)
class Installed:
    """What is installed on this machine, and what it says of its last and next start."""

    kind: str | None
    detail: str


def plan(
    settings: Settings, *, minutes: float = MINUTES, max_gb: float | None = None, suite: str | None = None
) -> Plan:
    """The plan for this home and this interpreter.

    Raises:
        TrackerError: a budget of nothing, or a home that a crontab line cannot hold.
    """
    for flag, value in (("--minutes", minutes), ("--max-gb", max_gb)):
        if value is not None and not value > 0:
            raise TrackerError(f"{flag} must be more than 0, got {value:g}")
    home = settings.home.resolve()
    if any(character in str(home) for character in "\n\r"):
        raise TrackerError(f"{home!s}: a home with a line break cannot be scheduled")
    return Plan(home=home, python=sys.executable, minutes=minutes, max_gb=max_gb, suite=suite)


def render(kind: str, what: Plan) -> str:
    """The text for that kind of timer."""
    return {
        "systemd": _systemd,
        "cron": _cron,
        "launchd": _launchd,
        "github": _github,
        "container": _container,
        "hf-jobs": _hf_jobs,
    }[kind](what)


def service_unit(what: Plan) -> str:
    """The unit that runs once."""
    words = " ".join(_unit_word(word) for word in what.command)
    return dedent(f"""\
        [Unit]
        Description=tracker: ingest, measure what is new, write the digest
        Wants=network-online.target
        After=network-online.target

        [Service]
        Type=oneshot
        Environment={_unit_word(f"TRACKER_HOME={what.home}")}
        ExecStart={words}
        Nice=10
        # 4: a source was down; it is asked again next time
        SuccessExitStatus=4
        """)


def timer_unit() -> str:
    """The unit that starts it every week, and catches up when the machine was off."""
    return dedent(f"""\
        [Unit]
        Description=tracker: every week

        [Timer]
        OnCalendar={CALENDAR}
        RandomizedDelaySec={SPREAD}
        Persistent=true

        [Install]
        WantedBy=timers.target
        """)


def cron_line(what: Plan) -> str:
    """The line of the crontab. A percent sign would be a line break to cron."""
    command = shlex.join(what.command).replace("%", r"\%")
    home = shlex.quote(f"TRACKER_HOME={what.home}").replace("%", r"\%")
    log = shlex.quote(str(what.log_path)).replace("%", r"\%")
    return f"{CRON} env {home} {command} >> {log} 2>&1"


def install(what: Plan, *, kind: str | None = None) -> str:
    """Install the timer, or bring the installed one up to date; the kind that was taken. One of the other
    kind goes: two timers would measure twice a week.

    Raises:
        TrackerError: neither systemd for this user nor cron works here.
    """
    what.home.mkdir(parents=True, exist_ok=True)
    chosen = kind or ("systemd" if has_user_systemd() else "cron")
    if chosen == "systemd":
        _install_systemd(what)
        _remove_cron()
    else:
        _write_crontab([*_other_lines(_read_crontab()), BEGIN, cron_line(what), END])
        _remove_systemd()
    return chosen


def remove() -> list[str]:
    """The kinds of timers that were installed and are gone now."""
    found = {"systemd": _remove_systemd(), "cron": _remove_cron()}
    return [kind for kind, was_there in found.items() if was_there]


def _remove_systemd() -> bool:
    paths = [unit_folder() / f"{NAME}.{suffix}" for suffix in ("timer", "service")]
    if not any(path.exists() for path in paths):
        return False
    is_running = has_user_systemd()
    if is_running:
        _run(["systemctl", "--user", "disable", "--now", f"{NAME}.timer"])
    for path in paths:
        path.unlink(missing_ok=True)
    if is_running:
        _run(["systemctl", "--user", "daemon-reload"])
    return True


def _remove_cron() -> bool:
    lines = _read_crontab() if shutil.which("crontab") else []
    if BEGIN not in lines:
        return False
    _write_crontab(_other_lines(lines))
    return True


def installed() -> Installed:
    """The timer of this user on this machine."""
    if (unit_folder() / f"{NAME}.timer").exists():
        if not has_user_systemd():
            return Installed("systemd", "the units are there, and no systemd of this user runs them now")
        shown = _run(
            ["systemctl", "--user", "list-timers", f"{NAME}.timer", "--no-pager", "--no-legend"], check=False
        )
        return Installed("systemd", shown.strip() or "the timer is there and not started")
    if shutil.which("crontab"):
        lines = _read_crontab()
        if BEGIN in lines:
            return Installed("cron", lines[lines.index(BEGIN) + 1])
    return Installed(None, "no timer is installed; `tracker schedule install` does that")


def has_user_systemd() -> bool:
    """Whether systemd runs timers of this user."""
    if shutil.which("systemctl") is None:
        return False
    done = subprocess.run(
        ["systemctl", "--user", "show-environment"], capture_output=True, check=False, timeout=COMMAND_S
    )
    return done.returncode == 0


def unit_folder() -> Path:
    """Where units of this user lie."""
    return Path(platformdirs.user_config_path("systemd")) / "user"


def _install_systemd(what: Plan) -> None:
    folder = unit_folder()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{NAME}.service").write_text(service_unit(what))
    (folder / f"{NAME}.timer").write_text(timer_unit())
    _run(["systemctl", "--user", "daemon-reload"])
    _run(["systemctl", "--user", "enable", "--now", f"{NAME}.timer"])


def _read_crontab() -> list[str]:
    if shutil.which("crontab") is None:
        raise TrackerError(
            "neither systemd of this user nor `crontab` is here",
            hint="`tracker schedule print --kind cron` shows the line for whatever starts programs here",
        )
    done = subprocess.run(["crontab", "-l"], capture_output=True, text=True, check=False, timeout=COMMAND_S)
    if done.returncode and "no crontab" not in done.stderr.lower():
        raise TrackerError(f"`crontab -l` failed: {done.stderr.strip()[:200]}")
    return done.stdout.splitlines()


def _other_lines(lines: list[str]) -> list[str]:
    """What is not ours: an installed block is replaced whole, and nothing else is touched."""
    if BEGIN not in lines or END not in lines:
        return [line for line in lines if line not in (BEGIN, END)]
    start, end = lines.index(BEGIN), lines.index(END)
    return lines[:start] + lines[end + 1 :]


def _write_crontab(lines: list[str]) -> None:
    text = "\n".join(lines) + "\n" if lines else ""
    done = subprocess.run(
        ["crontab", "-"], input=text, capture_output=True, text=True, check=False, timeout=COMMAND_S
    )
    if done.returncode:
        raise TrackerError(f"`crontab -` failed: {done.stderr.strip()[:200]}")


def _run(command: list[str], *, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMMAND_S)
    if check and done.returncode:
        raise TrackerError(f"`{shlex.join(command)}` failed: {done.stderr.strip()[:200]}")
    return done.stdout


def _unit_word(word: str) -> str:
    """The word as systemd reads it: quoted, without its own specifiers and variables."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def _systemd(what: Plan) -> str:
    where = unit_folder()
    return (
        f"# {where}/{NAME}.service\n{service_unit(what)}\n# {where}/{NAME}.timer\n{timer_unit()}\n"
        f"# then: systemctl --user enable --now {NAME}.timer\n"
        "# to run while nobody is logged in: loginctl enable-linger\n"
    )


def _cron(what: Plan) -> str:
    return f"{cron_line(what)}\n"


def _launchd(what: Plan) -> str:
    from xml.sax.saxutils import escape

    words = "\n".join(f"    <string>{escape(word)}</string>" for word in what.command)
    return f"""\
<?xml version="1.0" encoding="UTF-8"?>
<!-- ~/Library/LaunchAgents/{NAME}.plist, then: launchctl load it -->
<plist version="1.0"><dict>
  <key>Label</key><string>{NAME}</string>
  <key>ProgramArguments</key><array>
{words}
  </array>
  <key>EnvironmentVariables</key><dict>
    <key>TRACKER_HOME</key><string>{escape(str(what.home))}</string>
  </dict>
  <key>StartCalendarInterval</key><dict>
    <key>Weekday</key><integer>0</integer><key>Hour</key><integer>3</integer><key>Minute</key><integer>17</integer>
  </dict>
  <key>StandardErrorPath</key><string>{escape(str(what.log_path))}</string>
</dict></plist>
"""


def _github(what: Plan) -> str:
    del what
    return f"""\
# .github/workflows/weekly.yml: metadata only, since its machines have no GPU. GitHub stops a schedule after
# 60 days without a commit in a public repository, and a fork inherits it: hence the `if`.
on:
  schedule: [{{cron: "{CRON}"}}]
  workflow_dispatch:
jobs:
  ingest:
    if: github.repository == 'OWNER/REPOSITORY'
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v5
      - uses: actions/setup-python@v6
        with: {{python-version: "3.13"}}
      - run: pip install -c constraints.txt .
      - uses: actions/cache@v4
        with: {{path: home, key: "home-${{{{ github.run_id }}}}", restore-keys: home-}}
      - run: TRACKER_HOME=home tracker ingest && TRACKER_HOME=home tracker digest >> "$GITHUB_STEP_SUMMARY"
"""


def _container(what: Plan) -> str:
    return f"""\
# crontab for supercronic, which runs in the foreground of a container and logs to its output:
#   supercronic /etc/crontab
{CRON} tracker weekly --minutes {what.minutes:g}
"""


def _hf_jobs(what: Plan) -> str:
    return f"""\
# Hugging Face Jobs: for whoever has no GPU; see `hf jobs scheduled --help` for flavors and their price
hf jobs scheduled uv run --flavor a10g-small --secrets HF_TOKEN "{CRON}" \\
  --with 'open-weight-tracker[gpu]' tracker weekly --minutes {what.minutes:g}
"""
