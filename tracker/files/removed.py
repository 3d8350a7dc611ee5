"""`items/removed.jsonl`: which items were removed on purpose, and which runs rested on them."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tracker.serialization import VERSION_KEY, DiskFormat, read_lines, write_atomically

REMOVED_FILE = "removed.jsonl"
REMOVED_FORMAT = DiskFormat()


@dataclass(frozen=True, slots=True)
class Removed:
    """The items of one fingerprint that were removed; of the runs that rested on them, the scores stayed."""

    fingerprint: str
    run_ids: tuple[str, ...]


def add_removed(items_path: Path, removed: Collection[Removed]) -> None:
    """Write down that these items are removed, atomically; what was written before stays."""
    if not removed:
        return
    path = items_path / REMOVED_FILE
    before = path.read_bytes() if path.exists() else b""
    lines = [
        json.dumps({VERSION_KEY: REMOVED_FORMAT.version, "fingerprint": one.fingerprint, "runs": one.run_ids})
        for one in removed
    ]
    write_atomically(path, before + "".join(f"{line}\n" for line in lines).encode())


def read_removed(items_path: Path) -> set[tuple[str, str]]:
    """Fingerprint and run of each score whose items were removed; a damaged line counts for none."""
    found = set()
    for _, line in read_lines(items_path / REMOVED_FILE, REMOVED_FORMAT):
        if isinstance(line, str):
            continue
        fingerprint, runs = line.get("fingerprint"), line.get("runs")
        if isinstance(fingerprint, str) and isinstance(runs, list):
            found |= {(fingerprint, run_id) for run_id in runs if isinstance(run_id, str)}
    return found
