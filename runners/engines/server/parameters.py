"""What a server does not take of a request: read from its refusal, then left out or renamed for good.

Not covered: a parameter without which the request would mean something else (`messages`, `response_format`,
the thinking switch): its refusal is the request's.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# How a sentence says that a parameter is not taken: OpenAI, Azure, Groq, LiteLLM, TGI and FastAPI.
UNKNOWN = re.compile(
    r"unsupported|not support|unrecogni[sz]ed|unknown|unexpected|extra (?:inputs|fields)|not permitted"
    r"|not allowed|deprecated|forbidden",
    re.IGNORECASE,
)
# The same of its value, which is no reason to rename it.
WRONG_VALUE = re.compile(r"must be|only the default|supports up to|invalid", re.IGNORECASE)
ABOUT_PARAMETERS = re.compile(r"parameter|argument|property|field|input|option", re.IGNORECASE)
# Of the length of this one request, which may name `max_tokens` too.
TOO_LONG = re.compile(r"too large|too long|context (?:length|window)|maximum.{0,40}tokens", re.IGNORECASE)
RENAMED = {"max_tokens": "max_completion_tokens"}
# What may be left out, with the value that means the same as nothing; `stop` is also applied here.
DROPPABLE: Mapping[str, Any] = {
    "temperature": None, "top_p": 1.0, "seed": None, "presence_penalty": 0.0, "frequency_penalty": 0.0,
    "stop": ...,
}  # fmt: skip
_log = logging.getLogger(__name__)


class ServerParameters:
    """The parameters that one server refuses; `differences` are sentences about those that change answers."""

    def __init__(self, options: Sequence[str] = ()) -> None:
        """`options`: the user's KEY=VALUE, which replace fields of a request, or leave them out if `null`."""
        self.options = dict(_option(one) for one in options)
        self.dropped: set[str] = set()
        self.renamed: dict[str, str] = {}
        self.differences: list[str] = []

    def applied(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body as this server takes it, with the user's options."""
        kept = {name: value for name, value in body.items() if name not in self.dropped}
        given = {name: value for name, value in {**kept, **self.options}.items() if value is not None}
        return {self.renamed.get(name, name): value for name, value in given.items()}

    def learn(self, answer: bytes, body: Mapping[str, Any]) -> bool:
        """Take in the refusal of `body`, as it was sent; False: it blames nothing that can be left out."""
        known = {name for name in (*DROPPABLE, *RENAMED) if name in body and name not in self.options}
        blamed = blamed_parameters(answer, known)
        for name in sorted(blamed - self.dropped - self.renamed.keys()):
            if name in RENAMED:
                self.renamed[name] = RENAMED[name]
            else:
                self.dropped.add(name)
                if DROPPABLE[name] not in (body[name], ...):
                    applies = f"its own default applies instead of {body[name]!r}"
                    self.differences.append(f"the server does not take `{name}`, so {applies}")
                    _log.warning("%s", self.differences[-1])
        return bool(blamed)


def _option(text: str) -> tuple[str, Any]:
    """Key and value of KEY=VALUE; a value that is no JSON is text."""
    key, _, value = text.partition("=")
    try:
        return key, json.loads(value)
    except (ValueError, RecursionError):
        return key, value


def blamed_parameters(answer: bytes, sent: set[str]) -> set[str]:
    """The names in `sent` that the body of a refusal (HTTP 400 or 422) gives as its cause."""
    try:
        document = json.loads(answer)
    except (ValueError, RecursionError):
        document = answer.decode(errors="replace")
    text = " ".join(_texts(document))
    is_unknown = UNKNOWN.search(text) is not None
    blamed = {name for name in _named(document) if name in sent}
    if not blamed and (is_unknown or WRONG_VALUE.search(text)):
        is_about = ABOUT_PARAMETERS.search(text) is not None
        blamed = {name for name in sent if _is_mentioned(name, text, also_bare=is_about)}
    return blamed if is_unknown and not TOO_LONG.search(text) else blamed - RENAMED.keys()


def _is_mentioned(name: str, text: str, *, also_bare: bool) -> bool:
    """Whether the text has the name in quotes, or as a word of its own."""
    quoted = rf"[`'\"]{name}[`'\"]"
    return re.search(rf"{quoted}|(?<![\w.]){name}(?!\w)" if also_bare else quoted, text) is not None


def _named(document: Any) -> Iterator[str]:
    """The names in the fields meant for them: OpenAI's `param`, the `loc` of FastAPI."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key == "param" and isinstance(value, str):
                yield value.partition(".")[0]
            elif key == "loc" and isinstance(value, list):
                yield from (part for part in value[:2] if isinstance(part, str))
            else:
                yield from _named(value)
    elif isinstance(document, list):
        for one in document:
            yield from _named(one)


def _texts(document: Any) -> Iterator[str]:
    """Every text in it, but what FastAPI repeats of the request."""
    if isinstance(document, str):
        yield document
    elif isinstance(document, dict):
        for key, value in document.items():
            if key not in ("input", "body"):
                yield from _texts(value)
    elif isinstance(document, list):
        for one in document:
            yield from _texts(one)
