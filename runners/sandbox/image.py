"""The files that sandboxed programs see, in memory: copied once per process, read-only in its sandboxes.

A file on a disk has state that a reader changes: which of its pages are in memory, and which names were
looked for. Files in memory have none: all pages are there, absent names are not remembered, nothing notes a
reader. They lie in a mount namespace that a process of ours keeps and from which every sandbox is started.
Not covered: the processor's caches; swap, where the machine has any and is short of memory; files of a
compiler and of the driver, which trainings on a card read from the disk.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from runners.sandbox.packages import package_paths
from tracker.errors import TrackerError
from tracker.interpreter import python_command

HOLDER = Path(__file__).with_name("image_holder.py")
PREFIX = "tracker-files-"
SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin")
PROGRAMS = ("prlimit", "setpriv", "bwrap", "sh", "true")
ETC = ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime")
LOCALES = ("/usr/lib/locale/C.utf8", "/usr/lib/locale/C.UTF-8")
STATIC_PROC = "/.proc"  # in the sandbox: what stands in the place of `/proc`
# of the standard library: tests, and what needs a screen or the network
LEFT_OUT = (
    "site-packages", "dist-packages", "test", "idlelib", "turtledemo", "ensurepip", "config-*", "tkinter",
    "_tkinter*.so",
)  # fmt: skip
NOWHERE = ("*.opt-[12].pyc", "*.a")  # modules of `python -O`, and what a linker reads
LEFT_OUT_OF_TORCH = ("bin", "test")
NEEDED_OF_TORCH = "bin/torch_shm_manager"  # looked for on import
LEFT_OUT_ON_CPU = ("include", "share")  # of torch: a compiler reads them
LIBRARY = re.compile(r"^\s*(?:\S+ => )?(/\S+) \(0x", re.MULTILINE)  # a line of `ldd`
# below `/proc`, of the whole machine; `NEEDED_COUNTERS` stay as they were when the image was made
COUNTERS = (
    "stat", "meminfo", "uptime", "loadavg", "vmstat", "zoneinfo", "buddyinfo", "pagetypeinfo", "slabinfo",
    "diskstats",
    "interrupts", "softirqs", "locks", "keys", "key-users", "swaps", "schedstat", "sched_debug", "timer_list",
    "pressure/*", "sys/fs/inode-*", "sys/fs/dentry-state", "sys/fs/file-nr", "sys/kernel/ns_last_pid",
    "sys/kernel/random/entropy_avail",
)  # fmt: skip
NEEDED_COUNTERS = ("stat", "meminfo", "uptime")
CHANGING = re.compile(r"^(cpu MHz|bogomips)\b.*\n", re.MULTILINE)  # lines of `/proc/cpuinfo`
START_S = 300.0  # several GB from a slow disk
HINT = "the sandbox keeps Python and torch in memory: 0.7 GB without a card, up to 8 GB with one"


@dataclass(slots=True)
class ImageFiles:
    """The content of an image by absolute path, and the folders or files that a sandbox binds from it."""

    files: dict[str, str] = field(default_factory=dict)  # path → source
    links: dict[str, str] = field(default_factory=dict)  # path → target
    texts: dict[str, str] = field(default_factory=dict)
    roots: set[str] = field(default_factory=set)

    def add_tree(self, top: Path, *, left_out: Sequence[str] = ()) -> None:
        """A file or a folder with all below it but the names that are left out at its top."""
        if not top.is_dir():
            self.files[str(top)] = str(top)
            return
        for folder, folders, names in os.walk(top):
            not_here = (*NOWHERE, *(left_out if folder == str(top) else ()))
            folders[:] = [name for name in folders if not _matches(name, not_here)]
            for name in names:
                path = f"{folder}/{name}"
                if not _matches(name, not_here) and os.path.isfile(path):
                    self.files[path] = path

    def add_chain(self, path: str) -> None:
        """A file, with the links that lead to it."""
        while os.path.islink(path):
            self.links[path] = os.readlink(path)
            path = os.path.normpath(os.path.join(os.path.dirname(path), self.links[path]))
        self.files[path] = path

    def add_libraries(self) -> None:
        """What the programs and libraries in it load from elsewhere."""
        binaries = [path for path in self.files if _is_binary(path)]
        told = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=False).stdout
        for path in set(LIBRARY.findall(told)):
            place = f"{os.path.realpath(os.path.dirname(path))}/{os.path.basename(path)}"
            self.files.setdefault(place, path)
        for path in {*self.files.values()}:
            if os.path.basename(path) == "libc.so.6":  # loaded by it when a thread is ended
                beside = f"{os.path.realpath(os.path.dirname(path))}/libgcc_s.so.1"
                if os.path.exists(beside):
                    self.files.setdefault(beside, beside)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def _is_binary(path: str) -> bool:
    name = os.path.basename(path)
    return name.endswith(".so") or ".so." in name or "/bin/" in path


def image_files(packages: Sequence[str], *, needs_gpu: bool) -> ImageFiles:
    """Python with its standard library and the packages; without a card, also all that they load."""
    found = ImageFiles()
    prefixes = {Path(sys.prefix), Path(sys.base_prefix)}
    tops = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")]
    for top in dict.fromkeys(tops):
        found.add_tree(top, left_out=LEFT_OUT)
    found.add_chain(python_command()[0])
    for prefix in prefixes:
        for path in (prefix / "pyvenv.cfg", *prefix.glob("lib*/libpython*.so*")):
            if path.is_file():
                found.files[str(path)] = str(path)
    package_tops = package_paths(packages)
    for path in package_tops:
        is_torch = path.name == "torch"
        left_out = (*LEFT_OUT_OF_TORCH, *(() if needs_gpu else LEFT_OUT_ON_CPU)) if is_torch else ()
        found.add_tree(path, left_out=left_out)
        if is_torch and (path / NEEDED_OF_TORCH).is_file():
            found.add_chain(str(path / NEEDED_OF_TORCH))
    if needs_gpu:
        _add_headers(found)
        found.texts |= {f"{STATIC_PROC}{name}": text for name, text in frozen_counters().items()}
        found.roots = {STATIC_PROC} | set(
            _roots_beside_system([*tops, *package_tops, *_header_folders()], prefixes)
        )
        return found
    _add_system(found)
    found.roots = set(_roots(found, prefixes))
    return found


def _header_folders() -> list[Path]:
    """Python's headers, which Triton compiles with."""
    folder = Path(sysconfig.get_path("include"))
    return [folder] if folder.is_dir() else []


