"""Works on a study: follows its worker and keeps each trial as it ends.

May import everything but the command line and the app.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import filelock
import psutil

from runners.executors.children import (
    GRACE_S,
    INTERRUPTED,
    end_child,
    end_marked,
    follow,
    last_lines,
    listening,
    lives,
    start_child,
)
from runners.research.events import StudyEvent, decode
from tracker.codec import write_atomically
from tracker.errors import BusyError, StoreError, TrackerError
from tracker.logs import get_logger
from tracker.settings import Settings
from tracker.store import WRITABLE_HINT, Store, publish
from tracker.studies import Study, StudyStatus, Trial
from tracker.study_files import Ledger

SILENCE_S = 120.0  # a worker sends a heartbeat every 5 s
PUBLISH_S = 10.0  # between two snapshots while a study runs; the app looks about as often
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
PID_PREFIX = "study-"


@dataclass(frozen=True, slots=True)
class StudyEnd:
    """How a study ended for now: its exit code by the contract, itself, its trials, its log."""

    exit_code: int
    study: Study
    trials: tuple[Trial, ...]
    log_path: Path


@dataclass(slots=True)
class _Watch:
    """Notices a worker that hangs; how long a training may take is its sandbox's business."""

    last_sign: float = field(default_factory=time.monotonic)

    def verdict(self) -> str | None:
        """Why the worker must be ended, or None."""
        if time.monotonic() - self.last_sign > SILENCE_S:
            return f"the worker gave no sign of life for {SILENCE_S:.0f} s"
        return None


