"""The one door to DuckDB: what was measured, written by one process at a time, read from snapshots.

The item files are the truth and this is their index: `rebuild` makes it anew. To add a table, add a migration
and a module like `runs.py`; to add a read, add a file in `queries/`.
"""

from tracker.store.checks import Problem, check
from tracker.store.database import WRITABLE_HINT
from tracker.store.ingests import Alias, Counts, SourceState
from tracker.store.jobs import JobRow
from tracker.store.reading import Answer
from tracker.store.repair import Rebuilt, rebuild
from tracker.store.snapshots import Snapshot, open_snapshot, publish, published_at, snapshot_id
from tracker.store.writing import Store

__all__ = [
    "WRITABLE_HINT",
    "Alias",
    "Answer",
    "Counts",
    "JobRow",
    "Problem",
    "Rebuilt",
    "Snapshot",
    "SourceState",
    "Store",
    "check",
    "open_snapshot",
    "publish",
    "published_at",
    "rebuild",
    "snapshot_id",
]
