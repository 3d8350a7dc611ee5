"""The house style of `--help`: groups of options, defaults worth showing, paragraphs that fill the line."""

from __future__ import annotations

import re
from types import NoneType
from typing import Annotated, Any, get_args

from attrs import evolve
from cyclopts import App, ArgumentCollection, CoercionError, Group, Parameter
from cyclopts.help import DefaultFormatter, HelpPanel, InlineText
from rich.console import Console, ConsoleOptions
from rich.text import Text


def refuse_fractions(arguments: ArgumentCollection) -> None:
    """Refuse `2.5` for a whole number, which the parser would round.

    Raises:
        CoercionError: such a value.
    """
    for argument in arguments:
        for token in argument.tokens:
            if _takes_only_whole_numbers(argument.hint) and not _is_whole(token.value):
                raise CoercionError(argument=argument, token=token, target_type=int)


def _takes_only_whole_numbers(hint: Any) -> bool:
    members = set(get_args(hint)) - {NoneType, Ellipsis} or {hint}
    return members == {int}


def _is_whole(text: str) -> bool:
    return "." not in text or text.rpartition(".")[2].strip("0_") == ""


def _group(title: str, sort_key: int) -> Group:
    return Group(title, sort_key=sort_key, validator=refuse_fractions)


FILTERS = _group("Filters", 2)
DATA = _group("Data", 1)
AXIS = _group("Axis", 3)
TASKS = _group("Tasks", 2)
AGENT = _group("Agent", 2)
ENGINE = _group("Engine", 3)
BUDGET = _group("Budget", 4)
QUEUE = _group("Queue", 5)
SPEED = _group("Speed", 6)
OUTPUT = _group("Output", 9)
ARGUMENTS = evolve(Group.create_default_arguments(), validator=refuse_fractions)
OPTIONS = evolve(Group.create_default_parameters(), validator=refuse_fractions)


def command_app(name: str, *, help: str | None = None) -> App:
    """A command that has commands of its own."""
    return App(name=name, help=help, group_arguments=ARGUMENTS, group_parameters=OPTIONS)


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
