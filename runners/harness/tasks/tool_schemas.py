"""Tools as chat templates and servers take them, and the check of the arguments of a call."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]
TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "object": (dict,),
}


@dataclass(frozen=True, slots=True)
class ToolParameter:
    """One argument of a tool."""

    name: str
    type: str  # one of `TYPES`
    description: str
    values: tuple[str, ...] = ()  # the only ones that are valid; empty: any
    is_optional: bool = False


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool answers: JSON text, and the kind of error if it is one."""

    content: str
    problem: str | None = None  # "unknown tool", "wrong arguments", "refused", "not found"


def error_result(message: str, problem: str) -> ToolResult:
    """The result that tells an error."""
    return ToolResult(json.dumps({"error": message}), problem)


def function_schema(name: str, description: str, parameters: Sequence[ToolParameter]) -> Schema:
    """A tool as a function with a JSON schema."""
    properties: dict[str, dict[str, Any]] = {}
    for one in parameters:
        properties[one.name] = {"type": one.type, "description": one.description}
        if one.values:
            properties[one.name]["enum"] = list(one.values)
    required = [one.name for one in parameters if not one.is_optional]
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {"type": "object", "properties": properties, "required": required},
        },
    }


def wrong_arguments(arguments: Any, parameters: Sequence[ToolParameter]) -> str | None:
    """What is wrong with the arguments of a call; None: nothing."""
    if not isinstance(arguments, Mapping):
        return "the arguments must be a JSON object"
    names = [one.name for one in parameters]
    if unknown := [str(name)[:80] for name in arguments if name not in names]:
        return f"unknown argument {unknown[0]}; known: {', '.join(names)}"
    for one in parameters:
        if one.name not in arguments:
            if one.is_optional:
                continue
            return f"the argument {one.name} is missing"
        value = arguments[one.name]
        if not _is_right(value, one.type):
            return f"{one.name} must be of type {one.type}"
        if one.values and value not in one.values:
            return f"{one.name} must be one of: {', '.join(one.values)}"
    return None


def _is_right(value: Any, type_name: str) -> bool:
    if isinstance(value, bool) or not isinstance(value, TYPES[type_name]):
        return False
    return not isinstance(value, float) or math.isfinite(value)
