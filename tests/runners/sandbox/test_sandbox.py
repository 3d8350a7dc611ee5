"""What a sandboxed program can reach, and what ends it. Marked `sandbox`: bubblewrap itself, for real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from runners.hardware import Gpu, Hardware
from runners.sandbox import args as sandbox_args
from runners.sandbox import run as sandboxes
from runners.sandbox.limits import Limits
from runners.sandbox.packages import PACKAGES, package_paths
from runners.sandbox.run import (
    EndStatus,
    Kind,
    Sandbox,
    SandboxEnd,
    SandboxSpec,
)
from runners.sandbox.watch import folder_bytes
from tests.conftest import ROOT
from tracker.errors import TrackerError

MIB = 2**20
LIMITS = Limits(cpu_s=20.0, wall_s=40.0, memory_bytes=512 * MIB, file_bytes=MIB, n_processes=24)
OPEN = Sandbox(Kind.NONE)
BUSY = "import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
TAKES = """
import mmap, time
kept = []
for _ in range(64):
    kept.append(mmap.mmap(-1, 16 << 20))
    kept[-1].write(bytes(16 << 20))
time.sleep(60)
"""
FILLS = """
import time
for i in range(40):
    open(f"{i}", "wb").write(bytes(1 << 20))
time.sleep(60)
"""
BOMB = """
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
"""


def run(sandbox: Sandbox, code: str, folder: Path, limits: Limits = LIMITS) -> SandboxEnd:
    folder.mkdir(exist_ok=True)
    return sandbox.run([sys.executable, "-c", code], SandboxSpec({}, folder, limits, packages=()))


@pytest.fixture(params=["bubblewrap", "none"])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """What ends a program must end it in every kind of sandbox."""
    return sandboxes.find() if request.param == "bubblewrap" else OPEN


def kinds(name: str) -> pytest.MarkDecorator:
    marks = {"bubblewrap": [pytest.mark.sandbox], "none": []}
    params = [pytest.param(kind, marks=marks[kind], id=kind) for kind in marks]
    return pytest.mark.parametrize(name, params, indirect=True)


def test_without_a_sandbox_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(TrackerError, match="no sandbox works on this machine") as caught:
        sandboxes.find()
    assert "apt install bubblewrap" in caught.value.hint
    assert sandboxes.find(allow_none=True).kind is Kind.NONE
    assert not sandboxes.find(allow_none=True).is_trusted
    with pytest.raises(TrackerError, match="no sandbox works"):
        sandboxes.for_study("bubblewrap", runs_code=True)  # it was there when the study began
    assert sandboxes.for_study("bubblewrap", runs_code=False).kind is Kind.NONE
    assert sandboxes.for_study("none", runs_code=True).kind is Kind.NONE  # as it was asked for
    assert "files can be read and written" in sandboxes.describe()


def test_sandbox_a_program_that_ends_by_itself_is_reported_as_it_ended(tmp_path: Path) -> None:
    end = run(
        OPEN,
        "import sys; print('out'); print('x' * 100_000, 'err', file=sys.stderr); sys.exit(3)",
        tmp_path / "o",
    )
    assert (end.status, end.returncode, end.stdout_tail) == (EndStatus.ENDED, 3, "out\n")
    assert len(end.stderr_tail) == sandboxes.TAIL_BYTES
    assert end.stderr_tail.endswith("err\n")


@kinds("sandbox")
@pytest.mark.parametrize(
    ("code", "limits", "expected"),
    [
        ("import time; time.sleep(60)", replace(LIMITS, wall_s=0.5), {EndStatus.TIMED_OUT}),
        (BUSY, replace(LIMITS, cpu_s=0.5), {EndStatus.TIMED_OUT}),
        (TAKES, replace(LIMITS, memory_bytes=256 * MIB), {EndStatus.OUT_OF_MEMORY}),
        (FILLS, LIMITS, {EndStatus.DISK_LIMIT}),
    ],
    ids=["sleeps", "computes", "takes memory", "fills the disk"],
)
def test_sandbox_a_limit_ends_the_program(
    sandbox: Sandbox, code: str, limits: Limits, expected: set[EndStatus], tmp_path: Path
) -> None:
    began = time.monotonic()
    end = run(sandbox, code, tmp_path / "out", limits)
    assert end.status in expected
    assert time.monotonic() - began < 30


@kinds("sandbox")
def test_sandbox_one_file_does_not_grow_over_its_limit(sandbox: Sandbox, tmp_path: Path) -> None:
    end = run(sandbox, "open('large', 'wb').write(bytes(3 << 20))", tmp_path / "out")
    assert (end.status, end.returncode) == (EndStatus.ENDED, 1)
    assert "File too large" in end.stderr_tail
    assert (tmp_path / "out" / "large").stat().st_size <= MIB


@pytest.mark.sandbox
def test_sandbox_a_fork_bomb_stays_small_and_leaves_nothing(tmp_path: Path) -> None:
    assert sandboxes.find().is_trusted  # first of all: without it the bomb would take the machine along
    before = len(psutil.pids())
    most = [0]
    done = threading.Event()

    def count() -> None:
        while not done.wait(0.1):
            most[0] = max(most[0], len(psutil.pids()) - before)

    counter = threading.Thread(target=count)
    counter.start()
    end = run(sandboxes.find(), BOMB, tmp_path / "out", replace(LIMITS, cpu_s=1.0))
    done.set()
    counter.join()
    assert end.status in (EndStatus.TIMED_OUT, EndStatus.PROCESS_LIMIT)
    assert most[0] < 10 * LIMITS.n_processes
    assert sandboxes.end_marked(str(tmp_path)) == 0


@pytest.mark.sandbox
def test_sandbox_nothing_but_what_is_given_is_there(tmp_path: Path) -> None:
    given = tmp_path / "given.txt"
    given.write_text("given")
    spec = SandboxSpec({"given.txt": given}, tmp_path / "out", LIMITS, {"WORD": "told"})
    spec.writable.mkdir()
    code = (
        "import json, os, socket\n"
        "from pathlib import Path\n"
        "seen = {'given': Path('/in/given.txt').read_text(), 'word': os.environ['WORD']}\n"
        "seen['environment'] = sorted(os.environ)\n"
        "seen['places'], seen['tmp'] = os.listdir('/in'), os.listdir('/tmp')\n"
        f"places = ({str(ROOT / 'README.md')!r}, {str(tmp_path)!r}, {str(Path.home() / '.ssh')!r}, '/home')\n"
        "seen['reaches'] = [p for p in places if os.path.exists(p)]\n"
        "seen['processes'] = len([p for p in os.listdir('/proc') if p.isdigit()])\n"
        "seen['sockets'] = []\n"
        "for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_NETLINK):\n"
        "  try: seen['sockets'].append(str(socket.socket(family, socket.SOCK_DGRAM)))\n"
        "  except PermissionError: pass\n"
        "seen['written'] = []\n"
        "for p in ('/in/given.txt', '/in/new', '/new', '/usr/new', '/etc/new', '/dev/new', os.__file__):\n"
        "  try: open(p, 'a').write('x'); seen['written'].append(p)\n"
        "  except OSError: pass\n"
        "Path('seen.json').write_text(json.dumps(seen))\n"
    )
    end = sandboxes.find().run([sys.executable, "-c", code], spec)
    assert end.returncode == 0, end.stderr_tail
    seen = json.loads((spec.writable / "seen.json").read_text())
    assert seen.pop("processes") <= 5
    assert seen.pop("sockets") == []
    assert set(seen.pop("tmp")) <= {*Path(sys.prefix).parts[2:3]}  # the interpreter itself may lie there
    assert set(seen.pop("environment")) == {*sandbox_args.BASE_ENV, "WORD", "PWD"}
    assert seen == {
        "given": "given", "word": "told", "places": ["given.txt"], "reaches": [], "written": []
    }  # fmt: skip
    assert given.read_text() == "given"


@pytest.mark.sandbox
def test_sandbox_computing_in_children_that_nobody_waits_for_is_counted(tmp_path: Path) -> None:
    code = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "for _ in range(2):\n"
        "  if os.fork() == 0:\n"
        "    end = time.process_time() + 0.8\n"
        "    while time.process_time() < end: pass\n"
        "    os._exit(0)\n"
        "try: os.wait()\n"
        "except OSError: pass\n"
    )
    out = tmp_path / "out"
    out.mkdir()
    spec = SandboxSpec({}, out, LIMITS, packages=(), runs_programs=True)
    end = sandboxes.find().run([sys.executable, "-c", code], spec)
    assert end.status is EndStatus.ENDED
    assert end.cpu_s > 1.0


@pytest.mark.sandbox
@pytest.mark.parametrize(
    "code",
    [
        "import os; os.fork()",
        "import os; os.posix_spawn('/proc/self/exe', ['python'], {})",
        "import ctypes; pid = ctypes.CDLL(None, use_errno=True).vfork(); "
        "import os; os._exit(0) if pid == 0 else exit(pid < 0)",
        "import ctypes; pid = ctypes.CDLL(None).syscall(56, 17, 0, 0, 0, 0); exit(pid < 0)",
    ],
    ids=["fork", "spawn", "vfork", "clone"],
)
def test_sandbox_a_program_that_computes_on_a_cpu_has_one_process(code: str, tmp_path: Path) -> None:
    """Children that live for a moment, and that nobody waits for, would compute outside of every account."""
    assert run(sandboxes.find(), code, tmp_path / "out").returncode == 1
    threads = "import threading as t; a = t.Thread(target=print); a.start(); a.join()"
    assert run(sandboxes.find(), threads, tmp_path / "threads").returncode == 0


@pytest.mark.sandbox
def test_two_sandboxes_at_once_do_not_see_each_other(tmp_path: Path) -> None:
    code = (
        "import os, time\n"
        "open('here', 'w').write(str(os.getpid()))\n"
        "time.sleep(1)\n"
        "print(len([p for p in os.listdir('/proc') if p.isdigit()]), os.listdir('.'))\n"
    )
    ends: list[SandboxEnd] = []
    threads = [
        threading.Thread(target=lambda i=i: ends.append(run(sandboxes.find(), code, tmp_path / str(i))))
        for i in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [end.returncode for end in ends] == [0, 0]
    assert all("['here']" in end.stdout_tail and int(end.stdout_tail.split()[0]) <= 5 for end in ends)


@pytest.fixture
def killed_parent(tmp_path: Path) -> Path:
    """The folder of a sandbox whose parent was killed while it was at work."""
    folder = tmp_path / "out"
    folder.mkdir()
    code = (
        "import sys\nfrom pathlib import Path\nfrom runners.sandbox.run import *\n"
        "limits = Limits(cpu_s=60, wall_s=60, memory_bytes=2**29, file_bytes=2**20, n_processes=24)\n"
        f"spec = SandboxSpec({{}}, Path({str(folder)!r}), limits, packages=(), runs_programs=True)\n"
        "find().run([sys.executable, '-c', 'import time; open(\"begun\", \"w\"); time.sleep(60)'], spec)\n"
    )
    pause = threading.Event()
    parent = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)})
    deadline = time.monotonic() + 30
    while not (folder / "begun").exists() and time.monotonic() < deadline:
        pause.wait(0.05)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    return folder


@pytest.mark.sandbox
def test_a_sandbox_dies_with_its_parent(killed_parent: Path) -> None:
    assert (killed_parent / "begun").exists()
    pause = threading.Event()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(marked(str(killed_parent))):
        pause.wait(0.05)
    assert list(marked(str(killed_parent))) == []


def marked(folder: str) -> Iterator[int]:
    for process in psutil.process_iter():
        try:
            if process.environ().get(sandboxes.MARK, "").startswith(folder) and process.status() != "zombie":
                yield process.pid
        except psutil.Error:
            continue


def test_sandbox_only_torch_and_what_it_needs_is_shown() -> None:
    names = {path.name for path in package_paths(PACKAGES)}
    assert "torch" in names
    assert not names & {"numpy", "scipy", "pandas", "transformers", "tracker"}


def test_sandbox_cards_come_after_the_devices_and_include_sys(tmp_path: Path) -> None:
    assert "dxg" in sandbox_args.GPU_GLOBS  # WSL2's only device
    binds = sandbox_args.Binds({}, tmp_path, needs_gpu=True)
    words = sandbox_args.bubblewrap(sandbox_args.PLAIN, binds, {}, ["true"])
    assert words[words.index("/sys") - 1] == "--ro-bind"
    assert words.index("/dev") < words.index("/sys")
    assert "--data" not in " ".join(sandbox_args.rlimits(LIMITS, needs_gpu=True))


def test_sandbox_a_variant_without_new_abilities_does_not_use_them(tmp_path: Path) -> None:
    binds = sandbox_args.Binds({}, tmp_path)
    old = sandbox_args.bubblewrap(sandbox_args.PLAIN, binds, {}, ["true"])
    new = sandbox_args.bubblewrap(sandbox_args.Variant(is_hardened=True), binds, {}, ["true"])
    assert not {"--size", "--disable-userns"} & set(old)
    assert {"--size", "--disable-userns"} <= set(new)


MAPS = """\
7f01-7f02 r--p 00000000 08:01 131 /usr/lib/x86_64-linux-gnu/libc.so.6
7f03-7f04 r-xp 00000000 08:01 132 /opt/driver files/lib64/libcuda.so.580.95
"""


def test_sandbox_a_training_gets_the_freest_card_and_the_folder_of_its_driver() -> None:
    cards = tuple(Gpu("A", f"GPU-{n}", 24 * 2**30, n * 2**30, "9.0") for n in (3, 20))
    machine = Hardware("cpu", 2, 2**34, 2**34, cards)
    folder = sandbox_args.loaded_folder(MAPS)
    assert folder == Path("/opt/driver files/lib64")
    assert sandbox_args.gpu_environment(machine, folder) == {
        "CUDA_VISIBLE_DEVICES": "GPU-20",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "LD_LIBRARY_PATH": "/opt/driver files/lib64",
    }
    assert sandbox_args.loaded_folder("") is None
    assert sandbox_args.gpu_environment(Hardware("cpu", 2, 1, 1), None) == {}


NESTS = """
import os, time
for _ in range(1500):
    os.mkdir('d')
    os.chdir('d')
