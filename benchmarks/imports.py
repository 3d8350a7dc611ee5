"""The import graph by package: modules, lines, imports, floors, and what breaks the floors.

`python -m benchmarks.imports [ROOT]`: of this checkout, or of another one, such as a git worktree.
A package is on the floor above the highest package that it imports. Packages that import each other in a
cycle share a floor, and the imports between them count as upward.
"""

from __future__ import annotations

import ast
import json
import sys
from collections import defaultdict
from pathlib import Path

TOP = ("tracker", "runners", "app")
FACES = ("tracker.api",)
Arrows = dict[str, set[str]]


def modules(root: Path) -> dict[str, Path]:
    """All of our modules by dotted name."""
    found = {}
    for path in (path for top in TOP for path in sorted((root / top).rglob("*.py"))):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, known: dict[str, Path]) -> set[str]:
    """Our modules that a file imports, at any level."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in known else node.module for name in full}
    return names & known.keys()


def package_of(module: str, known: dict[str, Path]) -> str:
    """The package that a module stands in; a package's own `__init__` and a face stand in themselves."""
    stands_alone = module in FACES or known[module].name == "__init__.py"
    return module if stands_alone else module.rpartition(".")[0]


def reachable(name: str, arrows: Arrows) -> set[str]:
    """Every package that `name` imports, directly or indirectly."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        for below in arrows.get(waiting.pop(), set()) - seen:
            seen.add(below)
            waiting.append(below)
    return seen


def floors(arrows: Arrows) -> dict[str, int]:
    """The floor of each package, from 0; packages in a cycle share one."""
    below = {name: reachable(name, arrows) for name in arrows}
    known: dict[str, int] = {}

    def floor(name: str) -> int:
        if name not in known:
            circle = {other for other in below[name] if name in below[other]} | {name}
            under = {other for member in circle for other in arrows[member]} - circle
            level = max((floor(other) + 1 for other in under), default=0)
            known.update(dict.fromkeys(circle, level))
        return known[name]

    return {name: floor(name) for name in arrows}


def main() -> None:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    known = modules(root)
    arrows: Arrows = defaultdict(set)
    imports: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for module, path in known.items():
        if module.endswith("__main__"):
            continue
        here = package_of(module, known)
        arrows[here].update(set())
        for name in imported(path, known):
            if module == "tracker" and name != module:  # offered lazily
                continue
            imports[here].add((module, name))
            if (there := package_of(name, known)) != here:
                arrows[here].add(there)
    level = floors(arrows)
    below = {name: reachable(name, arrows) for name in arrows}
    upward = [
        (module, name)
        for here, pairs in imports.items()
        for module, name in sorted(pairs)
        if (there := package_of(name, known)) != here and here in below[there]
    ]
    print(f"{'package':<34}{'modules':>8}{'lines':>7}{'imports':>9}{'floor':>7}", file=sys.stderr)
    for name in sorted(arrows, key=lambda name: (level[name], name)):
        own = [path for module, path in known.items() if package_of(module, known) == name]
        lines = sum(len(path.read_text().splitlines()) for path in own)
        row = f"{name:<34}{len(own):>8}{lines:>7}{len(imports[name]):>9}{level[name]:>7}"
        print(row, file=sys.stderr)
    for module, name in upward:
        print(f"upward: {module} -> {name}", file=sys.stderr)
    circles = {frozenset(other for other in below[name] if name in below[other]) for name in arrows} - {
        frozenset()
    }
    print(
        json.dumps(
            {
                "packages": len(arrows),
                "modules": len(known),
                "imports": sum(len(pairs) for pairs in imports.values()),
                "floors": max(level.values()) + 1,
                "circles": sorted(sorted(circle) for circle in circles),
                "upward_imports": len(upward),
            }
        )
    )


if __name__ == "__main__":
    main()
