"""The tools by name: the description and the JSON schema that every agent is given.

The arguments that a model writes become checked values here and nowhere else. What is wrong with them is a
`ValueError` whose sentence the agent is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tracker.serialization import writable_text

MAX_TEXT_CHARS = 100_000  # of one argument
SCRIPT, NUMBERS, PROGRAM, SPACE, NOTES, INCUMBENT = (
    "train.py",
    "params.json",
    "program.md",
    "space.md",
    "notes.md",
    "incumbent/train.py",
)
FILES = (SCRIPT, NUMBERS, PROGRAM, SPACE, NOTES, INCUMBENT)
Arguments = Mapping[str, Any]
_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "object": (dict,),
    "boolean": (bool,),
}


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool; `properties` are the JSON schemas of its arguments."""

    name: str
    description: str
    properties: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    required: tuple[str, ...] = ()

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of its arguments."""
        return {
            "type": "object",
            "properties": {name: dict(schema) for name, schema in self.properties.items()},
            "required": list(self.required),
            "additionalProperties": False,
        }


def _text(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


def _count(description: str, *, low: int, high: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": low, "maximum": high, "description": description}


TOOLS: tuple[Tool, ...] = (
    Tool(
        "status",
        "What is left of the budgets, the numbers of the baseline and of the incumbent, and what to do next.",
    ),
    Tool(
        "read_file",
        f"Read numbered lines of a file: {', '.join(FILES)}. `{SCRIPT}` and `{NUMBERS}` are your draft.",
        {
            "path": {"type": "string", "enum": list(FILES)},
            "start": _count("first line, from 1", low=1, high=1_000_000),
            "end": _count("last line", low=1, high=1_000_000),
        },
        ("path",),
    ),
    Tool(
        "edit_file",
        "Change the draft. Give `old` and `new` (a passage that occurs once, and its replacement), or "
        "`patch` (SEARCH/REPLACE blocks), or `content` (the whole file). Outside the EDITABLE markers "
        "nothing may change.",
        {
            "path": {"type": "string", "enum": [SCRIPT, NUMBERS]},
            "old": _text("the passage to replace, exactly as it is"),
            "new": _text("its replacement"),
            "patch": _text("one or more SEARCH/REPLACE blocks"),
            "content": _text("the whole new file"),
        },
        ("path",),
    ),
    Tool(
        "set_numbers",
        "Set numbers of the draft by name; `space.md` lists them with their allowed values.",
        {"changes": {"type": "object", "description": "name → new value"}},
        ("changes",),
    ),
    Tool("reset_draft", "Make the draft equal to the incumbent, the best change that was accepted so far."),
    Tool(
        "search",
        "Find the lines that contain a text, in all files or in one. Plain text; case is ignored.",
        {"text": _text("what to look for"), "path": {"type": "string", "enum": list(FILES)}},
        ("text",),
    ),
    Tool(
        "run_probe",
        "Train the draft and the incumbent for a small share of a training under one seed, and compare them "
        "on `val`. Cheap and noisy: it decides nothing. Its tokens come out of a separate budget.",
        {
            "share": {
                "type": "number",
                "minimum": 0.01,
                "maximum": 0.1,
                "description": "share of a whole training; default 0.1",
            }
        },
    ),
    Tool("diff", "The difference between the draft and the incumbent."),
    Tool(
        "curve",
        "The training loss over the tokens of a trial, beside its parent's.",
        {"trial": _count("number of the trial, from 1", low=1, high=100_000)},
        ("trial",),
    ),
    Tool(
        "history",
        "Your trials so far: what changed, bits per byte on `val`, the gain over the parent, the verdict.",
        {"last": _count("only so many; default 20", low=1, high=200)},
    ),
    Tool("notes_read", "Read your notes, which stay for the whole study."),
    Tool(
        "notes_write",
        "Add to your notes, or replace them.",
        {
            "text": _text("what to write"),
            "replace": {"type": "boolean", "description": "replace all notes; default false"},
        },
        ("text",),
    ),
    Tool(
        "submit",
        "Submit the draft as your next trial: whole trainings in pairs with the incumbent, then the verdict. "
        "Uses up one trial. If the answer says that it is still running, call `wait`.",
        {"note": _text("what you changed and why, in one or two sentences")},
        ("note",),
    ),
    Tool(
        "wait", "Wait for the trial or the probe that is running, for at most a minute, then tell its state."
    ),
    Tool(
        "finish",
        "End your work on the study. Trials that are left count as unused; the final measurement follows.",
        {"reason": _text("why")},
    ),
)
BY_NAME: Mapping[str, Tool] = {tool.name: tool for tool in TOOLS}


def checked(name: str, arguments: object) -> Arguments:
    """The arguments of a call.

    Raises:
        ValueError: there is no such tool, or its arguments are not as its schema says.
    """
    if name not in BY_NAME:
        raise ValueError(f"there is no tool called `{name}`; there are {', '.join(BY_NAME)}")
    tool = BY_NAME[name]
    given = {} if arguments is None else arguments
    if not isinstance(given, dict):
        raise ValueError(f"the arguments of `{name}` must be an object")
    given = {key: value for key, value in given.items() if value is not None}  # some clients send every name
    unknown = [key for key in given if key not in tool.properties]
    if unknown:
        known = ", ".join(tool.properties) or "none"
        raise ValueError(f"`{name}` has no argument `{unknown[0]}`; its arguments: {known}")
    missing = [key for key in tool.required if key not in given]
    if missing:
        raise ValueError(f"`{name}` needs the argument `{missing[0]}`")
    return {key: _value(key, value, tool.properties[key]) for key, value in given.items()}


def _value(key: str, value: Any, schema: Mapping[str, Any]) -> Any:
    kind = schema["type"]
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        raise ValueError(f"`{key}` must be {_article(kind)}")
    if "enum" in schema and value not in schema["enum"]:
        raise ValueError(f"`{key}` must be one of {', '.join(schema['enum'])}")
    if isinstance(value, str) and len(value) > MAX_TEXT_CHARS:
        raise ValueError(f"`{key}` has {len(value):,} characters, more than {MAX_TEXT_CHARS:,}")
    if isinstance(value, str):
        return writable_text(value)
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None and not low <= value <= high:
        raise ValueError(f"`{key}` must be in {low:g}..{high:g}, got {value:g}")
    return value


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def openai_tools() -> list[dict[str, Any]]:
    """The tools in the form in which OpenAI-compatible servers take them."""
    return [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": tool.schema},
        }
        for tool in TOOLS
    ]
