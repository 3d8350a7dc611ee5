"""Write `docs/reference/` from the code: commands, Python, JSON, settings, database, gap definitions.

`make docs-reference` runs it; a test compares its output with the pages that are committed. The output
depends on the code alone: not on the width of the terminal, the day, the machine or the user's home.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import NoneType
from typing import Any

import duckdb
from cyclopts import App
from cyclopts.argument import Argument, ArgumentCollection
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import tracker
from docs.json_documents import NOT_RUN, documents, keys
from tracker.cli.command_line import command_line
from tracker.cli.help import HOUSE_PARAMETER
from tracker.frontier import definitions
from tracker.settings import Settings
from tracker.store.database import migrate, set_up
from tracker.store.item_parts import bind_items

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Generated from the code by `make docs-reference`. Do not edit. -->"
WORDS = {str: "TEXT", int: "INTEGER", float: "NUMBER", Path: "PATH"}
# Sections of a docstring, and the heading of the table that each becomes.
SECTIONS = {"Args": "argument", "Raises": "raises", "Returns": ""}
LISTED = ("Args", "Raises")
INLINE = 2  # parameters that fit on the line of a call
# Variables of other programs that this one obeys, and that the class of our own settings does not name.
FOREIGN = {
    "HF_HOME": "Folder of the Hugging Face cache, where downloaded weights are kept.",
    "HF_TOKEN": "Token for gated models and data sets; `hf auth login` stores one for good.",
    "HF_HUB_OFFLINE": "`1`: ask the Hub nothing, and use what the cache holds.",
    "HF_ENDPOINT": "Address of a mirror of the Hub.",
    "NO_COLOR": "Any value: no colors in the terminal.",
}


def cli_page() -> str:
    """Every command with every flag, its type and its default."""
    lines = ["# Command line", ""]
    lines += ["Every command also takes `--help`; `tracker --version` prints the version.", ""]
    for path, command in _commands(command_line, ("tracker",)):
        lines += _command(path, command)
    return _page(lines)


def _commands(parent: App, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], App]]:
    """Every command that does something, parents first, in the order of the alphabet."""
    for name in sorted(name for name in parent if not name.startswith("-")):
        command = parent[name]
        if command.default_command is not None:
            yield (*path, name), command
        yield from _commands(command, (*path, name))


def _command(path: tuple[str, ...], command: App) -> list[str]:
    function = command.default_command
    assert function is not None
    arguments = [each for each in _arguments(command) if each.show]
    positional = [each for each in arguments if each.field_info.is_positional]
    flags = [each for each in arguments if not each.field_info.is_positional]
    usage = " ".join([*path, *map(_usage, positional), *(["[OPTIONS]"] if flags else [])])
    lines = [f"## {' '.join(path)}", "", "```console", usage, "```", "", _description(function), ""]
    if positional:
        lines += ["| argument | meaning |", "|---|---|"]
        lines += [f"| `{_usage(each)}` | {_cell(each.parameter.help or '')} |" for each in positional]
        lines += [""]
    groups = list(dict.fromkeys(_group(each) for each in flags))
    for group in groups:
        title = "option" if group == "Parameters" else group
        lines += [f"| {_cell(title)} | default | meaning |", "|---|---|---|"]
        lines += [_flag(each) for each in flags if _group(each) == group]
        lines += [""]
    return lines


def _arguments(command: App) -> ArgumentCollection:
    return command.assemble_argument_collection(default_parameter=HOUSE_PARAMETER, parse_docstring=True)


def _usage(argument: Argument) -> str:
    """A positional argument as a usage line has it."""
    name = argument.name.lstrip("-").upper()
    if argument.field_info.kind is inspect.Parameter.VAR_POSITIONAL:
        return f"[{name}]…"
    return name if argument.required else f"[{name}]"


def _group(argument: Argument) -> str:
    groups = argument.parameter.group
    names = [each if isinstance(each, str) else each.name for each in groups] if groups else ["Parameters"]
    return names[0]


def _flag(argument: Argument) -> str:
    names = ", ".join(f"`{name}`" for name in argument.names)
    value = _value(argument.hint)
    shown = f"{names} `{value}`" if value else names
    return f"| {_cell(shown)} | {_default(argument)} | {_cell(argument.parameter.help or '')} |"


def _default(argument: Argument) -> str:
    default = argument.field_info.default
    if argument.required:
        return "required"
    if default is inspect.Parameter.empty or default is None or default is False or default in ((), "", []):
        return ""
    if default is True:
        return f"`{argument.names[0]}`"
    if isinstance(default, tuple | list):
        return f"`{' '.join(map(str, default))}`"
    return f"`{default}`"


def _value(hint: object) -> str:
    """What follows a flag: nothing for a switch, the choices of a literal, else the kind of value."""
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return _value(typing.get_args(hint)[0])
    if origin is typing.Literal:
        return "{" + ",".join(map(str, typing.get_args(hint))) + "}"
    if origin in (tuple, list):
        return f"{_value(typing.get_args(hint)[0])}…"
    if origin is not None:  # a union; None only says that the flag may be left out
        known = dict.fromkeys(_value(each) for each in typing.get_args(hint) if each is not NoneType)
        return " or ".join(each for each in known if each)
    return "" if hint is bool else WORDS[typing.cast(type, hint)]


def _description(function: object) -> str:
    """The docstring up to its list of parameters."""
    text = inspect.getdoc(function) or ""
    return re.split(r"\n(?:Parameters|Raises|Returns)\n-+|\n(?:Raises|Args|Returns):\n", text)[0].strip()


def json_page() -> str:
    """The keys of every `--json` document, found by running the commands on a small store."""
    lines = ["# JSON documents", ""]
    lines += [
        "With `--json` a command prints exactly one JSON document on standard output. Keys are added, never"
        " renamed. An error is `error`, `hint` and `exit_code`; the process ends with that code.",
        "",
        "The tables list the keys and types found in real documents, from a small store with invented models."
        " `[]` is each element of a list, `{}` each value of an object whose keys are data. Where a store"
        " holds nothing for a key it is `null`, also where the table does not say so.",
        "",
    ]
    for command, found in documents().items():
        lines += [f"## tracker {command}", "", "| key | type |", "|---|---|"]
        lines += [f"| `{path}` | {types} |" for path, types in keys(found).items()]
        lines += [""]
    lines += ["## Commands that are not run for this page", ""]
    lines += [f"- `tracker {command}` {reason}." for command, reason in NOT_RUN.items()]
    return _page(lines)


def settings_page() -> str:
    """Every environment variable that is read."""
    lines = ["# Settings", ""]
    lines += ["All are environment variables and optional; a flag of a command takes precedence.", ""]
    lines += ["| variable | type | default | meaning |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        variable = field.validation_alias or f"TRACKER_{name.upper()}"
        kind = field.annotation.__name__ if isinstance(field.annotation, type) else str(field.annotation)
        kind = kind.replace("pathlib.", "").replace(" | None", "")
        meaning = _cell(field.description or "")
        lines += [f"| `{variable}` | {_cell(kind)} | {_setting_default(name, field)} | {meaning} |"]
    lines += ["", "Variables of other programs that have an effect here:", ""]
    lines += ["| variable | meaning |", "|---|---|"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in FOREIGN.items()]
    return _page(lines)


def _setting_default(name: str, field: FieldInfo) -> str:
    if name == "home":  # the only one that depends on where the program is installed
        return "`data/local/` in a checkout, else the user data folder"
    default = field.default
    return "" if default in (None, "", PydanticUndefined) else f"`{default}`"


def schema_page() -> str:
    """Every table and view of an empty store with its columns."""
    connection = duckdb.connect()
    set_up(connection)
    migrate(connection, where="docs")
    bind_items(connection, ())
    lines = ["# Database", ""]
    lines += ["What `tracker query SQL` can read. Times are UTC; scores are fractions of 1.", ""]
    relations = connection.execute(
        "select table_name as name, 'table' as kind, comment from duckdb_tables()"
        " where not internal and not temporary"
        " union all select view_name, 'view', comment from duckdb_views()"
        " where not internal and not starts_with(view_name, 'duckdb_')"
        " order by name"
    ).fetchall()
    for name, kind, comment in relations:
        columns = connection.execute(
            "select column_name, lower(data_type), is_nullable, comment from duckdb_columns()"
            " where table_name = $name order by column_index",
            {"name": name},
        ).fetchall()
        lines += [f"## {name}", "", f"A {kind}." + (f" {comment}" if comment else ""), ""]
        lines += ["| column | type | null | meaning |", "|---|---|---|---|"]
        for column, data_type, is_nullable, meaning in columns:
            null = "yes" if is_nullable else "no"
            lines += [f"| `{column}` | {_cell(data_type)} | {null} | {_cell(meaning or '')} |"]
        lines += [""]
    return _page(lines)


def gap_page() -> str:
    """Every gap definition: the question that it answers, its unit, whether it needs draws."""
    lines = ["# Gap definitions", ""]
    lines += [
        "How far the best open models are behind the best closed ones; formulas: [Method](../method.md).",
        "",
        "| id | question | unit | needs intervals of the models |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {each.id} | {each.question} | {each.unit or 'points'} | {'yes' if each.needs_draws else 'no'} |"
        for each in definitions.DEFINITIONS
    ]
    return _page(lines)


def python_page() -> str:
    """Every name of the package, and every method of `Home` with its signature and docstring."""
    lines = ["# Python", ""]
    lines += [
        "`import tracker` gives these names, with types (`py.typed`). A method of `Home` takes the options of"
        " the command of the same name and answers what that prints. It can be called from any thread; it"
        " prints nothing and never ends the process.",
        "",
        "| name | is |",
        "|---|---|",
    ]
    for name in tracker.__all__:
        first = (inspect.getdoc(getattr(tracker, name)) or "").partition("\n\n")[0]
        lines += [f"| `{name}` | {_cell(first)} |"]
    lines += ["", "## open_home", "", *_function("tracker.open_home", tracker.open_home)]
    for name, method in vars(tracker.Home).items():
        if inspect.isfunction(method) and not name.startswith("_"):
            lines += [f"## Home.{name}", "", *_function(f"home.{name}", method)]
    for record in _records([getattr(tracker, name) for name in tracker.__all__]):
        lines += [f"## {record.__name__}", "", *_record(record)]
    return _page([line.replace("docs/data.md", "[Your data](../data.md)") for line in lines])


def _records(kinds: Sequence[Any]) -> list[Any]:
    """The records among these types, each followed by the ones that it has in its fields."""
    found: dict[Any, None] = {}
    for kind in kinds:
        if dataclasses.is_dataclass(kind):
            found |= dict.fromkeys([kind, *_records(list(typing.get_type_hints(kind).values()))])
        else:
            found |= dict.fromkeys(_records(typing.get_args(kind)))
    return list(found)


def _record(record: Any) -> list[str]:
    """The fields of a record with their types."""
    lines = ["| field | type |", "|---|---|"]
    lines += [f"| `{field.name}` | `{_cell(str(field.type))}` |" for field in dataclasses.fields(record)]
    return [*lines, ""]


def _function(called: str, function: Callable[..., object]) -> list[str]:
    """The signature and the sections of a docstring in Google style."""
    text = inspect.getdoc(function) or ""
    lines = ["```python", _signature(called, function), "```", ""]
    for block in text.split("\n\n"):
        title, _, body = block.partition(":\n")
        if title not in SECTIONS:
            lines += [" ".join(block.split()), ""]
            continue
        entries = re.sub(r"\n {5,}", " ", body if title in LISTED else body.replace("\n    ", "\n     "))
        rows = [line.strip() for line in entries.splitlines()]
        if title not in LISTED:
            lines += [f"**{title}.** {rows[0]}", ""]
            continue
        lines += [f"| {SECTIONS[title]} | |", "|---|---|"]
        for row in rows:
            name, _, meaning = row.partition(": ")
            lines += [f"| `{name}` | {_cell(meaning)} |"]
        lines += [""]
    return lines


def _signature(called: str, function: Callable[..., object]) -> str:
    """The call as a user writes it, one parameter a line where there are several."""
    signature = inspect.signature(function)
    kept = [each for each in signature.parameters.values() if each.name != "self"]
    parts = []
    for place, each in enumerate(kept):
        is_first = each.kind is each.KEYWORD_ONLY and all(k.kind is not k.KEYWORD_ONLY for k in kept[:place])
        parts += ["*"] if is_first else []
        default = "" if each.default is each.empty else f" = {each.default!r}"
        parts += [f"{each.name}: {each.annotation}{default}"]
    inside = ", ".join(parts) if len(parts) <= INLINE else "\n    " + ",\n    ".join(parts) + ",\n"
    return f"{called}({inside}) -> {signature.return_annotation}"


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli_page,
    "json.md": json_page,
    "settings.md": settings_page,
    "schema.md": schema_page,
    "gap-definitions.md": gap_page,
    "python.md": python_page,
}


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _page(lines: Sequence[str]) -> str:
    title, *rest = lines
    return "\n".join([title, "", NOTE, *rest]).rstrip() + "\n"


def main() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
