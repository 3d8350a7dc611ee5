"""The files of a measurement of speed: `speeds/<speed_id>/speed.json`, and beside it what was its evidence.

`level-NN.json` is what the load generator wrote, `prompts-NN.jsonl` what was asked, `generator.log` and
`server.log` what was printed. `speed.json` is replaced after every level, so that a kill loses one level.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tracker.errors import TrackerError
from tracker.files.studies import disk_errors
from tracker.records.speed import SpeedRun
from tracker.serialization import DiskFormat, dump_versioned, load_versioned, write_atomically
from tracker.settings import Settings

SPEED_FILE = "speed.json"
SPEED_FORMAT = DiskFormat()


def speed_folder(settings: Settings, speed_id: str) -> Path:
    """The folder of a measurement."""
    return settings.speeds_path / speed_id


def write_speed(settings: Settings, run: SpeedRun) -> None:
    """Replace the record, atomically.

    Raises:
        DiskFullError, StoreError: it cannot be written.
    """
    path = speed_folder(settings, run.speed_id) / SPEED_FILE
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, dump_versioned(run, SPEED_FORMAT))


def speed_paths(speeds_path: Path) -> Iterator[Path]:
    """The record of every measurement, the oldest first."""
    yield from sorted(speeds_path.glob(f"*/{SPEED_FILE}"))


def read_speed(path: Path) -> SpeedRun:
    """The measurement in a record.

    Raises:
        TrackerError: the file is broken, of a newer version, or of another measurement.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise TrackerError(f"`{path}`: cannot be read: {error.strerror}") from error
    run = load_versioned(SpeedRun, raw, SPEED_FORMAT, where=f"`{path}`")
    if run.speed_id != path.parent.name:
        raise TrackerError(f"`{path}` belongs to measurement `{run.speed_id}`")
    return run
