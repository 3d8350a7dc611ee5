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

# Each pattern takes linear time, whatever a model writes: none has `.*` before more that must follow.
MARK = re.compile(
    r"<\|?tool_calls?|\[/?TOOL_CALLS\]|<\|python_tag\|>|<function[=_]|<\|?start_function_call|\{\s*\"name\"\s*:"
)
NAME_KEY = re.compile(r"\"(?:name|function)\"\s*:")
ARGUMENT_KEY = re.compile(r"\"(?:arguments|parameters)\"")
NAMED_JSON = re.compile(r"(?:\[TOOL_CALLS\]|^)\s*([A-Za-z_][\w.-]*)\s*(?:\[ARGS\]\s*)?(?=\{)")
QWEN_CALL = re.compile(r"<function=([\w.-]+)>")
QWEN_ARGUMENT = re.compile(r"<parameter=([\w.-]+)>\n?")
GLM_CALL = re.compile(r"<tool_call>\s*([\w.-]+)\s*")
GLM_ARGUMENT = re.compile(r"\s*<arg_key>([^<]*)</arg_key>\s*<arg_value>")
PYTHON_CALLS = re.compile(r"\[\s*[A-Za-z_][\w.]*\(.*\]|[A-Za-z_][\w.]*\(.*\)", re.DOTALL)


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
    return AnswerParts(problem="not readable" if _is_like_call(text) else None, text=text)


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
    for call, inner in _between(text, QWEN_CALL, "</function>"):
        pairs = _between(inner, QWEN_ARGUMENT, "</parameter>")
        yield ToolCall(call[1], {name[1]: _value(value.removesuffix("\n")) for name, value in pairs})
    for call, inner in _between(text, GLM_CALL, "</tool_call>"):
        given = [*_between(inner, GLM_ARGUMENT, "</arg_value>")]
        if bool(given) == bool(inner):
            yield ToolCall(call[1], {name[1].strip(): _value(value) for name, value in given})


def _between(text: str, opening: re.Pattern[str], closing: str) -> Iterator[tuple[re.Match[str], str]]:
    """Each opening with the text up to the next closing mark."""
    place = 0
    while found := opening.search(text, place):
        end = text.find(closing, found.end())
        if end < 0:
            return
        yield found, text[found.end() : end]
        place = end + len(closing)


def _is_like_call(text: str) -> bool:
    """Whether a text has the marks or the keys of a call."""
    first = NAME_KEY.search(text)
    return bool(MARK.search(text) or (first and ARGUMENT_KEY.search(text, first.end())))


def _python(text: str, known: Collection[str]) -> Iterator[ToolCall]:
    """Calls in Python, if the whole text is a list of them or one; a single one must be a known tool."""
    if len(text) > MOST_PYTHON or _depth(text) > MOST_DEPTH:
        return
    written = text.strip().removeprefix("<|python_start|>").removesuffix("<|python_end|>").strip()
    if not PYTHON_CALLS.fullmatch(written):
        return
    try:
        tree = ast.parse(written, mode="eval").body
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
