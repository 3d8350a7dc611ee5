"""The store through kill -9 and full disks: whole runs only, and it opens."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders.some_runs import TASKS, model, run, store_runs
from tests.conftest import ROOT
from tracker.errors import StoreError
from tracker.settings import Settings
from tracker.store import Alias, Store, check, open_snapshot, publish, rebuild, repair
from tracker.store.aside import N_WHOLE

N_KILLS = 25
N_REPAIR_KILLS = int(os.environ.get("TRACKER_TEST_KILLS", "2"))  # of each of these commands
KILLED_WITHIN_S = {"publish": 0.6, "rebuild": 1.5, "repair": 3.0}
ROOM_BYTES = 2**18  # for a few runs
# Imports once and forks a writer for each number that it is told, so that a kill costs no start-up.
WRITERS = """
import os, sys
from tests.builders.some_runs import run
from tracker.settings import load_settings
from tracker.store import Store, publish
settings = load_settings()
def write(first):
    print("writer", os.getpid(), flush=True)
    for number in range(first, 9000):
        print("adding", number, flush=True)
        with Store.open(settings) as store:
            store.add_run(run(number))
        print("added", number, flush=True)
        publish(settings)
        print("published", number, flush=True)
for line in sys.stdin:
    child = os.fork() or write(int(line))
    os.waitpid(child, 0)
    print("gone", flush=True)
"""
REBUILDER = """
from tracker.settings import load_settings
from tracker.store import rebuild
settings = load_settings()
while True:
    print("rebuilding", flush=True)
    rebuild(settings)
    print("rebuilt", flush=True)
"""
# Forks a process for each command that it is told, which repeats that command until it is killed.
COMMANDS = """
import os, sys
from tracker.settings import load_settings
from tracker.store import publish, rebuild, repair
commands = {"publish": publish, "rebuild": rebuild, "repair": repair}
def work(name):
    print("began", os.getpid(), flush=True)
    while True:
        commands[name](load_settings())
for line in sys.stdin:
    child = os.fork() or work(line.strip())
    os.waitpid(child, 0)
    print("gone", flush=True)
"""
FILLER = """
import resource, sys
from tests.builders.some_runs import run
from tracker.errors import StoreError
from tracker.settings import load_settings
from tracker.store import Store
settings = load_settings()
with Store.open(settings) as store:
    store.add_run(run(1))
log = settings.db_path.stat().st_size // 64
resource.setrlimit(resource.RLIMIT_FSIZE, (log, log))
try:
    with Store.open(settings) as store:
        for number in range(2, 2000):
            store.add_run(run(number))
            print(number, flush=True)
except StoreError as error:
    sys.exit(f"{error}: {error.hint}")
