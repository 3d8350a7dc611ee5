"""A run as rows: columns for what is queried, JSON for what is only shown.

The pattern for new tables: one module per noun with its rows and the statements that write them inside a
transaction that `Store` opens, and one line in `Store` that calls it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any

import duckdb

from tracker.errors import StoreError
from tracker.records import Cost, EngineInfo, Model, Run, TaskMetric, TaskScore
from tracker.redaction import masked
from tracker.serialization import dump, load_json

BITS = {"SMALLINT": 16, "INTEGER": 32, "BIGINT": 64}  # of a column of whole numbers

TABLES = ("runs", "task_scores", "task_metrics")  # that a run is written to


class UnstorableError(StoreError):
    """A run with a number that fits in no column of the database."""


def write_run(connection: duckdb.DuckDBPyConnection, run: Run) -> None:
    """Replace the run, its scores and its model; the caller holds the transaction.

    Raises:
        UnstorableError: a number of the run fits in no column; nothing was changed.
    """
    check_run(run, number_columns(connection))
    write_checked_runs(connection, [run])


def number_columns(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, int]]:
    """Of each table that a run is written to, the columns of whole numbers with their bits."""
    rows = connection.execute(
        "select table_name, column_name, data_type from duckdb_columns() where table_name in $tables",
        {"tables": TABLES},
    ).fetchall()
    found: dict[str, dict[str, int]] = {table: {} for table in TABLES}
    for table, name, data_type in rows:
        if data_type in BITS:
            found[table][name] = BITS[data_type]
    return found


def check_run(run: Run, columns: Mapping[str, Mapping[str, int]]) -> None:
    """Refuse numbers out of the range of their column before DuckDB does, which ends the transaction.

    Raises:
        UnstorableError: there is one.
    """
    for table, rows in _rows(run).items():
        for name, bits in columns[table].items():
            end = 1 << bits - 1
            for row in rows:
                value = row.get(name)
                if isinstance(value, int) and not -end <= value < end:
                    raise UnstorableError(f"run `{run.run_id}`: the store cannot hold {name} {value}")


def write_checked_runs(connection: duckdb.DuckDBPyConnection, runs: Sequence[Run]) -> None:
    """Replace these runs, of which each has another id, with their scores and models.

    The caller has checked each of them, and holds the transaction. Many at once take less time.
    """
    if not runs:
        return
    rows: dict[str, list[dict[str, Any]]] = {table: [] for table in TABLES}
    for run in runs:
        for table, more in _rows(run).items():
            rows[table] += more
    for table in TABLES:
        connection.execute(
            f"delete from {table} where run_id in $run_ids",  # noqa: S608 - one of ours
            {"run_ids": [run.run_id for run in runs]},
        )
        if rows[table]:
            connection.execute(
                f"insert into {table} by name select unnest(row) from (select unnest($rows) as row)",  # noqa: S608
                {"rows": rows[table]},
            )
    for model_id, revision in {(run.model.model_id, run.model.revision) for run in runs}:
        update_model(connection, model_id=model_id, revision=revision)


def _rows(run: Run) -> dict[str, list[dict[str, Any]]]:
    """The rows of the run by table."""
    return {
        "runs": [run_row(run)],
        "task_scores": [score_row(run.run_id, place, score) for place, score in enumerate(run.scores)],
        "task_metrics": [
            {"run_id": run.run_id, "place": place} | asdict(metric)
            for place, metric in enumerate(run.metrics)
        ],
    }


def update_model(connection: duckdb.DuckDBPyConnection, *, model_id: str, revision: str) -> None:
    """Derive the model from all of its runs, so that their order does not matter."""
    key = {"model_id": model_id, "revision": revision}
    connection.execute("delete from models where model_id = $model_id and revision = $revision", key)
    connection.execute(
        "insert into models select model_id, revision, arg_max(path, run_id),"
        " arg_max(model_quantization, run_id), arg_max(n_params, run_id), arg_max(license, run_id),"
        " arg_max(needs_remote_code, run_id), min(started_at) from runs"
        " where model_id = $model_id and revision = $revision group by model_id, revision",
        key,
    )


def run_row(run: Run) -> dict[str, Any]:
    """The run as a row of `runs`."""
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
            "sample_seed": run.sample_seed,
            "settings": _json(dump(run.settings)),
            "harness_version": run.harness_version,
            "sampling": run.sampling,
            "sampling_values": _json(dict(run.sampling_values)),
            "repeats": run.repeats,
            "replicate": run.replicate,
            "max_output_tokens": run.max_output_tokens,
            "status": run.status.value,
            "reason": run.reason,
            "detail": masked(run.detail) if run.detail else run.detail,
            "warnings": _json([masked(warning) for warning in run.warnings]),
            "started_at": _utc(run.started_at),
            "ended_at": _utc(run.ended_at),
            "pid": run.pid,
            "n_items": run.n_items,
            "n_reused_items": run.n_reused_items,
            "reused": _json([dump(one) for one in run.reused]),
            "prompts": _json([dump(one) for one in run.prompts]),
            "against": _json([dump(one) for one in run.against]),
            "suite_mean": _json(dump(run.suite_mean)) if run.suite_mean is not None else None,
            "origin": _json(dump(run.origin)) if run.origin is not None else None,
            "engine": engine.engine if engine else run.settings.engine,
            "versions": _json(dict(engine.versions) if engine else {}),
            "predicted_memory_bytes": run.fit.get("total_bytes") if run.fit is not None else None,
            "fit": _json(run.fit) if run.fit is not None else None,
            "hardware": _json(dict(run.hardware)),
        }
    )


def score_row(run_id: str, place: int, score: TaskScore) -> dict[str, Any]:
    """The score as a row of `task_scores`."""
    return {"run_id": run_id, "place": place} | asdict(score)


def run_of_rows(
    row: Mapping[str, Any], scores: Sequence[Mapping[str, Any]], metrics: Sequence[Mapping[str, Any]] = ()
) -> Run:
    """The run in these rows of `runs`, `task_scores` and `task_metrics`; `thinks` is in none of them.

    Raises:
        TrackerError: a value is missing or out of range.
    """
    model = {field.name: row.get(field.name) for field in fields(Model)}
    model["quantization"] = row.get("model_quantization")
    engine = None
    if row.get("engine_version") is not None:  # otherwise `engine` is the one that was asked for
        engine = {field.name: row.get(field.name) for field in fields(EngineInfo)}
        engine["versions"] = json.loads(row["versions"])
    cost = {field.name: row[field.name] for field in fields(Cost) if row.get(field.name) is not None}
    rows = sorted(scores, key=lambda score: int(score["place"]))
    known = {field.name for field in fields(Run)} - {"model", "engine", "cost", "scores", "metrics", "thinks"}
    document = {name: row[name] for name in known if row.get(name) is not None}
    document |= {
        "model": model,
        "engine": engine,
        "cost": cost,
        "scores": [{field.name: score.get(field.name) for field in fields(TaskScore)} for score in rows],
        "metrics": [
            {field.name: metric.get(field.name) for field in fields(TaskMetric)}
            for metric in sorted(metrics, key=lambda metric: int(metric["place"]))
        ],
    }
    for name in (
        "settings",
        "warnings",
        "hardware",
        "fit",
        "reused",
        "prompts",
        "against",
        "suite_mean",
        "origin",
        "sampling_values",
    ):
        if row.get(name) is not None:
            document[name] = json.loads(row[name])
    for name in ("started_at", "ended_at"):
        if row.get(name) is not None:
            document[name] = row[name].replace(tzinfo=UTC).isoformat()
    return load_json(Run, json.dumps(document), where=f"run `{row.get('run_id')}`")


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _utc(moment: datetime | None) -> datetime | None:
    return moment.astimezone(UTC).replace(tzinfo=None) if moment else None
