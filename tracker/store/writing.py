"""The store, open for writing."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from tracker.ingested import Batch, IngestOutcome, SourceFacts
from tracker.records import Run
from tracker.settings import Settings
from tracker.store import ingests, jobs
from tracker.store.attacks import write_suite_run
from tracker.store.database import open_database, store_errors, transaction
from tracker.store.locks import writing
from tracker.store.reading import read
from tracker.store.runs import write_run
from tracker.store.studies import write_study, write_trial
from tracker.studies import Study, SuiteRun, Trial

WAIT_S = 10.0  # many times what one write takes


class Store:
    """The database, held for one short write; nothing slow happens while it is open."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, *, path: Path, items_path: Path) -> None:
        self._connection = connection
        self._path = path
        self._items_path = items_path

    @classmethod
    @contextmanager
    def open(cls, settings: Settings, *, wait_s: float = WAIT_S) -> Iterator[Store]:
        """The store of this home, made or brought up to date if need be.

        Raises:
            BusyError: another process writes to it for longer than `wait_s`.
            StoreError: it is unreadable, was written by a newer version, or the disk is full.
        """
        with writing(settings.db_path, wait_s=wait_s):
            connection = open_database(settings.db_path, wait_s=wait_s)
            try:
                yield cls(connection, path=settings.db_path, items_path=settings.items_path)
            finally:
                with store_errors(settings.db_path):
                    connection.close()  # writes the log into the database

    def add_run(self, run: Run) -> None:
        """Keep a run with its scores and its model, all or nothing; the same `run_id` replaces.

        Raises:
            StoreError: the disk is full or failing; nothing of the run was kept.
        """
        self.add_runs([run])

    def add_runs(self, runs: Iterable[Run]) -> None:
        """Keep several runs, all of them or none.

        Raises:
            StoreError: the disk is full or failing; nothing was kept.
        """
        with self._change() as connection:
            for run in runs:
                write_run(connection, run)

    def add_study(self, study: Study, trials: Iterable[Trial] = ()) -> None:
        """Keep a study and these of its trials, all or nothing; the same study and slots are replaced.

        Raises:
            StoreError: the disk is full or failing; nothing was kept.
        """
        with self._change() as connection:
            write_study(connection, study)
            for trial in trials:
                write_trial(connection, trial)

    def add_suite_run(self, run: SuiteRun) -> None:
        """Keep a run of the attack suite; the same run is replaced.

        Raises:
            StoreError: the disk is full or failing; nothing was kept.
        """
        with self._change() as connection:
            write_suite_run(connection, run)

    def source_state(self, source: str) -> ingests.SourceState:
        """Where the last ingest of this source ended."""
        with store_errors(self._path):
            return ingests.read_state(self._connection, source)

    def add_outcome(
        self,
        facts: SourceFacts,
        outcome: IngestOutcome,
        *,
        started_at: datetime,
        state: ingests.SourceState,
        raw_sha256: tuple[str, ...] = (),
    ) -> None:
        """Keep what became of asking a source; the same `ingest_id` replaces."""
        with self._change() as connection:
            ingests.write_source(connection, facts)
            ingests.write_outcome(
                connection, outcome, started_at=started_at, state=state, raw_sha256=raw_sha256
            )

    def add_batch(self, batch: Batch, *, source: str, ingest_id: str, seen_at: datetime) -> ingests.Counts:
        """Keep what a source says anew, and where to go on after it, all or nothing."""
        with self._change() as connection:
            return ingests.write_batch(connection, batch, source=source, ingest_id=ingest_id, seen_at=seen_at)

    def mark_absent(
        self,
        seen: Collection[str],
        *,
        source: str,
        ingest_id: str,
        seen_at: datetime,
        unread: Collection[str] = (),
    ) -> ingests.Counts:
        """Note as gone what the source had and no longer lists; `unread` benchmarks are left as they are."""
        with self._change() as connection:
            mark = {"source": source, "ingest_id": ingest_id, "seen_at": ingests.utc(seen_at)}
            return ingests.write_absent(connection, seen, mark, unread=unread)

    def add_aliases(self, aliases: Iterable[ingests.Alias]) -> None:
        """Keep which name of which source is which repository of the Hub."""
        with self._change() as connection:
            for alias in aliases:
                ingests.write_alias(connection, alias)

    def put_benchmark_tasks(self, tasks: Iterable[tuple[str, str, str]]) -> None:
        """Say which task of ours is which benchmark of the sources: name, task, match."""
        rows = sorted(set(tasks))
        known = self.query("benchmark_tasks")
        if rows == sorted((row["benchmark"], row["task"], row["match"]) for row in known):
            return
        with self._change() as connection:
            connection.execute("delete from benchmark_tasks")
            connection.executemany(
                "insert into benchmark_tasks values (?, ?, ?)", [list(row) for row in rows]
            )

    def put_jobs(self, rows: Iterable[jobs.JobRow]) -> None:
        """Replace these jobs; one for a model and suite."""
        with self._change() as connection:
            for row in rows:
                jobs.write_job(connection, row)

    def remove_job(self, model_id: str, suite: str) -> bool:
        """Take a job out of the queue; False if there was none."""
        with self._change() as connection:
            return jobs.delete_job(connection, model_id=model_id, suite=suite)

    def query(self, name: str, **params: Any) -> list[dict[str, Any]]:
        """The rows of `queries/<name>.sql`; times are aware, JSON is parsed, a missing parameter is null."""
        with store_errors(self._path):
            return read(self._connection, name, params, items_path=self._items_path)

    @contextmanager
    def _change(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """One transaction, after which the snapshot is out of date."""
        with store_errors(self._path), transaction(self._connection):
            yield self._connection
            mark_change(self._connection)


def mark_change(connection: duckdb.DuckDBPyConnection) -> None:
    """Give the database a new mark, so that its snapshot is seen to be out of date."""
    connection.execute("update store_state set change_id = $id", {"id": secrets.token_hex(8)})
