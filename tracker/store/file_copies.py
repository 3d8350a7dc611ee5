"""Copies of a large database file that cost little: shared blocks, or only the blocks that changed.

Three ways, tried in this order; each ends with a complete file under its name, or with none:

- **Shared blocks**: btrfs, XFS and APFS copy a file without copying its content.
- **Recycled file** (above 100 MB): a copy that is no longer needed becomes the new one. Only blocks that
  differ are written. It is left alone while any process has it open, also this one, or under a second name.
- **Full copy**.

The file is built under the temporary name of its target, which no reader takes for a copy.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

RECYCLED_FROM_BYTES = 100 * 10**6  # below it, a full copy takes less than a second
HEADER_BYTES = 3 * 4096  # DuckDB's blocks start after its three headers
BLOCK_BYTES = 256 * 1024  # DuckDB's default
FICLONE = 0x40049409  # `_IOW(0x94, 9, int)` of linux/fs.h


@dataclass(frozen=True, slots=True)
class FileCopy:
    """How a file was copied, and how many bytes were written for it."""

    method: str  # "shared", "recycled" or "full"
    n_written_bytes: int


def copy_file(
    source: Path, target: Path, *, recycled: Path | None = None, least_bytes: int | None = None
) -> FileCopy:
    """Copy `source`, which nobody writes meanwhile, to `target`, durably and all or nothing.

    `recycled`: an older copy that may be lost; it is used if `source` has at least `least_bytes` (100 MB).

    Raises:
        OSError: the disk is full or failing; `target` is as it was, but `recycled` may be gone.
    """
    temporary = target.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    try:
        if _share_blocks(source, temporary):
            done = FileCopy("shared", 0)
        else:
            is_large = source.stat().st_size >= (RECYCLED_FROM_BYTES if least_bytes is None else least_bytes)
            n_bytes = _recycle(source, temporary, recycled) if recycled is not None and is_large else None
            if n_bytes is None:
                shutil.copyfile(source, temporary)
            done = (
                FileCopy("full", source.stat().st_size) if n_bytes is None else FileCopy("recycled", n_bytes)
            )
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return done


def _share_blocks(source: Path, temporary: Path) -> bool:
    """Copy by sharing blocks; False, without a file, where the file system cannot."""
    if sys.platform == "darwin":
        return _clone(source, temporary)
    if sys.platform != "linux":
        return False
    import fcntl

    with source.open("rb") as old, temporary.open("xb") as new, suppress(OSError):
        fcntl.ioctl(new.fileno(), FICLONE, old.fileno())
        return True
    temporary.unlink()
    return False


def _clone(source: Path, temporary: Path) -> bool:
    import ctypes

    clone = getattr(ctypes.CDLL(None, use_errno=True), "clonefile", None)
    return clone is not None and clone(os.fsencode(source), os.fsencode(temporary), 0) == 0


def _recycle(source: Path, temporary: Path, recycled: Path) -> int | None:
    """Turn an old copy into the new one and return the bytes written; None if it must be left alone."""
    if sys.platform == "win32":
        return None
    try:
        recycled.replace(temporary)  # first, so that nobody opens it after the check
    except OSError:
        return None
    with _unused(temporary) as file:
        if file is not None:
            return _write_differences(source, file)
    temporary.replace(recycled)
    return None


@contextmanager
def _unused(path: Path) -> Iterator[IO[bytes] | None]:
    """The file, open for writing and locked against DuckDB's readers; None if anybody has it open.

    DuckDB's lock does not show readers in this process, and opening the file here would release it: they are
    looked for first.
    """
    status = path.stat()
    if status.st_nlink > 1 or _is_open_here(status):
        yield None
        return
    import fcntl

    try:
        file = path.open("r+b")
    except OSError:
        yield None
        return
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield None
            return
        yield file


def _is_open_here(status: os.stat_result) -> bool:
    """Whether this process has the file open; True if that cannot be found out."""
    try:
        descriptors = [int(name) for name in os.listdir("/dev/fd") if name.isdigit()]
    except OSError:
        return _is_listed_open(status)
    for descriptor in descriptors:
        with suppress(OSError):  # the descriptor of the listing itself is closed by now
            if os.path.samestat(os.fstat(descriptor), status):
                return True
    return False


def _is_listed_open(status: os.stat_result) -> bool:
    try:
        paths = [opened.path for opened in psutil.Process().open_files()]
    except psutil.Error:
        return True
    for path in paths:
        with suppress(OSError):
            if os.path.samestat(os.stat(path), status):
                return True
    return False


def _write_differences(source: Path, file: IO[bytes]) -> int:
    """Make the content of `file` that of `source`; return the bytes written."""
    n_written = 0
    with source.open("rb") as wanted:
        place, n_bytes = 0, HEADER_BYTES
        while block := wanted.read(n_bytes):
            file.seek(place)
            if file.read(len(block)) != block:
                file.seek(place)
                file.write(block)
                n_written += len(block)
            place, n_bytes = place + len(block), BLOCK_BYTES
    file.truncate(place)
    file.flush()
    return n_written
