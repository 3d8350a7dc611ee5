"""A model's answer on the tracks with numbers: the JSON in it, out of thinking, prose and fences.

Many forms are read, since few models keep to the one that is asked for; but nothing is guessed or clipped.
What cannot be read, or could mean two things, is a `ValueError` whose sentence the model is shown.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runners.research.agents.drafts import check_single, without_drafts
from runners.research.agents.loose_json import TYPOGRAPHIC, Found, documents

MAX_CHANGES = 4  # numbers moved at once: more, and nobody knows which of them helped
MAX_RATIONALE_CHARS = 200  # asked for; a model that is not kept to it may write more
KEPT_RATIONALE_CHARS = 2000
MAX_NOTE_CHARS = 300  # of what a model writes down for itself in one trial
MAX_WRAPPINGS = 6  # objects around the one with the changes, such as a call's `function` and `arguments`
_PLAIN_NUMBER = r"[-+]?[\d.][\d._]{0,30}(?:[eE][-+]?\d{1,3})?"
_MOVED_NUMBER = rf"(?P<value>(?:{_PLAIN_NUMBER}[ \t]{{0,4}}(?:→|->|=>)[ \t]{{0,4}})?{_PLAIN_NUMBER})"
# a line that is nothing but a value and its remark; the end of the text may be in the middle of a number
PLAIN_VALUE = re.compile(
    r"^[ \t]{0,12}(?:[-*•][ \t]{1,4})?(?:name:[ \t]{1,4})?"
    r"[`*\"']{0,3}(?P<name>[A-Za-z_][\w.]{0,60})[`*\"']{0,3}"
    r"(?::[ \t]{0,4}(?:float|int)[ \t]{0,4}(?==)|[ \t]{0,4}\n[ \t]{0,12}value(?=:))?[ \t]{0,4}[:=][ \t]{0,4}"
    rf"[`*\"']{{0,3}}{_MOVED_NUMBER}[`*\"']{{0,3}}[,;]?[ \t]{{0,8}}(?:[#(][^\n]{{0,400}}\n|\n)",
    re.MULTILINE,
)
TAGGED_VALUE = re.compile(
    r"<(?:parameter(?:=|[ ]name=)[\"']?)?(?P<name>[A-Za-z_]\w{0,60})[\"']?>\s{0,8}"
    rf"{_MOVED_NUMBER}\s{{0,8}}</"
)
CALLED = re.compile(r"\s*(?:`{3}\w{0,10}\s)?\s*\w{1,40}\(([^()]{1,2000})\)\s*(?:`{3})?\s*")
ARGUMENT = re.compile(
    rf"(?:^|,)\s{{0,8}}(?P<name>\w{{1,60}})\s{{0,4}}=\s{{0,4}}{_MOVED_NUMBER}(?=\s{{0,8}}(?:,|$))"
)
Value = float | int | str | bool

RATIONALES = ("rationale", "reason", "reasoning", "explanation", "why", "hypothesis", "thought", "thoughts")
CHANGES = (
    "changes",
    "change",
    "params",
    "parameters",
    "updates",
    "values",
    "hyperparameters",
    "modifications",
)
WRAPPERS = (
    "arguments",
    "parameters",
    "input",
    "function",
    "tool_calls",
    "proposal",
    "answer",
    "response",
    "args",
)
REMARKS = ("category", "categories", "confidence", "notes", "expected_gain", "risk", "type", "action")
NAMES = ("name", "parameter", "param", "key", "number", "hyperparameter", "variable")
VALUES = ("value", "new_value", "new", "to", "proposed")
# "0.95 → 0.98", as past trials are shown
MOVED = re.compile(r"\s*[-+.\deE_]{1,40}\s*(?:→|->|=>)\s*([-+.\deE_]{1,40})\s*")


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's proposed changes and its reason."""

    rationale: str
    changes: Mapping[str, Value] = field(default_factory=dict)
    notes: str = ""  # for the model itself, in later trials


