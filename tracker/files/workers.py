"""Worker files: what is at work in this home, and which process follows it.

`locks/worker-<run_id>.json` names the runs of one bench, `locks/study-<study_id>.json` a study. The process
that starts the work writes the file first and removes it once the results are stored, so a file whose process
is gone names what a crash left behind. A process id alone may be used again: its start tells the two apart.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil

from tracker.serialization import write_atomically
from tracker.settings import Settings

SAME_START_S = 1.0  # two readings of one process's start differ by less
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")  # of a run or study


class WorkKind(StrEnum):
    """What is at work; the beginning of the file's name."""

    BENCH = "worker"
    STUDY = "study"


@dataclass(frozen=True, slots=True)
class WorkerFile:
    """One worker file; `content` is empty where the file could not be read."""

    path: Path
    content: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_held(self) -> bool:
        """Whether the process that wrote the file is alive."""
        try:
            began_at_s = psutil.Process(int(self.content["parent"])).create_time()
            return bool(abs(began_at_s - float(self.content["parent_started_at"])) < SAME_START_S)
        except (KeyError, TypeError, ValueError, OverflowError, psutil.Error):  # damaged, or gone
            return False

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs of a bench; what cannot be the name of a folder is left out."""
        runs = self.content.get("runs")
        names = [run_id for run_id in runs if isinstance(run_id, str)] if isinstance(runs, list) else []
        return tuple(name for name in names if _NAME.fullmatch(name))

    @property
    def study_id(self) -> str | None:
        """The study that is worked on."""
        study = self.content.get("study")
        return study if isinstance(study, str) and _NAME.fullmatch(study) else None

    @property
    def executor(self) -> str:
        """The executor of a bench; versions that had only one did not write it."""
        return str(self.content.get("executor", "local"))

    def remove(self) -> None:
        """Forget the work: its results are stored. What is no file stays: `tracker store repair` moves it."""
        if not self.path.is_dir():
            self.path.unlink(missing_ok=True)


def worker_path(settings: Settings, kind: WorkKind, name: str) -> Path:
    """Where the worker file of this run or study is."""
    return settings.locks_path / f"{kind}-{name}.json"


def write_worker_file(settings: Settings, kind: WorkKind, name: str, **content: Any) -> WorkerFile:
    """Write that this process follows the work of that name; `content` says which."""
    holder = {"parent": os.getpid(), "parent_started_at": psutil.Process().create_time()}
    file = WorkerFile(worker_path(settings, kind, name), holder | content)
    write_atomically(file.path, json.dumps(file.content).encode())
    return file


def worker_files(settings: Settings, kind: WorkKind) -> Iterator[WorkerFile]:
    """Every worker file of this kind, by name; one that vanishes meanwhile is left out."""
    for path in sorted(settings.locks_path.glob(f"{kind}-*.json")):
        try:
            content = json.loads(path.read_bytes())
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError):
            content = {}
        yield WorkerFile(path, content if isinstance(content, dict) else {})
