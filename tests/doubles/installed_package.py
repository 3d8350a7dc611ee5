"""A package with entry points as pip installs it: a module and a `dist-info` folder on the import path."""

from __future__ import annotations

from pathlib import Path


def install(folder: Path, module: str, source: str, *, group: str, name: str, attribute: str) -> Path:
    """Write `module` and its metadata into `folder`, which must be on PYTHONPATH."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{module}.py").write_text(source)
    metadata = folder / f"{module}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}:{attribute}\n")
    return folder
