"""A model's answer on the tracks with numbers: the JSON in it, out of thinking, prose and fences.

What cannot be read is a `ValueError` whose sentence the model is shown; nothing is guessed or clipped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runners.engines.thinking import MARKS
from tracker.serialization import writable_text

MAX_CHANGES = 4  # numbers moved at once: more, and nobody knows which of them helped
MAX_RATIONALE_CHARS = 200  # asked for; a model that is not kept to it may write more
KEPT_RATIONALE_CHARS = 2000
SEARCH_MARK = "<<<<<<<"  # what stands before it on the `code` track is the rationale
Value = float | int | str | bool


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's proposed changes and its reason."""

    rationale: str
    changes: Mapping[str, Value]


def read_reply(text: str) -> Reply:
    """The reply in `text`: its last JSON object that has `changes`.

    Raises:
        ValueError: it is empty, has no such object, or the object is not as it was asked for.
    """
    text = _without_thinking(text).strip()
    if not text:
        raise ValueError("the answer is empty")
    found = [document for document in _objects(text) if "changes" in document]
    if not found:
        if "{" not in text:
            raise ValueError("the answer has no JSON object")
        raise ValueError('the answer has no complete JSON object with "changes" in it')
    document = found[-1]
    rationale = document.get("rationale", "")
    if not isinstance(rationale, str):
        raise ValueError('"rationale" must be a string')
    return Reply(rationale.strip()[:KEPT_RATIONALE_CHARS], _changes(document["changes"]))


def reply_schema(changes: Mapping[str, Mapping[str, Any]], *, min_changes: int = 1) -> dict[str, Any]:
    """The JSON schema of a reply; `changes` are the schemas of the values by name.

    A list of changes, since no grammar that servers use bounds how many members of an object there are.
    """
    items = [
        _object_schema({"name": {"const": name}, "value": dict(schema)}) for name, schema in changes.items()
    ]
    return _object_schema(
        {
            "rationale": {"type": "string", "minLength": 1, "maxLength": MAX_RATIONALE_CHARS},
            "changes": {
                "type": "array",
                "items": {"anyOf": items},
                "minItems": min_changes,
                "maxItems": MAX_CHANGES,
            },
        }
    )


def _object_schema(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _without_thinking(text: str) -> str:
    """The text after the last end of thinking, for engines that do not recognize the mark."""
    for start, end in MARKS:
        if end in text:
            text = text.rpartition(end)[2]
        elif text.lstrip().startswith(start):
            return ""
    return text


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in `text` that stand in no other."""
    decoder = json.JSONDecoder(object_pairs_hook=_distinct, parse_constant=_no_number)
    place = text.find("{")
    while place >= 0:
        try:
            found, end = decoder.raw_decode(text, place)
        except json.JSONDecodeError:
            end = place + 1
        except RecursionError as error:
            raise ValueError("the JSON is nested too deeply") from error
        else:
            if isinstance(found, dict):
                yield found
        place = text.find("{", end)


def _distinct(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    r"""The members of an object; an escape such as \ud83d alone is no character, and is replaced."""
    pairs = [(writable_text(n), writable_text(v) if isinstance(v, str) else v) for n, v in pairs]
    document = dict(pairs)
    if len(document) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'the JSON names "{twice}" twice')
    return document


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not a valid value")


def _changes(raw: object) -> Mapping[str, Value]:
    """Name → value, from an object or from a list, whose changes are made in order: the last word counts.

    No grammar keeps a list from naming one twice, and small models do (5 of 10 answers of SmolLM2-135M).

    Raises:
        ValueError: it is neither, or has too many.
    """
    pairs: list[tuple[str, Value]] = []
    if isinstance(raw, dict):
        pairs = [(str(name), _value(str(name), value)) for name, value in raw.items()]
    elif isinstance(raw, list):
        for item in raw:
            if not isinstance(item, dict) or set(item) != {"name", "value"}:
                raise ValueError('each of "changes" must have a "name" and a "value" and nothing else')
            pairs.append((str(item["name"]), _value(str(item["name"]), item["value"])))
    else:
        raise ValueError('"changes" must be a list of names with values')
    changes = dict(pairs)
    if len(changes) > MAX_CHANGES:
        raise ValueError(f'"changes" has {len(changes)} members, more than {MAX_CHANGES}')
    return changes


def _value(name: str, value: object) -> Value:
    if isinstance(value, Value) and (not isinstance(value, float) or math.isfinite(value)):
        return value
    raise ValueError(f"the value of `{name}` must be a number or one of its choices")
