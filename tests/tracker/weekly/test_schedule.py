"""Timers: what is printed can be run, what is installed really starts, and never twice at once."""

from __future__ import annotations

import json
import os
import plistlib
import shlex
import stat
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import filelock
import pytest

from tests.conftest import ROOT
from tracker.answers.weekly_timer import (
    BEGIN,
    END,
    NAME,
    Installed,
    budget_text,
    installed_timer,
    last_digest,
    next_cron_start,
    weekly_schedule,
    with_unit_times,
)
from tracker.cli import main
from tracker.errors import TrackerError
from tracker.settings import Settings
from tracker.store import publish
from tracker.store.database import open_database
from tracker.weekly import schedule
from tracker.weekly.schedule import (
    CRON,
    KINDS,
    Plan,
    cron_line,
    plan,
    render,
    service_unit,
)

pytestmark = pytest.mark.clock
# a `crontab` that keeps its table in a file: the program of that name needs root to install
CRONTAB = """#!/bin/sh
table="$TRACKER_TEST_CRONTAB"
case "$1" in
  -l) [ -f "$table" ] && cat "$table" || { echo "no crontab for user" >&2; exit 1; } ;;
  -) cat > "$table" ;;
esac
"""


PLAIN = {"NO_COLOR": "1", "COLUMNS": "200"}


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
    assert parsed["ProgramArguments"][1:5] == ["-P", "-m", "tracker", "weekly"]
    assert parsed["EnvironmentVariables"] == {"TRACKER_HOME": "/home/a & b"}


@pytest.mark.parametrize("kind", ["container", "hf-jobs"])
def test_schedule_recipes_elsewhere_keep_the_budget_the_suite_and_the_home(
    settings: Settings, kind: str
) -> None:
    text = render(kind, plan(settings, minutes=90, max_gb=40, suite="anchor-small"))
    assert "tracker weekly --minutes 90 --max-gb 40 --suite anchor-small" in text
    assert "TRACKER_HOME=" in text


def test_schedule_recipe_for_hugging_face_jobs_is_one_that_its_command_line_takes(
    settings: Settings, tmp_path: Path
) -> None:
    hf = Path(sys.executable).with_name("hf")
    recipe = render("hf-jobs", plan(settings, minutes=90))
    assert recipe.count("hf jobs scheduled uv run ") == 1
    command = recipe.replace("uv run ", "uv run --dry-run --namespace me ", 1)
    done = subprocess.run(
        ["sh", "-c", command],
        env={"PATH": f"{hf.parent}:/usr/bin:/bin", "HF_TOKEN": "none", "HOME": str(tmp_path)} | PLAIN,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, "volumes    hf://buckets/USER/tracker:/bucket" in done.stdout) == (0, True), (
        done.stderr
    )
    assert "timeout    210m" in done.stdout


@pytest.mark.parametrize(("code", "is_green"), [(0, True), (4, True), (1, False)])
def test_schedule_recipe_for_github_goes_on_to_the_digest_when_a_source_is_down(
    settings: Settings, tmp_path: Path, code: int, is_green: bool
) -> None:
    import yaml

    (job,) = yaml.safe_load(render("github", plan(settings)))["jobs"].values()
    assert job["env"]["TRACKER_HOME"].endswith("/home")
    (tmp_path / "tracker").write_text(f"#!/bin/sh\n[ $1 = ingest ] && exit {code}\necho the digest\n")
    (tmp_path / "tracker").chmod(0o755)
    summary = tmp_path / "summary"
    ended = [
        subprocess.run(
            ["bash", "-e", "-c", step["run"]],
            env={"PATH": f"{tmp_path}:/usr/bin:/bin", "GITHUB_STEP_SUMMARY": str(summary)},
            check=False, timeout=60,
        ).returncode
        for step in job["steps"]
        if step.get("run", "").startswith("tracker")
    ]  # fmt: skip
    assert (ended == [0, 0]) == is_green
    assert summary.read_text() == "the digest\n"


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
    assert "--minutes 5" in installed_timer(settings.now()).detail
    assert schedule.remove() == ["cron"]
    assert table.read_text() == "0 1 * * * backup # 100 %\n"
    assert installed_timer(settings.now()).kind is None
    assert schedule.remove() == []


def test_schedule_of_cron_has_its_next_start_and_its_budget(settings: Settings, table: Path) -> None:
    schedule.install(plan(settings, minutes=90, max_gb=40, suite="smoke"))
    timer = installed_timer(datetime(2026, 12, 2, 12, tzinfo=UTC))
    assert (timer.kind, timer.home, timer.suite) == ("cron", settings.home.resolve(), "smoke")
    assert (timer.minutes, timer.max_gb) == (90, 40)
    assert timer.next_at is not None
    local = timer.next_at.astimezone()
    assert (local.isoweekday(), local.hour, local.minute) == (7, 3, 17)
    assert timedelta(0) < timer.next_at - datetime(2026, 12, 2, 12, tzinfo=UTC) < timedelta(days=8)
    assert budget_text(timer) == "90 minutes of measuring, downloads up to 40 GB, suite smoke"
    assert table.exists()


