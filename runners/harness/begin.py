"""A run as it begins, before anything is loaded: what stays of it if its worker dies at once."""

from __future__ import annotations

import importlib.metadata
from datetime import UTC, datetime

from runners.hardware import describe_hardware
from tracker.codec import dump
from tracker.records import Job, Run, RunRequest, RunStatus


def begun(job: Job, request: RunRequest, *, pid: int) -> Run:
    """The run of this process, nothing measured yet."""
    return Run(
        run_id=request.run_id,
        model=job.model,
        suite=request.suite.name,
        suite_version=request.suite.version,
        settings=job.settings,
        status=RunStatus.RUNNING,
        started_at=datetime.now(UTC),
        pid=pid,
        warnings=job.warnings,
        fit=job.fit,
        hardware=dump(describe_hardware()),
        limit=job.limit,
        harness_version=importlib.metadata.version("lm_eval"),
    )
