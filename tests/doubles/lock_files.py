"""Worker files as `tracker.files.workers` writes them, held by this process unless a test names another."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import psutil

from tracker.settings import Settings


def write_lock(settings: Settings, name: str, /, **entry: Any) -> Path:
    """A lock of that name; `entry` adds to the process that holds it, or says another one."""
    path = settings.locks_path / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = {"parent": os.getpid(), "parent_started_at": psutil.Process().create_time()}
    path.write_text(json.dumps(holder | entry))
    return path
