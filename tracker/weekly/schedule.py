"""Timers for `tracker weekly`: render them for each scheduler, and install them on this machine.

A systemd user timer is preferred, since it catches up after the machine was off; cron is the fallback. Other
kinds are only printed.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from tracker.answers.weekly_timer import (
    BEGIN,
    COMMAND_S,
    END,
    NAME,
    has_user_systemd,
    read_crontab,
    unit_folder,
)
from tracker.errors import TrackerError
from tracker.installation import DISTRIBUTION
from tracker.settings import Settings

CALENDAR = "Sun *-*-* 03:17:00"  # a quiet hour, and not on the hour, when everybody's timers fire
CRON = "17 3 * * 0"
SPREAD = "2h"  # so that homes do not query the sources in the same minute
MINUTES = 600.0  # of benchmarks: a night and a morning
HF_JOBS_SPARE_MIN = (
    120  # besides measuring: installing, ingesting, copying the home; a job's default limit is 30 min
)
KINDS = ("systemd", "cron", "launchd", "github", "container", "hf-jobs")
INSTALLABLE = ("systemd", "cron")


@dataclass(frozen=True, slots=True)
class Plan:
    """The command to run, and where its output goes."""

    home: Path
    python: str
    minutes: float = MINUTES
    max_gb: float | None = None
    suite: str | None = None

    @property
    def command(self) -> list[str]:
        """The command with full paths, since a timer lacks our PATH; `-P`: imports nothing from `$HOME`."""
        size = [] if self.max_gb is None else ["--max-gb", f"{self.max_gb:g}"]
        suite = [] if self.suite is None else ["--suite", self.suite]
        return [self.python, "-P", "-m", "tracker", "weekly", "--minutes", f"{self.minutes:g}", *size, *suite]

    @property
    def log_path(self) -> Path:
        """File for cron's output."""
        return self.home / "weekly.log"


def plan(
    settings: Settings, *, minutes: float = MINUTES, max_gb: float | None = None, suite: str | None = None
) -> Plan:
    """The plan for this home and this interpreter.

    Raises:
        TrackerError: a budget is not positive, or a crontab line cannot hold the path of the home.
    """
    for flag, value in (("--minutes", minutes), ("--max-gb", max_gb)):
        if value is not None and not value > 0:
            raise TrackerError(f"`{flag}` must be more than 0, got `{value:g}`")
    home = settings.home.resolve()
    if any(character in str(home) for character in "\n\r"):
        raise TrackerError(f"cannot schedule `{home!s}`: the path contains a line break")
    return Plan(home=home, python=sys.executable, minutes=minutes, max_gb=max_gb, suite=suite)


def render(kind: str, what: Plan) -> str:
    """Render the timer of that kind."""
    return {
        "systemd": _systemd,
        "cron": _cron,
        "launchd": _launchd,
        "github": _github,
        "container": _container,
        "hf-jobs": _hf_jobs,
    }[kind](what)


