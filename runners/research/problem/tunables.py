"""One number that a task lets an agent change: its bounds, its default, and what is said outside of them.

Pure: values in, values or a sentence out. The sentences are made to be shown to a model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tracker.records.studies import CATEGORIES

SHOWN_CHARS = 40  # of a value, in a sentence about it
DIGITS = 6  # significant digits of a proposed number: two that agree so far are one
Number = float | int


@dataclass(frozen=True, slots=True)
class Tunable:
    """One number: a range from `low` to `high` (on a log scale if `log`), or a list of choices."""

    name: str
    kind: str  # "float" or "int"
    default: Number
    category: str
    what: str
    source: str  # of the default
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[Number, ...] = ()  # in rising order; empty: a range

    def __post_init__(self) -> None:
        """The default lies in the space, and the category is one of the seven."""
        if self.category not in CATEGORIES:
            raise ValueError(f"{self.name}: no category is called {self.category}")
        if self.problem(self.default):
            raise ValueError(str(self.problem(self.default)))

    def problem(self, value: object) -> str | None:
        """Why `value` is not allowed, or None."""
        shown = _shown(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"`{self.name}` must be a number, got {shown}"
        if isinstance(value, float) and not math.isfinite(value):  # an integer may be too long to ask
            return f"`{self.name}` must be a number, got {shown}"
        if self.choices:
            listed = ", ".join(str(c) for c in self.choices)
            return None if value in self.choices else f"`{self.name}` must be one of {listed}, got {shown}"
        if self.low <= value <= self.high:
            return None
        return f"`{self.name}` must be between {self.low:g} and {self.high:g}, got {shown}"

    def cleaned(self, value: Number) -> Number:
        """The value as it is trained with: of the right type, and not finer than `DIGITS`."""
        return int(value) if self.kind == "int" else float(f"{float(value):.{DIGITS}g}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS - 1]}…"
