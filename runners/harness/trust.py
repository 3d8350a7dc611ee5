"""How long stored answers count where nothing tells that the model's weights are still the same."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from tracker.errors import TrackerError
from tracker.files.items import read_run
from tracker.settings import load_settings

TRUSTED_FOR = timedelta(days=7)  # of a server that tells no digest of its weights


def outdated_runs(run_ids: Iterable[str], items_path: Path) -> set[str]:
    """Those of the runs that began longer ago than answers are trusted."""
    return {run_id for run_id in run_ids if _is_outdated(items_path / run_id)}


def _is_outdated(folder: Path) -> bool:
    with suppress(TrackerError):
        return load_settings().now() - read_run(folder).started_at > TRUSTED_FOR
    return False
