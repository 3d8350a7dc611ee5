"""Edits of the training script as a model writes them, applied to its editable part.

All of an answer is applied or nothing: an answer with a block that does not fit states another idea than
its other blocks alone. What does not apply is a `ValueError` whose sentence the model is shown, next to the
lines that are most like those it wanted.
"""

from __future__ import annotations

import ast
import difflib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from runners.research.agents.definitions import InvalidCodeError, hoisted, imports_in, with_definitions
from runners.research.agents.drafts import without_drafts
from runners.research.agents.edit_forms import BOTH, NEW, OLD, Edits, Line, Passage, passage, read_edits
from runners.research.agents.loose_json import TYPOGRAPHIC
from runners.research.agents.passages import (
    SHOWN_CHARS,
    NoPlaceError,
    Splice,
    aligned,
    find_splice,
    is_in,
    near_miss,
    shown,
)
from runners.research.problem.script import (
    BEGIN,
    END,
    Regions,
    parsed,
    regions,
)

MAX_BLOCKS = 20
MAX_BLOCK_CHARS = 20_000
MAX_REGION_CHARS = 60_000  # the shipped one has about 9,000


@dataclass(frozen=True, slots=True)
class Patched:
    """The script after an edit, the difference for people, and the reason that was given."""

    script: str
    diff: str
    rationale: str = ""


def patched(script: str, reply: str) -> Patched:
    """`script` after the edits that stand in `reply`.

    Raises:
        ValueError: the reply has none, one does not apply, or what comes out is no Python or no change.
    """
    said = without_drafts(reply)
    try:
        return _patched(script, read_edits(said))
    except InvalidCodeError:  # quotes that a word processor made are none in Python
        if (plain := said.translate(TYPOGRAPHIC)) == said:
            raise
        return _patched(script, read_edits(plain))


def _patched(script: str, edits: Edits) -> Patched:
    cut = regions(script)
    region = with_definitions(cut, edits.code) if edits.code else _with_passages(cut, edits)
    result = cut.head + region + cut.tail
    _check(script, result, region)
    return Patched(result, _diff(script, result), edits.rationale)


def _with_passages(cut: Regions, edits: Edits) -> str:
    """The editable part after all passages; each is looked for in what the ones before it left."""
    _check_passages(edits.passages)
    passages = tuple(dict.fromkeys(edits.passages))  # a draft and the same again as the answer
    region = cut.editable
    missing: list[tuple[int, NoPlaceError]] = []
    for number, one in enumerate(passages, start=1):
        try:
            region = _applied(one, region, cut, number=number)
        except NoPlaceError as error:
            missing.append((number, error))
    if not missing:
        return region
    number, first = missing[0]
    others = ""
    if len(passages) > 1:
        fitting = len(passages) - len(missing)
        others = f"; of {len(passages)} blocks {fitting} fit, and none was applied"
    raise NoPlaceError(f"{first}{others}", first.near)


def _check_passages(passages: Sequence[Passage]) -> None:
    if len(passages) > MAX_BLOCKS:
        raise ValueError(f"the reply has {len(passages)} SEARCH/REPLACE blocks, more than {MAX_BLOCKS}")
    for number, one in enumerate(passages, start=1):
        n_chars = sum(len(text) for _, text in one.lines) + len(one.old or "") + len(one.new)
        if n_chars > MAX_BLOCK_CHARS:
            raise ValueError(f"block {number} has {n_chars} characters, more than {MAX_BLOCK_CHARS}")
        if not (one.old or "").strip() and not any(text.strip() for text in one.search):
            raise ValueError(f"the SEARCH part of block {number} is empty: name the lines to be replaced")


