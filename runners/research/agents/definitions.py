"""Whole functions, classes and files of an answer, put in the place of those that they are named like.

A piece of code must be whole: what leaves lines out, lacks methods, or repeats the frozen part with a
difference is refused with a sentence. What a whole file changes outside of the editable part is only ever
an import more.
"""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from runners.research.agents.passages import ELIDED
from runners.research.problem.script import Regions, parsed, regions

LEFT_OUT = re.compile(
    r"^\s*#.{0,80}(?:\bunchanged\b|\brest of\b|\bomitted\b|\bexisting code\b|\bas before\b"
    r"|\bsame as (?:before|above|in|the)\b|\bremain(?:s|ing)? (?:the same|as|code|methods)\b)",
    re.IGNORECASE,
)
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class InvalidCodeError(ValueError):
    """The code of an answer, or the script after it, is no Python."""


@dataclass(frozen=True, slots=True)
class Part:
    """One top-level statement: its name, its tree, its lines from decorators and comments on."""

    name: str
    node: ast.stmt
    lines: tuple[str, ...]


def with_definitions(cut: Regions, pieces: Sequence[str]) -> str:
    """The editable part with the definitions of `pieces` in it.

    Raises:
        ValueError: one is not whole, is not Python, or does not say where it belongs.
    """
    files = [piece for piece in pieces if _cut(piece) is not None]
    if files:
        if len({_tree(piece) for piece in files}) > 1:
            raise ValueError("the answer gives the whole script several times: give it once")
        return _of_file(cut, files[-1])
    region = cut.editable
    parts = [part for piece in pieces for part in _parts(_whole(textwrap.dedent(piece).strip("\n")))]
    return _with_parts(cut, region, _new_ones(cut, parts))


def hoisted(cut_editable: str, imports: Sequence[str]) -> str:
    """The editable part with more imports at its beginning."""
    lines = cut_editable.split("\n")
    first = next((n for n, line in enumerate(lines) if line.strip()), 0)
    space = ["", ""] if imports else []  # what follows is a class or a function
    return "\n".join([*lines[:first], *imports, *space, *lines[first:]])


