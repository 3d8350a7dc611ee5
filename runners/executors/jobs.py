"""A job from its announcement to the final status of its runs, with any executor."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from runners.executors import DEFAULT_EXECUTOR, open_executor
from runners.executors.sharing import Crew
from runners.executors.supervisor import WorkerEnd, catch_interrupts
from runners.harness.begin import new_run
from runners.harness.events import Event
from tracker.errors import DiskFullError, TrackerError
from tracker.files.items import read_doc_ids, read_run, remove_unfinished, stored_parts, write_run
from tracker.files.workers import WorkerFile, WorkKind, worker_files, worker_path, write_worker_file
from tracker.records import Job, Run, RunStatus
from tracker.settings import Settings

EXIT_KILLED = 3  # the model could not be run


@dataclass(frozen=True, slots=True)
class JobEnd:
    """A finished job: its exit code for the command line, its runs as stored, its log."""

    exit_code: int
    runs: tuple[Run, ...]
    log_path: Path


def run_job(
    job: Job,
    settings: Settings,
    on_event: Callable[[Event], None],
    *,
    executor: str = DEFAULT_EXECUTOR,
    cards: Sequence[Sequence[str]] = ((),),
    interrupts: Sequence[float] | None = None,
) -> JobEnd:
    """Run the job; every run has a final `run.json` afterwards.

    `cards`: for each worker the UUIDs of its cards; none: the executor gives it some. `interrupts`: times of
    the user's interrupts, which grow; None: they are caught here, if this is the main thread.

    Call `forget_job` once the runs are stored elsewhere; until then the next start finds them again.

    Ctrl-C, SIGTERM or SIGHUP stops the worker after the current answer, a second one at once; the runs are
    then `interrupted` and the exit code is 130.

    Raises:
        UnknownNameError: there is no such executor.
        DiskFullError: no space is left.
    """
    place = open_executor(executor, settings)
    first = job.runs[0].run_id
    log_path = settings.home / "jobs" / first / "worker.log"
    caught = catch_interrupts() if interrupts is None else contextlib.nullcontext(interrupts)
    with caught as stops:
        run_ids = [request.run_id for request in job.runs]
        write_worker_file(settings, WorkKind.BENCH, first, runs=run_ids, executor=executor)
        for request in job.runs:  # under our own process id until the worker has started
            _write(Path(job.items_path), new_run(job, request, pid=os.getpid()))
        if len(cards) > 1:
            crew = Crew(place, job, on_event, log_path=log_path, interrupts=stops, cards=cards)
            end = crew.run()
        else:
            end = place.run(job, on_event, log_path=log_path, interrupts=stops)
        runs = tuple(_final(Path(job.items_path), run_id, end) for run_id in run_ids)
        return JobEnd(end.exit_code(if_killed=EXIT_KILLED), runs, log_path)


def forget_job(settings: Settings, runs: Sequence[Run]) -> None:
    """Remove the worker files of runs that are in the store, so that the next start does not find them."""
    for run in runs:
        worker_path(settings, WorkKind.BENCH, run.run_id).unlink(missing_ok=True)


def reap_orphans(settings: Settings) -> list[Run]:
    """Stop workers whose parent is gone; returns their runs with a final status, to store and then forget."""
    runs = []
    for file in worker_files(settings, WorkKind.BENCH):
        if file.is_held:
            continue
        reaped = _reaped(file, settings)
        if not reaped:
            file.remove()
        runs += reaped
    return runs


def end_job(settings: Settings, first_run_id: str) -> list[Run]:
    """End the job of this process that begins with this run; its runs, as `reap_orphans` gives them."""
    path = worker_path(settings, WorkKind.BENCH, first_run_id)
    return [
        run
        for file in worker_files(settings, WorkKind.BENCH)
        if file.path == path
        for run in _reaped(file, settings)
    ]


def _reaped(file: WorkerFile, settings: Settings) -> list[Run]:
    """The runs of a job whose parent is gone; those that had not started are omitted."""
    if not file.run_ids:
        return []
    with contextlib.suppress(TrackerError):  # the executor may have been uninstalled
        open_executor(file.executor, settings).end_orphan(file.run_ids[0])
    runs = []
    for run_id in file.run_ids:
        with contextlib.suppress(TrackerError):  # not started
            run = read_run(settings.items_path / run_id)
            remove_unfinished(settings.items_path, run_id)
            if run.status is RunStatus.RUNNING:
                run = _interrupted(run)
                write_run(settings.items_path, run)
            runs.append(run)
    return runs


def _final(items_path: Path, run_id: str, end: WorkerEnd) -> Run:
    """The run with a final status, even if its worker could not write one."""
    run = read_run(items_path / run_id)
    if run.status is not RunStatus.RUNNING:
        counted = _counted(run, items_path)
        if counted is not run:
            _write(items_path, counted)
        return counted
    remove_unfinished(items_path, run_id)
    run = _interrupted(run) if end.is_interrupted else _abandoned(run, end)
    _write(items_path, run)
    return run


def _counted(run: Run, items_path: Path) -> Run:
    """The run as the disk has it: partial if fewer answers can be read than it reports."""
    if run.status not in {RunStatus.COMPLETE, RunStatus.PARTIAL}:
        return run
    wanted: dict[str, int] = {}
    groups = {score.group for score in run.scores}
    for score in run.scores:
        if score.group is None and score.task in groups:
            continue  # it rests on the items of its tasks
        wanted[score.fingerprint] = max(score.n_items, wanted.get(score.fingerprint, 0))
    n_lost = sum(
        max(n_items - len(read_doc_ids(stored_parts(items_path, fingerprint))), 0)
        for fingerprint, n_items in wanted.items()
    )
    if not n_lost:
        return run
    n_items = sum(wanted.values())
    detail = (
        f"only {n_items - n_lost:,} of {n_items:,} answers are on the disk: the others were lost or damaged"
        " while it ran; repeat the command to ask those again"
    )
    return replace(
        run,
        status=RunStatus.PARTIAL,
        reason="items_missing",
        detail=detail,
        warnings=(*run.warnings, detail),
        n_items=max(run.n_items - n_lost, 0),
    )


def _interrupted(run: Run) -> Run:
    return replace(run, status=RunStatus.INTERRUPTED, reason="interrupted", ended_at=datetime.now(UTC))


def _abandoned(run: Run, end: WorkerEnd) -> Run:
    ended_at = datetime.now(UTC)
    return replace(run, status=RunStatus.FAILED, reason=end.reason, detail=end.detail, ended_at=ended_at)


def _write(items_path: Path, run: Run) -> None:
    try:
        write_run(items_path, run)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFullError(str(items_path)) from error
        raise
