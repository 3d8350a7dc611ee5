"""The studies under way at this moment, from their files, and their stop button: all that the app writes.

The snapshot has a trial up to ten seconds after it ended; the files have it at once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from app.running import is_held
from tracker.errors import TrackerError
from tracker.settings import Settings
from tracker.studies import Study, StudyStatus, Trial, Verdict, changed_numbers
from tracker.study_files import Ledger

LOCKS = "study-*.json"  # one per study that a process works on, see `tracker.study_driver`
KEPT_TRIALS = 4096  # a trial is some hundred bytes here; its file never changes


@dataclass(frozen=True, slots=True)
class Ended:
    """One trial that is over, in short."""

    is_placebo: bool
    verdict: Verdict
    what: str
    gain_bpb: float  # what it added to the incumbent, under fresh seeds
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class UnderWay:
    """One study that a process works on."""

    study_id: str
    agent: str
    tier: str
    track: str
    seed: int
    n_trials: int
    started_at: datetime
    trials: tuple[Ended, ...]  # in their order, placebos included
    is_stopping: bool  # whether the stop button is pressed

    @property
    def n_done(self) -> int:
        """The agent's trials that are over."""
        return sum(not trial.is_placebo for trial in self.trials)

    @property
    def gain_bpb(self) -> float:
        """What is gained so far, by the gains that held under fresh seeds."""
        return sum(trial.gain_bpb for trial in self.trials)


def under_way(settings: Settings) -> list[UnderWay]:
    """The studies whose process lives, oldest first."""
    found = []
    for lock in sorted(settings.locks_path.glob(LOCKS)):
        study_id = _study_of(lock)
        if study_id is not None and (one := _progress(settings, study_id)) is not None:
            found.append(one)
    return found


def ask_to_stop(settings: Settings, study_id: str) -> None:
    """Press the stop button of a study under way; pressing it again changes nothing.

    Raises:
        TrackerError: nobody works on it, or its folder cannot be written.
    """
    if study_id not in {one.study_id for one in under_way(settings)}:
        raise TrackerError(f"study `{study_id}` is not running any more")
    path = Ledger(settings.studies_path / study_id).stop_path
    try:
        path.touch()
    except OSError as error:
        hint = f"`tracker research stop {study_id}` does the same"
        raise TrackerError(f"{path}: cannot be written: {error.strerror}", hint=hint) from error


def _study_of(lock: Path) -> str | None:
    """The study of a lock whose process lives; a lock that is half written or gone has none."""
    try:
        entry = json.loads(lock.read_bytes())
        return str(entry["study"]) if is_held(entry) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _progress(settings: Settings, study_id: str) -> UnderWay | None:
    ledger = Ledger(settings.studies_path / study_id)
    try:
        study = ledger.read_study()
        trials = _trials(ledger, study)
    except TrackerError:
        return None  # removed, or of another version
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
        raise TrackerError(f"{folder}: trial {slot} is gone")
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
