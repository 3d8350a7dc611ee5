"""The files in `snapshots/`: their names and order, and the pointer to the newest.

The order is the number in the name, one above the largest there, never a time: a clock may be ahead for a
day. Versions before it named a snapshot by its time (`20261128T155813912019-0563bd`); those come first.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tracker.errors import StoreError
from tracker.serialization import write_atomically

POINTER = "newest"
REFUSAL = "refused"  # why the database was not published; removed by the next publication
SUFFIX = ".duckdb"
KEPT = 3  # so that a reader that has just read the pointer still finds its file
_NUMBERED = re.compile(r"s(\d+)-[0-9a-f]+")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")


@dataclass(frozen=True, slots=True)
class Pointer:
    """The pointer: the snapshot that it names, or what is wrong with it."""

    name: str | None
    problem: str = ""  # "missing", "empty", "damaged"


def read_pointer(folder: Path) -> Pointer:
    """Read the pointer.

    Raises:
        StoreError: it cannot be read, for lack of permission or because it is a folder.
    """
    try:
        text = (folder / POINTER).read_bytes().decode(errors="replace").strip()
    except FileNotFoundError:
        return Pointer(None, "missing")
    except OSError as error:
        raise StoreError(f"cannot read `{folder}`: {error.strerror}") from error
    if not text:
        return Pointer(None, "empty")
    return Pointer(text) if _NAME.fullmatch(text) else Pointer(None, "damaged")


def write_pointer(folder: Path, name: str) -> None:
    """Name the snapshot that readers open, atomically."""
    write_atomically(folder / POINTER, name.encode())


def snapshot_paths(folder: Path) -> list[Path]:
    """The snapshots that are there, in the order of their publication."""
    return sorted((path for path in folder.glob(f"*{SUFFIX}") if path.is_file()), key=_place)


def preferred_paths(folder: Path) -> list[Path]:
    """The snapshots in the order in which to read them: the one that the pointer names, then the newest.

    Raises:
        StoreError: the pointer cannot be read.
    """
    paths = snapshot_paths(folder)[::-1]
    named = read_pointer(folder).name
    return sorted(paths, key=lambda path: path.stem != named)


def next_name(folder: Path) -> str:
    """The name of the next snapshot: its number is above all that are there."""
    names = [path.stem for path in snapshot_paths(folder)]
    pointer = folder / POINTER
    if pointer.is_file() and (named := read_pointer(folder).name) is not None:
        names.append(named)
    found = [int(match.group(1)) for match in map(_NUMBERED.fullmatch, names) if match]
    return f"s{max(found, default=0) + 1:08d}-{secrets.token_hex(3)}"


def day_of(path: Path) -> str:
    """The day on which the file was written, for a sentence: `2026-11-28`."""
    try:
        return f"{datetime.fromtimestamp(path.stat().st_mtime, UTC):%Y-%m-%d}"
    except (OSError, OverflowError, ValueError):
        return "an unknown day"


def drop_old(folder: Path, *, named: str) -> None:
    """Delete all but the newest snapshots; the one that the pointer names is never deleted."""
    others = [path for path in snapshot_paths(folder) if path.stem != named]
    for path in others[: max(len(others) - (KEPT - 1), 0)]:
        path.unlink(missing_ok=True)


def recyclable(folder: Path) -> Path | None:
    """The snapshot that the next publication deletes; None: it deletes none."""
    paths = snapshot_paths(folder)
    named = read_pointer(folder).name if paths else None
    others = [path for path in paths if path.stem != named]
    return others[0] if others and len(paths) >= KEPT else None


def _place(path: Path) -> tuple[bool, int, str]:
    match = _NUMBERED.fullmatch(path.stem)
    return (match is not None, int(match.group(1)) if match else 0, path.stem)
