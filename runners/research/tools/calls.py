"""A tool call as a model writes it, for engines that know messages and JSON schemas but no tools.

Read alike: our own form, the `name` and `arguments` of OpenAI's and Hermes' calls, arguments as a string of
JSON. What cannot be read is a `ValueError` whose sentence the model is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runners.research.agents.drafts import without_drafts
from runners.research.agents.loose_json import documents
from runners.research.tools.catalog import BY_NAME, Tool

FORM = '{"tool": "NAME", "arguments": {"NAME": VALUE}}'


@dataclass(frozen=True, slots=True)
class WrittenCall:
    """The tool and the arguments that a model names."""

    tool: str
    arguments: Mapping[str, Any]


def read_call(text: str) -> WrittenCall:
    """The call in a model's answer: its first one, since the next would rest on an answer not yet given.

    Raises:
        ValueError: there is none.
    """
    for document in documents(without_drafts(text)):
        for each in document if isinstance(document, list) else [document]:
            if isinstance(each, dict) and (call := _call(each)) is not None:
                return call
    raise ValueError(f"the answer has no tool call; write one JSON object of this form: {FORM}")


def _call(document: Mapping[str, Any]) -> WrittenCall | None:
    inner = document.get("function")
    if isinstance(inner, dict):
        document = inner
    name = document.get("tool", document.get("name", inner))
    if not isinstance(name, str):
        return None
    arguments = document.get("arguments", document.get("parameters", {}))
    if isinstance(arguments, str):
        found = [each for each in documents(arguments) if isinstance(each, dict)]
        arguments = found[0] if found else {}
    return WrittenCall(name, arguments if isinstance(arguments, dict) else {})


def call_schema(tools: Sequence[Tool], numbers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The JSON schema of one call; `numbers` are those that may be set, one at a time."""
    return {
        "anyOf": [_object({"tool": {"const": t.name}, "arguments": _arguments(t, numbers)}) for t in tools]
    }


def _arguments(tool: Tool, numbers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    if tool.name != "set_numbers":
        return tool.schema
    return _object(
        {"changes": {"anyOf": [_object({name: dict(schema)}) for name, schema in numbers.items()]}}
    )


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def tools_text(tools: Sequence[Tool]) -> str:
    """The tools for a prompt, one line each."""
    lines = [f"- {tool.name}({', '.join(tool.properties)}): {tool.description}" for tool in tools]
    return "\n".join(lines)


def without(*names: str) -> tuple[Tool, ...]:
    """The tools but these."""
    return tuple(tool for name, tool in BY_NAME.items() if name not in names)
