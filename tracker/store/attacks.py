"""Results of the attack suite as rows, rebuilt from their files."""

from __future__ import annotations

from pathlib import Path

import duckdb

from tracker.errors import NewerFormatError, TrackerError
from tracker.files.studies import read_suite_run, suite_run_paths
from tracker.records.studies import SuiteRun
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
