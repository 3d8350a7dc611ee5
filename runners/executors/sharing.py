"""One job by several workers at once, with any executor: each asks a part, one of them scores all.

The driver starts the workers, opens the rounds through a folder (`runners.harness.gate`), starts a killed
worker again, and lets the others ask what a lost one has not asked. Nothing is merged here: every worker
writes its items into the folder of the run, where the one that scores finds them.
"""

from __future__ import annotations

import math
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, overload

from runners.executors.supervisor import WorkerEnd
from runners.harness.events import Event
from runners.harness.gate import Round, give_sign, open_round
from tracker.records import Job
from tracker.records.shards import Shard

RESTARTS = 2  # of a worker that a signal killed
SIGN_S = 2.0  # between two signs of life for the workers
POLL_S = 0.1
GRACE_S = 20.0  # for a worker to write its last answers


class RunsJobs(Protocol):
    """An executor, as far as it is needed here."""

    def run(
        self, job: Job, on_event: Callable[[Event], None], *, log_path: Path, interrupts: Sequence[float]
    ) -> WorkerEnd:
        """Run the job to its end."""
        ...


class Stops(Sequence[float]):
    """The user's interrupts, and our own for one worker."""

    def __init__(self, user: Sequence[float]) -> None:
        self._user, self._own = user, list[float]()

    def stop(self) -> None:
        """Ask the worker to stop; a second time, at once."""
        self._own.append(time.monotonic())

    def __len__(self) -> int:
        return len(self._user) + len(self._own)

    @overload
    def __getitem__(self, place: int) -> float: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[float]: ...
    def __getitem__(self, place: int | slice) -> Any:
        return [*self._user, *self._own][place]


@dataclass(slots=True)
class Member:
    """One of the workers, as the driver knows it."""

    index: int
    stops: Stops
    log_path: Path
    thread: threading.Thread | None = None
    n_starts: int = 0
    n_asked: int = 0  # rounds in which it has asked its part
    end: WorkerEnd | None = None  # None: it runs
    error: BaseException | None = None
    progress: dict[tuple[str, str], Event] = field(default_factory=dict)

    @property
    def is_alive(self) -> bool:
        """Whether it may still ask and score."""
        return self.end is None and self.error is None