time.sleep(60)
"""
LONG_NAMES = """
import os, time
for _ in range(20):
    os.mkdir('d' * 250)
    os.chdir('d' * 250)
time.sleep(60)
"""


@kinds("sandbox")
@pytest.mark.parametrize("code", [NESTS, LONG_NAMES], ids=["deep", "long names"])
def test_sandbox_folders_that_hide_their_content_are_the_disk_limit_and_can_be_deleted(
    sandbox: Sandbox, code: str, tmp_path: Path
) -> None:
    end = run(sandbox, code, tmp_path / "out")
    assert end.status is EndStatus.DISK_LIMIT
    assert end.wall_s < 20
    sandboxes.remove_tree(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_sandbox_a_look_that_fails_ends_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RecursionError

    monkeypatch.setattr(psutil, "virtual_memory", fail)
    end = run(OPEN, "import time; time.sleep(60)", tmp_path / "out")
    assert end.status is EndStatus.DISK_LIMIT


def test_sandbox_the_size_of_a_folder_counts_every_file_once_and_no_link(tmp_path: Path) -> None:
    for number in range(3):
        place = tmp_path / "a" / f"{number}" / "b"
        place.mkdir(parents=True)
        (place / "file").write_bytes(bytes(10_000 * (number + 1)))
    (tmp_path / "link").symlink_to("/usr")
    total, n_entries = folder_bytes(tmp_path)
    assert n_entries == 1 + 3 * 3 + 1
    assert total == sum(path.lstat().st_blocks * 512 for path in tmp_path.rglob("*") if not path.is_dir())
