"""Results of the attack suite as rows, rebuilt from their files, and rows as results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC
from pathlib import Path
from typing import Any

import duckdb

from tracker.errors import NewerFormatError, TrackerError
from tracker.files.studies import read_suite_run, suite_run_paths
from tracker.records.studies import Attack, SuiteRun
from tracker.serialization import load_json
from tracker.store.ingests import utc


def write_suite_run(connection: duckdb.DuckDBPyConnection, run: SuiteRun) -> None:
    """Replace the run of the attack suite; the caller holds the transaction."""
    connection.execute("delete from attacks where suite_run_id = $id", {"id": run.suite_run_id})
    common = {
        "suite_run_id": run.suite_run_id,
        "started_at": utc(run.started_at),
        "ended_at": utc(run.ended_at),
        "tier": run.tier,
        "sandbox": run.sandbox,
        "version": run.version,
        "is_whole": run.is_whole,
    }
    for attack in run.attacks:
        row = common | {"name": attack.name, "outcome": attack.outcome, "how": attack.how}
        connection.execute("insert into attacks by name select unnest($row)", {"row": row})


def suite_run_of_rows(rows: Sequence[Mapping[str, Any]]) -> SuiteRun:
    """The run of the attack suite in its rows of `attacks`.

    Raises:
        TrackerError: a value is missing or out of range.
    """
    first = rows[0]
    document = {name: first[name] for name in ("suite_run_id", "tier", "sandbox", "version", "is_whole")}
    document |= {name: first[name].replace(tzinfo=UTC).isoformat() for name in ("started_at", "ended_at")}
    document["attacks"] = [{field.name: row[field.name] for field in fields(Attack)} for row in rows]
    where = f"run `{first['suite_run_id']}` of the attack suite"
    return load_json(SuiteRun, json.dumps(document), where=where)


def rebuild_attacks(connection: duckdb.DuckDBPyConnection, attacks_path: Path) -> list[str]:
    """Write every run of the suite; return the problems of skipped files, inside a transaction."""
    skipped = []
    for path in suite_run_paths(attacks_path):
        try:
            write_suite_run(connection, read_suite_run(path))
        except NewerFormatError:
            raise
        except TrackerError as error:
            skipped.append(str(error))
    return skipped
