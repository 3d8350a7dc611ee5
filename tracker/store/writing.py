"""The store, open for writing."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from tracker.codec import dump
from tracker.records import EngineInfo, Run, TaskScore
from tracker.settings import Settings
from tracker.store.database import open_database, store_errors, transaction
from tracker.store.locks import writing
from tracker.store.reading import read

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
                connection.close()

    def add_run(self, run: Run) -> None:
        """Keep a run with its scores and its model, all or nothing; the same `run_id` replaces.

        Raises:
            StoreError: the disk is full or failing; nothing of the run was kept.
        """
        with store_errors(self._path), transaction(self._connection):
            self._insert_run(run)
            self._update_model(run)
            self._connection.execute("update store_state set change_id = $id", {"id": secrets.token_hex(8)})

    def query(self, name: str, **params: Any) -> list[dict[str, Any]]:
        """The rows of `queries/<name>.sql`; times are aware, JSON is parsed, a missing parameter is null."""
        with store_errors(self._path):
            return read(self._connection, name, params, items_path=self._items_path)

    def _insert_run(self, run: Run) -> None:
        key = {"run_id": run.run_id}
        self._connection.execute("delete from runs where run_id = $run_id", key)
        self._connection.execute("delete from task_scores where run_id = $run_id", key)
        self._connection.execute("insert into runs by name select unnest($row)", {"row": run_row(run)})
        for place, score in enumerate(run.scores):
            row = score_row(run.run_id, place, score)
            self._connection.execute("insert into task_scores by name select unnest($row)", {"row": row})

    def _update_model(self, run: Run) -> None:
        """Derive the model from all of its runs, so that the order in which they came does not matter."""
        key = {"model_id": run.model.model_id, "revision": run.model.revision}
        self._connection.execute(
            "delete from models where model_id = $model_id and revision = $revision", key
        )
        self._connection.execute(
            "insert into models select model_id, revision, arg_max(path, run_id),"
            " arg_max(model_quantization, run_id), arg_max(n_params, run_id), arg_max(license, run_id),"
            " arg_max(needs_remote_code, run_id), min(started_at) from runs"
            " where model_id = $model_id and revision = $revision group by model_id, revision",
            key,
        )


def run_row(run: Run) -> dict[str, Any]:
    """The run as a row of `runs`: flat where it is asked for, JSON where it is only shown."""
    model, engine = run.model, run.engine
    engine_columns: dict[str, Any] = {f.name: getattr(engine, f.name, None) for f in fields(EngineInfo)}
    return (
        engine_columns
        | asdict(run.cost)
        | {
            "run_id": run.run_id,
            "model_id": model.model_id,
            "revision": model.revision,
            "path": model.path,
            "model_quantization": model.quantization,
            "n_params": model.n_params,
            "license": model.license,
            "needs_remote_code": model.needs_remote_code,
            "suite": run.suite,
            "suite_version": run.suite_version,
            "limit": run.limit,
            "settings": _json(dump(run.settings)),
            "harness_version": run.harness_version,
            "status": run.status.value,
            "reason": run.reason,
            "detail": run.detail,
            "warnings": _json(run.warnings),
            "started_at": _utc(run.started_at),
            "ended_at": _utc(run.ended_at),
            "pid": run.pid,
            "n_items": run.n_items,
            "n_reused_items": run.n_reused_items,
            "engine": engine.engine if engine else run.settings.engine,
            "versions": _json(dict(engine.versions) if engine else {}),
            "fit": _json(run.fit) if run.fit is not None else None,
            "hardware": _json(dict(run.hardware)),
        }
    )


def score_row(run_id: str, place: int, score: TaskScore) -> dict[str, Any]:
    """The score as a row of `task_scores`."""
    return {"run_id": run_id, "place": place} | asdict(score)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _utc(moment: datetime | None) -> datetime | None:
    return moment.astimezone(UTC).replace(tzinfo=None) if moment else None
