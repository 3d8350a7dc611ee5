"""The record of a new run, written before anything is loaded, in case its worker dies at once."""

from __future__ import annotations

from datetime import UTC, datetime

from runners.hardware import describe_hardware
from runners.harness.sample import SAMPLE_SEED
from tracker.installation import installed_version
from tracker.records import Job, Run, RunRequest, RunStatus
from tracker.serialization import dump


def new_run(job: Job, request: RunRequest, *, pid: int) -> Run:
    """A run of this process with nothing measured yet."""
    limit = job.limit or request.suite.sample
    sample_seed = job.sample_seed if job.limit else SAMPLE_SEED
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
        limit=limit,
        sample_seed=None if limit is None else sample_seed,
        sampling=request.suite.sampling,
        repeats=request.suite.repeats,
        replicate=job.replicate,
        max_output_tokens=request.max_output_tokens,
        harness_version=installed_version("lm_eval", extra="cpu"),
    )