class _Keeper:
    """Puts trials into the store as they end. While another process writes there, they wait for the next."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._settings = settings
        self._ledger = ledger
        self._waiting: list[Trial] = list(ledger.trials())
        self._published_at = -PUBLISH_S

    def add(self, slot: int) -> None:
        """Keep this trial."""
        if (trial := self._ledger.trial(slot)) is not None:
            self._waiting.append(trial)
        with suppress(BusyError):
            self.keep()

    def keep(self, *, is_last: bool = False) -> None:
        """Store what waits; the snapshot follows, but not more often than it is looked at.

        Raises:
            StoreError: the store cannot be written; the study's files are whole.
        """
        with Store.open(self._settings) as store:
            store.add_study(self._ledger.read_study(), self._waiting)
        self._waiting.clear()
        if is_last or time.monotonic() - self._published_at >= PUBLISH_S:
            publish(self._settings)
            self._published_at = time.monotonic()


def run_study(study: Study, settings: Settings, on_event: Callable[[StudyEvent], None]) -> StudyEnd:
    """Work on the study in a child process; each trial is stored as it ends.

    Ctrl-C and SIGTERM end the worker, and with it the training under way; the study is then `interrupted`.

    Raises:
        BusyError: another process works on it.
        StoreError: the home cannot be written.
    """
    ledger = Ledger(settings.studies_path / study.study_id)
    with study_lock(settings, study.study_id), listening() as interrupts:
        reap_studies(settings, held=study.study_id)
        ledger.stop_path.unlink(missing_ok=True)
        ledger.write_study(replace(study, status=StudyStatus.RUNNING, pid=os.getpid()))
        keeper = _Keeper(settings, ledger)
        keeper.keep(is_last=True)
        pid_file = settings.locks_path / f"{PID_PREFIX}{study.study_id}.json"
        write_atomically(pid_file, json.dumps(_pid_entry(study.study_id)).encode())
        end = _followed(ledger, keeper, on_event, interrupts)
        keeper.keep(is_last=True)
        pid_file.unlink(missing_ok=True)
    get_logger("research").info("study ended", study=study.study_id, status=end.study.status)
    return end


@contextmanager
def study_lock(settings: Settings, study_id: str) -> Iterator[None]:
    """One process at a time works on a study; other studies may run beside it.

    Raises:
        BusyError: another process does.
        StoreError: the lock file cannot be written.
    """
    settings.locks_path.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(settings.locks_path / f"{PID_PREFIX}{study_id}.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        message = f"another process works on study `{study_id}`"
        raise BusyError(message, hint=f"`tracker research stop {study_id}` ends it") from error
    except OSError as error:
        raise StoreError(
            f"{lock.lock_file}: cannot be locked: {error.strerror}", hint=WRITABLE_HINT
        ) from error
    try:
        yield
    finally:
        lock.release()


def reap_studies(settings: Settings, *, held: str = "") -> list[Study]:
    """End the workers whose parent is gone; their studies, now interrupted and stored.

    `held` is the study that the caller has locked; one that another process has just taken up is left alone.
    """
    reaped = []
    for pid_file in sorted(settings.locks_path.glob(f"{PID_PREFIX}*.json")):
        entry = json.loads(pid_file.read_bytes())
        if lives(entry["parent"], entry["parent_started_at"]):
            continue
        study_id = str(entry["study"])
        with suppress(BusyError), nullcontext() if study_id == held else study_lock(settings, study_id):
            reaped += _reaped(settings, Ledger(settings.studies_path / study_id))
            pid_file.unlink(missing_ok=True)
    return reaped


def _reaped(settings: Settings, ledger: Ledger) -> list[Study]:
    end_marked(_mark(ledger))
    with suppress(TrackerError):  # its folder is gone, or broken
        study = _settled(ledger, detail="its process was killed; `tracker research resume` goes on")
        with Store.open(settings) as store:
            store.add_study(study, ledger.trials())
        return [study]
    return []


def _followed(
    ledger: Ledger, keeper: _Keeper, on_event: Callable[[StudyEvent], None], interrupts: list[float]
) -> StudyEnd:
    mark, watch = _mark(ledger), _Watch()

    def on_line(line: bytes) -> None:
        watch.last_sign = time.monotonic()
        event = decode(line)
        if event.event == "trial" and event.slot is not None:
            keeper.add(event.slot)
        if event.event != "heartbeat":
            on_event(event)

    worker = start_child("runners.research", [str(ledger.folder)], mark=mark, log_path=ledger.log_path)
    try:
        why = follow(worker, on_line, interrupts, watch)
        if why is None:
            with suppress(subprocess.TimeoutExpired):
                worker.wait(timeout=GRACE_S)  # it has said its last word, and puts its things away
    finally:
        end_child(worker, mark=mark)
    study = _settled(
        ledger, detail=_abandoned(worker.returncode, why, ledger), is_killed=worker.returncode < 0
    )
    code = worker.returncode if worker.returncode >= 0 else EXIT_FAILED
    if study.status is StudyStatus.INTERRUPTED and study.reason == INTERRUPTED:
        code = EXIT_INTERRUPTED
    elif study.status is not StudyStatus.COMPLETE and code == 0:
        code = EXIT_FAILED
    return StudyEnd(code, study, ledger.trials(), ledger.log_path)


def _settled(ledger: Ledger, *, detail: str, is_killed: bool = True) -> Study:
    """The study with a final status, where its worker could not give it one."""
    study = ledger.read_study()
    if study.status is not StudyStatus.RUNNING:
        return study
    status, reason = (StudyStatus.INTERRUPTED, "killed") if is_killed else (StudyStatus.FAILED, "worker_died")
    if detail == INTERRUPTED:
        status, reason, detail = StudyStatus.INTERRUPTED, INTERRUPTED, ""
    study = replace(study, status=status, reason=reason, detail=detail or None, ended_at=datetime.now(UTC))
    ledger.write_study(study)
    return study


def _abandoned(returncode: int, why: str | None, ledger: Ledger) -> str:
    """Why a worker left its study without a status."""
    if why is not None:
        return why
    if returncode == -signal.SIGKILL:
        return "the worker was killed by signal 9, as the kernel does when memory runs out"
    return last_lines(ledger.log_path, 1) or f"the worker ended with code {returncode}"


def _pid_entry(study_id: str) -> dict[str, object]:
    """What the next start needs to know if we are killed; a process id alone may be used again."""
    return {
        "parent": os.getpid(),
        "parent_started_at": psutil.Process().create_time(),
        "study": study_id,
    }


def _mark(ledger: Ledger) -> str:
    """What the processes of a study carry: its folder."""
    return str(ledger.folder.resolve())
