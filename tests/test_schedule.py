"""Timers: what is printed can be run, what is installed really starts, and never twice at once."""

from __future__ import annotations

import os
import plistlib
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from tests.conftest import ROOT
from tracker import schedule
from tracker.errors import TrackerError
from tracker.schedule import BEGIN, CRON, END, KINDS, Plan, cron_line, plan, render, service_unit
from tracker.settings import Settings

# a `crontab` that keeps its table in a file: the program of that name needs root to install
CRONTAB = """#!/bin/sh
table="$TRACKER_TEST_CRONTAB"
case "$1" in
  -l) [ -f "$table" ] && cat "$table" || { echo "no crontab for user" >&2; exit 1; } ;;
  -) cat > "$table" ;;
esac
"""


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The crontab of a user without systemd."""
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "crontab"
    program.write_text(CRONTAB)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (programs / "systemctl").write_text("#!/bin/sh\nexit 1\n")
    (programs / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("TRACKER_TEST_CRONTAB", str(tmp_path / "table"))
    return tmp_path / "table"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_printed(settings: Settings, kind: str) -> None:
    text = render(kind, plan(settings, minutes=90))
    assert text.endswith("\n")
    assert "weekly" in text


def test_the_property_list_is_one() -> None:
    text = render("launchd", Plan(Path("/home/a & b"), sys.executable))
    parsed = plistlib.loads(text.encode())
    assert parsed["ProgramArguments"][1:4] == ["-m", "tracker", "weekly"]
    assert parsed["EnvironmentVariables"] == {"TRACKER_HOME": "/home/a & b"}


def test_a_home_with_odd_characters_survives_the_line_and_the_unit(tmp_path: Path) -> None:
    what = Plan(tmp_path / "a 100% $HOME 'b'", sys.executable)
    command = cron_line(what).removeprefix(CRON).replace(r"\%", "%").partition(" >> ")[0]
    assert shlex.split(command)[1] == f"TRACKER_HOME={what.home}"
    assert "100%%" in service_unit(what)
    assert "$$HOME" in service_unit(what)


def test_units_are_accepted_by_systemd(tmp_path: Path) -> None:
    if subprocess.run(["systemd-analyze", "--version"], capture_output=True, check=False).returncode:
        pytest.skip("systemd-analyze does not run here")
    (tmp_path / "t.service").write_text(service_unit(Plan(tmp_path / "a 100% b", sys.executable)))
    (tmp_path / "t.timer").write_text(schedule.timer_unit())
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", str(tmp_path / "t.timer"), str(tmp_path / "t.service")],
        capture_output=True, text=True, check=False, env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)},
    )  # fmt: skip
    ours = [line for line in done.stderr.splitlines() if str(tmp_path) in line]
    assert ours == []


def test_installing_twice_leaves_one_block_and_every_other_line(settings: Settings, table: Path) -> None:
    table.write_text("0 1 * * * backup # 100 %\n")
    assert schedule.install(plan(settings)) == "cron"
    assert schedule.install(plan(settings, minutes=5)) == "cron"
    lines = table.read_text().splitlines()
    assert (lines[0], lines.count(BEGIN), lines.count(END)) == ("0 1 * * * backup # 100 %", 1, 1)
    assert "--minutes 5" in schedule.installed().detail
    assert schedule.remove() == ["cron"]
    assert table.read_text() == "0 1 * * * backup # 100 %\n"
    assert schedule.installed().kind is None
    assert schedule.remove() == []


def test_a_timer_of_the_other_kind_is_taken_out(settings: Settings, table: Path, tmp_path: Path) -> None:
    units = tmp_path / "config" / "systemd" / "user"
    units.mkdir(parents=True)
    for suffix in ("timer", "service"):
        (units / f"{schedule.NAME}.{suffix}").write_text("[Unit]\n")
    assert schedule.install(plan(settings), kind="cron") == "cron"
    assert (BEGIN in table.read_text(), list(units.iterdir())) == (True, [])


def test_the_installed_line_really_runs_and_refuses_a_second_start(
    settings: Settings, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_SOURCE_URLS", '{"epoch": "http://127.0.0.1:9/x"}')
    schedule.install(plan(settings, minutes=1))
    line = next(line for line in table.read_text().splitlines() if line.startswith(CRON))
    command = line.removeprefix(CRON).replace(r"\%", "%")
    # cron gives a line nothing but these
    bare = {"HOME": str(settings.home), "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "PYTHONPATH": str(ROOT)}
    bare["HF_HUB_OFFLINE"] = "1"
    settings.locks_path.mkdir(parents=True)
    with filelock.FileLock(settings.locks_path / "weekly.lock"):
        second = subprocess.run(["/bin/sh", "-c", command], env=bare, cwd="/", check=False, timeout=120)
    assert second.returncode == 1
    log = settings.home / "weekly.log"
    assert "another weekly run is under way" in log.read_text()


@pytest.mark.parametrize("budget", [{"minutes": 0.0}, {"max_gb": -1.0}])
def test_a_budget_of_nothing_is_refused(settings: Settings, budget: dict[str, float]) -> None:
    with pytest.raises(TrackerError, match="more than 0"):
        plan(settings, **budget)


def test_without_systemd_and_cron_it_says_what_to_do(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(TrackerError) as caught:
        schedule.install(plan(settings))
    assert "tracker schedule print" in caught.value.hint
    assert schedule.installed().kind is None
