"""The one place where our words become those of `bwrap`, `unshare`, `setpriv` and `prlimit`.

What a sandboxed program sees: the system's programs and libraries, Python with the named packages and what
they need (no other: their texts may be what a corpus is made of), its inputs, one folder, a small `/tmp`.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from runners.hardware import Hardware, choose_cards, describe_hardware, visible_cards
from runners.sandbox.image import ETC, STATIC_PROC, SYSTEM, Image, frozen_counters
from runners.sandbox.limits import Limits
from runners.sandbox.output import SetupPipes
from runners.sandbox.packages import PACKAGES, package_paths

INPUTS, OUTPUT = "/in", "/out"  # in the sandbox
# torch.compile needs a /tmp
SHARED_BYTES, TEMPORARY_BYTES = 64 * 2**20, 256 * 2**20
N_FILES = 256  # open at once
# Users of this number exist nowhere: above systemd's container range (systemd.io/UIDS-GIDS), below 2^31.
FIRST_UID, N_UIDS = 1_900_000_000, 10**8
ALTERNATIVES = "/etc/alternatives"  # a compiler is found through it
DEVICES = ("null", "zero", "full", "random", "urandom")
# below /usr: hidden, since their texts may be what a corpus is made of
SYSTEM_SITES = ("lib/python3*/*-packages", "local/lib/python3*/*-packages", "share/doc", "local/share/doc")
GPU_GLOBS = (
    "nvidia[0-9]*", "nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset", "nvidia-caps*",
    "dxg",  # of WSL2
)  # fmt: skip
CUDA_LIBRARY = "libcuda.so"
BASE_ENV = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/tmp",  # noqa: S108 - inside the sandbox
    "USER": "trainer",  # torch.compile names its cache after it
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONNOUSERSITE": "1",
    "PYTHONSAFEPATH": "1",  # what the script starts imports nothing that it has written
    "PYTHONWARNINGS": "ignore",  # torch warns that there is no numpy; the last words are kept for people
}
UNSHARE = (
    "unshare", "--user", "--map-root-user", "--net", "--ipc", "--uts", "--mount", "--pid", "--fork",
    "--kill-child=KILL", "--mount-proc", "--",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Variant:
    """Which abilities of bubblewrap are used; an old version or a strict system lacks some."""

    drops_root: bool = False  # started by root: the program runs as a user that exists nowhere
    is_hardened: bool = False  # no further user namespaces inside (from 0.8), sized /tmp (from 0.7)
    is_filtered: bool = True  # only the system calls that the work needs
    is_in_memory: bool = True  # files that keep no trace of their readers


PLAIN = Variant()
# Best first. As root, the process limit of the kernel holds only with `drops_root`.
VARIANTS_AS_ROOT = (Variant(True, True), Variant(True, False), Variant(False, True), PLAIN)
VARIANTS = (Variant(False, True), PLAIN)


@dataclass(frozen=True, slots=True)
class Binds:
    """The inputs by name, and the writable folder."""

    read_only: Mapping[str, Path]
    writable: Path
    packages: tuple[str, ...] = PACKAGES
    needs_gpu: bool = False
    filter_fd: int | None = None  # of the system calls; None leaves all open
    image: Image | None = None  # the system and Python in memory; None shows those on the disk
    input_fds: Mapping[str, int] = field(default_factory=dict)  # open inputs, to be copied into memory
    output_bytes: int | None = None  # the writable folder is memory of this size; None binds the one given
    pipes: SetupPipes | None = None  # at which it stops when everything is set up


def environment(env: Mapping[str, str], *, needs_gpu: bool = False) -> dict[str, str]:
    """All that the program finds in its environment; with a card, the freest one and its library."""
    card = gpu_environment(describe_hardware(), cuda_folder()) if needs_gpu else {}
    return BASE_ENV | card | dict(env)


def gpu_environment(hardware: Hardware, library: Path | None) -> dict[str, str]:
    """The freest card that this process may use, and the folder of the driver's library."""
    found = visible_cards(choose_cards(hardware.gpus, 1))
    return found if library is None else {**found, "LD_LIBRARY_PATH": str(library)}


@lru_cache(maxsize=1)
def cuda_folder() -> Path | None:
    """The folder from which this process loads the driver's library; None without one."""
    try:
        ctypes.CDLL(f"{CUDA_LIBRARY}.1")
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return loaded_folder(maps)


