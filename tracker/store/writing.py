"""The store, open for writing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb

from tracker.private_home import create_home
from tracker.records import Run
from tracker.records.published import Batch, IngestOutcome, SourceFacts
from tracker.records.speed import SpeedRun
from tracker.records.studies import Study, SuiteRun, Trial
from tracker.records.vintages import Vintage, VintageData
from tracker.settings import Settings
from tracker.store import ingests, jobs, known_rows
from tracker.store.attacks import write_suite_run
from tracker.store.database import mark_change, open_database, store_errors, transaction
from tracker.store.locks import WAIT_S, write_lock
from tracker.store.reading import read
from tracker.store.reconstruction import restore_lost_database
from tracker.store.runs import write_run
from tracker.store.speeds import write_speed
from tracker.store.studies import write_study, write_trial
from tracker.store.vintages import write_vintage


class Store:
    """The database, open for one short write; nothing slow happens meanwhile."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, *, path: Path, items_path: Path) -> None:
        self._connection = connection
        self._path = path
        self._items_path = items_path
        self._is_changing = False

    @classmethod
    @contextmanager
    def open(cls, settings: Settings, *, wait_s: float = WAIT_S) -> Iterator[Store]:
        """Open the store of this home; create or migrate it if necessary.

        A database that is gone is rebuilt first from the files and snapshots of the home, with a warning.

        Raises:
            BusyError: another process writes to it for longer than `wait_s`.
            StoreError: it is unreadable, was written by a newer version, or the disk is full.
        """
        create_home(settings.home)
        with write_lock(settings.db_path, wait_s=wait_s):
            restore_lost_database(settings)
            connection = open_database(settings.db_path, wait_s=wait_s)
            try:
                yield cls(connection, path=settings.db_path, items_path=settings.items_path)
            finally:
                with store_errors(settings.db_path):
                    connection.close()  # writes the log into the database

    def add_run(self, run: Run) -> None:
        """Store a run with its scores and its model, all or nothing; replaces a run with the same `run_id`.

        Raises:
            StoreError: the disk is full or failing, or a number fits in no column; nothing was kept.
        """
        self.add_runs([run])

    def add_runs(self, runs: Iterable[Run]) -> None:
        """Store several runs, all of them or none.

        Raises:
            StoreError: the disk is full or failing, or a number fits in no column; nothing was kept.
        """
        with self._change() as connection:
            for run in runs:
                write_run(connection, run)

    def add_study(self, study: Study, trials: Iterable[Trial] = ()) -> None:
        """Store a study and some of its trials, all or nothing; replaces the same study and slots.

        Raises:
            StoreError: the disk is full or failing; nothing was kept.
        """
        with self._change() as connection:
            write_study(connection, study)
            for trial in trials:
                write_trial(connection, trial)

    def add_suite_run(self, run: SuiteRun) -> None:
        """Store a run of the attack suite; replaces the same run.

        Raises:
            StoreError: the disk is full or failing; nothing was kept.
        """
        with self._change() as connection:
            write_suite_run(connection, run)

    def add_speeds(self, runs: Iterable[SpeedRun]) -> None:
        """Store measurements of speed, all of them or none; replaces the same ones.

        Raises:
            StoreError: the disk is full or failing; nothing was kept.
        """
        with self._change() as connection:
            for run in runs:
                write_speed(connection, run)

    def source_state(self, source: str) -> ingests.SourceState:
        """The position at which the last ingest of this source ended."""
        with store_errors(self._path):
            return ingests.read_state(self._connection, source)

    def add_outcome(
        self,
        facts: SourceFacts,
        outcome: IngestOutcome,
        *,
        started_at: datetime,
        state: ingests.SourceState,
        ended_at: datetime | None = None,
        raw_sha256: tuple[str, ...] = (),
    ) -> None:
        """Store the outcome of ingesting a source; replaces the same `ingest_id`.

        `ended_at`: default: now, unless it is still running.
        """
        with self._change() as connection:
            ingests.write_source(connection, facts)
            ingests.write_outcome(
                connection,
                outcome,
                started_at=started_at,
                ended_at=ended_at,
                state=state,
                raw_sha256=raw_sha256,
            )

    def add_batch(
        self, batch: Batch, *, source: str, ingest_id: str, seen_at: datetime, any_unit: bool = False
    ) -> ingests.Counts:
        """Store new and changed records of a source, all or nothing.

        `any_unit`: also dated values whose unit seems to have changed.
        """
        mark = {"source": source, "ingest_id": ingest_id}
        with self._change() as connection:
            return ingests.write_batch(connection, batch, **mark, seen_at=seen_at, any_unit=any_unit)

    def known_rows(self, source: str, keys: Collection[str] | None = None) -> known_rows.KnownRows:
        """What is stored of a source: everything, or the rows with these keys."""
        with store_errors(self._path):
            return known_rows.read_known(self._connection, source, keys)

    def withdraw(
        self,
        keys: Collection[str],
        *,
        source: str,
        ingest_id: str,
        seen_at: datetime,
        missing_since: Mapping[str, date],
    ) -> ingests.Counts:
        """Record as gone what the source no longer lists, and what else its answer lacked since which day."""
        with self._change() as connection:
            known_rows.write_held(connection, source, missing_since)
            mark = {"source": source, "ingest_id": ingest_id, "seen_at": ingests.utc(seen_at)}
            return ingests.write_withdrawn(connection, keys, mark)

    def put_vintage(self, vintage: Vintage, data: VintageData | None = None) -> None:
        """Store a vintage with its contents, or only what is known about one that is stored already."""
        with self._change() as connection:
            write_vintage(connection, vintage, data)

    def add_aliases(self, aliases: Iterable[ingests.Alias], *, at: datetime | None = None) -> None:
        """Store links from sources' names to Hub repositories. `at`: when they were made; default: now."""
        with self._change() as connection:
            for alias in aliases:
                ingests.write_alias(connection, alias, at=at)

    def remove_aliases(self, names: Iterable[tuple[str, str]]) -> None:
        """Remove the links of names, each a source and a name, that no person made."""
        with self._change() as connection:
            ingests.delete_aliases(connection, names)

    def put_benchmark_tasks(self, tasks: Iterable[tuple[str, str, str]]) -> None:
        """Replace the table of tasks that correspond to sources' benchmarks: name, task, match."""
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
        """Replace these jobs, one per model and suite."""
        with self._change() as connection:
            for row in rows:
                jobs.write_job(connection, row)

    def remove_job(self, model_id: str, suite: str) -> bool:
        """Remove a job from the queue; False if there was none."""
        with self._change() as connection:
            return jobs.delete_job(connection, model_id=model_id, suite=suite)

    def query(self, name: str, **params: Any) -> list[dict[str, Any]]:
        """The rows of `queries/<name>.sql`; times are aware, JSON is parsed, a missing parameter is null."""
        with store_errors(self._path):
            return read(self._connection, name, params, items_path=self._items_path).records()

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Make the changes of the block one transaction: a kill leaves all of them or none.

        Raises:
            StoreError: the disk is full or failing; nothing was kept.
        """
        with store_errors(self._path), transaction(self._connection):
            self._is_changing = True
            try:
                yield
            finally:
                self._is_changing = False
            mark_change(self._connection)

    @contextmanager
    def _change(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Run one transaction (within `all_or_nothing`, its own), after which the snapshot is out of date."""
        if self._is_changing:
            yield self._connection
            return
        with store_errors(self._path), transaction(self._connection):
            yield self._connection
            mark_change(self._connection)
