"""Read the tool calls in what a model wrote, in the formats of the common chat templates.

Read: JSON objects with a name and `arguments` or `parameters`, alone, in a list, between `<tool_call>` marks
(Hermes, Qwen), after `<|python_tag|>` (Llama 3) or `[TOOL_CALLS]` (Mistral), or in a fenced block;
`name{…}` and `name[ARGS]{…}` of newer Mistral models; lists of Python calls (Llama 4, Pythonic);
`<function=…>` (Qwen3-Coder) and `<arg_key>` (GLM) elements.
Not read: other formats. Where a text only looks like a call, that is told, so that it can be counted.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MOST_CHARACTERS = 200_000  # of an answer that is read; a longer one is told as `too large`
MOST_STARTS = 64  # places at which a JSON value is looked for: nested ones would be read again and again
MOST_CALLS = 32  # of one answer
MOST_PYTHON = 20_000  # characters of a list of Python calls
MOST_DEPTH = 32  # brackets within brackets, of the same
STARTS = ("<tool_call", "<function=", "[TOOL_CALLS]", "<|python_tag|>", "{", "[", "```")  # of calls
ARGUMENT_KEYS = ("arguments", "parameters")

LIKE_CALL = re.compile(
    r"<\|?tool_calls?|\[/?TOOL_CALLS\]|<\|python_tag\|>|<function[=_]|<\|?start_function_call"
    r"|\"(?:name|function)\"\s*:.*\"(?:arguments|parameters)\"|\{\s*\"name\"\s*:",
    re.DOTALL,
)
NAMED_JSON = re.compile(r"(?:\[TOOL_CALLS\]|^)\s*([A-Za-z_][\w.-]*)\s*(?:\[ARGS\])?\s*(?=\{)")
QWEN_CALL = re.compile(r"<function=([\w.-]+)>(.*?)</function>", re.DOTALL)
QWEN_ARGUMENT = re.compile(r"<parameter=([\w.-]+)>\n?(.*?)\n?</parameter>", re.DOTALL)
GLM_CALL = re.compile(r"<tool_call>\s*([\w.-]+)\s*((?:<arg_key>.*?</arg_value>\s*)*)</tool_call>", re.DOTALL)
GLM_ARGUMENT = re.compile(r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>", re.DOTALL)
PYTHON_CALLS = re.compile(r"^\s*(?:<\|python_start\|>)?\s*(\[\s*[A-Za-z_][\w.]*\(.*\]|[A-Za-z_][\w.]*\(.*\))"
                          r"\s*(?:<\|python_end\|>)?\s*$", re.DOTALL)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call that a model asks for; `arguments` are what it wrote, of whatever type."""

    name: str
    arguments: Any


@dataclass(frozen=True, slots=True)
class AnswerParts:
    """What an answer asks for: its calls, or why what looks like a call could not be read."""

    calls: tuple[ToolCall, ...] = ()
    text: str = ""  # beside the calls
    problem: str | None = None  # None: it asks for calls that were read, or for none


def read_answer(text: str, *, known: Collection[str] = (), given: tuple[ToolCall, ...] = ()) -> AnswerParts:
    """The calls in a model's answer.

    `known`: the names of the tools, for formats without marks; `given`: calls that a server has read already.
    """
    if given:
        return AnswerParts(given[:MOST_CALLS], text)
    if len(text) > MOST_CHARACTERS:
        return AnswerParts(problem="too large", text=text)
    try:
        calls = [*_elements(text)] or [*_json_calls(text)] or [*_named(text)] or [*_python(text, known)]
        json.dumps([one.arguments for one in calls], allow_nan=False, ensure_ascii=False).encode()
    except (RecursionError, MemoryError):
        return AnswerParts(problem="nested too deeply", text=text)
    except ValueError:  # half a character, or no number
        return AnswerParts(problem="not readable", text=text)
    if calls:
        return AnswerParts(tuple(calls[:MOST_CALLS]), _before(text))
    return AnswerParts(problem="not readable" if LIKE_CALL.search(text) else None, text=text)


