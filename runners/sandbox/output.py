"""The writable folder of a sandbox as memory of its own, and the copy of it that is kept.

On a disk, the number of a new file tells how many others there are. The folder is opened while the sandbox
waits before its program, stays open as long as we need it, and is copied to its place after the end.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tracker.errors import TrackerError

SETUP_S = 60.0  # for bubblewrap to set up one sandbox on a busy machine
LOOK_S = 0.002
HINT = "the machine is too busy: repeat it later"


@dataclass(frozen=True, slots=True)
class SetupPipes:
    """Where bubblewrap tells its process (`told`), and where it waits for a word (`waits`)."""

    told: IO[bytes]
    tells: IO[bytes]
    waits: IO[bytes]
    lets_go: IO[bytes]


@contextlib.contextmanager
def setup_pipes() -> Iterator[SetupPipes]:
    """Two pipes, closed at the end of the block."""
    with contextlib.ExitStack() as stack:
        ends = [
            stack.enter_context(os.fdopen(handle, mode, buffering=0))
            for pair in (os.pipe(), os.pipe())
            for handle, mode in zip(pair, ("rb", "wb"), strict=True)
        ]
        yield SetupPipes(*ends)


def opened_output(pipes: SetupPipes, inside: str) -> int | None:
    """The open folder `inside` of the sandbox being set up, whose program starts now; None if it ended.

    Raises:
        TrackerError: setting it up takes too long.
    """
    pipes.tells.close()  # ours: the end of the pipe is then that of bubblewrap
    try:
        pid = _told_pid(pipes.told)
        return None if pid is None else _opened(pid, inside)
    finally:
        pipes.lets_go.write(b"\n")


def _told_pid(told: IO[bytes]) -> int | None:
    said = b""
    while block := told.read(4096):
        said += block
        with contextlib.suppress(ValueError):
            return int(json.loads(said)["child-pid"])
    return None


def _opened(pid: int, inside: str) -> int | None:
    """The folder, once the process has left our root for its own; None if it ended before.

    Raises:
        TrackerError: it takes too long.
    """
    own = os.stat("/")
    deadline = time.monotonic() + SETUP_S
    while time.monotonic() < deadline:
        try:
            root = os.stat(f"/proc/{pid}/root")
            if (root.st_dev, root.st_ino) != (own.st_dev, own.st_ino):
                return os.open(f"/proc/{pid}/root{inside}", os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            if not os.path.exists(f"/proc/{pid}"):
                return None
        time.sleep(LOOK_S)
    raise TrackerError(
        f"the sandbox was not set up within {SETUP_S:.0f} s", hint="repeat it on an idle machine"
    )


def fetch_output(source: Path, target: Path, *, most_bytes: int) -> bool:
    """Copy files, folders and links as they are; False if they are more than `most_bytes`.

    Whatever is none of these is left out, as is what cannot be read. Only for a folder in which nobody
    works any more, and that is neither too deep nor too full.
    """
    try:
        is_small = _copied(source, target, most_bytes)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return False
    target.chmod(stat.S_IMODE(source.stat().st_mode) & 0o755)
    return is_small


def _copied(source: Path, target: Path, left: int) -> bool:
    folders = [(source, target)]
    while folders:
        folder, into = folders.pop()
        with contextlib.suppress(PermissionError), os.scandir(folder) as entries:
            for entry in entries:
                place = into / entry.name
                if entry.is_symlink():
                    place.symlink_to(os.readlink(entry.path))
                elif entry.is_dir(follow_symlinks=False):
                    place.mkdir()
                    folders.append((Path(entry.path), place))
                elif stat.S_ISREG((status := entry.stat(follow_symlinks=False)).st_mode):
                    left -= status.st_size
                    if left < 0:
                        return False
                    with contextlib.suppress(PermissionError):
                        shutil.copyfile(entry.path, place, follow_symlinks=False)
    return True
