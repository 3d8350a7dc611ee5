"""Records to JSON and back: the one place where a raw dict becomes a record.

What is kept on disk carries the version of its format as `format_version`. A file without one was written
before there were versions: it is in the first. Older files are read by way of the upgrades of their format, a
newer one is refused.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from tracker.errors import NewerFormatError, TrackerError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

R = TypeVar("R")
FIRST_VERSION = 1
VERSION_KEY = "format_version"
Raw = dict[str, Any]


@dataclass(frozen=True, slots=True)
class DiskFormat:
    """The versions of one kind of file: `upgrades[n]` makes version n + 2 out of n + 1, on the parsed JSON.

    A key that is added with a default, or left out, needs no new version; one that is renamed or means
    something else does.
    """

    upgrades: tuple[Callable[[Raw], Raw], ...] = ()

    @property
    def version(self) -> int:
        """The version that is written."""
        return FIRST_VERSION + len(self.upgrades)

    def check(self, found: int, *, where: str) -> None:
        """Refuse what a newer program wrote.

        Raises:
            NewerFormatError: this program does not know the version.
            TrackerError: it is not a version.
        """
        if found > self.version:
            raise NewerFormatError(where, found=found, known=self.version)
        if found < FIRST_VERSION:
            raise TrackerError(f"{where}: {VERSION_KEY}: must be at least {FIRST_VERSION}, got {found}")


@dataclass(frozen=True, slots=True)
class _Stamp:
    """The one key that every version has."""

    format_version: int = FIRST_VERSION


def dump(record: object) -> dict[str, Any]:
    """Convert the record to plain JSON values: tuples become lists, times ISO 8601."""
    return dict(_adapter(type(record)).dump_python(record, mode="json"))


def dump_json(record: object) -> bytes:
    """Serialize the record as UTF-8 JSON on one line."""
    return bytes(_adapter(type(record)).dump_json(record))


def load_json(cls: type[R], raw: bytes | str, *, where: str) -> R:
    """Parse `raw` as a `cls`.

    Raises:
        TrackerError: invalid JSON, a missing key or a value out of range; `where` names the file.
    """
    from pydantic import ValidationError

    try:
        return cast("R", _adapter(cls).validate_json(raw))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(p) for p in first["loc"]) or "document"
        raise TrackerError(f"{where}: {place}: {first['msg']}") from error


def _adapter(cls: type) -> TypeAdapter[Any]:
    """What reads and writes records of that class; making it takes fifty times as long as reading one."""
    if cls not in _ADAPTERS:
        from pydantic import TypeAdapter  # not for programs that only know the versions of formats

        _ADAPTERS[cls] = TypeAdapter(cls)
    return _ADAPTERS[cls]


_ADAPTERS: dict[type, TypeAdapter[Any]] = {}


def dump_versioned(record: object, disk_format: DiskFormat) -> bytes:
    """Serialize the record as UTF-8 JSON on one line, with its format version first."""
    return json.dumps({VERSION_KEY: disk_format.version})[:-1].encode() + b", " + dump_json(record)[1:]


def load_versioned(cls: type[R], raw: bytes, disk_format: DiskFormat, *, where: str) -> R:
    """Parse `raw` as a `cls`, written by this version of the program or an older one.

    Raises:
        NewerFormatError: a newer version wrote it.
        TrackerError: invalid JSON, a missing key or a value out of range; `where` names the file.
    """
    found = load_json(_Stamp, raw, where=where).format_version
    disk_format.check(found, where=where)
    if found == disk_format.version:
        return load_json(cls, raw, where=where)
    document = json.loads(raw)
    for upgrade in disk_format.upgrades[found - FIRST_VERSION :]:
        document = upgrade(document)
    return load_json(cls, json.dumps(document), where=where)


def append_line(path: Path, line: str) -> None:
    """Append a line in one write; after a line that a kill cut off, on a new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        is_cut_off = False
        if size:
            file.seek(size - 1)
            is_cut_off = file.read(1) != b"\n"
        file.write(b"\n" * is_cut_off + line.encode() + b"\n")


def read_lines(path: Path, disk_format: DiskFormat) -> Iterator[tuple[int, Raw | str]]:
    """Each line with its number: parsed, or the sentence that says why it cannot be read."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"`{path}`, line {number}"
        try:
            found = json.loads(line)
            if not isinstance(found, dict):
                raise ValueError
            version = found.pop(VERSION_KEY, FIRST_VERSION)
            disk_format.check(version if isinstance(version, int) else 0, where=where)
        except NewerFormatError as error:
            yield number, f"{error} ({error.hint})"
        except (ValueError, TrackerError, RecursionError):
            yield number, f"{where} is damaged"
        else:
            yield number, found


def writable_text(text: str) -> str:
    """Replace each lone surrogate in `text` by U+FFFD: UTF-8 cannot encode one."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def write_atomically(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Replace `path` atomically: readers see the old or the new content, also after a kill.

    `mode` is that of the new file, before the umask.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
