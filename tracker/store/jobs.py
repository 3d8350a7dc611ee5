"""The queue as rows: one job per model and suite."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime

import duckdb

from tracker.redaction import masked
from tracker.store.ingests import utc

STATUSES = ("queued", "parked", "running", "done", "failed")


@dataclass(frozen=True, slots=True)
class JobRow:
    """One model to measure with one suite, and why."""

    model_id: str
    suite: str
    suite_version: int
    kind: str
    status: str
    priority: float
    reasons: tuple[str, ...]
    added_at: datetime
    updated_at: datetime
    set_priority: float | None = None
    parked_reason: str | None = None
    revision: str | None = None
    n_params: int | None = None
    weights_bytes: int | None = None
    predicted_bytes: int | None = None
    predicted_by: str | None = None  # "fit": from headers and configuration; "weights": from their size
    attempts: int = 0
    lease_pid: int | None = None
    run_id: str | None = None

    def __post_init__(self) -> None:
        """Check the status, and that a parked job has a reason."""
        if self.status not in STATUSES:
            raise ValueError(f"{self.model_id}: unknown job status `{self.status}`")
        if self.status == "parked" and not self.parked_reason:
            raise ValueError(f"{self.model_id}: a parked job needs a reason")

    @property
    def rank(self) -> float:
        """The priority that a person set, else the computed one."""
        return self.priority if self.set_priority is None else self.set_priority


def write_job(connection: duckdb.DuckDBPyConnection, job: JobRow) -> None:
    """Replace the job of this model and suite."""
    row = asdict(job)
    row["parked_reason"] = masked(job.parked_reason) if job.parked_reason else job.parked_reason
    row["reasons"] = json.dumps(list(job.reasons), ensure_ascii=False)
    row |= {"added_at": utc(job.added_at), "updated_at": utc(job.updated_at)}
    connection.execute("insert or replace into jobs by name select unnest($row)", {"row": row})


def delete_job(connection: duckdb.DuckDBPyConnection, *, model_id: str, suite: str) -> bool:
    """Delete the job; return whether there was one."""
    ((n,),) = connection.execute(
        "delete from jobs where lower(model_id) = lower($model_id) and suite = $suite",
        {"model_id": model_id, "suite": suite},
    ).fetchall()
    return bool(n)
