"""Where jobs run: one protocol, one file per executor; a bench calls `jobs` with any of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, cast

from runners.executors.supervisor import WorkerEnd
from runners.harness.events import Event
from tracker.extensions import Registry
from tracker.records import Job
from tracker.settings import Settings

EXECUTORS = Registry(
    "executor",
    group="open_weight_tracker.executors",
    built_in={
        "local": "runners.executors.local:LocalExecutor",
        "ray": "runners.executors.ray_cluster:RayExecutor",
        "slurm": "runners.executors.slurm:SlurmExecutor",
    },
)
DEFAULT_EXECUTOR = "local"


class Executor(Protocol):
    """Runs jobs somewhere. Constructed as `Class(settings)`; several threads may call `run` at once.

    Studies train on one that also has the methods of `runners.executors.calls.RunsCalls`, or on `local`.

    It may also have `describe(engine) -> Hardware`, the machine where a job runs, `room(engine) -> int`, how
    many workers can run at once, and `is_unknown = True` if no model can be checked to fit there.

    The caller announces the job before and gives its runs a final status afterwards, so an executor only
    moves the job to where it runs and reports its events.
    """

    def run(
        self, job: Job, on_event: Callable[[Event], None], *, log_path: Path, interrupts: Sequence[float]
    ) -> WorkerEnd:
        """Run the job to its end; its item files and `run.json` are in `job.items_path` afterwards.

        `interrupts` grows while it runs: the first one requests a stop after the current answer, the second
        an immediate one. The worker's output goes to `log_path`.
        """
        ...

    def end_orphan(self, first_run_id: str) -> None:
        """Stop all processes left of the job with this first run, whose parent is gone."""
        ...


def open_executor(name: str, settings: Settings) -> Executor:
    """Create the executor `name`: built in, from an installed package, or `package.module:Class`.

    Raises:
        UnknownNameError: there is no such executor.
        TrackerError: it cannot be imported.
    """
    return cast(Executor, EXECUTORS.load(name)(settings))
