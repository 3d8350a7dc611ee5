"""The model that answers a study: recorded at its beginning, compared whenever it is resumed.

A server may serve another model under the same address tomorrow; a study has one agent from end to end.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tracker.errors import TrackerError
from tracker.records import EngineInfo
from tracker.serialization import (
    DiskFormat,
    dump_versioned,
    load_versioned,
    writable_text,
    write_atomically,
)

FILE = "served.json"
SERVED_FORMAT = DiskFormat()


@dataclass(frozen=True, slots=True)
class Served:
    """A server's name for its model."""

    name: str
    root: str


def check_served(info: EngineInfo, folder: Path) -> None:
    """Keep what is served in the study's folder, or compare it with what was kept.

    Raises:
        TrackerError: another model answers now.
    """
    name, root = (info.versions.get(key, "") for key in ("served_model", "served_root"))
    served = Served(writable_text(name), writable_text(root))
    path = folder / FILE
    if not path.exists():
        write_atomically(path, dump_versioned(served, SERVED_FORMAT))
        return
    before = load_versioned(Served, path.read_bytes(), SERVED_FORMAT, where=str(path))
    if before != served:
        message = f"the server now serves {_shown(served)}, but this study was started with {_shown(before)}"
        raise TrackerError(message, hint="serve that model again and resume, or start a new study")


def _shown(served: Served) -> str:
    return f"`{served.name}`" + (f" ({served.root})" if served.root else "")