def _add_headers(found: ImageFiles) -> None:
    for folder in _header_folders():
        found.add_tree(folder)


def _add_system(found: ImageFiles) -> None:
    """The few programs that set a sandbox up, the libraries, and what a C library reads."""
    for name in PROGRAMS:
        if (path := shutil.which(name)) is not None:
            place = f"{os.path.realpath(os.path.dirname(path))}/{name}"
            found.files[place] = path
    found.add_libraries()
    for name in (*ETC, *LOCALES):
        if os.path.exists(name):
            found.add_tree(Path(name))
    found.texts[f"{STATIC_PROC}/cpuinfo"] = _processor()


@lru_cache(maxsize=1)
def frozen_counters() -> dict[str, str]:
    """Path below `/proc` → what a program sees there that needs the rest: nothing, or a first look."""
    shown = {}
    for path in (one for pattern in COUNTERS for one in sorted(Path("/proc").glob(pattern)) if one.is_file()):
        is_needed = path.name in NEEDED_COUNTERS
        shown[f"/{path.relative_to('/proc')}"] = path.read_text(errors="replace") if is_needed else ""
    return shown


def _processor() -> str:
    """What `/proc/cpuinfo` says that does not change; torch chooses its kernels by it."""
    try:
        return CHANGING.sub("", Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ""


def _roots(found: ImageFiles, prefixes: Iterable[Path]) -> Iterator[str]:
    """Few folders that together hold everything."""
    known = [*SYSTEM, STATIC_PROC, *sorted(str(prefix) for prefix in prefixes)]
    roots = set()
    for path in (*found.files, *found.links, *found.texts):
        top = next((one for one in known if path.startswith(f"{one}/")), None)
        roots.add(top or (path if path.startswith("/etc/") else os.path.dirname(path)))
    return (root for root in roots if not any(root.startswith(f"{other}/") for other in roots))


def _roots_beside_system(tops: Iterable[Path], prefixes: Iterable[Path]) -> Iterator[str]:
    """The same beside a system that is bound from the disk: nothing that holds more than ours is covered."""
    own = [prefix for prefix in prefixes if not any(prefix.is_relative_to(name) for name in SYSTEM)]
    yield from map(str, own)
    yield from (str(top) for top in tops if not any(top.is_relative_to(prefix) for prefix in own))


class Image:
    """The files in memory, and the process that keeps them there."""

    def __init__(self, wanted: ImageFiles) -> None:
        """Copy them.

        Raises:
            TrackerError: there is no such namespace here, or too little memory.
        """
        self.roots = tuple(sorted(wanted.roots))
        self.place, self._claim = claimed_place()
        words = ["bwrap", "--dev-bind", "/", "/", "--perms", "0755", "--tmpfs", self.place, "--"]
        try:
            self._process = subprocess.Popen(
                [*words, *python_command("-I", "-S", str(HOLDER))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                cwd="/",
                env={"PATH": os.defpath},
            )
        except OSError as error:
            self._leave_place()
            raise TrackerError(f"the sandbox's files cannot be kept in memory: {error}") from error
        atexit.register(self.close)
        self._pid = self._filled(wanted)

    def _filled(self, wanted: ImageFiles) -> int:
        """The holder's process number, once everything is there."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        line = json.dumps(
            {"place": self.place, "files": wanted.files, "links": wanted.links, "texts": wanted.texts}
        )
        too_slow = threading.Timer(START_S, self._process.kill)
        too_slow.start()
        try:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(line.encode() + b"\n")
                self._process.stdin.flush()
            told = self._process.stdout.readline()
        finally:
            too_slow.cancel()
        if not told.strip().isdigit():
            said = self._process.stderr.read().decode(errors="replace").strip().splitlines() or ["no answer"]
            self.close()
            raise TrackerError(f"the sandbox's files cannot be kept in memory: {said[-1]}", hint=HINT)
        return int(told)

    @property
    def is_there(self) -> bool:
        """Whether the holder lives."""
        return self._process.poll() is None

    @property
    def entrance(self) -> list[str]:
        """The command that starts another one where the files are."""
        own_user = ["--user", "--preserve-credentials"] if os.geteuid() != 0 else []
        return ["nsenter", "--target", str(self._pid), "--mount", *own_user, "--"]

    @property
    def binds(self) -> list[str]:
        """The words of bubblewrap that show the files."""
        return [word for root in self.roots for word in ("--ro-bind", f"{self.place}{root}", root)]

    def close(self) -> None:
        """Give the memory back; sandboxes at work keep their files."""
        atexit.unregister(self.close)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self._process.kill()
        self._process.wait()
        self._leave_place()

    def _leave_place(self) -> None:
        with contextlib.suppress(OSError):
            os.rmdir(self.place)
        with contextlib.suppress(OSError):
            os.close(self._claim)


def claimed_place() -> tuple[str, int]:
    """A new empty folder, and the open lock that says that it is in use; empty ones of the dead are removed.

    A folder in use must stay: removed here, it would vanish from the namespace in which it is covered.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # in use, or of another user
            lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                left.rmdir()
            finally:
                os.close(lock)
    while True:
        place = tempfile.mkdtemp(prefix=PREFIX)
        with contextlib.suppress(FileNotFoundError):  # removed before it was locked: once more
            lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.path.isdir(place):
                return place, lock
            os.close(lock)


_lock = threading.Lock()  # two threads may need the same image first


def image(packages: tuple[str, ...], *, needs_gpu: bool) -> Image:
    """The image for these packages, made where there is none yet; as long as this process lives.

    Raises:
        TrackerError: it cannot be made.
    """
    with _lock:
        found = _image(packages, needs_gpu)
        if not found.is_there:  # killed, as by a machine that is short of memory
            found.close()
            _image.cache_clear()
            found = _image(packages, needs_gpu)
        return found


@lru_cache
def _image(packages: tuple[str, ...], needs_gpu: bool) -> Image:
    return Image(image_files(packages, needs_gpu=needs_gpu))
