"""Make room for the next model: remove the least recently used measured models from the Hub's cache.

Models that were never measured here are never removed, since something else downloaded them.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from huggingface_hub import CachedRepoInfo, constants, scan_cache_dir
from huggingface_hub.errors import CacheNotFound

from runners.models.resolve import COMMIT
from tracker.errors import TrackerError
from tracker.settings import Settings
from tracker.store import open_snapshot

GB = 1e9
MARGIN_BYTES = 5_000_000_000  # kept free for item files, logs and other programs
_log = logging.getLogger(__name__)


def make_room(
    settings: Settings, wanted_bytes: int, *, keep: str, at_work: Collection[str] = ()
) -> list[str]:
    """Remove models until `wanted_bytes` can be downloaded for `keep`; returns the removed ones.

    `at_work`: others that are being measured, and stay.

    Raises:
        TrackerError: there is not enough space, and nothing more that may be removed.
    """
    place = _existing(Path(constants.HF_HUB_CACHE))
    if wanted_bytes == 0:
        return []
    removed = []
    for repo in _removable(settings, keep={keep, *at_work}):
        if shutil.disk_usage(place).free >= wanted_bytes + MARGIN_BYTES:
            break
        removed.append(_remove(repo))
    free = shutil.disk_usage(place).free
    if free < wanted_bytes + MARGIN_BYTES:
        message = f"`{keep}` needs {wanted_bytes / GB:.1f} GB, but `{place}` has {free / GB:.1f} GB free"
        hint = f"{MARGIN_BYTES / GB:.0f} GB must remain free; free some space, or move the cache with HF_HOME"
        raise TrackerError(message, hint=hint)
    return removed


def keep_quota(settings: Settings, *, keep: str, at_work: Collection[str] = ()) -> list[str]:
    """Remove measured models beyond TRACKER_CACHE_QUOTA_GB from the cache; returns the removed ones."""
    kept = {name.casefold() for name in (keep, *at_work)}
    if settings.cache_quota_gb is None:
        return []
    ours = _removable(settings, keep=())
    total = sum(repo.size_on_disk for repo in ours)
    removed = []
    for repo in ours:
        if total <= settings.cache_quota_gb * GB:
            break
        if repo.repo_id.casefold() in kept:
            continue
        total -= repo.size_on_disk
        removed.append(_remove(repo))
    return removed


def _removable(settings: Settings, *, keep: Collection[str]) -> list[CachedRepoInfo]:
    """Cached repositories of models measured here, least recently used first."""
    with open_snapshot(settings) as snapshot:
        rows = snapshot.query("models")
    # a model measured through a server has no commit, so a cached copy of that name is not ours
    ours = [row for row in rows if row["path"] is None and COMMIT.fullmatch(row["revision"])]
    measured = {row["model_id"].casefold() for row in ours} - {name.casefold() for name in keep}
    found = [repo for repo in _repos() if repo.repo_id.casefold() in measured]
    return sorted(found, key=lambda repo: repo.last_accessed)


def _repos() -> list[CachedRepoInfo]:
    try:
        found = scan_cache_dir(constants.HF_HUB_CACHE)
    except CacheNotFound:
        return []
    return [repo for repo in found.repos if repo.repo_type == "model"]


def cached_bytes(model_id: str) -> int:
    """Bytes of this model in the Hub's cache."""
    return sum(repo.size_on_disk for repo in _repos() if repo.repo_id.casefold() == model_id.casefold())


def _remove(repo: CachedRepoInfo) -> str:
    _log.warning("removing %s (%.1f GB) from the Hub's cache", repo.repo_id, repo.size_on_disk / GB)
    commits = [revision.commit_hash for revision in repo.revisions]
    # of this repository alone: a copy of it has the same commits
    only = replace(scan_cache_dir(constants.HF_HUB_CACHE), repos=frozenset({repo}))
    only.delete_revisions(*commits).execute()
    return repo.repo_id


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
