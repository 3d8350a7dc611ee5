"""The core install without any extra: a folder of links to just the packages that it requires."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from tests.conftest import ROOT
from tracker.installation import requirements


def link_core(folder: Path) -> None:
    """Link the packages of the core, and whatever those require, from this environment into `folder`."""
    waiting = [Requirement(line) for line in requirements()]
    done: set[str] = set()
    while waiting:
        wanted = waiting.pop()
        if wanted.name in done or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        done.add(wanted.name)
        found = metadata.distribution(wanted.name)
        waiting += [Requirement(line) for line in found.requires or ()]
        for top in {file.parts[0] for file in found.files or () if file.parts[0] != ".."}:
            source = Path(str(found.locate_file(top)))
            if source.exists() and not (folder / top).exists():
                (folder / top).symlink_to(source)


def in_core(folder: Path, *argv: str, home: Path) -> subprocess.CompletedProcess[str]:
    """`tracker …` with nothing but those packages, and no network."""
    return python_in_core(folder, "-m", "tracker", *argv, home=home)


def python_in_core(folder: Path, *argv: str, home: Path) -> subprocess.CompletedProcess[str]:
    """`python …` with nothing but those packages, and no network."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRACKER_")}
    environment |= {
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(folder))),
        "TRACKER_HOME": str(home),
        "HF_HUB_OFFLINE": "1",
        "TRACKER_SOURCE_URLS": '{"epoch": "http://127.0.0.1:9/x"}',
    }
    return subprocess.run(
        [sys.executable, "-S", "-P", *argv],
        env=environment, cwd=home.parent, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
