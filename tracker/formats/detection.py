"""Which format a file has, by its content; and the files of a folder that have one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracker.errors import UnknownNameError
from tracker.formats.bounded import ForeignFileError, read_json, size_of
from tracker.formats.eee_record import is_eee, read_eee
from tracker.formats.foreign_run import ForeignRun
from tracker.formats.inspect_log import is_inspect, read_inspect_json, read_inspect_zip
from tracker.formats.lm_eval_results import is_lm_eval, read_lm_eval

MAX_FILES = 100_000  # of one folder
MAX_DEPTH = 12
ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
LINES_HINT = "samples are read with the results file beside them; name that one, or the folder"
UNKNOWN_HINT = (
    "import results of lm-eval (`results_*.json`), logs of Inspect (`.eval`, `.json`) or records of Every"
    " Eval Ever (`.json`)"
)


@dataclass(frozen=True, slots=True)
class Format:
    """A format whose files are one JSON document: how it is told apart and read."""

    name: str
    fits: Callable[[Any], bool]
    read: Callable[[Path, Any], ForeignRun]


FORMATS = (
    Format("lm-eval", is_lm_eval, read_lm_eval),
    Format("inspect", is_inspect, read_inspect_json),
    Format("every-eval-ever", is_eee, read_eee),
)
NAMES = tuple(one.name for one in FORMATS)


class UnknownFormatError(ForeignFileError):
    """A file in none of the formats."""


def read_foreign(path: Path, *, name: str | None = None) -> ForeignRun:
    """The run in a file; `name`: its format, instead of finding it by the content.

    Raises:
        UnknownFormatError: it has none of the formats, or not the one that is named.
        ForeignFileError: it is damaged, too large or contradicts itself.
    """
    if is_zip(path):
        if name not in (None, "inspect"):
            raise UnknownFormatError(f"`{path}` is a zip file, not one of {name}", hint=UNKNOWN_HINT)
        return read_inspect_zip(path)
    if path.suffix == ".eval":
        raise UnknownFormatError(f"`{path}` is damaged: a `.eval` file is a zip file", hint=UNKNOWN_HINT)
    if path.suffix == ".jsonl":
        raise UnknownFormatError(f"`{path}` holds samples alone", hint=LINES_HINT)
    try:
        document = read_json(path)
    except ForeignFileError as error:
        if path.suffix == ".json":
            raise
        raise UnknownFormatError(f"`{path}` is no file of results", hint=UNKNOWN_HINT) from error
    for one in FORMATS:
        if one.fits(document) and name in (None, one.name):
            return one.read(path, document)
    asked = f"no results of {name}" if name else "in none of the formats that are read"
    raise UnknownFormatError(f"`{path}` is {asked}", hint=UNKNOWN_HINT)


def check_format(name: str | None) -> None:
    """Refuse the name of a format that does not exist.

    Raises:
        UnknownNameError: there is no such format.
    """
    if name is not None and name not in NAMES:
        raise UnknownNameError("format", name, known=NAMES)


def is_zip(path: Path) -> bool:
    """Whether the file begins as a zip file does."""
    size_of(path)
    try:
        with path.open("rb") as file:
            return file.read(4) in ZIP_MAGIC
    except OSError as error:
        raise ForeignFileError(f"`{path}` cannot be read: {error.strerror}") from error


def candidates(path: Path) -> Iterator[Path]:
    """The file, or those of a folder that may hold results, by their names; links are not followed.

    Raises:
        ForeignFileError: there is nothing there, or the folder has too many files.
    """
    try:
        is_folder = path.is_dir()
    except (OSError, ValueError) as error:
        raise ForeignFileError(f"`{path}` cannot be read") from error
    if not is_folder:
        size_of(path)
        yield path
        return
    n_files = 0
    folders = [(path, 0)]
    while folders:
        folder, depth = folders.pop()
        for one in sorted(folder.iterdir(), reverse=True):
            n_files += 1
            if n_files > MAX_FILES:
                raise ForeignFileError(f"`{path}` has more than {MAX_FILES:,} files", hint="name its parts")
            if one.is_symlink():
                continue
            if one.is_dir() and depth < MAX_DEPTH and not one.name.startswith("."):
                folders.append((one, depth + 1))
            elif one.suffix in (".eval", ".json") and one.is_file():
                yield one
