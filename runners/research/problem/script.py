"""The training script as text: its frozen and its editable part, and its numbers, read without running it."""

from __future__ import annotations

import ast
import hashlib
import re
import threading
from dataclasses import dataclass
from pathlib import Path

from runners.research.problem.tiers import Tier

PATH = Path(__file__).with_name("train.py")
BEGIN = "# --- EDITABLE: begin "
END = "# --- EDITABLE: end "
BLOCK = "Tunables"  # the class that holds the tunable numbers
_PARSING = threading.Lock()

Number = float | int


@dataclass(frozen=True, slots=True)
class Regions:
    """The script cut at its markers; the marker lines belong to the frozen parts."""

    head: str
    editable: str
    tail: str

    @property
    def frozen_hash(self) -> str:
        """SHA-256 of everything that may not be changed."""
        return hashlib.sha256(f"{self.head}\0{self.tail}".encode()).hexdigest()


def regions(script: str) -> Regions:
    """The script cut in three.

    Raises:
        ValueError: a marker is missing, or stands there twice.
    """
    lines = script.splitlines(keepends=True)
    begins = [i for i, line in enumerate(lines) if line.startswith(BEGIN)]
    ends = [i for i, line in enumerate(lines) if line.startswith(END)]
    if len(begins) != 1 or len(ends) != 1 or begins[0] > ends[0]:
        raise ValueError("the two EDITABLE marker lines must stay as they are, each once")
    begin, end = begins[0] + 1, ends[0]
    return Regions("".join(lines[:begin]), "".join(lines[begin:end]), "".join(lines[end:]))


def shipped(tier: Tier) -> str:
    """The script of the task, else the small GPT's, with the task's defaults in its block of numbers."""
    script = tier.script or PATH.read_text()
    for name, value in tier.params.items():
        line = re.compile(rf"^(    {name}: \w+ = )[^ \n]+", re.MULTILINE)
        script, n_found = line.subn(rf"\g<1>{value!r}", script, count=1)
        if not n_found:
            raise ValueError(f"tier {tier.name}: the script has no number called {name}")
    return script


def parsed(code: str) -> ast.Module:
    """The code as a tree, for threads too.

    Until 3.11.9 and 3.12.2 two threads that parse at once can fail in each other's account of the recursion
    (CPython issue 106905).

    Raises:
        SyntaxError: it is no Python.
        RecursionError, MemoryError: it is nested too deeply.
    """
    with _PARSING:
        return ast.parse(code)


def numbers(script: str) -> dict[str, Number]:
    """Name → default of every number in the script's block that is written out.

    Raises:
        SyntaxError: it is no Python.
        ValueError: the block is gone.
    """
    for node in parsed(script).body:
        if isinstance(node, ast.ClassDef) and node.name == BLOCK:
            return dict(pair for line in node.body for pair in _number(line))
    raise ValueError(f"the script has no class `{BLOCK}` with its numbers")


def _number(line: ast.stmt) -> list[tuple[str, Number]]:
    if not isinstance(line, ast.AnnAssign) or not isinstance(line.target, ast.Name) or line.value is None:
        return []
    try:
        value = ast.literal_eval(line.value)
    except ValueError:
        return []
    return [(line.target.id, value)] if isinstance(value, int | float) else []


def definitions(script: str) -> dict[str, str]:
    """Name → code, without comments, of every class and function of the editable part.

    Raises:
        SyntaxError: it is no Python.
    """
    found: dict[str, str] = {}
    rest: list[ast.stmt] = []
    for node in parsed(regions(script).editable).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found[node.name] = ast.dump(node)
        else:
            rest.append(node)
    return found | {"": "\n".join(ast.dump(node) for node in rest)}