def service_unit(what: Plan) -> str:
    """The systemd unit that runs `tracker weekly` once."""
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
        # 4: a source was down; it is tried again next time
        SuccessExitStatus=4
        """)


def timer_unit() -> str:
    """The systemd timer: weekly, and catches up after the machine was off."""
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
    """The crontab line; percent signs are escaped, since cron reads them as line breaks."""
    command = shlex.join(what.command).replace("%", r"\%")
    home = shlex.quote(f"TRACKER_HOME={what.home}").replace("%", r"\%")
    log = shlex.quote(str(what.log_path)).replace("%", r"\%")
    return f"{CRON} env {home} {command} >> {log} 2>&1"


def install(what: Plan, *, kind: str | None = None) -> str:
    """Install or update the timer and return its kind; a timer of the other kind is removed, since two timers
    would measure twice a week.

    Raises:
        TrackerError: neither a systemd user instance nor cron works here.
    """
    what.home.mkdir(parents=True, exist_ok=True)
    chosen = kind or ("systemd" if has_user_systemd() else "cron")
    if chosen == "systemd":
        _install_systemd(what)
        _remove_cron()
    else:
        _write_crontab([*_other_lines(read_crontab()), BEGIN, cron_line(what), END])
        _remove_systemd()
    return chosen


def remove() -> list[str]:
    """Remove all timers and return the kinds that were installed."""
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
    lines = read_crontab() if shutil.which("crontab") else []
    if BEGIN not in lines:
        return False
    _write_crontab(_other_lines(lines))
    return True


def _install_systemd(what: Plan) -> None:
    folder = unit_folder()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{NAME}.service").write_text(service_unit(what))
    (folder / f"{NAME}.timer").write_text(timer_unit())
    _run(["systemctl", "--user", "daemon-reload"])
    _run(["systemctl", "--user", "enable", "--now", f"{NAME}.timer"])


def _other_lines(lines: list[str]) -> list[str]:
    """Lines outside our block, which is replaced as a whole."""
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


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMMAND_S)
    if done.returncode:
        raise TrackerError(f"`{shlex.join(command)}` failed: {done.stderr.strip()[:200]}")


def _unit_word(word: str) -> str:
    """Quote the word for systemd, with specifiers and variables escaped."""
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
    del what  # it measures nothing, so no budget applies
    return f"""\
# .github/workflows/weekly.yml: published data only, since these machines have no GPU. GitHub stops a
# schedule after 60 days without a commit in a public repository, and a fork inherits it: hence the `if`.
on:
  schedule: [{{cron: "{CRON}"}}]
  workflow_dispatch:
jobs:
  ingest:
    if: github.repository == 'OWNER/REPOSITORY'
    runs-on: ubuntu-latest
    env:
      TRACKER_HOME: ${{{{ github.workspace }}}}/home
    steps:
      - uses: actions/checkout@v5
      - uses: actions/setup-python@v6
        with: {{python-version: "3.13"}}
      - run: pip install -c constraints.txt .
      - uses: actions/cache@v4
        with: {{path: home, key: "home-${{{{ github.run_id }}}}", restore-keys: home-}}
      # exit code 4: a source was down; data of the others is stored, and it is tried again next week
      - run: tracker ingest || [ $? -eq 4 ]
      - run: tracker digest >> "$GITHUB_STEP_SUMMARY"
"""


def _container(what: Plan) -> str:
    return f"""\
# A crontab for supercronic, which runs in the foreground of a container and logs to its output. Keep both
# folders in volumes, or every run starts from an empty home and downloads every model again:
#   docker run -v tracker-home:/data/home -v hf-cache:/data/hf IMAGE supercronic /etc/crontab
TRACKER_HOME=/data/home
HF_HOME=/data/hf
{CRON} {shlex.join(_words(what))}
"""


def _hf_jobs(what: Plan) -> str:
    limit_min = what.minutes + HF_JOBS_SPARE_MIN
    script = (
        "mkdir -p /bucket/home && cp -a /bucket/home /tmp/ && "
        f"{shlex.join(_words(what))}; code=$?; "
        "rm -rf /bucket/home/snapshots; cp -a /tmp/home/. /bucket/home/; exit $code"
    )
    return f"""\
# Hugging Face Jobs, if you have no GPU: this costs money, see `hf jobs hardware`. Replace USER and
# OWNER/REPOSITORY. The home is kept in your bucket and copied to the machine for each run, since a
# database needs file locks, which a mounted bucket may not have. Create it once:
#   hf buckets create tracker --private
hf jobs scheduled uv run --flavor a10g-small --timeout {limit_min:.0f}m --secrets HF_TOKEN \\
  --volume hf://buckets/USER/tracker:/bucket --env TRACKER_HOME=/tmp/home \\
  --with '{DISTRIBUTION}[gpu] @ git+https://github.com/OWNER/REPOSITORY' \\
  "{CRON}" sh -c {shlex.quote(script)}
"""


def _words(what: Plan) -> list[str]:
    """The command for a separate machine, where `tracker` is on the PATH."""
    return ["tracker", *what.command[what.command.index("weekly") :]]
