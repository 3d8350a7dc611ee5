"""The only package that opens DuckDB: one process writes at a time, readers use snapshots.

The item files are the primary data and the database indexes them: `rebuild` recreates it, `repair` repairs
whatever `check` finds. To add a table, add
a migration and a module like `runs.py`; to add a read, add a file in `queries/`.
"""

from tracker.store.checks import Problem, check
from tracker.store.database import WRITABLE_HINT
from tracker.store.ingests import Alias, Counts, SourceState
from tracker.store.item_parts import NOTHING_MISSING, MissingItems
from tracker.store.jobs import JobRow
from tracker.store.known_rows import KnownRows
from tracker.store.leftovers import clean_up
from tracker.store.query_bounds import QueryLimits, bounded_select
from tracker.store.reading import Answer
from tracker.store.relations import Relation
from tracker.store.repair import Rebuilt, rebuild
from tracker.store.restoration import Repaired, repair
from tracker.store.snapshots import Snapshot, open_snapshot, publish, published_at, snapshot_id
from tracker.store.vintages import HubFacts, confirmed, read_vintage_data, read_vintages
from tracker.store.writing import Store

__all__ = [
    "NOTHING_MISSING",
    "WRITABLE_HINT",
    "Alias",
    "Answer",
    "Counts",
    "HubFacts",
    "JobRow",
    "KnownRows",
    "MissingItems",
    "Problem",
    "QueryLimits",
    "Rebuilt",
    "Relation",
    "Repaired",
    "Snapshot",
    "SourceState",
    "Store",
    "bounded_select",
    "check",
    "clean_up",
    "confirmed",
    "open_snapshot",
    "publish",
    "published_at",
    "read_vintage_data",
    "read_vintages",
    "rebuild",
    "repair",
    "snapshot_id",
]
