"""Studies in progress, read from their files, and their stop button, the only write of the app.

A trial reaches the snapshot up to ten seconds after it ends; the files have it immediately.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from tracker.errors import TrackerError
from tracker.files.studies import Ledger
from tracker.files.workers import WorkKind, worker_files
from tracker.records.studies import (
    Study,
    StudyStatus,
    Trial,
    Verdict,
    changed_numbers,
)
from tracker.settings import Settings

KEPT_TRIALS = 4096  # a few hundred bytes each; the file of a trial never changes


@dataclass(frozen=True, slots=True)
class Ended:
    """The summary of a finished trial."""

    is_placebo: bool
    verdict: Verdict
    what: str
    gain_bpb: float  # over the incumbent, on fresh seeds; 0 if not kept
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class UnderWay:
    """One study in progress."""

    study_id: str
    agent: str
    tier: str
    track: str
    seed: int
    n_trials: int
    started_at: datetime
    trials: tuple[Ended, ...]  # in their order, placebos included
    is_stopping: bool  # whether the stop button was pressed

    @property
    def n_done(self) -> int:
        """The number of finished trials, without placebos."""
        return sum(not trial.is_placebo for trial in self.trials)

    @property
    def gain_bpb(self) -> float:
        """The total gain so far, counting only gains confirmed on fresh seeds."""
        return sum(trial.gain_bpb for trial in self.trials)


def under_way(settings: Settings) -> list[UnderWay]:
    """The studies whose process is alive, oldest first."""
    found = []
    for file in worker_files(settings, WorkKind.STUDY):
        study_id = file.study_id if file.is_held else None
        if study_id is not None and (one := _progress(settings, study_id)) is not None:
            found.append(one)
    return found


def ask_to_stop(settings: Settings, study_id: str) -> None:
    """Ask a running study to stop; asking again changes nothing.

    Raises:
        TrackerError: the study is not running, or its folder is not writable.
    """
    if study_id not in {one.study_id for one in under_way(settings)}:
        raise TrackerError(f"study `{study_id}` is no longer running")
    path = Ledger(settings.studies_path / study_id).stop_path
    try:
        path.touch()
    except OSError as error:
        hint = f"stop it with `tracker research stop {study_id}`"
        raise TrackerError(f"cannot write {path}: {error.strerror}", hint=hint) from error


def _progress(settings: Settings, study_id: str) -> UnderWay | None:
    ledger = Ledger(settings.studies_path / study_id)
    try:
        study = ledger.read_study()
        trials = _trials(ledger, study)
    except TrackerError:
        return None  # removed, or written by another version
    if study.status is not StudyStatus.RUNNING:
        return None
    return UnderWay(
        study_id=study.study_id,
        agent=study.agent.name,
        tier=study.tier,
        track=study.track,
        seed=study.seed,
        n_trials=study.n_trials,
        started_at=study.started_at,
        trials=tuple(trials),
        is_stopping=ledger.stop_path.exists(),
    )


def _trials(ledger: Ledger, study: Study) -> Sequence[Ended]:
    numbers = sorted(int(path.stem) for path in (ledger.folder / "trials").glob("[0-9]*.json"))
    return [_ended(ledger.folder, study.started_at, slot) for slot in numbers]


@lru_cache(maxsize=KEPT_TRIALS)
def _ended(folder: Path, started_at: datetime, slot: int) -> Ended:
    trial = Ledger(folder).trial(slot)
    if trial is None:
        raise TrackerError(f"{folder}: trial {slot} no longer exists")
    is_kept = trial.verdict is Verdict.ACCEPTED and not trial.is_placebo
    gain = trial.confirmed_gain_bpb if is_kept else None
    return Ended(trial.is_placebo, trial.verdict, _what(trial), gain or 0.0, trial.ended_at)


def _what(trial: Trial) -> str:
    if trial.is_placebo:
        return "placebo"
    if trial.proposal.change is None:
        return trial.proposal.problem or ""
    numbers = changed_numbers(trial.parent.params, trial.proposal.change.params)
    return numbers or ("the script" if trial.proposal.diff else "nothing")
