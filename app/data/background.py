"""Compute what takes seconds in a thread, so that a page can show the rest meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from tracker.errors import TrackerError

Answer = TypeVar("Answer")


class Background(Generic[Answer]):
    """One computation at a time in daemon threads; the newest `kept` answers stay, by their keys."""

    def __init__(self, *, kept: int) -> None:
        self._kept = kept
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._jobs: dict[object, Future[Answer]] = {}

    def ready(self, key: object, compute: Callable[[], Answer], *, wait_s: float) -> Answer | None:
        """The answer; None if it takes longer than `wait_s`.

        Raises:
            TrackerError: `compute` raised it; the next call computes again.
        """
        with self._lock:
            job = self._jobs.get(key)
            if job is None:
                job = self._jobs[key] = Future()
                for old in list(self._jobs)[: -self._kept]:
                    del self._jobs[old]
                threading.Thread(target=self._run, args=(key, job, compute), daemon=True).start()
        try:
            return job.result(timeout=wait_s)
        except TimeoutError:
            return None

    def finished(self, key: object) -> Answer | None:
        """The answer if it has been computed; nothing is begun.

        Raises:
            TrackerError: `compute` raised it.
        """
        with self._lock:
            job = self._jobs.get(key)
        return job.result() if job is not None and job.done() and not job.cancelled() else None

    def _run(self, key: object, job: Future[Answer], compute: Callable[[], Answer]) -> None:
        with self._turn:
            try:
                job.set_result(compute())
            except TrackerError as error:
                job.set_exception(error)
                with self._lock:
                    self._jobs.pop(key, None)
            finally:
                job.cancel()  # a bug must not leave a page waiting; no effect on a finished job
