"""Which model answers a study: written down when it begins, compared whenever it goes on.

A server may serve another model under the same address tomorrow; a study has one agent from end to end.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tracker.codec import dump_json, load_json, writable_text, write_atomically
from tracker.errors import TrackerError
from tracker.records import EngineInfo

FILE = "served.json"


@dataclass(frozen=True, slots=True)
class Served:
    """What a server says of its model."""

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
        write_atomically(path, dump_json(served))
        return
    before = load_json(Served, path.read_bytes(), where=str(path))
    if before != served:
        message = f"the server serves {_shown(served)} now; this study was begun with {_shown(before)}"
        raise TrackerError(message, hint="serve that model again and resume, or begin a new study")


def _shown(served: Served) -> str:
    return f"`{served.name}`" + (f" ({served.root})" if served.root else "")
