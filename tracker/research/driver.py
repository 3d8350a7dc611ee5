"""Run the worker of a study and store each trial as it ends.

May import everything but the command line and the app.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import filelock

from runners.executors.supervisor import (
    INTERRUPTED,
    Worker,
    WorkerEnd,
    WorkerWatch,
    catch_interrupts,
    end_marked,
    supervise,
)
from runners.research.events import StudyEvent, decode
from tracker.errors import EXIT_INTERRUPTED, BusyError, StoreError, TrackerError
from tracker.files.studies import Ledger
from tracker.files.workers import WorkKind, worker_files, write_worker_file
from tracker.logs import get_logger
from tracker.private_home import create_home
from tracker.records.studies import Study, StudyStatus, Trial
from tracker.settings import Settings
from tracker.store import WRITABLE_HINT, Store, publish

PUBLISH_S = 10.0  # between two snapshots while a study runs; the app refreshes about as often
EXIT_FAILED = 1


@dataclass(frozen=True, slots=True)
class StudyEnd:
    """The end of a study's run: exit code, study, trials, log."""

    exit_code: int
    study: Study
    trials: tuple[Trial, ...]
    log_path: Path


class _Keeper:
    """Stores trials as they end, later if another process is writing to the store."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._settings = settings
        self._ledger = ledger
        self._waiting: list[Trial] = list(ledger.trials())
        self._published_at = -PUBLISH_S

    def add(self, slot: int) -> None:
        """Store this trial."""
        if (trial := self._ledger.trial(slot)) is not None:
            self._waiting.append(trial)
        with suppress(BusyError):
            self.keep()

    def keep(self, *, is_last: bool = False) -> None:
        """Store the waiting trials; publish a snapshot, but not more often than readers look.

        Raises:
            StoreError: the store cannot be written; the study's files are complete.
        """
        with Store.open(self._settings) as store:
            store.add_study(self._ledger.read_study(), self._waiting)
        self._waiting.clear()
        if is_last or time.monotonic() - self._published_at >= PUBLISH_S:
            publish(self._settings)
            self._published_at = time.monotonic()


def run_study(study: Study, settings: Settings, on_event: Callable[[StudyEvent], None]) -> StudyEnd:
    """Run the study in a child process; each trial is stored as it ends.

    Ctrl-C, SIGTERM and SIGHUP end the worker and its current training; the study is then `interrupted`.

    Raises:
        BusyError: another process is running it.
        StoreError: the home cannot be written.
    """
    ledger = Ledger(settings.studies_path / study.study_id)
    with study_lock(settings, study.study_id), catch_interrupts() as interrupts:
        reap_studies(settings, held=study.study_id)
        ledger.stop_path.unlink(missing_ok=True)
        ledger.write_study(replace(study, status=StudyStatus.RUNNING, pid=os.getpid()))
        keeper = _Keeper(settings, ledger)
        keeper.keep(is_last=True)
        worker_file = write_worker_file(settings, WorkKind.STUDY, study.study_id, study=study.study_id)
        end = _followed(ledger, keeper, on_event, interrupts)
        keeper.keep(is_last=True)
        worker_file.remove()
    get_logger("research").info("study ended", study=study.study_id, status=end.study.status)
    return end


@contextmanager
def study_lock(settings: Settings, study_id: str) -> Iterator[None]:
    """Hold the lock of a study, so that only one process runs it.

    Raises:
        BusyError: another process holds it.
        StoreError: the lock file cannot be written.
    """
    create_home(settings.home)
    settings.locks_path.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(settings.locks_path / f"{WorkKind.STUDY}-{study_id}.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        message = f"another process is running study `{study_id}`"
        raise BusyError(message, hint=f"`tracker research stop {study_id}` stops it") from error
    except OSError as error:
        raise StoreError(
            f"{lock.lock_file}: cannot be locked: {error.strerror}", hint=WRITABLE_HINT
        ) from error
    try:
        yield
    finally:
        lock.release()


def reap_studies(settings: Settings, *, held: str = "") -> list[Study]:
    """End the workers whose parent process has ended; returns their studies, now stored as interrupted.

    `held` is the study that the caller has locked; studies locked by other processes are skipped.
    """
    reaped = []
    for file in worker_files(settings, WorkKind.STUDY):
        if file.is_held:
            continue
        if (study_id := file.study_id) is None:
            file.remove()
            continue
        with suppress(BusyError), nullcontext() if study_id == held else study_lock(settings, study_id):
            reaped += _reaped(settings, Ledger(settings.studies_path / study_id))
            file.remove()
    return reaped


def _reaped(settings: Settings, ledger: Ledger) -> list[Study]:
    end_marked(_mark(ledger))
    with suppress(TrackerError):  # its folder is missing or broken
        study = _settled(ledger, detail="its process was killed; `tracker research resume` continues it")
        with Store.open(settings) as store:
            store.add_study(study, ledger.trials())
        return [study]
    return []


def _followed(
    ledger: Ledger, keeper: _Keeper, on_event: Callable[[StudyEvent], None], interrupts: Sequence[float]
) -> StudyEnd:
    def on_line(line: bytes) -> None:
        event = decode(line)
        if event.event == "trial" and event.slot is not None:
            keeper.add(event.slot)
        if event.event != "heartbeat":
            on_event(event)

    worker = Worker("runners.research", ledger.folder.absolute(), _mark(ledger), ledger.log_path)
    watch = WorkerWatch()  # without a limit on progress: a sandbox limits each training
    end = supervise(worker, on_line, watch, interrupts)
    study = _settled(ledger, detail=end.detail, is_killed=end.returncode < 0)
    return StudyEnd(_exit_code(study, end), study, ledger.trials(), ledger.log_path)


def _exit_code(study: Study, end: WorkerEnd) -> int:
    """The exit code, by the study's own status first: its worker may have been interrupted elsewhere."""
    if study.status is StudyStatus.INTERRUPTED and study.reason == INTERRUPTED:
        return EXIT_INTERRUPTED
    code = end.returncode if end.returncode >= 0 else EXIT_FAILED
    return EXIT_FAILED if code == 0 and study.status is not StudyStatus.COMPLETE else code


def _settled(ledger: Ledger, *, detail: str, is_killed: bool = True) -> Study:
    """The study with a final status, even if its worker could not write one."""
    study = ledger.read_study()
    if study.status is not StudyStatus.RUNNING:
        return study
    status, reason = (StudyStatus.INTERRUPTED, "killed") if is_killed else (StudyStatus.FAILED, "worker_died")
    if detail == INTERRUPTED:
        status, reason, detail = StudyStatus.INTERRUPTED, INTERRUPTED, ""
    study = replace(study, status=status, reason=reason, detail=detail or None, ended_at=datetime.now(UTC))
    ledger.write_study(study)
    return study


def _mark(ledger: Ledger) -> str:
    """The mark that identifies a study's processes: its folder."""
    return str(ledger.folder.resolve())
