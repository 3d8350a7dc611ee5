"""The executor `slurm`: each job, or each of its workers, or each call is a Slurm job submitted by submitit.

The home must be in a folder that the nodes share: a worker writes its items, its events and its end there. On
the node the job runs as the executor `local` runs it. A job that Slurm ended (a lost node, a preemption, its
time limit) is submitted again and resumes. Parameters of submitit are in TRACKER_SLURM.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runners.executors.calls import (
    ANSWER,
    CALL_LOG,
    OWNER_FILE,
    OWNER_FOLDER,
    REQUEST,
    CallStoppedError,
    NodeCall,
    keep_file,
    lacking,
    run_call,
)
from runners.executors.local import LocalExecutor, job_mark
from runners.executors.supervisor import WorkerEnd, catch_interrupts, end_marked
from runners.hardware import Gpu, Hardware, describe_hardware
from runners.harness.events import Event, decode, encode, read_job, write_job
from tracker.errors import TrackerError
from tracker.installation import install_command
from tracker.records import EngineSettings, Job
from tracker.serialization import dump_json, load_json, write_atomically
from tracker.settings import Settings

SUBMISSIONS = 4  # of one job
CALL = "call.json"  # in the folder of a call
POLL_S = 0.5
LATE_S = 15.0  # in which files that a node wrote last appear here
CALLS_AT_ONCE = 16  # that wait or run: Slurm itself knows when there is room
LOCAL = "local"  # submitit's own cluster of processes on this machine


@dataclass(frozen=True, slots=True)
class NodeEnd:
    """How a job ended on its node."""

    returncode: int
    stopped: str | None
    stopped_for: str


@dataclass(frozen=True, slots=True)
class SubmittedCall:
    """The content of `call.json`: what the node needs beside the request."""

    module: str
    kept: dict[str, str]  # name on the node → path in the shared folder


class SlurmExecutor:
    """Runs each job as a job of Slurm."""

    is_unknown = True  # which hardware a job gets, Slurm decides

    def __init__(self, settings: Settings) -> None:
        """Refuse a machine from which nothing can be submitted.

        Raises:
            TrackerError: submitit is missing, or Slurm.
        """
        self._settings = settings
        self._submitit = _submitit()
        self._parameters = dict(settings.slurm)
        self._cluster = str(self._parameters.pop("cluster", "slurm"))

    def describe(self, engine: EngineSettings) -> Hardware:
        """This machine, with as many unknown cards as a job asks for."""
        n_cards = self._n_cards(engine)
        card = Gpu("a card that Slurm chooses", "", 0, 0, "0.0")
        return replace(describe_hardware(), gpus=(card,) * n_cards)

    def run(
        self, job: Job, on_event: Callable[[Event], None], *, log_path: Path, interrupts: Sequence[float]
    ) -> WorkerEnd:
        """Submit the job and follow it to its end, again if Slurm ended it.

        Raises:
            TrackerError: it cannot be submitted.
        """
        folder = log_path.parent
        folder.mkdir(parents=True, exist_ok=True)
        write_job(folder / "job.json", job)
        why = ""
        for number in range(1, SUBMISSIONS + 1):
            attempt = Attempt(folder, number)
            attempt.clear()
            submitted = self._submit(work, attempt, log_path, n_cards=self._n_cards(job.settings))
            end = _follow(submitted, attempt, on_event, interrupts)
            if end is not None:
                return WorkerEnd(end.returncode, log_path, end.stopped, end.stopped_for)
            if interrupts:
                return WorkerEnd(-15, log_path, "interrupted")
            why = str(submitted.state).lower()
            on_event(Event("warning", message=f"Slurm ended job {submitted.job_id} ({why}); it is resumed"))
        why = f"Slurm ended it {SUBMISSIONS} times, the last time with the state {why}"
        return WorkerEnd(-9, log_path, why, "node_lost")

    def end_orphan(self, first_run_id: str) -> None:
        """Cancel what was submitted for a job whose driver is gone."""
        self._cancel(self._settings.home / "jobs" / first_run_id)
        end_marked(job_mark(self._settings.items_path, first_run_id))

    def places(self, *, n_cards: int, per_node: int) -> int:
        """How many calls are submitted at the same time; on this machine alone, as many as it can run."""
        del n_cards
        return per_node if self._cluster == LOCAL else CALLS_AT_ONCE

    def call(
        self, call: NodeCall, folder: Path, on_warning: Callable[[str], None], *, interrupts: Sequence[float]
    ) -> bytes:
        """Submit the call and wait for its answer, again if Slurm ended it.

        Raises:
            CallStoppedError: it was given up.
            TrackerError: it cannot be submitted, or ended without an answer.
        """
        folder.mkdir(mode=OWNER_FOLDER, parents=True)
        write_atomically(folder / REQUEST, call.request, mode=OWNER_FILE)
        kept = {name: str(path) for name, path in call.kept.items()}
        write_atomically(folder / CALL, dump_json(SubmittedCall(call.module, kept)))
        n_cards = self._parameters.get("gpus_per_node", call.n_cards)
        why = ""
        for number in range(1, SUBMISSIONS + 1):
            if number > 1:
                on_warning(f"{why}; its training begins again")
            attempt = Attempt(folder, number)
            submitted = self._submit(work_on_call, attempt, folder / CALL_LOG, n_cards=n_cards)
            end = _follow(submitted, attempt, lambda _: None, interrupts)
            if (folder / ANSWER).is_file():
                return (folder / ANSWER).read_bytes()
            if interrupts:
                raise CallStoppedError
            if end is not None and end.returncode >= 0:
                raise TrackerError(f"a training ended on a node without a result: {end.stopped}")
            state = str(submitted.state).lower()
            why = (
                f"Slurm ended job {submitted.job_id} ({state})" if end is None else f"on a node {end.stopped}"
            )
        message = f"a training was lost {SUBMISSIONS} times, at last because {why}"
        raise TrackerError(message, hint="`sacct` shows why; TRACKER_SLURM has its limits of memory and time")

    def end_calls(self, folder: Path) -> None:
        """Cancel what was submitted for calls below `folder`."""
        self._cancel(folder)
        end_marked(str(folder))

    def _cancel(self, folder: Path) -> None:
        for path in folder.glob("**/submitted-*.json"):
            with contextlib.suppress(Exception):  # a job that has ended, or another cluster
                known = json.loads(path.read_bytes())
                if known["cluster"] == self._cluster != LOCAL:
                    self._submitit.SlurmJob(path.parent / "submitit", known["job_id"]).cancel(check=False)

    def _submit(
        self, run: Callable[[str, str, int], None], attempt: Attempt, log_path: Path, *, n_cards: int
    ) -> Any:
        parameters: dict[str, Any] = {"name": "tracker", **self._parameters}
        if n_cards:
            parameters["gpus_per_node"] = n_cards
        try:
            executor = self._submitit.AutoExecutor(folder=attempt.folder / "submitit", cluster=self._cluster)
            executor.update_parameters(**parameters)
            submitted = executor.submit(run, str(self._settings.home), str(attempt.folder), attempt.number)
        except Exception as error:
            hint = "run it where `sbatch` works, and check TRACKER_SLURM, the parameters of submitit as JSON"
            raise TrackerError(f"the job cannot be submitted to Slurm: {error}", hint=hint) from error
        known = {"job_id": submitted.job_id, "cluster": self._cluster, "log": str(log_path)}
        write_atomically(attempt.folder / f"submitted-{attempt.number}.json", json.dumps(known).encode())
        return submitted

    def _n_cards(self, engine: EngineSettings) -> int:
        asked = self._parameters.get("gpus_per_node")
        if isinstance(asked, int):
            return asked
        return 0 if self._cluster == LOCAL else engine.tensor_parallel_size


@dataclass(frozen=True, slots=True)
class Attempt:
    """The files of one submission, in the folder of the worker."""

    folder: Path
    number: int

    @property
    def events(self) -> Path:
        """Every event, one a line."""
        return self.folder / f"events-{self.number}.jsonl"

    @property
    def end(self) -> Path:
        """How it ended."""
        return self.folder / f"end-{self.number}.json"

    def stop(self, n: int) -> Path:
        """The file that asks it to stop, for the n-th time."""
        return self.folder / f"stop-{self.number}-{n}"

    def clear(self) -> None:
        """Remove what an earlier job of this name left."""
        for path in (self.events, self.end, self.stop(1), self.stop(2)):
            path.unlink(missing_ok=True)


class StopFiles(Sequence[float]):
    """Interrupts of a job on a node: signals that it got, and files that ask it to stop."""

    def __init__(self, attempt: Attempt, signals: Sequence[float]) -> None:
        self._attempt, self._signals, self._seen = attempt, signals, list[float]()

    def _all(self) -> list[float]:
        if len(self._seen) < 2 and self._attempt.stop(len(self._seen) + 1).exists():
            self._seen.append(time.monotonic())
        return [*self._signals, *self._seen]

    def __len__(self) -> int:
        return len(self._all())

    def __getitem__(self, place: Any) -> Any:
        return self._all()[place]


def work(home: str, folder: str, number: int) -> None:
    """What runs on the node: the job in `folder`, as the executor `local` runs it."""
    attempt = Attempt(Path(folder), number)
    job = read_job(attempt.folder / "job.json")
    with catch_interrupts() as signals, attempt.events.open("ab", buffering=0) as events:
        end = LocalExecutor(Settings(home=Path(home))).run(
            job,
            lambda event: (events.write(encode(event)), None)[1],
            log_path=attempt.folder / "worker.log",
            interrupts=StopFiles(attempt, signals),
        )
    write_atomically(attempt.end, dump_json(NodeEnd(end.returncode, end.stopped, end.stopped_for)))


def work_on_call(home: str, folder: str, number: int) -> None:
    """What runs on the node: the call in `folder`."""
    del home
    attempt = Attempt(Path(folder), number)
    what = load_json(SubmittedCall, (attempt.folder / CALL).read_bytes(), where=CALL)
    try:
        for name in lacking(list(what.kept)):
            keep_file(name, Path(what.kept[name]).read_bytes())
        with catch_interrupts() as signals:
            worker = run_call(what.module, attempt.folder, StopFiles(attempt, signals))
        end = NodeEnd(worker.returncode, worker.detail, worker.reason)
    except TrackerError as error:
        end = NodeEnd(error.exit_code, str(error), "error")
    write_atomically(attempt.end, dump_json(end))


def _follow(
    submitted: Any, attempt: Attempt, on_event: Callable[[Event], None], interrupts: Sequence[float]
) -> NodeEnd | None:
    """Pass the events on until the job ends; None: Slurm ended it before it could say how."""
    n_read, n_stops, gone_s = 0, 0, 0.0
    while True:
        has_ended = attempt.end.exists()
        n_read = _pass_on(attempt.events, n_read, on_event)
        if has_ended:
            return load_json(NodeEnd, attempt.end.read_bytes(), where=str(attempt.end))
        for n in range(n_stops, min(len(interrupts), 2)):
            attempt.stop(n + 1).touch()
            n_stops = n + 1
            if n_stops == 2:
                submitted.cancel(check=False)
        if submitted.done():
            gone_s = gone_s or time.monotonic()
            if time.monotonic() - gone_s > LATE_S:
                return None
        time.sleep(POLL_S)


def _pass_on(path: Path, n_read: int, on_event: Callable[[Event], None]) -> int:
    """Pass on the whole lines after the first `n_read` bytes; returns how many were read in all."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(n_read)
        whole, newline, _ = file.read().rpartition(b"\n")
        for line in whole.splitlines():
            on_event(decode(line))
        return n_read + len(whole) + len(newline)
    return n_read


def _submitit() -> Any:
    try:
        return importlib.import_module("submitit")
    except ImportError as error:
        raise TrackerError(
            "the executor `slurm` needs the package submitit",
            hint=install_command("slurm"),
        ) from error
