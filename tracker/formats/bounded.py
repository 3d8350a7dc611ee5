"""Files of strangers, read within bounds: regular files, UTF-8, JSON, and no more than is announced."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tracker.errors import TrackerError
from tracker.foreign_text import one_line
from tracker.http_client import parse_json
from tracker.sources.fields import whole_text

MAX_DOCUMENT_BYTES = 256 * 1024**2  # parsed as a whole, which takes some ten times its size
MAX_LINE_BYTES = 32 * 1024**2
MAX_SAMPLES_BYTES = 8 * 1024**3  # read line by line
MAX_ITEMS = 2_000_000  # of one run
MAX_NAME_CHARS = 300
BLOCK_BYTES = 1024**2
DAMAGED_HINT = "copy the file again, or leave it out; nothing of it was imported"
SPLIT_HINT = "split it, or export it with a sample per line; nothing of it was imported"


class ForeignFileError(TrackerError):
    """A file of another program that is not what it should be, contradicts itself, or is too large."""


def size_of(path: Path) -> int:
    """The size of a regular file in bytes.

    Raises:
        ForeignFileError: it cannot be read, or is a device, pipe or folder.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise ForeignFileError(f"`{path}` cannot be read: {error.strerror}", hint=DAMAGED_HINT) from error
    except ValueError as error:  # a zero byte in the name
        raise ForeignFileError(f"`{path}` is no name of a file", hint=DAMAGED_HINT) from error
    if not stat.S_ISREG(found.st_mode):
        raise ForeignFileError(f"`{path}` is not a file", hint="name a results file, or a folder of them")
    return found.st_size


def read_bytes(path: Path, *, most: int = MAX_DOCUMENT_BYTES) -> bytes:
    """The content of a file of at most `most` bytes.

    Raises:
        ForeignFileError: it cannot be read, or is larger.
    """
    size = size_of(path)
    if size > most:
        raise too_large(str(path), size, most)
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise ForeignFileError(f"`{path}` cannot be read: {error.strerror}", hint=DAMAGED_HINT) from error
    if len(content) > most:  # it grew
        raise too_large(str(path), len(content), most)
    return content


def too_large(where: str, size: int, most: int) -> ForeignFileError:
    """The error about a file, entry or line of more bytes than are read."""
    text = f"`{where}` has {size / 1e6:,.0f} MB; at most {most / 1e6:,.0f} MB are read"
    return ForeignFileError(text, hint=SPLIT_HINT)


def parsed(content: bytes, where: str) -> Any:
    """The JSON in these bytes.

    Raises:
        ForeignFileError: they are not UTF-8 or not JSON, or nested too deeply.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = f"`{where}` is not UTF-8 (byte {error.start:,})"
        raise ForeignFileError(problem, hint="save it as UTF-8; nothing of it was imported") from error
    try:
        found = parse_json(text)
        return whole_text(found) if b"\\ud" in content.lower() else found
    except json.JSONDecodeError as error:
        place = f"line {error.lineno:,}, column {error.colno:,}"
        raise ForeignFileError(f"`{where}` is not JSON: {error.msg} at {place}", hint=DAMAGED_HINT) from error
    except (ValueError, RecursionError) as error:
        raise ForeignFileError(f"`{where}` is not JSON: {error}", hint=DAMAGED_HINT) from error


def read_json(path: Path) -> Any:
    """The JSON of a file.

    Raises:
        ForeignFileError: it cannot be read, is too large, or is not JSON.
    """
    return parsed(read_bytes(path), str(path))


def json_lines(path: Path, *, having: bytes = b"") -> Iterator[tuple[str, Any]]:
    """Each JSON value of a file with its place: one per line, or the entries of one list.

    `having`: only lines with these bytes are parsed.

    Raises:
        ForeignFileError: the file or a line is too large or not JSON; what came before it has been given.
    """
    size = size_of(path)
    if size > MAX_SAMPLES_BYTES:
        raise too_large(str(path), size, MAX_SAMPLES_BYTES)
    with path.open("rb") as file:
        is_list = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
    if is_list:  # as older versions of lm-eval wrote it
        found = read_json(path)
        for place, one in enumerate(found, 1):
            yield f"{path}, entry {place:,}", one
        return
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise too_large(f"{path}, line {number:,}", len(line), MAX_LINE_BYTES)
            if line.strip() and having in line:
                yield f"{path}, line {number:,}", parsed(line, f"{path}, line {number:,}")


def sha256_of(paths: tuple[Path, ...]) -> str:
    """One hash of the content of these files, whatever they are called."""
    whole = hashlib.sha256()
    for path in paths:
        one = hashlib.sha256()
        if (size := size_of(path)) > MAX_SAMPLES_BYTES:
            raise too_large(str(path), size, MAX_SAMPLES_BYTES)
        try:
            with path.open("rb") as file:
                while block := file.read(BLOCK_BYTES):
                    one.update(block)
        except OSError as error:
            raise ForeignFileError(f"`{path}` cannot be read: {error.strerror}", hint=DAMAGED_HINT) from error
        whole.update(one.digest())
    return whole.hexdigest()


def checked_name(value: Any, where: str, what: str) -> str:
    """A name of a model, task or metric: printable, on one line, not too long, no path to a parent folder.

    Raises:
        ForeignFileError: it is anything else.
    """
    name = value.strip() if isinstance(value, str) else ""
    if not name:
        raise ForeignFileError(f"`{where}` does not name {what}", hint=DAMAGED_HINT)
    is_path = ".." in name.replace("\\", "/").split("/")
    if one_line(name) != name or len(name) > MAX_NAME_CHARS or is_path:
        shown = one_line(name)[:40]
        raise ForeignFileError(f"`{where}`: {what} has an impossible name: `{shown}`", hint=DAMAGED_HINT)
    return name