"""


def start(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )


def kill_a_writer(writers: subprocess.Popen[str], *, first: int, n_lines: int) -> list[str]:
    """What a writer that began with run `first` said; it was killed after `n_lines`."""
    assert writers.stdin is not None
    assert writers.stdout is not None
    print(first, file=writers.stdin, flush=True)
    pid = int(writers.stdout.readline().split()[1])
    said = [writers.stdout.readline() for _ in range(n_lines)]
    os.kill(pid, signal.SIGKILL)
    while (line := writers.stdout.readline()) != "gone\n":
        said.append(line)
    return said


def test_store_crash_a_killed_writer_leaves_whole_runs_and_whole_snapshots(settings: Settings) -> None:
    dice = random.Random(1)
    n_added = 0
    with start(WRITERS) as writers:
        for _ in range(N_KILLS):
            said = kill_a_writer(writers, first=n_added + 1, n_lines=dice.randint(1, 8))
            added = max([n_added, *(int(line.split()[1]) for line in said if line.startswith("added"))])
            published = any(line.startswith("published") for line in said)
            with Store.open(settings, wait_s=5) as store:
                n_runs = len(store.query("runs"))
                assert len(store.query("run_scores")) == n_runs * len(TASKS)
            assert n_runs in (added, added + 1), "all that was said to be added, and at most one more"
            with open_snapshot(settings) as snapshot:
                n_published = len(snapshot.query("runs"))
                assert len(snapshot.query("run_scores")) == n_published * len(TASKS)
            assert n_runs >= n_published >= (added - 1 if published else 0)
            n_added = n_runs
        writers.communicate("")
    assert n_added > N_KILLS
    publish(settings)
    assert [problem for problem in check(settings) if problem.kind == "leftover"] == []


def test_store_crash_a_killed_rebuild_leaves_the_old_database_or_the_new_one(settings: Settings) -> None:
    with Store.open(settings) as store:
        store.add_run(run(1))
    for n_lines in (1, 1, 3):
        with start(REBUILDER) as rebuilder:
            assert rebuilder.stdout is not None
            said = [rebuilder.stdout.readline() for _ in range(n_lines)]
            rebuilder.kill()
        with Store.open(settings, wait_s=5) as store:
            assert len(store.query("runs")) in ((0,) if n_lines > 1 else (0, 1)), said
    rebuild(settings)
    publish(settings)
    assert check(settings) == []


def break_something(settings: Settings, dice: random.Random) -> None:
    """One of the faults that a repair mends without losing anything."""
    folder = settings.items_path / run(dice.choice((1, 2))).run_id
    newest = settings.snapshots_path / "newest"
    faults = (
        lambda: settings.db_path.unlink(missing_ok=True),
        lambda: settings.db_path.write_bytes(b"broken" * 9999),
        lambda: newest.unlink(missing_ok=True),
        lambda: newest.write_bytes(b""),
        lambda: (folder / "run.json").write_bytes(b"{"),
        lambda: (folder / "x.tmp").write_bytes(b"half"),
    )
    dice.choice(faults)()


@pytest.mark.parametrize("command", KILLED_WITHIN_S)
def test_store_crash_a_killed_repair_loses_nothing_and_the_next_one_finishes_it(
    settings: Settings, command: str
) -> None:
    store_runs(settings, run(1), run(2, of=model("acme/other-1b")))
    with Store.open(settings) as store:
        store.add_aliases([Alias("hub", f"name {n}", f"acme/{n}", "person") for n in range(50)])
    publish(settings)
    dice = random.Random(command)
    with start(COMMANDS) as workers:
        assert workers.stdin is not None
        assert workers.stdout is not None
        for _ in range(N_REPAIR_KILLS):
            if command == "repair":
                break_something(settings, dice)
            print(command, file=workers.stdin, flush=True)
            pid = int(workers.stdout.readline().split()[1])
            delay_s = dice.uniform(0, KILLED_WITHIN_S[command])
            select.select([workers.stdout], [], [], delay_s)  # it prints nothing meanwhile
            os.kill(pid, signal.SIGKILL)
            assert workers.stdout.readline() == "gone\n"
            with open_snapshot(settings) as snapshot:
                assert snapshot.select("select count(*) from runs").rows == [(2,)]
                assert snapshot.select("select count(*) from aliases").rows == [(50,)]
        workers.communicate("")
    repair(settings)
    assert check(settings) == []
    with Store.open(settings, wait_s=5) as store:
        assert len(store.query("run_scores")) == 2 * len(TASKS)
    with open_snapshot(settings) as snapshot:
        assert snapshot.select("select count(*) from aliases").rows == [(50,)]
        assert snapshot.select("select count(*) from items").rows == [(2 * 10 * len(TASKS),)]
    whole = [*settings.home.glob("aside/tracker.duckdb.old-*")]
    assert len(whole) <= N_WHOLE + 1


def test_store_crash_a_file_that_may_not_grow_stops_a_write_but_loses_no_run(settings: Settings) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FILLER], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "disk space" in done.stderr
    with Store.open(settings) as store:
        assert len(store.query("runs")) == 1 + len(done.stdout.split())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user cannot mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(settings: Settings, stored: list[int]) -> None:
    with Store.open(settings) as store:
        for number in range(2, 2000):
            store.add_run(run(number))
            stored.append(number)


def test_store_crash_a_full_disk_stops_writing_and_loses_nothing(small_disk: Path) -> None:
    settings = Settings(home=small_disk / "home")
    with Store.open(settings) as store:
        store.add_run(run(1))
    publish(settings)
    ballast = small_disk / "ballast"
    disk = os.statvfs(small_disk)
    ballast.write_bytes(b"\0" * (disk.f_bavail * disk.f_bsize - ROOM_BYTES))
    stored: list[int] = []
    with pytest.raises(StoreError, match="No space left") as caught:
        fill(settings, stored)
    assert "disk space" in caught.value.hint
    with pytest.raises(StoreError, match="No space left"):
        publish(settings)
    with open_snapshot(settings) as snapshot:
        assert len(snapshot.query("runs")) == 1
    ballast.unlink()
    with Store.open(settings) as store:
        assert len(store.query("runs")) == 1 + len(stored)
        assert len(store.query("run_scores")) == (1 + len(stored)) * len(TASKS)
    assert stored
    publish(settings)
    assert [problem.kind for problem in check(settings) if problem.kind != "missing_folder"] == []
