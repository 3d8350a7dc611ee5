"""The default executor: one child process on this machine per job."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from runners.executors.supervisor import OF_SEVERAL, Worker, WorkerEnd, WorkerWatch, end_marked, supervise
from runners.hardware import (
    Gpu,
    Hardware,
    choose_cards,
    chosen_first,
    describe_hardware,
    visible_cards,
)
from runners.harness.events import Event, decode, write_job
from tracker.records import Job
from tracker.settings import Settings

GIB = 2**30
MARGIN_BYTES = 6 * GIB  # beside the weights: libraries, one tensor in two types, the compiler of vLLM
RESERVE_BYTES = GIB  # left to other programs
LOADING_S = 3600.0  # a 400 GB download and load, which reports no progress


class LocalExecutor:
    """Runs a job in a child process of this one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def run(
        self, job: Job, on_event: Callable[[Event], None], *, log_path: Path, interrupts: Sequence[float]
    ) -> WorkerEnd:
        """Run the job to its end, or stop it if it hangs."""
        job_path = log_path.with_name("job.json")
        write_job(job_path, job)
        hardware = describe_hardware()
        n_workers = job.shard.count if job.shard else job.n_beside + 1
        free_bytes = hardware.free_ram_bytes // n_workers
        watch = WorkerWatch(LOADING_S, memory_limit_bytes=loading_limit_bytes(job, free_bytes=free_bytes))

        def on_line(line: bytes) -> None:
            event = decode(line)
            if event.event != "heartbeat":
                watch.note_progress()
            else:
                watch.note_steps(event.n_steps)
            if event.event in {"ready", "run"}:
                watch.limit_s = self._settings.heartbeat_timeout_s
                watch.memory_limit_bytes = max(watch.memory_limit_bytes, free_bytes - RESERVE_BYTES)
            on_event(event)

        worker = Worker("runners.harness", job_path, worker_mark(job), log_path, environment(job, hardware))
        return supervise(worker, on_line, watch, interrupts)

    def end_orphan(self, first_run_id: str) -> None:
        """Stop all processes left of a job whose parent is gone."""
        end_marked(job_mark(self._settings.items_path, first_run_id))


def job_cards(job: Job, hardware: Hardware) -> tuple[Gpu, ...]:
    """The cards that the job's prediction is about, the freest; then the others, if nothing was predicted."""
    choose = chosen_first if job.fit is None else choose_cards
    return choose(hardware.gpus, job.settings.tensor_parallel_size)


def loading_limit_bytes(job: Job, *, free_bytes: int) -> float:
    """Main memory that loading the job's model may take: its weights and a fixed margin for each process.

    Without a prediction, as for an unknown architecture, it is what the machine has free, less a reserve.
    While the model answers, the limit is at least that: answers to long questions need a large cache.
    """
    predicted = (job.fit or {}).get("weights_bytes")
    if not isinstance(predicted, int):
        return max(MARGIN_BYTES, free_bytes - RESERVE_BYTES)
    return predicted + MARGIN_BYTES * job.settings.tensor_parallel_size


def environment(job: Job, hardware: Hardware) -> Mapping[str, str]:
    """The cards that the worker may use; without any, workers at the same time share the cores."""
    cards, n_sharing = job.cards, job.n_beside + 1
    if job.shard is not None:
        cards, n_sharing = job.shard.cards, job.shard.count
    if cards:
        return visible_cards([card for card in hardware.gpus if card.uuid in cards])
    if hardware.gpus or n_sharing == 1:
        return visible_cards(job_cards(job, hardware))
    return {"OMP_NUM_THREADS": str(max(1, hardware.n_cores // n_sharing))}


def worker_mark(job: Job) -> str:
    """The mark of the worker of this job, or of this part of it."""
    mark = job_mark(job.items_path, job.runs[0].run_id)
    return mark if job.shard is None else f"{mark}{OF_SEVERAL}{job.shard.index}"


def job_mark(items_path: Path | str, run_id: str) -> str:
    """The mark in the environment of a job's processes: its first run, in this home."""
    return f"{items_path}/{run_id}"
