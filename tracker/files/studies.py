"""The files of a study: the truth that everything else is derived from.

`studies/<study_id>/study.json` is the study, `trials/<slot>.json` a finished trial, `proposals/<wave>.json`
what was asked and answered, written before the first training of the wave, `test/<key>.json` a training that
was measured on the split that is touched once, `trainings/<key>.json` one that a node of an executor did,
`secret.json` what the seeds follow from, `stop` the stop button. `attacks/<id>.json` is one run of the attack
suite. Each appears whole or not at all.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tracker.errors import DiskFullError, TrackerError, UnknownNameError
from tracker.records.studies import (
    Proposal,
    Study,
    StudySecret,
    SuiteRun,
    Training,
    Trial,
)
from tracker.serialization import DiskFormat, dump_versioned, load_versioned, write_atomically
from tracker.settings import Settings

STUDY_FILE = "study.json"
SECRET_MODE = 0o600
STUDY_FORMAT = DiskFormat()  # of every file in the folder of a study
ATTACKS_FORMAT = DiskFormat()
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Wave:
    """What one call of the agent brought: a proposal for each of its slots."""

    wave: int
    slots: tuple[int, ...]
    proposals: tuple[Proposal, ...]

    def __post_init__(self) -> None:
        """One proposal per slot."""
        if not self.slots or len(self.slots) != len(self.proposals):
            raise ValueError(f"{len(self.proposals)} proposals for {len(self.slots)} slots")


class Ledger:
    """One study's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read_study(self) -> Study:
        """The study.

        Raises:
            TrackerError: its file is missing or broken.
        """
        return _read(Study, self.folder / STUDY_FILE)

    def write_study(self, study: Study) -> None:
        """Replace `study.json`.

        Raises:
            DiskFullError: there is no room; the file is as it was.
        """
        self._write(self.folder / STUDY_FILE, study)

    def read_secret(self) -> StudySecret:
        """The secret that the study was begun with.

        Raises:
            TrackerError: its file is missing or broken, or holds another secret.
        """
        hint = "its seeds cannot be derived without it: start a new study with `tracker research run`"
        if not self.secret_path.is_file():
            raise TrackerError(f"`{self.secret_path}` is missing", hint=hint)
        secret = _read(StudySecret, self.secret_path)
        if secret.hash != self.read_study().secret_hash:
            raise TrackerError(f"`{self.secret_path}` is not the secret of this study", hint=hint)
        return secret

    def write_secret(self, secret: StudySecret) -> None:
        """Keep the secret, for the owner alone, before anything is derived from it."""
        with disk_errors(self.secret_path):
            write_atomically(self.secret_path, dump_versioned(secret, STUDY_FORMAT), mode=SECRET_MODE)

    @property
    def secret_path(self) -> Path:
        """Where the secret is."""
        return self.folder / "secret.json"

    def trials(self) -> tuple[Trial, ...]:
        """The finished trials, placebos included, in the order of their slots.

        Raises:
            TrackerError: a file is broken.
        """
        return tuple(_read(Trial, path) for path in self.trial_paths())

    def trial_paths(self) -> list[Path]:
        """The files of the finished trials, in the order of their slots."""
        return sorted((self.folder / "trials").glob("[0-9]*.json"))

    def trial(self, slot: int) -> Trial | None:
        """The finished trial of this slot, if there is one."""
        path = self.trial_path(slot)
        return _read(Trial, path) if path.is_file() else None

    def trial_path(self, slot: int) -> Path:
        """Where the finished trial of this slot is, or will be."""
        return self.folder / "trials" / f"{slot:05d}.json"

    def write_trial(self, trial: Trial) -> None:
        """Keep a finished trial."""
        self._write(self.trial_path(trial.slot), trial)

    def wave(self, wave: int) -> Wave | None:
        """What was asked and answered in this wave, if it was."""
        path = self._wave_path(wave)
        return _read(Wave, path) if path.is_file() else None

    def write_wave(self, wave: Wave) -> None:
        """Keep what was answered, so that a kill never pays for the tokens twice."""
        self._write(self._wave_path(wave.wave), wave)

    def test_training(self, name: str) -> Training | None:
        """A training that was measured on `test` for this study; it is never measured a second time."""
        path = self.folder / "test" / f"{name}.json"
        return _read(Training, path) if path.is_file() else None

    def write_test_training(self, name: str, training: Training) -> None:
        """Keep a training measured on `test`."""
        self._write(self.folder / "test" / f"{name}.json", training)

    def node_training(self, key: str) -> Training | None:
        """A training that a node did for this study, without its score on `test`."""
        path = self._node_trainings / f"{key}.json"
        return _read(Training, path) if path.is_file() else None

    def write_node_training(self, training: Training) -> None:
        """Keep a training that a node did."""
        self._write(self._node_trainings / f"{training.key}.json", training)

    def node_machine(self) -> str:
        """The processor or card of the nodes that train this study; empty: none did yet."""
        first = min(self._node_trainings.glob("*.json"), default=None)
        return "" if first is None else _read(Training, first).machine

    @property
    def calls_path(self) -> Path:
        """The folders of trainings that are under way on nodes."""
        return self.folder / "calls"

    @property
    def _node_trainings(self) -> Path:
        return self.folder / "trainings"

    @property
    def stop_path(self) -> Path:
        """The stop button: while this file exists, the study ends as soon as it can."""
        return self.folder / "stop"

    @property
    def log_path(self) -> Path:
        """What the worker says."""
        return self.folder / "worker.log"

    def _wave_path(self, wave: int) -> Path:
        return self.folder / "proposals" / f"{wave:05d}.json"

    def _write(self, path: Path, record: object) -> None:
        with disk_errors(path):
            write_atomically(path, dump_versioned(record, STUDY_FORMAT))


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Say a full disk in our words."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFullError(str(path)) from error
        raise


