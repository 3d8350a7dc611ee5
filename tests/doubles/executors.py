"""A minimal executor: it runs the job in a child process and writes that to its log."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from runners.executors.supervisor import WorkerEnd
from runners.harness.events import Event, decode
from tracker.interpreter import python_command, python_environment
from tracker.records import Job
from tracker.serialization import dump_json, write_atomically
from tracker.settings import Settings


class PlainExecutor:
    """An executor as a user might write one for a cluster: pass the job file and read the events."""

    def __init__(self, settings: Settings) -> None:
        self._ended = settings.home / "ended-orphans"

    def run(
        self, job: Job, on_event: Callable[[Event], None], *, log_path: Path, interrupts: Sequence[float]
    ) -> WorkerEnd:
        job_path = log_path.with_name("elsewhere.json")
        write_atomically(job_path, dump_json(job))
        done = subprocess.run(
            python_command("-m", "runners.harness", str(job_path)),
            cwd=job_path.parent,
            env=python_environment(),
            capture_output=True,
            check=False,
        )
        log_path.write_bytes(b"ran elsewhere\n" + done.stderr)
        for line in done.stdout.splitlines():
            on_event(decode(line))
        return WorkerEnd(done.returncode, log_path)

    def end_orphan(self, first_run_id: str) -> None:
        self._ended.write_text(first_run_id)


class LosingExecutor(PlainExecutor):
    """An executor whose disk loses the first part of the items while the job runs."""

    def run(
        self, job: Job, on_event: Callable[[Event], None], *, log_path: Path, interrupts: Sequence[float]
    ) -> WorkerEnd:
        end = super().run(job, on_event, log_path=log_path, interrupts=interrupts)
        min(Path(job.items_path).glob("*/*.parquet")).unlink()
        return end
