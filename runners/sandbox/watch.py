"""The resource usage of a sandbox's processes, and the limits that the kernel cannot set for a whole tree.

Covered: the sum of CPU time, memory and processes of a tree, the bytes in its one writable folder, wall time,
and the memory that is left to the machine (memory that a program hides from its own account is seen there).
Not covered: what happens between two looks.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from runners.sandbox.limits import Limits

LOOK_S = 0.2
FOLDER_EVERY = 5  # looks: walking a folder costs more than reading a few processes
MIN_FREE_BYTES = 256 * 2**20  # left to the machine; below, the kernel begins to kill whom it likes
MAX_ENTRIES = 2000  # files in the writable folder; a training writes about five
MAX_DEPTH = 50  # folders within each other; deeper ones are a way to hide files
FOLDER_FILES = 2  # the folder may hold as many files of the largest size


@dataclass(slots=True)
class Usage:
    """The resource usage of a tree of processes at one moment."""

    n_processes: int = 0
    memory_bytes: int = 0  # resident; shared pages count in each process
    cpu_s: float = 0.0  # of the living, and of those that they waited for
    each_cpu_s: dict[tuple[int, float], float] = field(default_factory=dict)  # of the living, by (pid, start)


def usage(pid: int) -> Usage:
    """Current usage of `pid` and all its descendants; a process that vanishes meanwhile is skipped."""
    now = Usage()
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.Error:
        return now
    for process in tree:
        try:
            with process.oneshot():
                times, memory = process.cpu_times(), process.memory_info()
                now.each_cpu_s[process.pid, process.create_time()] = times.user + times.system
                now.cpu_s += times.user + times.system + times.children_user + times.children_system
        except psutil.Error:
            continue
        now.n_processes += 1
        now.memory_bytes += int(memory.rss)
    return now


def shared_once(pid: int) -> int:
    """Resident bytes of the tree with shared pages counted once; slower than `usage`."""
    total = 0
    try:
        tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.Error:  # it ended meanwhile
        return 0
    for process in tree:
        try:
            total += _pss(process)
        except (psutil.Error, OSError):
            continue
    return total


def _pss(process: psutil.Process) -> int:
    try:
        return int(getattr(process.memory_full_info(), "pss", 0))
    except psutil.AccessDenied:
        return int(process.memory_info().rss)


def folder_bytes(folder: Path) -> tuple[int, int]:
    """(bytes, entries) in `folder`, without following links; counting stops at `MAX_ENTRIES` + 1.

    A folder that lies too deep, or that does not let itself be read, counts as too many entries.
    """
    total = n_entries = 0
    places = [(str(folder), 0)]
    while places:
        place, depth = places.pop()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    n_entries += 1
                    if n_entries > MAX_ENTRIES:
                        return total, n_entries
                    if not entry.is_dir(follow_symlinks=False):
                        total += _file_bytes(entry)
                    elif depth < MAX_DEPTH:
                        places.append((entry.path, depth + 1))
                    else:
                        return total, MAX_ENTRIES + 1
        except (FileNotFoundError, NotADirectoryError):  # removed meanwhile
            continue
        except OSError:  # its path is too long, or it was closed to us
            return total, MAX_ENTRIES + 1
    return total, n_entries


def _file_bytes(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_blocks * 512
    except FileNotFoundError:  # removed meanwhile
        return 0


class SandboxWatch:
    """The looks at one sandbox: `look` says which limit is passed, if any."""

    def __init__(self, pid: int, folder: Path, limits: Limits) -> None:
        self.pid, self.folder, self.limits = pid, folder, limits
        self.began = time.monotonic()
        self.peak_memory_bytes = 0
        self._each_cpu_s: dict[tuple[int, float], float] = {}
        self._tree_cpu_s = 0.0
        self._n_looks = 0

    @property
    def cpu_s(self) -> float:
        """CPU seconds up to the last look, of processes that were waited for and of all that were seen.

        A program may refuse to wait for its children, so that the first of the two sums misses them; or have
        them live between two looks, so that the second does.
        """
        return max(self._tree_cpu_s, sum(self._each_cpu_s.values()))

    @property
    def wall_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.began

    def look(self) -> str | None:
        """The name of the limit that is passed, or None."""
        now = usage(self.pid)
        self._each_cpu_s.update(now.each_cpu_s)
        self._tree_cpu_s = max(self._tree_cpu_s, now.cpu_s)
        self.peak_memory_bytes = max(self.peak_memory_bytes, now.memory_bytes)
        self._n_looks += 1
        if self._n_looks % FOLDER_EVERY == 1 and (passed := self.look_at_folder()):
            return passed
        return self._passed(now)

    def _passed(self, now: Usage) -> str | None:
        if now.n_processes > self.limits.n_processes + 8:  # the sandbox itself has a few
            return "processes"
        if now.memory_bytes > self.limits.memory_bytes and shared_once(self.pid) > self.limits.memory_bytes:
            return "memory"
        if psutil.virtual_memory().available < MIN_FREE_BYTES:
            return "memory"
        if self.cpu_s > self.limits.cpu_s:
            return "cpu"
        return "wall" if self.wall_s > self.limits.wall_s else None

    def look_at_folder(self) -> str | None:
        """The name of the folder's limit if it is passed, or None."""
        total, n_entries = folder_bytes(self.folder)
        return "disk" if total > FOLDER_FILES * self.limits.file_bytes or n_entries > MAX_ENTRIES else None