def loaded_folder(maps: str) -> Path | None:
    """The folder of the driver's library in the text of `/proc/self/maps`."""
    paths = (line.split(maxsplit=5)[5].strip() for line in maps.splitlines() if CUDA_LIBRARY in line)
    return next((Path(path).parent for path in paths), None)


def rlimits(limits: Limits, *, needs_gpu: bool) -> list[str]:
    """A `prlimit` command to put before the program; empty where there is none.

    The address space is left free: torch reserves far more of it than it uses. `--data` counts what is
    writable and private, in each process; CUDA maps too much even for that.
    """
    if shutil.which("prlimit") is None:
        return []
    words = ["prlimit", f"--cpu={int(limits.cpu_s) + 1}", f"--fsize={limits.file_bytes}", "--core=0"]
    words += [f"--nproc={limits.n_processes}", f"--nofile={N_FILES}", "--memlock=65536"]
    if not needs_gpu:
        words.append(f"--data={limits.memory_bytes}")
    return [*words, "--"]


def bubblewrap(
    variant: Variant, binds: Binds, env: Mapping[str, str], argv: Sequence[str], *, uid: int | None = None
) -> list[str]:
    """The whole command; with `drops_root`, the program runs under `uid`."""
    words = [
        "--unshare-pid",
        "--unshare-net",
        "--unshare-ipc",
        "--unshare-uts",
        "--unshare-cgroup-try",
    ]
    words += ["--die-with-parent", "--new-session", "--hostname", "sandbox", "--clearenv"]
    for name, value in env.items():
        words += ["--setenv", name, value]
    mounts = [*_files(binds)]
    for name, path in binds.read_only.items():
        inside = f"{INPUTS}/{name}"
        if name in binds.input_fds:
            mounts += ["--perms", "0444", "--ro-bind-data", str(binds.input_fds[name]), inside]
        else:
            mounts += ["--ro-bind", str(path), inside]
    # `/tmp` comes first: the interpreter, or a folder of ours, may lie in the real one
    words += [*_in_memory("/tmp", variant, TEMPORARY_BYTES), *_parents(mounts), *mounts]  # noqa: S108
    words += _devices(binds, variant)
    output = ["--bind", str(binds.writable), OUTPUT]
    if binds.output_bytes is not None:
        output = _in_memory(OUTPUT, variant, binds.output_bytes)
    if binds.pipes is not None:
        words += ["--info-fd", str(binds.pipes.tells.fileno()), "--block-fd", str(binds.pipes.waits.fileno())]
    words += [*output, "--chdir", OUTPUT, "--remount-ro", "/dev", "--remount-ro", "/"]
    # the last one to set up starts the program under the filter: nobody could set anything up there
    last = ["--unshare-user", "--disable-userns"] if variant.is_hardened else ["--unshare-user"]
    if binds.filter_fd is not None:
        last += ["--seccomp", str(binds.filter_fd)]
    entrance = [*(binds.image.entrance if binds.image else ()), "bwrap"]
    if not variant.drops_root:
        return [*entrance, *last, *words, "--cap-drop", "ALL", "--", *argv]
    words += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--", "setpriv", f"--reuid={uid}"]
    words += [f"--regid={uid}", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--"]
    if variant.is_hardened or binds.filter_fd is not None:
        words += ["bwrap", *last, "--die-with-parent", "--dev-bind", "/", "/"]
        if _has_static_proc(binds):  # the real one was needed up to here
            words += ["--ro-bind", STATIC_PROC, "/proc"]
        words.append("--")
    return [*entrance, *words, *argv]


def new_uid() -> int:
    """A separate user for one sandbox, so that two neither share a process limit nor reach each other."""
    return FIRST_UID + secrets.randbelow(N_UIDS)


def _parents(mounts: Sequence[str]) -> Iterator[str]:
    """The folders above all mount points: bubblewrap itself would make them for their owner alone."""
    places = _places(mounts)
    for folder in sorted(
        {str(folder) for place in places for folder in Path(place).parents if place.count("/") > 1}
    ):
        if folder != "/" and not any(folder == place or folder.startswith(place + "/") for place in places):
            yield from ("--perms", "0755", "--dir", folder)


def _places(mounts: Sequence[str]) -> list[str]:
    """Where the mounts lie inside: the last word of each, never the folder outside that is bound there."""
    ends = [i for i, word in enumerate(mounts) if word.startswith("--")][1:]
    return [mounts[end - 1] for end in [*ends, len(mounts)]]


def _files(binds: Binds) -> Iterator[str]:
    """The system and Python: from memory; on a card the system with its compiler from the disk."""
    if binds.image is None:
        yield from _system()
        yield from _python(binds.packages)
    elif binds.needs_gpu:
        yield from _system()
        sites = sorted(_system_sites())
        yield from (word for site in sites for word in ("--tmpfs", str(site)))
        yield from binds.image.binds
        yield from (word for site in sites for word in ("--remount-ro", str(site)))
    else:
        yield from _system_links()
        yield from binds.image.binds


def _has_static_proc(binds: Binds) -> bool:
    return binds.image is not None and not binds.needs_gpu


def _system() -> Iterator[str]:
    yield from _system_links()
    for name in SYSTEM:
        if Path(name).is_dir() and not Path(name).is_symlink():
            yield from ("--ro-bind", name, name)
    for name in (*ETC, ALTERNATIVES):
        yield from ("--ro-bind-try", name, name)


def _system_links() -> Iterator[str]:
    for name in SYSTEM:
        if Path(name).is_symlink():
            yield from ("--symlink", str(Path(name).readlink()), name)


def _in_memory(place: str, variant: Variant, n_bytes: int) -> list[str]:
    """A folder that is memory, of its size where bubblewrap knows how."""
    size = ["--size", str(n_bytes)] if variant.is_hardened else []
    return [*size, "--perms", "1777", "--tmpfs", place]


def _devices(binds: Binds, variant: Variant) -> list[str]:
    """`/proc`, the few devices that have no state, and shared memory; the cards, with `/sys`, come last."""
    words = ["--proc", "/proc"]
    if _has_static_proc(binds) and not variant.drops_root:
        assert binds.image is not None
        words = ["--ro-bind", f"{binds.image.place}{STATIC_PROC}", "/proc"]
    words += ["--perms", "0755", "--tmpfs", "/dev"] if variant.is_hardened else ["--tmpfs", "/dev"]
    for name in DEVICES:
        words += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    words += _in_memory("/dev/shm", variant, SHARED_BYTES)  # noqa: S108 - its own
    if binds.needs_gpu:
        for pattern in GPU_GLOBS:
            for device in sorted(Path("/dev").glob(pattern)):
                words += ["--dev-bind", str(device), str(device)]
        if binds.image is not None:
            for name in frozen_counters():
                words += ["--ro-bind", f"{binds.image.place}{STATIC_PROC}{name}", f"/proc{name}"]
        words += ["--ro-bind", "/sys", "/sys"]
        for folder in _counting_folders():
            words += ["--tmpfs", folder]
        library = cuda_folder()
        if library is not None and not any(library.is_relative_to(name) for name in SYSTEM):
            words += ["--ro-bind", str(library), str(library)]
    return words


def _counting_folders() -> Iterator[str]:
    """Those below `/sys` with counters that no driver of a card reads: of the kernel and of the disks."""
    disks = sorted(os.path.realpath(path) for path in Path("/sys/block").glob("*"))
    yield from (path for path in ("/sys/kernel", "/sys/fs", *disks) if os.path.isdir(path))


@lru_cache
def _python(packages: tuple[str, ...]) -> tuple[str, ...]:
    """The interpreter and its standard library; of all packages only those that the script may import."""
    outside = [path for path in {Path(sys.prefix), Path(sys.base_prefix)} if not path.is_relative_to("/usr")]
    words = [word for path in sorted(outside) for word in ("--ro-bind", str(path), str(path))]
    sites = sorted(_sites())
    words += [word for site in sites for word in ("--tmpfs", str(site))]
    words += [word for path in package_paths(packages) for word in ("--ro-bind", str(path), str(path))]
    return (*words, *(word for site in sites for word in ("--remount-ro", str(site))))


def _sites() -> set[Path]:
    """Every folder of packages, and of documentation, that the program could see."""
    base = {"base": sys.base_prefix, "platbase": sys.base_prefix}
    names = ("purelib", "platlib")
    sites = {Path(sysconfig.get_path(name)) for name in names}
    sites |= {Path(sysconfig.get_path(name, vars=base)) for name in names}
    return _real_folders(sites) | _system_sites()


def _system_sites() -> set[Path]:
    """Those below `/usr`."""
    return _real_folders(site for pattern in SYSTEM_SITES for site in Path("/usr").glob(pattern))


def _real_folders(paths: Iterable[Path]) -> set[Path]:
    return {path for path in paths if path.is_dir() and not path.is_symlink()}