def read_reply(text: str, current: Mapping[str, Value] | None = None) -> Reply:
    """The reply in `text`: the last changes that stand in its JSON.

    `current` are the numbers of the incumbent by name: with them, changes are also found where only the names
    of numbers show what is meant, and of too many changes those that repeat a current value do not count.

    Raises:
        ValueError: it is empty, has no changes, or they are not as they were asked for.
    """
    text = without_drafts(text).strip()
    if not text:
        raise ValueError("the answer is empty")
    check_single(text)
    known = dict(current or {})
    found = _last_changes(documents(text), known)
    if found is None and (plain := text.translate(TYPOGRAPHIC)) != text:
        found = _last_changes(documents(plain), known)
    if found is None and "{" not in text:
        found = _plain_values(text, known)
    if found is None:
        if "{" not in text:
            raise ValueError("the answer has no JSON object")
        raise ValueError('the answer has no complete JSON object with "changes" in it')
    return Reply(found.rationale, _changes(found.raw, known), found.notes)


def _plain_values(text: str, known: Mapping[str, Value]) -> _Stated | None:
    """Values on lines of their own, such as `beta2 = 0.98` or `- beta2: 0.95 → 0.98`, in tags, or in a call.

    A number that ends the answer may be cut off: something has to follow it.

    Raises:
        ValueError: a number has two values.
    """
    pairs = [found.group("name", "value") for found in PLAIN_VALUE.finditer(text)]
    pairs += [found.group("name", "value") for found in TAGGED_VALUE.finditer(text)]
    if (call := CALLED.fullmatch(text)) is not None:
        pairs += [found.group("name", "value") for found in ARGUMENT.finditer(call.group(1))]
    values: dict[str, str] = {}
    for said, value in pairs:
        name = _known_name(said, known)
        if name in known and values.setdefault(name, value) != value:
            raise ValueError(f"the answer names `{name}` with several values: give one JSON object")
    return _Stated(values) if values else None


@dataclass(frozen=True, slots=True)
class _Stated:
    """Changes as they stand in the JSON."""

    raw: object
    rationale: str = ""
    notes: str = ""
    is_item: bool = False  # one change that stands alone


def _last_changes(found: Iterable[Found], known: Mapping[str, Value]) -> _Stated | None:
    stated = [changes for document in found if (changes := _stated(document, known)) is not None]
    if not stated:
        return None
    if stated[-1].is_item and len({json.dumps(s.raw, sort_keys=True) for s in stated}) > 1:
        raise ValueError("the answer has several JSON objects with one change each: give one object with all")
    return stated[-1]


def _stated(document: object, known: Mapping[str, Value], *, n_around: int = 0) -> _Stated | None:
    """The changes in a document, or in what it wraps."""
    if n_around > MAX_WRAPPINGS:
        return None
    if isinstance(document, dict):
        return _in_object(document, known, n_around)
    if isinstance(document, list):
        return _in_list(document, known, n_around)
    if isinstance(document, str) and n_around:  # the arguments of a call, as a text
        inner = (_stated(each, known, n_around=MAX_WRAPPINGS) for each in documents(document))
        return next((found for found in inner if found is not None), None)
    return None


def _in_list(document: list[Any], known: Mapping[str, Value], n_around: int) -> _Stated | None:
    if document and all(isinstance(item, dict) and _is_item(item, known) for item in document):
        return _Stated(document)
    return _stated(document[0], known, n_around=n_around + 1) if len(document) == 1 else None


def _in_object(document: dict[str, Any], known: Mapping[str, Value], n_around: int) -> _Stated | None:
    rationale, notes = _rationale(document), note(document.get("notes"))
    if "changes" in document:
        return _Stated(document["changes"], rationale, notes)
    if _is_item(document, known):
        return _Stated([document], rationale, notes, is_item=True)
    for name in (*WRAPPERS, *CHANGES):
        found = _stated(document.get(name), known, n_around=n_around + 1)
        if found is not None:
            return _Stated(found.raw, found.rationale or rationale, found.notes or notes)
    named = {name: value for name, value in document.items() if _known_name(name, known) in known}
    if not named:
        return None
    rest = {n: v for n, v in document.items() if n not in (*named, *RATIONALES, *REMARKS)}
    return _Stated(named | rest, rationale, notes)  # an unknown name is refused later, with what it is like


