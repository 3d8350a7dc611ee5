"""Read the tool calls in what a model wrote, in the formats of the common chat templates.

Read: JSON objects with a name and `arguments` or `parameters`, alone, in a list, between `<tool_call>` marks
(Hermes, Qwen), after `<|python_tag|>` (Llama 3) or `[TOOL_CALLS]` (Mistral), or in a fenced block; a name and
then JSON (newer Mistral models, gpt-oss, DeepSeek, Kimi K2); elements (Qwen3-Coder, GLM, MiniMax, DeepSeek
V3.2); `call:name{…}` (Gemma); Python calls in a list (Llama 4, LFM2), a fence (Gemma 3) or a tag (Olmo 3).
Not read: other formats. Where a text only looks like a call, that is told, so that it can be counted.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runners.engines.marked_calls import (
    MOST_DEPTH,
    ToolCall,
    element_calls,
    gemma_calls,
    named_calls,
    value_of,
)

MOST_CHARACTERS = 200_000  # of an answer that is read; a longer one is told as `too large`
MOST_STARTS = 64  # places at which a JSON value is looked for: nested ones would be read again and again
MOST_CALLS = 32  # of one answer
MOST_PYTHON = 20_000  # characters of a list of Python calls
STARTS = (  # of calls
    "<tool_call", "<function", "[TOOL_CALLS]", "<|python_tag|>", "{", "[", "```", "<|tool_call", "<｜tool",
    "<｜DSML｜", "<invoke", "<minimax:tool_call", "<start_function_call>", "call:", "to=functions.",
    "functions.",
)  # fmt: skip
ARGUMENT_KEYS = ("arguments", "parameters")

# Each pattern takes linear time, whatever a model writes: none has `.*` before more that must follow.
MARK = re.compile(
    r"<[|｜]?tool[_▁]calls?|\[/?TOOL_CALLS\]|<\|python_tag\|>|<function[=_]|<\|?start_function_call|to=functions\."
    r"|<(?:｜DSML｜)?invoke\b|<minimax:tool_call|call:[A-Za-z_]\w{0,99}\{|\{\s*\"name\"\s*:"
)
NAME_KEY = re.compile(r"\"(?:name|function)\"\s*:")
ARGUMENT_KEY = re.compile(r"\"(?:arguments|parameters)\"")
# Around Python calls: Gemma 3's fence, the tags of Olmo 3, Llama 4 and LFM2.
WRAPS = (
    ("```tool_code", "```"), ("```python", "```"), ("```", "```"), ("<function_calls>", "</function_calls>"),
    ("<|python_start|>", "<|python_end|>"), ("<|tool_call_start|>", "<|tool_call_end|>"),
)  # fmt: skip
PYTHON_CALLS = re.compile(r"\[\s*[A-Za-z_][\w.]*\(.*\]|[A-Za-z_][\w.]*\(.*\)", re.DOTALL)


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
        calls = _first_of(text, known)
        json.dumps([one.arguments for one in calls], allow_nan=False, ensure_ascii=False).encode()
    except (RecursionError, MemoryError):
        return AnswerParts(problem="nested too deeply", text=text)
    except ValueError:  # half a character, or no number
        return AnswerParts(problem="not readable", text=text)
    if calls:
        return AnswerParts(tuple(calls[:MOST_CALLS]), _before(text))
    return AnswerParts(problem="not readable" if _is_like_call(text) else None, text=text)


def _first_of(text: str, known: Collection[str]) -> list[ToolCall]:
    """The calls of the first format that has some."""
    marked = [*element_calls(text)] or [*gemma_calls(text)]
    return marked or [*_json_calls(text)] or [*named_calls(text)] or [*_python(text, known)]


def served_calls(pieces: Mapping[int, tuple[str, str]]) -> tuple[ToolCall, ...]:
    """The calls that a server has streamed: a name and the JSON text of its arguments, by place.

    Arguments that are no JSON stay the text that they are.
    """
    return tuple(ToolCall(name, value_of(text or "{}")) for _, (name, text) in sorted(pieces.items()))


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
        name = one.get("name", one.get("tool_name"))
        key = next((key for key in ARGUMENT_KEYS if key in one), None)
        if isinstance(name, str) and key is not None:
            arguments = one[key]
            yield ToolCall(name, value_of(arguments) if isinstance(arguments, str) else arguments)


def _is_like_call(text: str) -> bool:
    """Whether a text has the marks or the keys of a call."""
    first = NAME_KEY.search(text)
    return bool(MARK.search(text) or (first and ARGUMENT_KEY.search(text, first.end())))


def _python(text: str, known: Collection[str]) -> Iterator[ToolCall]:
    """Calls in Python, if the text is a list of them, or lines of calls of known tools."""
    written = _unwrapped(text)
    if len(written) > MOST_PYTHON or _depth(written) > MOST_DEPTH or not PYTHON_CALLS.fullmatch(written):
        return
    try:
        lines = [one.value if isinstance(one, ast.Expr) else None for one in ast.parse(written).body]
        is_list = len(lines) == 1 and isinstance(lines[0], ast.List)
        calls = lines[0].elts if is_list and isinstance(lines[0], ast.List) else lines
        read = [_python_call(one) for one in calls]
    except (SyntaxError, ValueError, TypeError):
        return
    if is_list or all(one.name in known for one in read):
        yield from read


def _unwrapped(text: str) -> str:
    """What stands between the first pair of marks around Python, or the whole text."""
    for opening, closing in WRAPS:
        before, mark, rest = text.partition(opening)
        if mark and not (opening == "```" and before.strip()):
            return rest.partition(closing)[0].strip()
    return text.strip()


def _python_call(tree: ast.expr | None) -> ToolCall:
    """One call with named arguments, also as what is printed.

    Raises:
        ValueError: it is none.
    """
    if isinstance(tree, ast.Call) and ast.unparse(tree.func) == "print" and len(tree.args) == 1:
        tree = tree.args[0]
    if not isinstance(tree, ast.Call) or tree.args or any(one.arg is None for one in tree.keywords):
        raise ValueError("no call with named arguments")
    arguments = {str(one.arg): ast.literal_eval(one.value) for one in tree.keywords}
    json.dumps(arguments)  # bytes and sets are no values of a tool
    return ToolCall(ast.unparse(tree.func).removeprefix("default_api."), arguments)


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