def _applied(one: Passage, region: str, cut: Regions, *, number: int) -> str:
    """The editable part after one passage.

    Raises:
        ValueError: it is nowhere, at several places, or in the frozen part.
    """
    if one.old is not None:
        n_found = region.count(one.old)
        if n_found == 1 and not _touches_marker(one.new.split("\n")):
            return region.replace(one.old, one.new)
        if n_found > 1:
            message = f"the SEARCH part of block {number} occurs {n_found} times: add the lines around it"
            raise NoPlaceError(message)
        one = passage(_trimmed(one.old), _trimmed(one.new))
    one = _inside(one, number=number)
    lines = region.split("\n")
    splice = find_splice(one, lines, number=number)
    if splice is None and (imports := _imports_at_top(one, cut)):
        return hoisted(region, imports)
    if splice is None:
        what = f"`{shown(one)}`"
        if is_in(one, cut.head.split("\n")) or is_in(one, cut.tail.split("\n")):
            raise NoPlaceError(f"block {number} edits the frozen part of the script ({what})")
        near = near_miss(one, lines)
        raise NoPlaceError(f"the SEARCH part of block {number} is not in the script: {what}", near)
    return "\n".join(_spliced(lines, splice))


def _spliced(lines: Sequence[str], splice: Splice) -> list[str]:
    return [*lines[: splice.start], *splice.lines, *lines[splice.stop :]]


def _trimmed(text: str) -> list[str]:
    """The lines of a text without empty ones at its beginning and end."""
    lines = text.splitlines()
    kept = [n for n, line in enumerate(lines) if line.strip()]
    return lines[kept[0] : kept[-1] + 1] if kept else []


def _touches_marker(lines: Sequence[str]) -> bool:
    return any(line.startswith((BEGIN.rstrip(), END.rstrip())) for line in lines)


def _inside(one: Passage, *, number: int) -> Passage:
    """The part of a passage between the markers, where it repeats one and what lies beyond.

    Raises:
        ValueError: it changes a marker, or something beyond it.
    """
    if not _touches_marker([text for _, text in one.lines]):
        return one
    kept: list[Line] = []
    beyond: list[Line] = []
    is_over = False
    for kind, text in aligned(one):
        if text.startswith(BEGIN.rstrip()) and kind == BOTH:
            beyond, kept = [*beyond, *kept], []
        elif text.startswith(END.rstrip()) and kind == BOTH:
            is_over = True
        elif is_over or _touches_marker([text]):
            beyond.append((kind, text))
        else:
            kept.append((kind, text))
    if any(kind != BOTH for kind, _ in beyond) or not any(
        kind in (OLD, BOTH) and t.strip() for kind, t in kept
    ):
        raise ValueError(f"block {number} touches an EDITABLE marker: edit between the markers only")
    return Passage(tuple(kept))


def _imports_at_top(one: Passage, cut: Regions) -> list[str]:
    """The imports that a passage adds to those at the top of the script; empty if it does anything else."""
    changed = aligned(one)
    if any(kind == OLD for kind, _ in changed) or not is_in(one, cut.head.split("\n")):
        return []
    return imports_in([text for kind, text in changed if kind == NEW and text.strip()]) or []


def _check(before: str, after: str, region: str) -> None:
    if len(region) > MAX_REGION_CHARS:
        raise ValueError(
            f"the editable part would have {len(region)} characters, more than {MAX_REGION_CHARS}"
        )
    if _parsed(before) == _parsed(after):
        raise ValueError("the edit changes only comments or whitespace")


def _parsed(script: str) -> str:
    """The script's syntax tree as text, without comments and blanks.

    Raises:
        ValueError: it is no Python.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            return ast.dump(parsed(script))
    except SyntaxError as error:
        line = (error.text or "").strip()[:SHOWN_CHARS]
        raise InvalidCodeError(
            f"after the edit it is not valid Python: {error.msg} in the line `{line}`"
        ) from error
    except (RecursionError, MemoryError) as error:
        raise ValueError("after the edit it is nested too deeply to be parsed") from error


def _diff(before: str, after: str) -> str:
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), "train.py", "train.py", n=2, lineterm=""
    )
    return "\n".join(lines)
