"""A pool of trainings: each runs once, and everyone who requests it gets the same result."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Protocol

from tracker.records.studies import (
    Change,
    Pair,
    Split,
    Training,
)

LOOK_S = 0.2  # how soon a stop is seen
SEEN = (Split.VAL, Split.SELECT)  # what a trial is measured on


class StoppedError(Exception):
    """The study is to end now; what is under way is given up."""


class TrainFunction(Protocol):
    """Trains a change under a seed and measures it; one that is already known costs nothing."""

    def __call__(self, change: Change, seed: int, *, splits: Sequence[str]) -> Training:
        """The training with its bits per byte of `splits`; what the change did wrong is its status."""
        ...


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """One training to run or to reuse."""

    change: Change
    seed: int
    splits: tuple[str, ...] = SEEN


class TrainingPool:
    """At most `n_at_once` trainings at a time."""

    def __init__(
        self,
        train: TrainFunction,
        *,
        n_at_once: int,
        identity: Callable[[Change], str],
        is_stopped: Callable[[], bool] = lambda: False,
        on_training: Callable[[Training], None] = lambda _: None,
    ) -> None:
        self._train = train
        self._identity = identity
        self._is_stopped = is_stopped
        self._on_training = on_training
        self._pool = ThreadPoolExecutor(max_workers=n_at_once, thread_name_prefix="training")
        self._lock = threading.Lock()
        self._known: dict[tuple[str, int, tuple[str, ...]], Future[Training]] = {}

    def trained(self, orders: Sequence[TrainingRequest]) -> list[Training]:
        """The trainings in the order asked for.

        Raises:
            StoppedError: the study is to end before they are done.
            TrackerError: something that is ours is missing, such as room on the disk.
        """
        futures = [self._future(order) for order in orders]
        pending = set(futures)
        while pending:
            if self._is_stopped():
                raise StoppedError
            done, pending = wait(pending, timeout=LOOK_S, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()  # raises what it raised
        return [future.result() for future in futures]

    def pairs(self, parents: Sequence[TrainingRequest], children: Sequence[TrainingRequest]) -> list[Pair]:
        """Each parent with its child, trained side by side; the pair carries the parent's seed."""
        n = len(parents)
        trainings = self.trained([*parents, *children])
        both = zip(trainings[:n], trainings[n:], strict=True)
        return [Pair(parent.seed, parent, child) for parent, child in both]

    def close(self) -> None:
        """Start nothing more; what is under way is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _future(self, order: TrainingRequest) -> Future[Training]:
        key = (self._identity(order.change), order.seed, order.splits)
        with self._lock:
            if key not in self._known:
                self._known[key] = self._pool.submit(self._run, order)
            return self._known[key]

    def _run(self, order: TrainingRequest) -> Training:
        if self._is_stopped():
            raise StoppedError
        training = self._train(order.change, order.seed, splits=order.splits)
        self._on_training(training)
        return training