def imports_in(lines: Sequence[str]) -> list[str] | None:
    """The lines, if all of them are whole imports; `__future__` is always there already."""
    try:
        body = parsed("\n".join(lines)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if not body or not all(isinstance(node, ast.Import | ast.ImportFrom) for node in body):
        return None
    return [ast.unparse(n) for n in body if not (isinstance(n, ast.ImportFrom) and n.module == "__future__")]


def _cut(piece: str) -> Regions | None:
    """The piece cut at its markers, where it is a whole file."""
    try:
        return regions(piece + "\n")
    except ValueError:
        return None


def _of_file(cut: Regions, piece: str) -> str:
    given = _cut(piece)
    assert given is not None
    _whole(given.editable)
    known = {_dump(node) for node in _parse(cut.head).body}
    more = []
    for node in _parse(given.head).body:
        if isinstance(node, ast.Import | ast.ImportFrom) and _dump(node) not in known:
            more.append(ast.unparse(node))
        elif _dump(node) not in known and not _is_text(node):
            raise ValueError(
                "the answer changes the frozen part of the script: change the editable part alone"
            )
    frozen = {_dump(node) for node in _parse(cut.tail).body}
    if any(_dump(node) not in frozen and not _is_text(node) for node in _parse(given.tail).body):
        raise ValueError("the answer changes the frozen part of the script: change the editable part alone")
    return hoisted(given.editable, more)


def _new_ones(cut: Regions, parts: Sequence[Part]) -> list[Part]:
    """The parts that are not in the script as they are, each name once.

    Raises:
        ValueError: a name is given in several ways, or the frozen part has it.
    """
    there = {_dump(node) for text in (cut.head, cut.editable, cut.tail) for node in _parse(text).body}
    frozen = {name for text in (cut.head, cut.tail) for node in _parse(text).body for name in _names(node)}
    new: dict[str, Part] = {}
    for part in parts:
        dumped = _dump(part.node)
        if dumped in there or _is_text(part.node):
            continue
        if part.name in frozen:
            raise ValueError(f"the answer changes `{part.name}` of the frozen part of the script")
        if part.name in new and _dump(new[part.name].node) != dumped:
            raise ValueError(f"the answer gives `{part.name}` in several ways: give it once")
        new[part.name] = part
    if not new:
        raise ValueError("nothing would change: the script has all this already")
    return list(new.values())


def _with_parts(cut: Regions, region: str, new: Sequence[Part]) -> str:
    imports = [ast.unparse(part.node) for part in new if isinstance(part.node, ast.Import | ast.ImportFrom)]
    others = [part for part in new if not isinstance(part.node, ast.Import | ast.ImportFrom)]
    known = {part.name: part for part in _parts(region)}
    methods = _lone_methods(others, known)
    waiting: list[Part] = []
    last: str | None = None
    for part in others:
        if part in methods:
            region = _replaced_node(region, *methods[part], part)
        elif part.name in known:
            _lacks_nothing(known[part.name].node, part.node)
            lines = [line for each in waiting for line in (*each.lines, "", "")]
            region = _replaced(region, part, before=lines)
            waiting, last = [], part.name
        else:
            _is_definition(part)
            waiting.append(part)
    for part in waiting:
        region = _inserted(region, part, after=last)
        last = part.name
    return hoisted(region, imports)


def _lone_methods(parts: Sequence[Part], known: Mapping[str, Part]) -> dict[Part, tuple[str, str]]:
    """The functions with `self` that are methods of exactly one class: part → class and method.

    Raises:
        ValueError: several classes have such a method, or none has.
    """
    found = {}
    for part in parts:
        if not isinstance(part.node, ast.FunctionDef) or part.name in known:
            continue
        arguments = [a.arg for a in (*part.node.args.posonlyargs, *part.node.args.args)]
        if arguments[:1] != ["self"]:
            continue
        owners = [
            (name, [a.arg for a in (*m.args.posonlyargs, *m.args.args)])
            for name, each in known.items()
            if isinstance(each.node, ast.ClassDef)
            for m in each.node.body
            if isinstance(m, ast.FunctionDef) and m.name == part.name
        ]
        alike = [name for name, names in owners if names == arguments]
        chosen = [name for name, _ in owners] if len(owners) == 1 else alike
        if len(chosen) != 1:
            raise ValueError(
                f"it is not clear which class the method `{part.name}` belongs to: give the class"
            )
        found[part] = (chosen[0], part.name)
    return found


def _replaced_node(region: str, owner: str, method: str, part: Part) -> str:
    for node in _parse(region).body:
        if isinstance(node, ast.ClassDef) and node.name == owner:
            found = next(m for m in node.body if isinstance(m, ast.FunctionDef) and m.name == method)
            lines = region.split("\n")
            start = min([found.lineno, *(d.lineno for d in found.decorator_list)])
            new = [" " * found.col_offset + line if line.strip() else "" for line in part.lines]
            lines[start - 1 : found.end_lineno] = new
            return "\n".join(lines)
    raise AssertionError(owner)


def _replaced(region: str, part: Part, *, before: Sequence[str]) -> str:
    node = next(each.node for each in _parts(region) if each.name == part.name)
    lines = region.split("\n")
    lines[_first_line(node) - 1 : node.end_lineno] = [*before, *part.lines]
    return "\n".join(lines)


def _inserted(region: str, part: Part, *, after: str | None) -> str:
    """At the end of what it came after, or else at the beginning of the editable part."""
    lines = region.split("\n")
    node = next((each.node for each in _parts(region) if each.name == after), None)
    if node is None:
        return hoisted(region, part.lines)
    lines[node.end_lineno : node.end_lineno] = ["", "", *part.lines]
    return "\n".join(lines)


def _lacks_nothing(old: ast.stmt, new: ast.stmt) -> None:
    if not isinstance(old, ast.ClassDef) or not isinstance(new, ast.ClassDef):
        return
    given = {name for node in new.body for name in _names(node)}
    missing = [name for node in old.body for name in _names(node) if name not in given]
    if missing:
        listed = ", ".join(f"`{name}`" for name in missing[:5])
        raise ValueError(
            f"the answer's class `{new.name}` lacks {listed}: give the whole class, or only its edits"
        )


def _is_definition(part: Part) -> None:
    if not isinstance(part.node, Definition | ast.Assign | ast.AnnAssign):
        raise ValueError(f"it is not clear where `{part.lines[0].strip()[:60]}` belongs: use SEARCH/REPLACE")


def _whole(code: str) -> str:
    """`code`, unless it leaves something out."""
    for line in code.split("\n"):
        if ELIDED.match(line) or LEFT_OUT.match(line):
            raise ValueError(f"the answer leaves code out (`{line.strip()[:60]}`): give whole definitions")
    return code


def _parts(code: str) -> Iterator[Part]:
    lines = code.split("\n")
    for node in _parse(code).body:
        names = _names(node)
        name = names[0] if names else _dump(node)
        yield Part(name, node, tuple(lines[_first_line(node) - 1 : node.end_lineno]))


def _first_line(node: ast.stmt) -> int:
    decorators = node.decorator_list if isinstance(node, Definition) else []
    return min([node.lineno, *(each.lineno for each in decorators)])


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, Definition):
        return [node.name]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _dump(node: ast.stmt) -> str:
    return ast.dump(node)


def _tree(code: str) -> str:
    return ast.dump(_parse(code))


def _parse(code: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            return parsed(code)
    except (SyntaxError, ValueError) as error:
        line = (getattr(error, "text", "") or "").strip()[:80]
        raise InvalidCodeError(
            f"the code of the answer is not valid Python: {error.args[0]} in `{line}`"
        ) from error
    except (RecursionError, MemoryError) as error:
        raise ValueError("the code of the answer is nested too deeply to be parsed") from error
