"""Numbers of things in sentences: `1 run`, `2,000 runs`."""

from __future__ import annotations


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """The number with its noun; `plural` where that is not the noun with an s."""
    return f"1 {noun}" if n == 1 else f"{n:,} {plural or f'{noun}s'}"


def agreeing(n: int, singular: str, plural: str) -> str:
    """The verb for a number of things: `1 row is`, `2 rows are`."""
    return singular if n == 1 else plural