@pytest.mark.parametrize(
    ("fields", "days"),
    [("0 12 * * *", 1), ("0 12 * * 0", 4), ("0 12 * * 7", 4), ("0 12 1 1 *", 30), ("0 12 5 * 4", 1)],
)
def test_next_cron_start_goes_by_its_days(fields: str, days: int) -> None:
    now = datetime(2026, 12, 2, 12).astimezone()
    assert next_cron_start(f"{fields} command", now) == now + timedelta(days=days)


@pytest.mark.parametrize(
    "line", ["", "@weekly x", "*/5 * * * * x", "0 30 * * * x", "0 1 * * MON x", "0 1 31 2 * x"]
)
def test_next_cron_start_of_another_time_is_not_known(line: str) -> None:
    assert next_cron_start(line, datetime(2026, 12, 2, tzinfo=UTC)) is None


def test_starts_of_a_systemd_timer_are_read_from_its_properties() -> None:
    timer = with_unit_times(
        Installed("systemd", ""), "NextElapseUSecRealtime=@1796613420\nLastTriggerUSec=\n"
    )
    assert (timer.next_at, timer.last_at) == (datetime(2026, 12, 7, 3, 17, tzinfo=UTC), None)
    assert with_unit_times(timer, "NextElapseUSecRealtime=n/a").next_at is None


def test_last_digest_is_the_newest_that_can_be_read(settings: Settings) -> None:
    settings.digests_path.mkdir(parents=True)
    part = {"title": "New models", "n": 3}
    for day in ("2026-11-15", "2026-11-22"):
        one = {"since": "2026-11-08T00:00:00+00:00", "until": f"{day}T03:20:00+00:00"}
        (settings.digests_path / f"{day}.json").write_text(json.dumps(one | {"sections": [part]}))
    (settings.digests_path / "2026-11-29.json").write_text('{"until": "2026-11-29", "since": "x"}')
    found = last_digest(settings)
    assert found is not None
    assert (f"{found.until_at:%d}", found.changes) == ("22", {"New models": 3})


def test_a_timer_of_the_other_kind_is_taken_out(settings: Settings, table: Path, tmp_path: Path) -> None:
    units = tmp_path / "config" / "systemd" / "user"
    units.mkdir(parents=True)
    for suffix in ("timer", "service"):
        (units / f"{NAME}.{suffix}").write_text("[Unit]\n")
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
    assert "another weekly run is in progress" in log.read_text()


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
    assert installed_timer(settings.now()).kind is None


@pytest.mark.parametrize(
    ("ended", "age_days", "is_overdue", "says"),
    [
        ([-2], 2, False, "(2 days ago)"),
        ([-9], 9, True, "(9 days ago, overdue)"),
        ([-9, 400], 9, True, "(9 days ago, overdue)"),  # the last one by a clock that was ahead
        ([-2, 400], 2, False, "(2 days ago)"),
        ([400], -400, True, "(in the future: a clock was ahead, overdue)"),
        ([0.3], -0.3, False, "(0 days ago)"),  # a clock that went back by some hours
    ],
)
def test_schedule_status_counts_no_ingest_that_a_wrong_clock_dated(
    ended: list[float],
    age_days: float,
    is_overdue: bool,
    says: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = datetime(2026, 11, 20, tzinfo=UTC)
    monkeypatch.setenv("TRACKER_HOME", str(settings.home))
    monkeypatch.setenv("TRACKER_NOW", now.isoformat())
    settings.home.mkdir()
    with closing(open_database(settings.db_path, wait_s=0.0)) as store:
        for number, days in enumerate(ended):
            at = now.replace(tzinfo=None) + timedelta(days=days)
            store.execute(
                "insert into ingests (ingest_id, source, status, started_at, ended_at, n_seen, n_new,"
                " n_changed, n_gone, problems, raw_sha256)"
                " values ($id, 'epoch', 'completed', $at, $at, 1, 1, 0, 0, '[]', '[]')",
                {"id": f"{at:%Y%m%d}-{number}", "at": at},
            )
    publish(settings)
    (row,) = weekly_schedule(settings, now).sources
    assert (row["age_days"], row["is_overdue"]) == (pytest.approx(age_days), is_overdue)
    main(["schedule", "status"])
    assert says in capsys.readouterr().out
