"""Keys for answers that need not be forgotten with each snapshot: they change with the tables that are read.

A bench that publishes changes runs and scores; what the pages keep of the Hub and the index stays.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from tracker.store import Snapshot


class TableStates:
    """The states of the tables of one home: names that are new with each change of their rows."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._snapshot = ""
        self._tables: dict[tuple[str, ...], frozenset[str]] = {}  # by the names of reads, of this snapshot
        self._current: dict[str, str] = {}  # state by table, of this snapshot
        self._last: dict[str, tuple[str, str]] = {}  # hash and state by table, when it was last looked at

    def of(self, names: tuple[str, ...], snapshot: str, opened: Callable[[], Snapshot]) -> str:
        """The state of what the named reads use; they read no items. `opened` opens the newest snapshot.

        A table that returns to earlier rows gets a new state all the same.
        """
        with self._lock:
            if snapshot != self._snapshot:
                self._snapshot, self._tables, self._current = snapshot, {}, {}
            tables = self._tables.get(names)
            if tables is None or not tables <= self._current.keys():
                with opened() as store:
                    tables = self._tables[names] = store.tables_of(*names)
                    for table in tables - self._current.keys():
                        self._current[table] = self._state(table, store.table_hash(table))
            return " ".join(f"{table}={self._current[table]}" for table in sorted(tables))

    def _state(self, table: str, rows_hash: str) -> str:
        known = self._last.get(table)
        if known is None or known[0] != rows_hash:
            known = self._last[table] = (rows_hash, self._snapshot)
        return known[1]
