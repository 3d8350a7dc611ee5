"""A world of records and the tools that change it.

There are 25 kinds of records, such as reports and invoices. Each kind has a tool that finds a record by its
title, and one for each of `VERBS`. A world is a state machine: the same calls lead to the same state.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from runners.harness.tasks.tool_schemas import (
    Schema,
    ToolParameter,
    ToolResult,
    error_result,
    function_schema,
    wrong_arguments,
)

NOUNS = (
    "report", "invoice", "ticket", "photo", "parcel", "contract", "recipe", "letter", "poster", "survey",
    "receipt", "drawing", "manual", "memo", "notice", "voucher", "brochure", "form", "diagram", "note",
    "proposal", "schedule", "summary", "template", "certificate",
)  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
LEVELS = ("low", "normal", "high")
COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "black", "white")
FIND = "find"
CODES = {"high": "p1", "normal": "p2", "low": "p3"}  # of priorities, where a tool wants them

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Verb:
    """What may be done to a record, and how a person asks for it."""

    name: str
    description: str
    parameters: tuple[ToolParameter, ...]
    asked: str  # with {noun}, {id} and the arguments


VERBS: Mapping[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb("archive", "Archive this {noun}.", (), "archive the {noun} {id}"),
        Verb(
            "share",
            "Share this {noun} with a person.",
            (ToolParameter("person", "string", "first name"),),
            "share the {noun} {id} with {person}",
        ),
        Verb(
            "move",
            "Move this {noun} to a folder.",
            (ToolParameter("folder", "string", "name of the folder"),),
            'move the {noun} {id} to the folder "{folder}"',
        ),
        Verb(
            "rename",
            "Give this {noun} a new title.",
            (ToolParameter("title", "string", "the new title"),),
            'rename the {noun} {id} to "{title}"',
        ),
        Verb(
            "prioritize",
            "Set the priority of this {noun}.",
            (ToolParameter("level", "string", "the priority", LEVELS),),
            "set the priority of the {noun} {id} to {level}",
        ),
        Verb(
            "label",
            "Mark this {noun} with a color.",
            (ToolParameter("color", "string", "the color", COLORS),),
            "mark the {noun} {id} with the color {color}",
        ),
        Verb(
            "plan",
            "Plan the review of this {noun}.",
            (
                ToolParameter("day", "string", "day of the week", DAYS),
                ToolParameter("hour", "integer", "0 to 23"),
            ),
            "plan the review of the {noun} {id} for {day} at {hour} o'clock",
        ),
        Verb(
            "print",
            "Print copies of this {noun}.",
            (ToolParameter("copies", "integer", "number of copies"),),
            "print {copies} copies of the {noun} {id}",
        ),
    )
}
ID = ToolParameter("id", "string", "id of the {noun}")
TITLE = ToolParameter("title", "string", "title of the {noun}")
FIND_DESCRIPTION = (
    "Find one {noun} by its title; gives its id, title, owner and priority."
    " May give another {noun} while the index is being built: then ask again."
)


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong in a world."""

    n_busy: int = 0  # first calls that change something are refused
    n_wrong: int = 0  # first searches give another record of the kind
    ids_with_noun: bool = False  # tools that change something want `report:R1234`, and say so
    level_codes: bool = False  # priorities are `p1` to `p3`, which only the error tells


@dataclass(slots=True)
class World:
    """Records by kind and id, and every change that was made."""

    records: dict[str, dict[str, Record]]
    faults: Faults = field(default_factory=Faults)
    changes: list[tuple[str, ...]] = field(default_factory=list)
    n_searches: int = 0
    n_tries: int = 0  # of changes

    def call(self, name: str, arguments: Any, *, offered: Sequence[str]) -> ToolResult:
        """Call one of the `offered` tools; whatever the arguments are, the answer is a result."""
        verb, _, noun = name.partition("_")
        if name not in offered:
            return error_result(f"there is no tool called {name[:80]}", "unknown tool")
        if problem := wrong_arguments(arguments, self._parameters(name)):
            return error_result(problem, "wrong arguments")
        if verb == FIND:
            return self._find(noun, arguments["title"])
        return self._change(verb, noun, arguments)

    def state(self) -> Any:
        """What is compared at the end: all records, and the changes in any order."""
        return self.records, sorted(self.changes)

    def _parameters(self, name: str) -> tuple[ToolParameter, ...]:
        return _told(parameters_of(name), self.faults)

    def _find(self, noun: str, title: str) -> ToolResult:
        known = self.records.get(noun, {})
        found = next((key for key, one in known.items() if _same(one["title"], title)), None)
        if found is None:
            return error_result(f"no {noun} has the title {title[:80]!r}", "not found")
        self.n_searches += 1
        if self.n_searches <= self.faults.n_wrong:
            others = [key for key in known if key != found]
            found = others[0] if others else found
        shown = ("title", "owner", "priority")
        return ToolResult(json.dumps({"id": found} | {name: known[found][name] for name in shown}))

    def _change(self, verb: str, noun: str, arguments: Mapping[str, Any]) -> ToolResult:
        key, level = str(arguments["id"]).strip(), arguments.get("level")
        if self.faults.ids_with_noun:
            before, colon, key = key.rpartition(":")
            if not colon or before != noun:
                return error_result(f"ids have the form {noun}:ID", "wrong arguments")
        record = self.records.get(noun, {}).get(key.upper())
        if record is None:
            return error_result(f"no {noun} has the id {key[:80]!r}", "not found")
        if self.faults.level_codes and level is not None and level not in CODES.values():
            return error_result("level must be p1 (high), p2 (normal) or p3 (low)", "wrong arguments")
        self.n_tries += 1
        if self.n_tries <= self.faults.n_busy:
            return error_result("busy, nothing was changed; try again", "refused")
        given = {name: _plain(value) for name, value in arguments.items() if name != "id"}
        record[verb] = given or True
        self.changes.append((verb, noun, key.upper(), json.dumps(given, sort_keys=True)))
        return ToolResult(json.dumps({"ok": True}))


def tool_name(verb: str, noun: str) -> str:
    """The name of the tool that does this to records of this kind."""
    return f"{verb}_{noun}"


def parameters_of(name: str) -> tuple[ToolParameter, ...]:
    """The arguments of the tool of that name."""
    verb = name.partition("_")[0]
    return (TITLE,) if verb == FIND else (ID, *VERBS[verb].parameters)


def tool_schema(name: str, *, faults: Faults) -> Schema:
    """The tool as chat templates and servers take it: a function with a JSON schema."""
    verb, _, noun = name.partition("_")
    description = FIND_DESCRIPTION if verb == FIND else VERBS[verb].description
    parameters = [
        replace(one, description=one.description.format(noun=noun))
        for one in _told(parameters_of(name), faults)
    ]
    return function_schema(name, description.format(noun=noun), parameters)


def _told(parameters: Sequence[ToolParameter], faults: Faults) -> tuple[ToolParameter, ...]:
    """The arguments as the tool describes them: codes of priorities are told only by the error."""
    hidden = ("level",) if faults.level_codes else ()
    return tuple(replace(one, values=()) if one.name in hidden else one for one in parameters)


def _plain(value: Any) -> Any:
    """The value as it is compared: the blanks and the case of a text do not count."""
    return " ".join(value.split()).strip("\"'").casefold() if isinstance(value, str) else value


def _same(one: str, other: str) -> bool:
    return bool(_plain(one) == _plain(other))
