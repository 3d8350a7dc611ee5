"""The house style of `--help`: groups of options, defaults worth showing, paragraphs that fill the line."""

from __future__ import annotations

import re
from typing import Annotated, Any

from attrs import evolve
from cyclopts import Group, Parameter
from cyclopts.help import DefaultFormatter, HelpPanel, InlineText
from rich.console import Console, ConsoleOptions
from rich.text import Text

FILTERS = Group("Filters", sort_key=2)
DATA = Group("Data", sort_key=1)
AXIS = Group("Axis", sort_key=3)
TASKS = Group("Tasks", sort_key=2)
AGENT = Group("Agent", sort_key=2)
ENGINE = Group("Engine", sort_key=3)
BUDGET = Group("Budget", sort_key=4)
QUEUE = Group("Queue", sort_key=5)
OUTPUT = Group("Output", sort_key=9)
TITLES = {"Parameters": "Options"}  # of the parser's default groups

JsonFlag = Annotated[bool, Parameter(name="--json", group=OUTPUT, help="Print one JSON document.")]
JsonDocument = Annotated[bool, Parameter(name="--json", group=OUTPUT)]  # the docstring lists its keys


def shown_default(value: Any) -> str | None:
    """The default as help shows it; None for a default that says nothing, such as an empty list."""
    if value is None or isinstance(value, bool) or value in ((), ""):
        return None
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


# A flag has a negative form only where it says so; where `--no-…` would mean nothing, there is none.
HOUSE_PARAMETER = Parameter(negative=(), show_default=shown_default)


class HelpFormatter(DefaultFormatter):
    """Fills paragraphs to the width of the terminal, wherever the source breaks its lines."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print one group of options or commands."""
        entries = [evolve(entry, description=_filled(entry.description)) for entry in panel.entries]
        title = TITLES.get(str(panel.title), panel.title)
        super().__call__(console, options, panel.copy(entries=entries, title=title))

    def render_description(self, console: Console, options: ConsoleOptions, description: Any) -> None:
        """Print the paragraphs above the options."""
        super().render_description(console, options, _filled(description))


def _filled(text: Any) -> Any:
    """The text with single line breaks as spaces; a blank line still separates paragraphs."""
    if isinstance(text, InlineText) and isinstance(text.primary_renderable, Text):
        plain = re.sub(r"(?<!\n)\n(?!\n)[ ]*", " ", text.primary_renderable.plain)
        text.primary_renderable = Text(plain)
    return text
