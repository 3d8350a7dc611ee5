"""The installed packages that a sandboxed program may import, and all that they require."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch",)  # all that a training script may import beside the standard library


def package_paths(names: Sequence[str]) -> list[Path]:
    """The files and folders in `site-packages` of these packages and of all that they require."""
    paths: set[Path] = set()
    seen: set[str] = set()
    queue = list(names)
    while queue:
        name = queue.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in seen:
            continue
        seen.add(key)
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # required on another system only
            continue
        for file in found.files or ():
            if file.parts[0] not in ("..", "__pycache__", "/"):
                paths.add(Path(str(found.locate_file(file.parts[0]))))
        queue += [re.split(r"[^A-Za-z0-9._-]", r)[0] for r in found.requires or () if "extra ==" not in r]
    return sorted(path for path in paths if path.exists())
