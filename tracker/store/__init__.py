"""The only package that opens DuckDB: one process writes at a time, readers use snapshots.

The item files are the primary data and the database indexes them: `rebuild` recreates it, `repair` repairs
whatever `check` finds. To add a table, add
a migration and a module like `runs.py`; to add a read, add a file in `queries/`.

A name is imported when it is asked for: the process that answers a user's SELECT needs few of these modules,
and importing all of them would take most of its time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracker.store.checks import Problem, check
    from tracker.store.compaction import Compacted, CompactionStep, compact
    from tracker.store.database import WRITABLE_HINT
    from tracker.store.ingests import Alias, Counts, SourceState
    from tracker.store.item_parts import NOTHING_MISSING, MissingItems
    from tracker.store.jobs import JobRow
    from tracker.store.known_rows import KnownRows
    from tracker.store.leftovers import clean_up
    from tracker.store.opened import Snapshot
    from tracker.store.query_bounds import QueryLimits, bounded_select
    from tracker.store.reading import Answer
    from tracker.store.reconstruction import Rebuilt, rebuild
    from tracker.store.relations import Relation
    from tracker.store.restoration import Repaired, repair
    from tracker.store.retention import Pruned, prune
    from tracker.store.snapshots import keep_open, open_snapshot, publish, published_at, snapshot_id
    from tracker.store.vintages import HubFacts, confirmed, read_vintage_data, read_vintages
    from tracker.store.writing import Store

__all__ = [
    "NOTHING_MISSING",
    "WRITABLE_HINT",
    "Alias",
    "Answer",
    "Compacted",
    "CompactionStep",
    "Counts",
    "HubFacts",
    "JobRow",
    "KnownRows",
    "MissingItems",
    "Problem",
    "Pruned",
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
    "compact",
    "confirmed",
    "keep_open",
    "open_snapshot",
    "prune",
    "publish",
    "published_at",
    "read_vintage_data",
    "read_vintages",
    "rebuild",
    "repair",
    "snapshot_id",
]

_NAMES = {  # by module, as above
    "checks": (
        "Problem",
        "check",
    ),
    "compaction": (
        "Compacted",
        "CompactionStep",
        "compact",
    ),
    "database": ("WRITABLE_HINT",),
    "ingests": (
        "Alias",
        "Counts",
        "SourceState",
    ),
    "item_parts": (
        "NOTHING_MISSING",
        "MissingItems",
    ),
    "jobs": ("JobRow",),
    "known_rows": ("KnownRows",),
    "leftovers": ("clean_up",),
    "opened": ("Snapshot",),
    "query_bounds": (
        "QueryLimits",
        "bounded_select",
    ),
    "reading": ("Answer",),
    "reconstruction": (
        "Rebuilt",
        "rebuild",
    ),
    "relations": ("Relation",),
    "restoration": (
        "Repaired",
        "repair",
    ),
    "retention": (
        "Pruned",
        "prune",
    ),
    "snapshots": (
        "keep_open",
        "open_snapshot",
        "publish",
        "published_at",
        "snapshot_id",
    ),
    "vintages": (
        "HubFacts",
        "confirmed",
        "read_vintage_data",
        "read_vintages",
    ),
    "writing": ("Store",),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """A name of this package, from its module."""
    if name not in _MODULES:
        raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    """What there is, for completion."""
    return sorted([*globals(), *__all__])
