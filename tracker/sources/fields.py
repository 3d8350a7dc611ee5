"""Read single values of external JSON or CSV: an invalid value becomes None, never a guess."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any, TypeVar

from tracker.http_client import parse_json
from tracker.redaction import masked
from tracker.sources.errors import LayoutError

SHOWN_BYTES, SHOWN_CHARS = (
    4096,
    40,
)  # of a body that is not JSON; more is read so that no half a secret is shown
REPOSITORY = re.compile(r"[^\s/\\:]{1,96}(/[^\s/\\:]{1,96})?")

Row = TypeVar("Row")
Record = TypeVar("Record")


def built(rows: Iterable[Row], build: Callable[[Row], Record]) -> tuple[list[Record], list[str]]:
    """Build a record from each row; also return why rows were refused."""
    records, problems = [], []
    for row in rows:
        try:
            records.append(build(row))
        except ValueError as error:
            problems.append(str(error))
    return records, problems


def parsed(body: bytes, where: str) -> Any:
    """Parse the body as JSON. A lone surrogate, which UTF-8 cannot encode, becomes a question mark.

    Raises:
        LayoutError: it is not JSON, or nested too deeply.
    """
    try:
        found = parse_json(body)
        return whole_text(found) if b"\\ud" in body.lower() else found
    except (ValueError, RecursionError) as error:
        start = masked(body[:SHOWN_BYTES].decode(errors="replace")).strip()[:SHOWN_CHARS]
        raise LayoutError(f"{where} did not return JSON but `{start}…`") from error


def whole_text(value: Any) -> Any:
    """The same value of JSON with a question mark for each lone surrogate, which UTF-8 cannot encode."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, list):
        return [whole_text(one) for one in value]
    if isinstance(value, dict):
        return {whole_text(key): whole_text(one) for key, one in value.items()}
    return value


def text(value: Any) -> str | None:
    """A non-empty string without surrounding spaces; None for anything else."""
    return value.strip() or None if isinstance(value, str) else None


def repository(value: Any) -> str | None:
    """A name that a repository of the Hub can have, `org/name` or the old `name`; None for anything else."""
    name = text(value)
    if name is None or REPOSITORY.fullmatch(name) is None or not name.isprintable():
        return None
    return None if ".." in name or "." in name.split("/") else name


def whole(value: Any) -> int | None:
    """A non-negative integer, also from text; None for anything else."""
    if isinstance(value, bool) or value is None or (isinstance(value, float) and not value.is_integer()):
        return None
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 <= number < 2**63 else None


def number(value: Any) -> float | None:
    """A finite number, also from text; None for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):  # an integer of 400 digits is valid JSON
        return None
    return found if math.isfinite(found) else None


def price(value: Any, *, per: float = 1.0) -> float | None:
    """A price times `per`, finite and not negative; None for anything else.

    Some sources write -1 for a price that they do not know.
    """
    found = number(value)
    if found is None or found < 0 or not math.isfinite(found * per):
        return None
    # rounded: a price per token has 17 digits of binary noise when multiplied
    return found if per == 1 else round(found * per, 6)


def ends(low: Any, value: float, high: Any) -> tuple[float | None, float | None]:
    """The ends of an interval around `value`; None for both if they do not enclose it."""
    lower, upper = number(low), number(high)
    is_around = (lower is None or lower <= value) and (upper is None or value <= upper)
    return (lower, upper) if is_around else (None, None)


def moment(value: Any) -> datetime | None:
    """A time in UTC. Without a zone it is read as UTC; a month is its first day."""
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
    """The date of a time."""
    found = moment(value)
    return found.date() if found else None


def mapping(value: Any) -> Mapping[str, Any]:
    """An object; an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def listed(value: Any) -> list[Any]:
    """A list; an empty one for anything else."""
    return value if isinstance(value, list) else []


def required(value: Any, problem: str) -> str:
    """A non-empty string.

    Raises:
        ValueError: it is anything else; the message is `problem`.
    """
    found = text(value)
    if found is None:
        raise ValueError(problem)
    return found


def entries(value: Any, where: str) -> list[Any]:
    """A list.

    Raises:
        LayoutError: it is anything else.
    """
    if not isinstance(value, list):
        raise LayoutError(f"{where}: expected a list, got {type(value).__name__}")
    return value


def data_of(document: Any, where: str) -> list[Mapping[str, Any]]:
    """The list of objects under `data`, as in many APIs.

    Raises:
        LayoutError: there is no such list.
    """
    if "data" not in mapping(document):
        raise LayoutError(f"{where}: the response has no `data`; its layout may have changed")
    return [mapping(row) for row in entries(document["data"], where)]


def require_columns(found: Iterable[str], wanted: Iterable[str], where: str) -> None:
    """Refuse a table that lacks a column.

    Raises:
        LayoutError: a column is missing; the message names it.
    """
    have = set(found)
    missing = [name for name in wanted if name not in have]
    if missing:
        raise LayoutError(f"{where}: no column `{missing[0]}`; its layout may have changed")
