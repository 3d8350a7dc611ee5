"""The files of ladders: `ladders/<ladder_id>.json`, which names the runs of each rung.

What a rung loses is in no file: it is computed from the items, so that it can never contradict them.
"""

from __future__ import annotations

from pathlib import Path

from tracker.errors import TrackerError
from tracker.files.studies import disk_errors
from tracker.records.ladders import Ladder
from tracker.serialization import DiskFormat, dump_versioned, load_versioned, write_atomically
from tracker.settings import Settings

LADDER_FORMAT = DiskFormat()


def write_ladder(settings: Settings, ladder: Ladder) -> None:
    """Replace the ladder's file, atomically.

    Raises:
        DiskFullError, StoreError: it cannot be written.
    """
    path = _path(settings, ladder.ladder_id)
    with disk_errors(path):
        write_atomically(path, dump_versioned(ladder, LADDER_FORMAT))


def read_ladder(settings: Settings, ladder_id: str) -> Ladder | None:
    """The ladder of that id; None if there is none.

    Raises:
        TrackerError: its file is broken, or of a newer version.
    """
    path = _path(settings, ladder_id)
    return _read(path) if path.is_file() else None


def read_ladders(settings: Settings) -> tuple[list[Ladder], list[str]]:
    """Every ladder, the one that was measured last first, and a sentence for each file that is broken."""
    found, problems = [], []
    for path in sorted(settings.ladders_path.glob("*.json")):
        try:
            found.append(_read(path))
        except TrackerError as error:
            problems.append(f"{error} ({error.hint})" if error.hint else str(error))
    return sorted(found, key=lambda ladder: ladder.updated_at, reverse=True), problems


def _path(settings: Settings, ladder_id: str) -> Path:
    return settings.ladders_path / f"{ladder_id}.json"


def _read(path: Path) -> Ladder:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise TrackerError(f"{path}: cannot be read: {error.strerror}") from error
    return load_versioned(Ladder, raw, LADDER_FORMAT, where=str(path))