def served_calls(pieces: Mapping[int, tuple[str, str]]) -> tuple[ToolCall, ...]:
    """The calls that a server has streamed: a name and the JSON text of its arguments, by place.

    Arguments that are no JSON stay the text that they are.
    """
    return tuple(ToolCall(name, _value(text or "{}")) for _, (name, text) in sorted(pieces.items()))


def _json_calls(text: str) -> Iterator[ToolCall]:
    """The calls among the JSON values in a text."""
    decoder, place = json.JSONDecoder(), 0
    for _ in range(MOST_STARTS):
        starts = [found for mark in "{[" if (found := text.find(mark, place)) >= 0]
        if not starts:
            return
        place = min(starts)
        try:
            value, end = decoder.raw_decode(text, place)
        except ValueError:
            place += 1
            continue
        yield from _calls_of(value)
        place = end


def _calls_of(value: Any) -> Iterator[ToolCall]:
    for entry in value if isinstance(value, list) else [value]:
        if not isinstance(entry, dict):
            continue
        inner = entry.get("function")
        one = inner if isinstance(inner, dict) else entry
        name = one.get("name")
        key = next((key for key in ARGUMENT_KEYS if key in one), None)
        if isinstance(name, str) and key is not None:
            arguments = one[key]
            yield ToolCall(name, _value(arguments) if isinstance(arguments, str) else arguments)


def _named(text: str) -> Iterator[ToolCall]:
    """Calls as `name{…}`."""
    decoder, place = json.JSONDecoder(), 0
    while found := NAMED_JSON.search(text, place):
        try:
            arguments, place = decoder.raw_decode(text, found.end())
        except ValueError:
            return
        yield ToolCall(found[1], arguments)


def _elements(text: str) -> Iterator[ToolCall]:
    """Calls written as elements: of Qwen3-Coder, and of GLM."""
    for call in QWEN_CALL.finditer(text):
        yield ToolCall(call[1], {one[1]: _value(one[2]) for one in QWEN_ARGUMENT.finditer(call[2])})
    for call in GLM_CALL.finditer(text):
        yield ToolCall(call[1], {one[1].strip(): _value(one[2]) for one in GLM_ARGUMENT.finditer(call[2])})


def _python(text: str, known: Collection[str]) -> Iterator[ToolCall]:
    """Calls in Python, if the whole text is a list of them or one; a single one must be a known tool."""
    if len(text) > MOST_PYTHON or _depth(text) > MOST_DEPTH or not (found := PYTHON_CALLS.match(text)):
        return
    try:
        tree = ast.parse(found[1], mode="eval").body
        calls = tree.elts if isinstance(tree, ast.List) else [tree]
        read = [_python_call(one) for one in calls]
    except (SyntaxError, ValueError, TypeError):
        return
    if isinstance(tree, ast.List) or read[0].name in known:
        yield from read


def _python_call(tree: ast.expr) -> ToolCall:
    """One call with named arguments.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(tree, ast.Call) or tree.args or any(one.arg is None for one in tree.keywords):
        raise ValueError("no call with named arguments")
    arguments = {str(one.arg): ast.literal_eval(one.value) for one in tree.keywords}
    json.dumps(arguments)  # bytes and sets are no values of a tool
    return ToolCall(ast.unparse(tree.func), arguments)


def _value(text: str) -> Any:
    """The JSON value that a text is, or the text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _depth(text: str) -> int:
    """How many brackets are open at once at most."""
    depth = most = 0
    for one in text:
        depth += (one in "([{") - (one in ")]}")
        most = max(most, depth)
    return most


def _before(text: str) -> str:
    """What stands before the first call."""
    places = [place for mark in STARTS if (place := text.find(mark)) >= 0]
    return text[: min(places, default=0)].strip()
