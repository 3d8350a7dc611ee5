"""Room for the next model: of those measured here, the one not used for longest leaves the Hub's cache.

A model that was never measured here is somebody else's download and is never touched.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path

from huggingface_hub import CachedRepoInfo, constants, scan_cache_dir
from huggingface_hub.errors import CacheNotFound

from tracker.errors import TrackerError
from tracker.settings import Settings
from tracker.store import open_snapshot

GB = 1e9
MARGIN_BYTES = 5_000_000_000  # left free beside the next model, for item files, logs and everyone else
_log = logging.getLogger(__name__)


def make_room(settings: Settings, wanted_bytes: int, *, keep: str) -> list[str]:
    """The models that were removed so that so much can be downloaded.

    Raises:
        TrackerError: there is not enough room, and nothing more that may be removed.
    """
    place = _existing(Path(constants.HF_HUB_CACHE))
    if wanted_bytes == 0:
        return []
    removed = []
    for repo in _removable(settings, keep=keep):
        if shutil.disk_usage(place).free >= wanted_bytes + MARGIN_BYTES:
            break
        removed.append(_remove(repo))
    free = shutil.disk_usage(place).free
    if free < wanted_bytes + MARGIN_BYTES:
        message = f"`{keep}` has {wanted_bytes / GB:.1f} GB, {free / GB:.1f} GB are free on {place}"
        raise TrackerError(message, hint="free some space; HF_HOME moves the cache to another disk")
    return removed


def keep_quota(settings: Settings, *, keep: str) -> list[str]:
    """The models that were removed because those measured here take more than TRACKER_CACHE_QUOTA_GB."""
    if settings.cache_quota_gb is None:
        return []
    ours = _removable(settings, keep="")
    total = sum(repo.size_on_disk for repo in ours)
    removed = []
    for repo in ours:
        if total <= settings.cache_quota_gb * GB:
            break
        if repo.repo_id.casefold() == keep.casefold():
            continue
        total -= repo.size_on_disk
        removed.append(_remove(repo))
    return removed


def _removable(settings: Settings, *, keep: str) -> list[CachedRepoInfo]:
    """Repositories of models measured here, the one not used for longest first."""
    with open_snapshot(settings) as snapshot:
        measured = {row["model_id"].casefold() for row in snapshot.query("models") if row["path"] is None}
    found = [
        repo
        for repo in _repos()
        if repo.repo_id.casefold() in measured and repo.repo_id.casefold() != keep.casefold()
    ]
    return sorted(found, key=lambda repo: repo.last_accessed)


def _repos() -> list[CachedRepoInfo]:
    try:
        found = scan_cache_dir(constants.HF_HUB_CACHE)
    except CacheNotFound:
        return []
    return [repo for repo in found.repos if repo.repo_type == "model"]


def cached_bytes(model_id: str) -> int:
    """How much of this model lies in the Hub's cache."""
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