def write_suite_run(attacks_path: Path, run: SuiteRun) -> None:
    """Keep a run of the attack suite.

    Raises:
        DiskFullError: there is no room.
    """
    path = attacks_path / f"{run.suite_run_id}.json"
    with disk_errors(path):
        write_atomically(path, dump_versioned(run, ATTACKS_FORMAT))


def suite_run_paths(attacks_path: Path) -> list[Path]:
    """The files of the runs of the attack suite, oldest first: their ids sort by time."""
    return sorted(attacks_path.glob("[0-9]*.json"))


def read_suite_run(path: Path) -> SuiteRun:
    """One run of the attack suite.

    Raises:
        TrackerError: the file is broken, or belongs to another run.
    """
    run = _read(SuiteRun, path, ATTACKS_FORMAT)
    if run.suite_run_id != path.stem:
        raise TrackerError(f"{path}: belongs to run `{run.suite_run_id}` of the attack suite")
    return run


def study_folders(studies_path: Path) -> list[Path]:
    """The folders that hold a study, oldest first: study ids sort by time."""
    return sorted(path.parent for path in studies_path.glob(f"*/{STUDY_FILE}"))


def folders_without_study(studies_path: Path) -> list[Path]:
    """The folders that hold trials of a study whose `study.json` is gone."""
    with_trials = {path.parent.parent for path in studies_path.glob("*/trials/[0-9]*.json")}
    return sorted(with_trials - set(study_folders(studies_path)))


def open_ledger(settings: Settings, study_id: str) -> Ledger:
    """The folder of this study; the start of an id is enough where only one begins so.

    Raises:
        UnknownNameError: there is no such study.
    """
    names = [folder.name for folder in study_folders(settings.studies_path)]
    found = [name for name in names if name == study_id] or [n for n in names if n.startswith(study_id)]
    if len(found) != 1 or not study_id:
        raise UnknownNameError("study", study_id, known=found or names)
    return Ledger(settings.studies_path / found[0])


def _read(cls: type[R], path: Path, disk_format: DiskFormat = STUDY_FORMAT) -> R:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise TrackerError(f"{path}: cannot be read: {error.strerror}") from error
    return load_versioned(cls, raw, disk_format, where=str(path))
