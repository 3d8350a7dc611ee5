"""Edits of the training script as a model writes them: SEARCH/REPLACE blocks in the editable part.

A passage is first looked for as it stands, then without regard to blanks; it must be found once. What does
not apply is a `ValueError` whose sentence the model is shown.
"""

from __future__ import annotations

import ast
import difflib
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runners.research.problem.script import (
    BEGIN,
    END,
    Regions,
    regions,
)

MAX_BLOCKS = 20
MAX_BLOCK_CHARS = 20_000
MAX_REGION_CHARS = 60_000  # the shipped one has about 9,000
SHOWN_CHARS = 80  # of a passage, in a sentence about it
FENCE = re.compile(r"^\s*```")
SEARCH = re.compile(r"^\s*<{5,9}\s*SEARCH\s*$")
DIVIDER = re.compile(r"^\s*={5,9}\s*$")
REPLACE = re.compile(r"^\s*>{5,9}\s*REPLACE\s*$")
EXAMPLE = "<<<<<<< SEARCH\nthe current lines\n=======\nthe new lines\n>>>>>>> REPLACE"


@dataclass(frozen=True, slots=True)
class EditBlock:
    """One wanted edit: lines as they are, the new lines."""

    search: tuple[str, ...]
    replace: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Patched:
    """The script after an edit, and the difference for people."""

    script: str
    diff: str


def patched(script: str, reply: str) -> Patched:
    """`script` after the edits that stand in `reply`.

    Raises:
        ValueError: the reply has none, one does not apply, or what comes out is no Python or no change.
    """
    cut = regions(script)
    lines = cut.editable.split("\n")
    for number, block in enumerate(_blocks(reply), start=1):
        start, stop, replacement = _place(block, lines, cut, number=number)
        lines[start:stop] = replacement
    region = "\n".join(lines)
    result = cut.head + region + cut.tail
    _check(script, result, region)
    return Patched(result, _diff(script, result))


def _blocks(reply: str) -> Sequence[EditBlock]:
    """The blocks of a reply.

    Raises:
        ValueError: there is none, one is cut off, or they are too many or too long.
    """
    found = list(_read_blocks(reply.splitlines()))
    if not found:
        raise ValueError(f"the reply has no SEARCH/REPLACE block; use this form:\n{EXAMPLE}")
    if len(found) > MAX_BLOCKS:
        raise ValueError(f"the reply has {len(found)} SEARCH/REPLACE blocks, more than {MAX_BLOCKS}")
    for number, block in enumerate(found, start=1):
        n_chars = sum(map(len, block.search)) + sum(map(len, block.replace))
        if n_chars > MAX_BLOCK_CHARS:
            raise ValueError(f"block {number} has {n_chars} characters, more than {MAX_BLOCK_CHARS}")
        if not any(line.strip() for line in block.search):
            raise ValueError(f"the SEARCH part of block {number} is empty: name the lines to be replaced")
        if any(line.startswith((BEGIN.rstrip(), END.rstrip())) for line in (*block.search, *block.replace)):
            raise ValueError(f"block {number} touches an EDITABLE marker: edit between the markers only")
    return found


def _read_blocks(lines: Sequence[str]) -> Iterator[EditBlock]:
    search: list[str] | None = None
    replace: list[str] | None = None
    for line in lines:
        if SEARCH.match(line):
            if search is not None:
                raise ValueError("a SEARCH/REPLACE block begins before the one above it has ended")
            search = []
        elif search is None:
            continue
        elif replace is None and DIVIDER.match(line):
            replace = []
        elif REPLACE.match(line):
            if replace is None:
                raise ValueError("a SEARCH/REPLACE block has no line of ======= in the middle")
            yield EditBlock(tuple(_unfenced(search)), tuple(_unfenced(replace)))
            search = replace = None
        else:
            (search if replace is None else replace).append(line)
    if search is not None:
        raise ValueError("the last SEARCH/REPLACE block does not end with >>>>>>> REPLACE")


def _unfenced(lines: list[str]) -> list[str]:
    """The lines less a fence of backticks around them."""
    if len(lines) >= 2 and FENCE.match(lines[0]) and FENCE.match(lines[-1]):
        return lines[1:-1]
    return lines


def _place(
    block: EditBlock, lines: Sequence[str], cut: Regions, *, number: int
) -> tuple[int, int, list[str]]:
    """Where in `lines` the block applies, and what is to stand there.

    Raises:
        ValueError: nowhere, at several places, or in the frozen part.
    """
    for search, same in ((list(block.search), _exactly), (_trimmed(block.search), _loosely)):
        starts = [n for n in range(len(lines) - len(search) + 1) if same(lines[n : n + len(search)], search)]
        if len(starts) > 1:
            raise ValueError(
                f"the SEARCH part of block {number} occurs {len(starts)} times: add the lines around it"
            )
        if starts:
            stop = starts[0] + len(search)
            if same is _exactly:
                return starts[0], stop, list(block.replace)
            shift = _indent(lines[starts[0]]) - _indent(search[0])
            return starts[0], stop, [_shifted(line, shift) for line in _trimmed(block.replace)]
    frozen = cut.head.split("\n"), cut.tail.split("\n")
    search = _trimmed(block.search)
    shown = search[0].strip()[:SHOWN_CHARS]
    for part in frozen:
        if any(_loosely(part[n : n + len(search)], search) for n in range(len(part) - len(search) + 1)):
            raise ValueError(f"block {number} edits the frozen part of the script (`{shown}`)")
    raise ValueError(f"the SEARCH part of block {number} is not in the script: `{shown}`")


def _exactly(lines: Sequence[str], search: Sequence[str]) -> bool:
    return list(lines) == list(search)


def _loosely(lines: Sequence[str], search: Sequence[str]) -> bool:
    return [line.split() for line in lines] == [line.split() for line in search]


def _trimmed(lines: Sequence[str]) -> list[str]:
    """The lines without empty ones at their beginning and end."""
    kept = [n for n, line in enumerate(lines) if line.strip()]
    return list(lines[kept[0] : kept[-1] + 1]) if kept else []


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _shifted(line: str, shift: int) -> str:
    if not line.strip():
        return ""
    return " " * max(0, _indent(line) + shift) + line.lstrip()


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
            return ast.dump(ast.parse(script))
    except SyntaxError as error:
        line = (error.text or "").strip()[:SHOWN_CHARS]
        raise ValueError(
            f"after the edit it is not valid Python: {error.msg} in the line `{line}`"
        ) from error
    except (RecursionError, MemoryError) as error:
        raise ValueError("after the edit it is nested too deeply to be parsed") from error


def _diff(before: str, after: str) -> str:
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), "train.py", "train.py", n=2, lineterm=""
    )
    return "\n".join(lines)
