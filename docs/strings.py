"""List every string of a checkout that a user can read: `python -m docs.strings [ROOT] > strings.txt`.

Each line is `path | function | text`, sorted and without line numbers, so that two checkouts can be compared.
Listed: messages and hints of errors, help texts and docstrings of commands, whatever is printed, logged or
shown by Streamlit, Altair, Rich and argparse, every other string that reads as prose, descriptions of suites
and the prompt of auto-research. Not listed: SQL, docstrings of functions that are no command, tests.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("tracker", "runners", "app")
SHOWN_CALLS = {
    "print", "write", "App", "Parameter", "Field", "add_argument", "ArgumentParser", "Group", "add_column",
    "Table", "add_task", "status", "debug", "info", "warning", "error", "exception", "critical", "command", "Check",
    "Problem",
}  # fmt: skip
SHOWN_ROOTS = {"st", "alt", "console", "progress", "log", "logger"}
SHOWN_KEYWORDS = {
    "help", "hint", "title", "label", "labels", "description", "detail", "reason", "message", "problem", "caption",
    "placeholder", "busy", "text", "body", "subtitle", "header", "name_", "what", "epilog", "usage", "unit",
}  # fmt: skip
SQL = re.compile(
    r"^\s*(select\b|insert (or|into)\b|delete from\b|update \w+ set\b|create (or|table|temp|view)\b|with \w+ as\b"
    r"|drop (table|view)\b|alter table\b|copy \w|attach '|set variable\b|pragma \w|from \w+$|on conflict\b|and \w+ in \()",
)
PROSE = re.compile(r"[A-Za-z]{2,}.*\s.*[A-Za-z]{2,}|[A-Za-z]{2,}[:,;]?\s", re.DOTALL)
LETTERS = re.compile(r"[A-Za-z]{2,}")


def text_of(node: ast.expr) -> str | None:
    """The text of a string or f-string; what an f-string inserts stands in braces."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = []
        for value in node.values:
            if isinstance(value, ast.Constant):
                parts.append(str(value.value))
            elif isinstance(value, ast.FormattedValue):
                parts.append("{" + ast.unparse(value.value) + "}")
        return "".join(parts)
    return None


def call_name(node: ast.Call) -> tuple[str, str]:
    """First and last word of what is called: `st`, `info` for `st.sidebar.info`."""
    found = node.func
    last = found.attr if isinstance(found, ast.Attribute) else found.id if isinstance(found, ast.Name) else ""
    while isinstance(found, (ast.Attribute, ast.Call)):
        found = found.value if isinstance(found, ast.Attribute) else found.func
    return (found.id if isinstance(found, ast.Name) else ""), last


class Lister(ast.NodeVisitor):
    """Collects `(function, text)` of one module."""

    def __init__(self, commands: set[str]) -> None:
        self.commands = commands
        self.scope: list[str] = []
        self.is_shown = False
        self.found: list[tuple[str, str]] = []
        self.in_raise = False

    def add(self, text: str) -> None:
        shown = " ".join(text.split())
        if shown:
            self.found.append((".".join(self.scope) or "-", shown))

    def visit_body(self, node: ast.AST, *, is_command: bool) -> None:
        body = list(getattr(node, "body", []))
        if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            if is_command and isinstance(body[0].value.value, str):
                for paragraph in re.split(r"\n(?=\s*\n|\s*\S+\n\s{8,})", body[0].value.value):
                    self.add(paragraph)
            body = body[1:]
        for field, value in ast.iter_fields(node):
            if field == "body":
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    self.visit(child)
        for child in body:
            self.visit(child)

    def visit_Module(self, node: ast.Module) -> None:
        self.visit_body(node, is_command=False)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        decorators = [ast.unparse(d) for d in node.decorator_list]
        is_command = node.name in self.commands or any(
            re.search(r"\.(command|default)\b", text) for text in decorators
        )
        self.scope.append(node.name)
        self.visit_body(node, is_command=is_command)
        self.scope.pop()

    visit_AsyncFunctionDef = visit_FunctionDef  # type: ignore[assignment]

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        flags = any("Parameter" in ast.unparse(d) for d in node.decorator_list)
        self.scope.append(node.name)
        self.visit_body(node, is_command=flags)
        self.scope.pop()

    def visit_Raise(self, node: ast.Raise) -> None:
        self.in_shown(node.exc)
        if node.cause is not None:
            self.visit(node.cause)

    def in_shown(self, node: ast.AST | None) -> None:
        if node is None:
            return
        before, self.is_shown = self.is_shown, True
        self.visit(node)
        self.is_shown = before

    def visit_Call(self, node: ast.Call) -> None:
        root, last = call_name(node)
        if last in {"execute", "sql", "compile", "getenv", "import_module", "split", "strftime"}:
            return
        shown = last in SHOWN_CALLS or root in SHOWN_ROOTS
        self.visit(node.func)
        for argument in node.args:
            self.in_shown(argument) if shown else self.visit(argument)
        for keyword in node.keywords:
            if keyword.arg in SHOWN_KEYWORDS:
                self.in_shown(keyword.value)
            else:
                before, self.is_shown = self.is_shown, False
                self.visit(keyword.value)
                self.is_shown = before

    def visit_Subscript(self, node: ast.Subscript) -> None:
        before, self.is_shown = self.is_shown, False
        self.visit(node.value)
        if ast.unparse(node.value) in {"Annotated", "typing.Annotated"}:
            self.visit(node.slice)
        self.is_shown = before

    def string(self, node: ast.expr) -> None:
        text = text_of(node)
        if text is None or SQL.match(text):
            return
        if (self.is_shown and LETTERS.search(text)) or (
            PROSE.search(text) and not re.match(r"^[\w.]+:\w+$", text)
        ):
            self.add(text)

    def visit_Constant(self, node: ast.Constant) -> None:
        self.string(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        self.string(node)
        for value in node.values:  # a choice between two wordings inside an f-string
            if isinstance(value, ast.FormattedValue) and isinstance(value.value, ast.IfExp):
                self.visit(value.value)


def registered(root: Path) -> dict[str, set[str]]:
    """Commands named by import string: module path → functions."""
    found: dict[str, set[str]] = {}
    for path in (root / "tracker").rglob("*.py"):
        for module, function in re.findall(r'"(tracker(?:\.\w+)+):(\w+)"', path.read_text(encoding="utf-8")):
            if ".cli" in module:
                found.setdefault(module.replace(".", "/") + ".py", set()).add(function)
    return found


def lines(root: Path) -> Iterator[str]:
    """Every line of the list, unsorted."""
    commands = registered(root)
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            where = path.relative_to(root).as_posix()
            lister = Lister(commands.get(where, set()))
            lister.visit(ast.parse(path.read_text(encoding="utf-8")))
            for function, text in lister.found:
                yield f"{where} | {function} | {text}"
    for path in sorted((root / "tracker" / "suites").glob("*.toml")):
        description = tomllib.loads(path.read_text(encoding="utf-8")).get("description", "")
        yield f"{path.relative_to(root).as_posix()} | description | {description}"
    for path in sorted((root / "runners").rglob("program*.md")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.strip():
                yield f"{path.relative_to(root).as_posix()} | prompt | {line.strip()}"


def main() -> None:
    """Print the sorted list for the checkout named on the command line."""
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "tracker").is_dir():
        sys.exit("usage: python -m docs.strings ROOT, a folder with a checkout")
    sys.stdout.write("".join(f"{line}\n" for line in sorted(set(lines(Path(sys.argv[1]))))))


if __name__ == "__main__":
    main()