class Crew:
    """The workers of one job."""

    def __init__(
        self,
        place: RunsJobs,
        job: Job,
        on_event: Callable[[Event], None],
        *,
        log_path: Path,
        interrupts: Sequence[float],
        cards: Sequence[Sequence[str]],
    ) -> None:
        """`cards`: for each worker the UUIDs of its cards; none: the executor gives it some."""
        self._place, self._job, self._on_event = place, job, on_event
        self._cards, self._gate = cards, log_path.parent / "gate"
        self._lock = threading.RLock()
        self._warnings: list[str] = []
        self._said: set[str] = set()
        self._n_opened = 1  # rounds
        self._n_lost = 0  # workers of which the others know
        self._is_staged = any(task.when for run in job.runs for task in run.suite.tasks)
        self._is_second_stage = self._is_scoring = False
        paths = [log_path, *(log_path.parent / f"worker-{n}" / log_path.name for n in range(1, len(cards)))]
        self._workers = [Member(n, Stops(interrupts), path) for n, path in enumerate(paths)]
        self._scorer = self._workers[0]  # who writes the run; another one if it is lost before it scores

    def _alive(self) -> list[Member]:
        return [worker for worker in self._workers if worker.is_alive]

    def run(self) -> WorkerEnd:
        """Run the job to its end; the end of the worker that scores is that of the job."""
        shutil.rmtree(self._gate, ignore_errors=True)
        self._gate.mkdir(parents=True)
        try:
            for worker in self._workers:
                worker.thread = threading.Thread(
                    target=self._attend, args=(worker,), name=f"worker-{worker.index}", daemon=True
                )
                worker.thread.start()
            signed_s = -math.inf
            while self._is_under_way() and not self._errors():
                if time.monotonic() - signed_s > SIGN_S:
                    signed_s = time.monotonic()
                    give_sign(self._gate)
                self._advance()
                time.sleep(POLL_S)
        finally:
            self._end_all()
        for error in self._errors():
            raise error
        assert self._scorer.end is not None
        return self._scorer.end

    def _is_under_way(self) -> bool:
        """Whether somebody scores, or may still do so."""
        with self._lock:
            return self._scorer.is_alive if self._is_scoring else bool(self._alive())

    def _errors(self) -> list[BaseException]:
        return [worker.error for worker in self._workers if worker.error is not None]

    def _attend(self, worker: Member) -> None:
        """Run one worker, again if a signal killed it."""
        shard = Shard(worker.index, len(self._workers), str(self._gate), tuple(self._cards[worker.index]))
        job = replace(self._job, shard=shard)
        try:
            while True:
                worker.n_starts += 1
                end = self._place.run(
                    job,
                    lambda event: self._hear(worker, event),
                    log_path=worker.log_path,
                    interrupts=worker.stops,
                )
                if not self._is_to_restart(worker, end):
                    break
                self._say(f"{self._name(worker)} was started again: {end.detail}")
                worker.n_asked = 0
            if end.returncode and not worker.stops and not self._is_scoring:
                self._say(f"{self._name(worker)} ended early: {end.detail}; the others ask its questions")
            worker.end = end
        except BaseException as error:  # noqa: BLE001 (the main thread raises it)
            worker.error = error

    def _is_to_restart(self, worker: Member, end: WorkerEnd) -> bool:
        """Whether a signal killed a worker that is still needed, and not for what it would do again."""
        is_needed = worker is self._scorer or not self._is_scoring
        return is_needed and end.reason == "killed" and not worker.stops and worker.n_starts <= RESTARTS

    def _name(self, worker: Member) -> str:
        return f"worker {worker.index + 1} of {len(self._workers)}"

    def _say(self, text: str) -> None:
        with self._lock:
            self._warnings.append(text)
            self._on_event(Event("warning", message=text))

    def _hear(self, worker: Member, event: Event) -> None:
        """Pass on what concerns the whole job."""
        with self._lock:
            scores = worker is self._scorer and self._is_scoring
            if event.event == "waiting":
                worker.n_asked = max(worker.n_asked, event.n_done)
            elif event.event in {"task", "progress"} and not self._is_scoring:
                self._add(worker, event)
            elif event.event == "warning" and event.run_id is None:
                if event.message not in self._said:
                    self._said.add(event.message)
                    self._on_event(event)
            elif event.event in {"task", "progress", "warning", "unavailable", "run"}:
                if scores:  # before, it is about a part
                    self._on_event(event)
            elif worker is self._scorer or event.event == "heartbeat":
                self._on_event(event)

    def _add(self, worker: Member, event: Event) -> None:
        """Report the progress of all workers together."""
        key = (event.run_id or "", event.task or "")
        worker.progress[key] = event
        parts = [one.progress[key] for one in self._workers if key in one.progress]
        if len(parts) < len(self._workers) and event.event == "task":
            return
        self._on_event(
            replace(
                event,
                n_done=sum(part.n_done for part in parts),
                n_total=sum(part.n_total for part in parts),
                output_tokens=sum(part.output_tokens for part in parts),
                prompt_tokens=sum(part.prompt_tokens for part in parts),
            )
        )

    def _advance(self) -> None:
        """Open the next round once every living worker has asked its part of this one."""
        with self._lock:
            alive = self._alive()
            if self._is_scoring or not alive or any(worker.n_asked < self._n_opened for worker in alive):
                return
            what = self._next_round([worker.index for worker in alive])
            if not what.asks:
                self._is_scoring, self._scorer = True, alive[0]
            self._n_opened += 1
            open_round(self._gate, self._n_opened, what)

    def _next_round(self, alive: Sequence[int]) -> Round:
        """First what a lost worker left, then the tasks whose conditions are now known, then the scores."""
        n_workers = len(self._workers)
        n_lost = n_workers - len(alive)
        if n_lost > self._n_lost:
            self._n_lost = n_lost
            return Round(
                tuple(alive), n_workers, scores_first=self._is_staged and self._n_opened > n_lost + 1
            )
        if self._is_staged and not self._is_second_stage:
            self._is_second_stage = True
            return Round(tuple(alive), scores_first=True)
        return Round(scorer=alive[0], warnings=tuple(self._warnings))

    def _end_all(self) -> None:
        """Wait for the workers that have nothing left to do; stop them where the job has failed."""
        for patience_s in (GRACE_S if self._is_scoring else 0.0, GRACE_S):
            ends_s = time.monotonic() + patience_s
            for worker in self._workers:
                if worker.thread is not None:
                    worker.thread.join(max(0.0, ends_s - time.monotonic()))
            for worker in self._workers:
                if worker.thread is not None and worker.thread.is_alive():
                    worker.stops.stop()
        for worker in self._workers:
            if worker.thread is not None:
                worker.thread.join()
