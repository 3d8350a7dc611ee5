"""The JSON objects and lists in a model's answer, also where they are written a little wrong.

Read alike: comments, trailing commas, single and typographic quotes, names without quotes, line breaks in
strings, `True`, `.5`, and an object whose last brace alone is missing. Numbers are never guessed: one that
is cut off ends nothing. The whole search costs a fixed number of steps per character.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tracker.serialization import writable_text

MAX_DEPTH = 64
MAX_CHARS = 2_000_000  # of an answer; the longest that a model may write has about 200,000
STEPS_PER_CHAR = 8  # characters that all attempts together may look at, per character of the text
TYPOGRAPHIC = str.maketrans("“”„«»‘’‚", '"""""\'\'\'')
_BLANK = re.compile(r"\s*")
_COMMENTS = {"//": "\n", "#": "\n", "/*": "*/"}  # beginning → end
# a beginning that something may follow; a brace alone begins nothing
_START = re.compile(r"\{(?=\s*[\"'}A-Za-z_/#])|\[(?=\s*[\"'{\[\]\d+.\-A-Za-z/#])")
_NUMBER = re.compile(r"[+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.])")
_WORD = re.compile(r"[A-Za-z_]\w{0,79}")
# a quote that nothing follows that may follow a string stands in it: `"the "best" value"`
_AFTER = r"(?!\s*(?:[,:}\]#]|//|/\*|$))"
_DOUBLE = re.compile(rf'"((?:[^"\\]|\\.|"{_AFTER})*+)"', re.DOTALL)
_SINGLE = re.compile(rf"'((?:[^'\\]|\\.|'{_AFTER})*+)'", re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_CONSTANTS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
_NO_NUMBERS = ("NaN", "Infinity", "inf", "nan")
_END = re.compile(r"\s*(?:`{3,}\s*)?(?:</[\w:.|-]{1,40}>\s*)?$")
Found = dict[str, Any] | list[Any]


class _NotJsonError(Exception):
    """No JSON begins here."""


class _CutOffError(Exception):
    """The text ends in the middle: what stands inside is a part of something, and means nothing alone."""


def documents(text: str) -> Iterator[Found]:
    """The objects and lists in `text` that stand in no other, in their order.

    Raises:
        ValueError: one is nested too deeply or names a member twice, or too many begin and never end.
    """
    if len(text) > MAX_CHARS:
        raise ValueError(f"the answer has {len(text):,} characters, more than {MAX_CHARS:,}")
    reader = _Reader(text)
    place = reader.next_start(0)
    while place >= 0:
        try:
            found, end = reader.read(place)
        except _CutOffError:
            return
        except _NotJsonError:
            end = place + 1
        else:
            yield found
        place = reader.next_start(end)


class _Reader:
    """Reads at a place; all its attempts together have a bounded number of steps."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._left = STEPS_PER_CHAR * len(text) + 10_000
        self._place = 0

    def next_start(self, place: int) -> int:
        found = _START.search(self._text, place)
        return -1 if found is None else found.start()

    def read(self, place: int) -> tuple[Found, int]:
        self._place = place
        found: Found = self._value(0)
        return found, self._place

    def _spend(self, end: int) -> None:
        self._left -= end - self._place + 1
        if self._left < 0:
            raise ValueError("the answer has too many beginnings of JSON that do not end")
        self._place = end

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self._text, self._place)
        if found is not None:
            self._spend(found.end())
        return found

    def _next(self) -> str:
        """The next character that is no blank and in no comment.

        Raises:
            _CutOffError: there is none.
        """
        while True:
            self._match(_BLANK)
            end = next(
                (e for start, e in _COMMENTS.items() if self._text.startswith(start, self._place)), None
            )
            if end is None:
                break
            stop = self._text.find(end, self._place)
            self._spend(len(self._text) if stop < 0 else stop + len(end))
        if self._place >= len(self._text):
            raise _CutOffError
        return self._text[self._place]

    def _value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise ValueError("the JSON is nested too deeply")
        char = self._next()
        if char == "{":
            return self._object(depth)
        if char == "[":
            return self._list(depth)
        if char in "\"'":
            return self._string(char)
        if (number := self._match(_NUMBER)) is not None:
            return _number(number.group())
        word = self._match(_WORD)
        if word is None:
            raise _NotJsonError
        if word.group() in _NO_NUMBERS:
            raise ValueError(f"{word.group()} is not a valid value")
        if word.group() not in _CONSTANTS:
            raise _NotJsonError
        return _CONSTANTS[word.group()]

    def _object(self, depth: int) -> dict[str, Any]:
        self._spend(self._place + 1)
        found: dict[str, Any] = {}
        while (char := self._next()) != "}":
            name = self._string(char) if char in "\"'" else self._name()
            if self._next() != ":":
                raise _NotJsonError
            self._spend(self._place + 1)
            value = self._value(depth + 1)
            if name in found:
                raise ValueError(f'the JSON names "{name}" twice')
            found[name] = value
            if self._is_closed_by_the_end(value, depth):
                return found
            self._separator("}")
        self._spend(self._place + 1)
        return found

    def _is_closed_by_the_end(self, value: Any, depth: int) -> bool:
        """Whether only the last brace of the whole is missing, after a value that cannot be cut off."""
        if depth or isinstance(value, int | float):
            return False
        found = _END.match(self._text, self._place)
        if found is None:
            return False
        self._place = len(self._text)
        return True

    def _list(self, depth: int) -> list[Any]:
        self._spend(self._place + 1)
        found: list[Any] = []
        while self._next() != "]":
            found.append(self._value(depth + 1))
            self._separator("]")
        self._spend(self._place + 1)
        return found

    def _separator(self, end: str) -> None:
        char = self._next()
        if char == ",":
            self._spend(self._place + 1)
        elif char != end:
            raise _NotJsonError

    def _name(self) -> str:
        word = self._match(_WORD)
        if word is None:
            raise _NotJsonError
        return word.group()

    def _string(self, quote: str) -> str:
        found = self._match(_DOUBLE if quote == '"' else _SINGLE)
        if found is None:
            raise _CutOffError
        return writable_text(_ESCAPE.sub(_unescaped, found.group(1)))


def _unescaped(found: re.Match[str]) -> str:
    code = found.group(1)
    return chr(int(code[1:], 16)) if len(code) > 1 else _ESCAPES.get(code, code)


def _number(text: str) -> float | int:
    try:
        return int(text)
    except ValueError as error:
        if "limit" in str(error):
            raise
        return float(text)
