"""The files of a search for better instructions; each appears whole or not at all.

`programs/<program_id>/search.json` is the search, `versions/<n>.json` a proposed version, written before
any of its studies begins, `studies/<key>.json` the id of a study, `verdicts/<n>.json` a judged version,
`secret.json` what seeds and secrets of the studies follow from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tracker.errors import TrackerError, UnknownNameError
from tracker.files.studies import SECRET_MODE, disk_errors
from tracker.records.programs import JudgedVersion, ProgramSearch, ProgramVersion
from tracker.records.studies import StudySecret
from tracker.serialization import DiskFormat, dump_versioned, load_versioned, write_atomically
from tracker.settings import Settings

SEARCH_FILE = "search.json"
PROGRAMS_FORMAT = DiskFormat()  # of every file in the folder of a search
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class BegunStudy:
    """The id of a study of the search."""

    study_id: str


class SearchLedger:
    """One search's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read_search(self) -> ProgramSearch:
        """The search.

        Raises:
            TrackerError: its file is missing or broken.
        """
        return _read(ProgramSearch, self.folder / SEARCH_FILE)

    def write_search(self, search: ProgramSearch) -> None:
        """Replace `search.json`."""
        self._write(self.folder / SEARCH_FILE, search)

    def read_secret(self) -> StudySecret:
        """The secret of the search.

        Raises:
            TrackerError: its file is missing or broken, or holds another secret.
        """
        secret = _read(StudySecret, self.folder / "secret.json")
        if secret.hash != self.read_search().secret_hash:
            raise TrackerError(f"{self.folder / 'secret.json'}: is not the secret of this search")
        return secret

    def write_secret(self, secret: StudySecret) -> None:
        """Keep the secret, for the owner alone."""
        path = self.folder / "secret.json"
        with disk_errors(path):
            write_atomically(path, dump_versioned(secret, PROGRAMS_FORMAT), mode=SECRET_MODE)

    def version(self, number: int) -> ProgramVersion | None:
        """The version of that number, if it was proposed."""
        return self._found(ProgramVersion, self._version_path(number))

    def write_version(self, version: ProgramVersion) -> None:
        """Keep a version, so that a kill never pays for its tokens twice; its text also as a file to use."""
        self._write(self._version_path(version.version), version)
        path = self.text_path(version.version)
        with disk_errors(path):
            write_atomically(path, version.text.encode())

    def verdict(self, number: int) -> JudgedVersion | None:
        """The version of that number with its verdict, if it has one."""
        return self._found(JudgedVersion, self.folder / "verdicts" / f"{number:03d}.json")

    def write_verdict(self, judged: JudgedVersion) -> None:
        """Keep a verdict."""
        self._write(self.folder / "verdicts" / f"{judged.version.version:03d}.json", judged)

    def verdicts(self) -> tuple[JudgedVersion, ...]:
        """The judged versions, in their order."""
        paths = sorted((self.folder / "verdicts").glob("[0-9]*.json"))
        return tuple(_read(JudgedVersion, path) for path in paths)

    def text_path(self, number: int) -> Path:
        """The text of a version, as `--program` takes it."""
        return self.folder / "versions" / f"{number:03d}.md"

    def study_id(self, key: str) -> str | None:
        """The id of the study with this key, if it was begun."""
        begun = self._found(BegunStudy, self.folder / "studies" / f"{key}.json")
        return None if begun is None else begun.study_id

    def write_study_id(self, key: str, study_id: str) -> None:
        """Keep the id of a study that was begun."""
        self._write(self.folder / "studies" / f"{key}.json", BegunStudy(study_id))

    def _version_path(self, number: int) -> Path:
        return self.folder / "versions" / f"{number:03d}.json"

    def _found(self, cls: type[R], path: Path) -> R | None:
        return _read(cls, path) if path.is_file() else None

    def _write(self, path: Path, record: object) -> None:
        with disk_errors(path):
            write_atomically(path, dump_versioned(record, PROGRAMS_FORMAT))


def open_search(settings: Settings, program_id: str) -> SearchLedger:
    """The folder of this search; the start of an id is enough where only one begins so.

    Raises:
        UnknownNameError: there is no such search.
    """
    names = sorted(path.parent.name for path in settings.programs_path.glob(f"*/{SEARCH_FILE}"))
    found = [name for name in names if name == program_id] or [n for n in names if n.startswith(program_id)]
    if len(found) != 1 or not program_id:
        raise UnknownNameError("search", program_id, known=found or names)
    return SearchLedger(settings.programs_path / found[0])


def _read(cls: type[R], path: Path) -> R:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise TrackerError(f"{path}: cannot be read: {error.strerror}") from error
    return load_versioned(cls, raw, PROGRAMS_FORMAT, where=str(path))
