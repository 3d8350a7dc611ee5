"""Single values out of somebody else's JSON or CSV: what is not what it should be is None, never a guess."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any, TypeVar

from tracker.sources.errors import LayoutError

Row = TypeVar("Row")
Record = TypeVar("Record")


def built(rows: Iterable[Row], build: Callable[[Row], Record]) -> tuple[list[Record], list[str]]:
    """The records that `build` makes of the rows, and why it refused the others."""
    records, problems = [], []
    for row in rows:
        try:
            records.append(build(row))
        except ValueError as error:
            problems.append(str(error))
    return records, problems


def parsed(body: bytes, where: str) -> Any:
    """The body as JSON. Half a surrogate pair, which JSON can carry and no file can, becomes a question mark.

    Raises:
        LayoutError: it is no JSON, or nested far deeper than any answer.
    """
    try:
        found = json.loads(body)
        return _whole_text(found) if b"\\ud" in body.lower() else found
    except (ValueError, RecursionError) as error:
        start = body[:40].decode(errors="replace").strip()
        raise LayoutError(f"{where} answers with something that is no JSON (`{start}…`)") from error


def _whole_text(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, list):
        return [_whole_text(one) for one in value]
    if isinstance(value, dict):
        return {_whole_text(key): _whole_text(one) for key, one in value.items()}
    return value


def text(value: Any) -> str | None:
    """A text that says something."""
    return value.strip() or None if isinstance(value, str) else None


def whole(value: Any) -> int | None:
    """A whole number of at least 0; also one written as text."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 <= number < 2**63 else None


def number(value: Any) -> float | None:
    """A finite number; also one written as text."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):  # a whole number of 400 digits is good JSON
        return None
    return found if math.isfinite(found) else None


def moment(value: Any) -> datetime | None:
    """A moment in UTC. One without a zone is taken as UTC; a month is its first day."""
    if isinstance(value, datetime):
        return _in_utc(value)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if not isinstance(value, str) or not value:
        return None
    if len(value) == len("2025-04") and value[4:5] == "-":
        value = f"{value}-01"
    try:
        return _in_utc(datetime.fromisoformat(value))
    except ValueError:
        return None


def _in_utc(found: datetime) -> datetime | None:
    try:
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except OverflowError:  # hours before the year 1, or after the year 9999
        return None


def day(value: Any) -> date | None:
    """The day of a moment."""
    found = moment(value)
    return found.date() if found else None


def mapping(value: Any) -> Mapping[str, Any]:
    """An object; an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def listed(value: Any) -> list[Any]:
    """A list; an empty one for anything else."""
    return value if isinstance(value, list) else []


def required(value: Any, problem: str) -> str:
    """A text that says something.

    Raises:
        ValueError: it does not; `problem` says what that is.
    """
    found = text(value)
    if found is None:
        raise ValueError(problem)
    return found


def entries(value: Any, where: str) -> list[Any]:
    """A list.

    Raises:
        LayoutError: it is none.
    """
    if not isinstance(value, list):
        raise LayoutError(f"{where}: expected a list, got {type(value).__name__}")
    return value


def data_of(document: Any, where: str) -> list[Mapping[str, Any]]:
    """The objects under `data`, which is where many an API puts them.

    Raises:
        LayoutError: there is no such list.
    """
    if "data" not in mapping(document):
        raise LayoutError(f"{where}: there is no `data`, so its layout has changed")
    return [mapping(row) for row in entries(document["data"], where)]


def require_columns(found: Iterable[str], wanted: Iterable[str], where: str) -> None:
    """Refuse a table that lacks a column, by name.

    Raises:
        LayoutError: one is missing.
    """
    have = set(found)
    missing = [name for name in wanted if name not in have]
    if missing:
        raise LayoutError(f"{where}: there is no column `{missing[0]}`, so its layout has changed")
