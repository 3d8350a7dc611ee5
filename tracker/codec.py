"""Records to JSON and back: the one place where a raw dict becomes a record."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from tracker.errors import TrackerError

R = TypeVar("R")


def dump(record: object) -> dict[str, Any]:
    """The record as plain JSON values: tuples as lists, times as ISO 8601."""
    return dict(TypeAdapter(type(record)).dump_python(record, mode="json"))


def dump_json(record: object) -> bytes:
    """The record as UTF-8 JSON on one line."""
    return bytes(TypeAdapter(type(record)).dump_json(record))


def load_json(cls: type[R], raw: bytes | str, *, where: str) -> R:
    """The record that `raw` holds.

    Raises:
        TrackerError: it is no JSON, a key is missing or a value is out of range; `where` names the file.
    """
    try:
        return TypeAdapter(cls).validate_json(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(p) for p in first["loc"]) or "the whole"
        raise TrackerError(f"{where}: {place}: {first['msg']}") from error


def writable_text(text: str) -> str:
    """`text` with U+FFFD for each half of a surrogate pair that stands alone: UTF-8 has no such thing."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` so that a reader, or a kill at any moment, sees the old or the new content whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
