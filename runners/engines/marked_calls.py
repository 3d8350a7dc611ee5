"""Read the tool calls that a model wrote between marks of its own, with or without these marks.

Many marks are special tokens, which an engine leaves out of the text; then what stands between them is read.
Each pattern takes linear time, whatever a model writes: none has `.*` before more that must follow.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

MOST_DEPTH = 32  # brackets within brackets

NAME = r"([A-Za-z_][\w.-]{0,99})"
# What stands before the JSON object of the arguments.
BEFORE_JSON = (
    re.compile(rf"(?:\[TOOL_CALLS\]|^)\s*{NAME}\s*(?:\[ARGS\]\s*)?(?=\{{)"),  # Mistral
    re.compile(rf"to=functions\.{NAME}[^{{}}]{{0,80}}(?=\{{)"),  # gpt-oss: then channel and kind of content
    re.compile(  # DeepSeek V3 and V3.1
        rf"<｜tool▁call▁begin｜>(?:function<｜tool▁sep｜>)?{NAME}(?:<｜tool▁sep｜>)?\s{{0,9}}(?:```json)?\s{{0,9}}(?=\{{)"
    ),
    re.compile(rf"functions\.{NAME}:\d{{1,9}}(?:<\|tool_call_argument_begin\|>)?\s{{0,9}}(?=\{{)"),  # Kimi K2
    re.compile(rf"<function={NAME}>\s{{0,9}}(?=\{{)"),  # Llama 3.1
)
ELEMENTS = (  # a call, one argument: Qwen3-Coder and Seed; MiniMax, DeepSeek V3.2 and Step
    (
        re.compile(rf"<function={NAME}>"),
        "</function>",
        re.compile(r"<parameter=([\w.-]+)>\n?"),
        "</parameter>",
    ),
    *(
        (
            re.compile(rf'<{prefix}invoke name="{NAME}">'),
            f"</{prefix}invoke>",
            re.compile(rf'<{prefix}parameter name="([\w.-]+)"[^<>]{{0,40}}>'),
            f"</{prefix}parameter>",
        )
        for prefix in ("", "｜DSML｜", "steptml:")
    ),
)
GLM_CALL = re.compile(rf"<tool_call>\s*{NAME}\s*")
GLM_ARGUMENT = re.compile(r"\s*<arg_key>([^<]*)</arg_key>\s*<arg_value>")
GEMMA_CALL = re.compile(rf"(?:<start_function_call>|<\|tool_call>|^|(?<=\}}))\s{{0,9}}call:{NAME}(?=\{{)")
GEMMA_STRINGS = ("<escape>", '<|"|>')  # around a text
GEMMA_KEY = re.compile(r"\s*([A-Za-z_][\w.-]*)\s*:")
GEMMA_BARE = re.compile(r"[^,{}\[\]]*")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call that a model asks for; `arguments` are what it wrote, of whatever type."""

    name: str
    arguments: Any


def element_calls(text: str) -> Iterator[ToolCall]:
    """Calls written as elements, one for each argument."""
    for opening, closing, argument, end in ELEMENTS:
        for call, inner in _between(text, opening, closing):
            pairs = _between(inner, argument, end)
            given = {name[1]: value_of(value.removesuffix("\n")) for name, value in pairs}
            if given or not inner.strip():
                yield ToolCall(call[1], given)
    for call, inner in _between(text, GLM_CALL, "</tool_call>"):
        found = [*_between(inner, GLM_ARGUMENT, "</arg_value>")]
        if bool(found) == bool(inner):
            yield ToolCall(call[1], {name[1].strip(): value_of(value) for name, value in found})


def named_calls(text: str) -> Iterator[ToolCall]:
    """Calls as a name with marks, then a JSON object."""
    decoder = json.JSONDecoder()
    for pattern in BEFORE_JSON:
        place = 0
        while found := pattern.search(text, place):
            try:
                arguments, place = decoder.raw_decode(text, found.end())
            except ValueError:
                break
            yield ToolCall(found[1], arguments)
        if place:
            return


def gemma_calls(text: str) -> Iterator[ToolCall]:
    """Calls of Gemma: `call:name{key:value}`, whose texts stand between marks of their own."""
    place = 0
    while found := GEMMA_CALL.search(text, place):
        try:
            arguments, place = _gemma_value(text, found.end(), depth=0)
        except ValueError:
            return
        yield ToolCall(found[1], arguments)


def _gemma_value(text: str, place: int, *, depth: int) -> tuple[Any, int]:
    """The value that begins there, and the place after it.

    Raises:
        ValueError: it does not end, or is nested too deeply.
    """
    if depth > MOST_DEPTH:
        raise ValueError("nested too deeply")
    for mark in GEMMA_STRINGS:
        if text.startswith(mark, place):
            begin = place + len(mark)
            end = text.index(mark, begin)
            return text[begin:end], end + len(mark)
    if text.startswith("{", place):
        return _gemma_parts(text, place + 1, closing="}", depth=depth)
    if text.startswith("[", place):
        return _gemma_parts(text, place + 1, closing="]", depth=depth)
    bare = GEMMA_BARE.match(text, place)
    assert bare is not None  # it matches nothing too
    return value_of(bare[0].strip()), bare.end()


def _gemma_parts(text: str, place: int, *, closing: str, depth: int) -> tuple[Any, int]:
    """The object or list whose bracket was just opened.

    Raises:
        ValueError: it does not end.
    """
    found: dict[str, Any] = {}
    values: list[Any] = []
    while True:
        if text.startswith(closing, place):
            return (found if closing == "}" else values), place + 1
        key = GEMMA_KEY.match(text, place) if closing == "}" else None
        if closing == "}" and key is None:
            raise ValueError("a key is missing")
        value, place = _gemma_value(text, key.end() if key else place, depth=depth + 1)
        values.append(value)
        if key:
            found[key[1]] = value
        if text.startswith(",", place):
            place += 1
        elif not text.startswith(closing, place):
            raise ValueError("it does not end")


def _between(text: str, opening: re.Pattern[str], closing: str) -> Iterator[tuple[re.Match[str], str]]:
    """Each opening with the text up to the next closing mark."""
    place = 0
    while found := opening.search(text, place):
        end = text.find(closing, found.end())
        if end < 0:
            return
        yield found, text[found.end() : end]
        place = end + len(closing)


def value_of(text: str) -> Any:
    """The JSON value that a text is, or the text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
