"""The one door to DuckDB: what was measured, written by one process at a time, read from snapshots."""

from tracker.store.snapshots import Snapshot, open_snapshot, publish, snapshot_id
from tracker.store.writing import Store

__all__ = ["Snapshot", "Store", "open_snapshot", "publish", "snapshot_id"]
