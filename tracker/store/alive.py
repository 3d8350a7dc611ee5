"""Whether the process of a run still works on it."""

from __future__ import annotations

from dataclasses import replace

import psutil

from tracker.records import Run, RunStatus

CLOCK_SLACK_S = 60.0  # a process may appear slightly younger than the run it started


def settled(run: Run) -> Run:
    """Return the run, marked as interrupted if it says `running` but its process is gone."""
    if run.status is not RunStatus.RUNNING or is_alive(run):
        return run
    detail = f"process {run.pid} ended without a result; repeat the command to continue"
    return replace(run, status=RunStatus.INTERRUPTED, reason="killed", detail=detail)


def is_alive(run: Run) -> bool:
    """Whether the process that wrote `running` still runs: the same pid, and not started after the run."""
    try:
        born_at_s = psutil.Process(run.pid).create_time()
    except (psutil.Error, ValueError, OverflowError):
        return False
    return bool(born_at_s < run.started_at.timestamp() + CLOCK_SLACK_S)