def _is_item(document: Mapping[str, Any], known: Mapping[str, Value]) -> bool:
    """Whether an object is one change: a name and its value."""
    name, value = _first(document, NAMES), _first(document, VALUES)
    if name is None or value is None:
        return len(document) == 1 and _known_name(next(iter(document)), known) in known
    text = document[name]
    return isinstance(text, str) and (not known or _known_name(text, known) in known)


def _first(document: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((name for name in names if name in document), None)


def note(raw: object) -> str:
    """What a model writes down for itself, on one line and within its bound."""
    text = " ".join(raw) if isinstance(raw, list) and all(isinstance(x, str) for x in raw) else raw
    return " ".join(text.split())[:MAX_NOTE_CHARS] if isinstance(text, str) else ""


def _rationale(document: Mapping[str, Any]) -> str:
    name = _first(document, RATIONALES)
    text = document[name] if name is not None else ""
    if isinstance(text, list) and all(isinstance(line, str) for line in text):
        text = " ".join(text)
    if not isinstance(text, str):
        raise ValueError(f'"{name}" must be a string')
    return text.strip()[:KEPT_RATIONALE_CHARS]


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
            "notes": {"type": "string", "maxLength": MAX_NOTE_CHARS},
        },
        optional=("notes",),
    )


def _object_schema(properties: dict[str, Any], *, optional: Sequence[str] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def _changes(raw: object, known: Mapping[str, Value]) -> Mapping[str, Value]:
    """Name → value, from an object or from a list, whose changes are made in order: the last word counts.

    No grammar keeps a list from naming one twice, and small models do (5 of 10 answers of SmolLM2-135M).

    Raises:
        ValueError: it is neither, or has too many.
    """
    pairs: list[tuple[str, Value]] = []
    if isinstance(raw, dict) and not (known and _is_item(raw, known)):
        pairs = [_pair(name, value, known) for name, value in raw.items()]
    elif isinstance(raw, list | dict):
        pairs = [_item(item, known) for item in (raw if isinstance(raw, list) else [raw])]
    else:
        raise ValueError('"changes" must be a list of names with values')
    changes = dict(pairs)
    if len(changes) > MAX_CHANGES:  # all numbers were repeated, those that stay as well
        changes = {n: v for n, v in changes.items() if n not in known or v != known[n]}
    if len(changes) > MAX_CHANGES:
        raise ValueError(f'"changes" has {len(changes)} members, more than {MAX_CHANGES}')
    return changes


def _item(item: object, known: Mapping[str, Value]) -> tuple[str, Value]:
    if isinstance(item, dict):
        name, value = _first(item, NAMES), _first(item, VALUES)
        if name is not None and value is not None:
            return _pair(str(item[name]), item[value], known)
        if len(item) == 1 and name is None and value is None:
            return _pair(*next(iter(item.items())), known)
    raise ValueError('each of "changes" must have a "name" and a "value"')


def _pair(name: str, value: object, known: Mapping[str, Value]) -> tuple[str, Value]:
    name = _known_name(name, known)
    return name, _value(name, value)


def _known_name(name: str, known: Mapping[str, Value]) -> str:
    """The number that is meant by a name such as `betas: Beta2` or `Tunables.beta2`; else the name itself."""
    if name in known:
        return name
    plain = re.sub(r"[\s-]+", "_", re.split(r"[.:/]\s*", name.strip(" `*\"'"))[-1].lower())
    return plain if plain in known else name


def _value(name: str, value: object) -> Value:
    if isinstance(value, dict) and (new := _first(value, VALUES)) is not None:
        value = value[new]
    if isinstance(value, str):
        value = _as_number(value)
    if isinstance(value, Value) and (not isinstance(value, float) or math.isfinite(value)):
        return value
    raise ValueError(f"the value of `{name}` must be a number or one of its choices")


def _as_number(text: str) -> Value:
    """The number that a text is; the text itself where it is none."""
    moved = MOVED.fullmatch(text[:100])
    plain = (moved.group(1) if moved else text).strip()
    for number in (int, float):
        try:
            value = number(plain[:100])
        except ValueError:
            continue
        if math.isfinite(value):
            return value
    return text
