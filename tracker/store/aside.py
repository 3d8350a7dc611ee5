"""The folder `aside/`: files that a repair replaced. Nothing reads them, and only a person deletes them.

The exception is a database from which everything was carried over: of those, the newest are kept.
"""

from __future__ import annotations

import filecmp
import os
import re
import shutil
from pathlib import Path

from tracker.settings import Settings
from tracker.store.database import log_path

ASIDE = "aside"
N_WHOLE = 2  # databases kept of which nothing was lost
_NUMBER = re.compile(r"\.(?:old|damaged)-(\d+)$")


def keep_database(settings: Settings, *, is_whole: bool) -> Path | None:
    """Keep the database and its log under a second name; it also stays where it is. None if there is none.

    It is called `tracker.duckdb.old-N`, or `.damaged-N` if not everything could be carried over from it.
    """
    path = settings.db_path
    if not path.exists() and not log_path(path).exists():
        return None
    for known in (settings.home / ASIDE).glob(f"{path.name}.*"):
        if path.is_file() and _number(known) and known.samefile(path):  # a rebuild was killed after this step
            return known
    kept = _free_name(settings, path.name, "old" if is_whole else "damaged")
    keep_copy(path, kept)
    if path.is_dir():
        path.rename(kept)
    return kept


def keep_copy(path: Path, kept: Path) -> None:
    """Give a database and its log a second name each; a folder, or what is not there, has none."""
    for source, target in ((path, kept), (log_path(path), log_path(kept))):
        if source.is_file():
            _keep(source, target)


def drop_whole_databases(settings: Settings) -> None:
    """Delete all but the newest databases from which everything was carried over."""
    whole = [path for path in (settings.home / ASIDE).glob(f"{settings.db_path.name}.old-*") if _number(path)]
    for path in sorted(whole, key=_number)[:-N_WHOLE]:
        for each in (path, log_path(path)):
            each.unlink(missing_ok=True)


def move_aside(settings: Settings, path: Path) -> Path:
    """Move a file or folder of the home into `aside/`, under its place in the home; return its new path."""
    place = path.relative_to(settings.home)
    target = _free_name(settings, str(place), "old")
    path.rename(target)
    return target


def copy_aside(settings: Settings, path: Path) -> Path:
    """Keep a copy of a file that is about to be replaced, once; return where."""
    place = path.relative_to(settings.home)
    for known in (settings.home / ASIDE / place.parent).glob(f"{place.name}.old-*"):
        if known.is_file() and filecmp.cmp(known, path, shallow=False):
            return known
    target = _free_name(settings, str(place), "old")
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.copyfile(path, temporary)
    temporary.replace(target)
    return target


def _free_name(settings: Settings, place: str, kind: str) -> Path:
    wanted = settings.home / ASIDE / place
    wanted.parent.mkdir(parents=True, exist_ok=True)
    n = max((_number(path) for path in wanted.parent.glob(f"{wanted.name}.*")), default=0) + 1
    return wanted.with_name(f"{wanted.name}.{kind}-{n}")


def _number(path: Path) -> int:
    match = _NUMBER.search(path.name)
    return int(match.group(1)) if match else 0


def _keep(source: Path, target: Path) -> None:
    try:
        os.link(source, target)  # no copy: the next database replaces the name, not the content
    except OSError:  # a file system without links
        temporary = target.with_name(f".{target.name}.tmp")
        shutil.copyfile(source, temporary)
        temporary.replace(target)
