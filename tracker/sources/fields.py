"""Single values out of somebody else's JSON or CSV: what is not what it should be is None, never a guess."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any

from tracker.sources.errors import LayoutError


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
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def moment(value: Any) -> datetime | None:
    """A moment in UTC. One without a zone is taken as UTC; a month is its first day."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if not isinstance(value, str) or not value:
        return None
    if len(value) == len("2025-04") and value[4:5] == "-":
        value = f"{value}-01"
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def day(value: Any) -> date | None:
    """The day of a moment."""
    found = moment(value)
    return found.date() if found else None


def mapping(value: Any) -> Mapping[str, Any]:
    """An object; an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def entries(value: Any, where: str) -> list[Any]:
    """A list.

    Raises:
        LayoutError: it is none.
    """
    if not isinstance(value, list):
        raise LayoutError(f"{where}: expected a list, got {type(value).__name__}")
    return value


def require_columns(found: Iterable[str], wanted: Iterable[str], where: str) -> None:
    """Refuse a table that lacks a column, by name.

    Raises:
        LayoutError: one is missing.
    """
    have = set(found)
    missing = [name for name in wanted if name not in have]
    if missing:
        raise LayoutError(f"{where}: there is no column `{missing[0]}`, so its layout has changed")
