"""The parts of a digest: a change, a section of changes, and the whole."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

SHOWN = 25  # lines of a section; the others are only counted
SHOWN_PARTS = 3  # facts in the line of one model; the others are only counted
WEB_ADDRESS = re.compile(r"https?://[^\s<>()\[\]`\"'\\]+")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
HUB = "https://huggingface.co"


@dataclass(frozen=True, slots=True)
class DigestChange:
    """One change: a model with a text that goes on after its name, or a text alone."""

    text: str  # names in it stand in backticks
    model: str | None = None
    url: str | None = None  # where the change, or the model, can be looked up

    @property
    def line(self) -> str:
        """The change as one line of text."""
        return self.text if self.model is None else f"`{self.model}`{self.text}"


@dataclass(frozen=True, slots=True)
class Section:
    """One kind of change: those shown, and the number of all."""

    key: str
    title: str
    changes: tuple[DigestChange, ...]
    n: int

    @property
    def lines(self) -> tuple[str, ...]:
        """The changes as lines of text."""
        return tuple(change.line for change in self.changes)


@dataclass(frozen=True, slots=True)
class Digest:
    """The changes after `since`, up to and including `until`."""

    since: datetime
    until: datetime
    sections: tuple[Section, ...]
    attributions: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Whether nothing changed."""
        return not any(section.n for section in self.sections)


def section(key: str, title: str, changes: Sequence[DigestChange], *, most: int | None = SHOWN) -> Section:
    """A section that shows the first changes, or all of them."""
    return Section(key, title, tuple(changes[:most]), len(changes))


def first_parts(parts: Sequence[str], rest: str, *, separator: str = ", ") -> str:
    """The first few facts about one model; `rest` names the others, which are counted: `and 4 more tasks`."""
    shown = separator.join(parts[:SHOWN_PARTS])
    left = len(parts) - SHOWN_PARTS
    return shown if left <= 0 else f"{shown} and {left:,} more {rest}"


def value_text(value: float, unit: str) -> str:
    """A published value for people: `65.0%`, `161.6`."""
    return f"{value:.1%}" if unit == "fraction" else f"{value:,.1f}"


def web_address(text: str | None) -> str | None:
    """The text if it is an address that can be linked, otherwise None."""
    return text if text is not None and WEB_ADDRESS.fullmatch(text) else None


def hub_address(model_id: str | None) -> str | None:
    """The page of a Hub repository; None for a name that is none."""
    return f"{HUB}/{model_id}" if model_id is not None and HUB_ID.fullmatch(model_id) else None
