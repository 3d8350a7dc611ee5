"""Keep what is stored here to this user: the home and everything in it are created for their owner only.

It holds prompts and answers, raw responses of private sources, and logs. A home that exists and is open to
others is never changed: whoever opened it may share it. It is named instead, by `tracker doctor` and once
where something is first stored in it.
The Hub's cache is no part of it: users of one machine may share that, so its files get the user's own umask.
Not covered: Windows, whose folders inherit the access of the folder above.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UMASK = 0o077  # of the command line and all that it starts: nothing for the group and others
USERS_UMASK = "TRACKER_USERS_UMASK"  # environment of our processes: the umask that the user has, in octal
FOLDER_MODE = 0o700
OPEN_TO_OTHERS = 0o077
_log = logging.getLogger(__name__)


def restrict_new_files() -> None:
    """Create files and folders for this user only, in this process and its children."""
    before = os.umask(UMASK)
    os.environ.setdefault(USERS_UMASK, f"{before:03o}")  # of the first of our processes: children have ours


@contextmanager
def shared_files() -> Iterator[None]:
    """Create files as the user's own umask says, for what other programs use too: the Hub's cache.

    The umask is that of the whole process: what another thread creates in the home meanwhile is protected by
    the home's own mode alone.
    """
    given = os.environ.get(USERS_UMASK, "")
    if not re.fullmatch(r"[0-7]{3}", given):  # the umask was never changed: a program that imports this one
        yield
        return
    before = os.umask(int(given, 8))
    try:
        yield
    finally:
        os.umask(before)


def create_home(home: Path) -> None:
    """Create the home for this user only; one that exists is left as it is, with a warning if it is open."""
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        home.mkdir(mode=FOLDER_MODE, exist_ok=True)
    elif home.is_dir() and not any(home.iterdir()):
        for problem in home_problems(home):
            _log.warning("%s; %s", problem, remedy(home))


def home_problems(home: Path) -> list[str]:
    """Sentences on who else can read or change the home; empty if nobody, or if there is no home yet."""
    if sys.platform == "win32":
        return []
    try:
        found, link = home.stat(), home.lstat()
    except OSError:
        return []
    problems = []
    me = os.geteuid()
    if stat.S_ISLNK(link.st_mode) and link.st_uid not in (me, 0):
        problems.append(f"the home `{home}` is a link of another user (id {link.st_uid})")
    if found.st_uid != me:
        problems.append(f"the home `{home}` belongs to another user (id {found.st_uid})")
    mode = stat.S_IMODE(found.st_mode)
    if mode & stat.S_IWOTH:
        problems.append(f"every user of this machine can change the home `{home}` (mode {mode:04o})")
    elif mode & stat.S_IWGRP:
        problems.append(f"a group can change the home `{home}` (mode {mode:04o})")
    elif mode & OPEN_TO_OTHERS:
        problems.append(f"other users of this machine can read the home `{home}` (mode {mode:04o})")
    return problems


def remedy(home: Path) -> str:
    """How to close an open home."""
    return f"`chmod -R go-rwx {home}` keeps it to you"
