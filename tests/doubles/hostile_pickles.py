"""An object whose unpickling writes a file, as a hostile checkpoint would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WRITES = "unpickled"


class Touching:
    """Writes `path` when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        """What a pickle calls: a function of ours, with the path."""
        return touch, (str(self.path),)


def touch(path: str) -> str:
    """Write the file."""
    Path(path).write_text(WRITES)
    return path
