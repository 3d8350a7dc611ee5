"""Executes the rules of `docs/design.md`: who may import whom, and what stays out of our process."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

TOP = ("tracker", "runners", "app")

# Lowest first. A row is a package (the longest name that fits wins); it may import itself and the rows named.
GROUND = ("tracker",)
RUNNERS = ("tracker.records", "tracker.files", "tracker.suites", "runners")
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "tracker": (),  # the modules directly in it: errors, settings, logs, locks, interpreter, stats and so on
    "tracker.records": GROUND,
    "tracker.files": (*GROUND, "tracker.records"),
    "tracker.suites": (*GROUND, "tracker.records"),
    "tracker.frontier": GROUND,
    "tracker.sources": (*GROUND, "tracker.records"),
    "tracker.formats": (*GROUND, "tracker.records", "tracker.sources"),
    "tracker.store": (*GROUND, "tracker.records", "tracker.files"),
    "tracker.answers": (*GROUND, "tracker.records", "tracker.files", "tracker.suites", "tracker.frontier",
                        "tracker.store"),
    "runners": GROUND,  # the modules directly in it
    "runners.engines": (*GROUND, *RUNNERS),
    "runners.models": (*GROUND, *RUNNERS, "runners.engines"),
    "runners.memory": (*GROUND, *RUNNERS, "runners.engines", "runners.models"),
    "runners.sandbox": (*GROUND, *RUNNERS),
    "runners.harness": (*GROUND, *RUNNERS, "runners.engines", "runners.models", "runners.sandbox"),
    "runners.speed": (*GROUND, *RUNNERS, "runners.engines"),
    "runners.executors": (*GROUND, *RUNNERS, "runners.harness"),
    "runners.research": (*GROUND, *RUNNERS, "runners.engines", "runners.models", "runners.memory",
                         "runners.sandbox", "runners.harness", "runners.executors"),
    "app": (*GROUND, "tracker.records", "tracker.files", "tracker.suites", "tracker.frontier",
            "tracker.store", "tracker.answers"),
}  # fmt: skip
VERBS = (
    "tracker.ingest",
    "tracker.bench",
    "tracker.exchange",
    "tracker.ladder",
    "tracker.queue",
    "tracker.research",
    "tracker.weekly",
)
FACES = (
    "tracker.cli",
    "tracker.api",
    "tracker.mcp",
    "tracker.__main__",
)  # may import everything; nothing imports them
STANDARD_LIBRARY_ONLY = ("tracker/records", "tracker/errors.py")
HEAVY = ("torch", "vllm", "lm_eval", "transformers", "streamlit", "ray", "optuna", "datasets")


def modules() -> Iterator[tuple[str, Path]]:
    for package in TOP:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(modules())
PACKAGES = {name for name, path in MODULES.items() if path.name == "__init__.py"}


def imports(path: Path) -> set[str]:
    """Every module that the file imports anywhere, ours and others'."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in names}
    return found


def ours(path: Path) -> set[str]:
    return {name for name in imports(path) if name in MODULES} - set(TOP)


def row(module: str) -> str:
    """The row of the table that the module stands in."""
    places = [
        name for name in (*MAY_IMPORT, *VERBS, *FACES) if module == name or module.startswith(name + ".")
    ]
    return max(places, key=len)


def package(module: str) -> str:
    return module if module in PACKAGES else module.rpartition(".")[0]


@pytest.mark.parametrize("module", MODULES)
def test_architecture_imports_point_downwards(module: str) -> None:
    here = row(module)
    if here in FACES or module in TOP:  # `tracker` itself only passes on the names of `tracker.api`
        return
    allowed = {here, *MAY_IMPORT.get(here, (*MAY_IMPORT, *VERBS))} - ({"app"} - {here})
    wrong = {name for name in ours(MODULES[module]) if row(name) not in allowed}
    assert not wrong, f"{module} (in {here}) must not import {sorted(wrong)}"


def test_architecture_the_table_is_ordered_and_short() -> None:
    assert len(MAY_IMPORT) < 20
    seen: set[str] = set()
    for name, allowed in MAY_IMPORT.items():
        assert set(allowed) <= seen | {"runners"}, name
        assert name in PACKAGES, f"{name} is a single file or is gone"
        seen.add(name)


def test_architecture_packages_have_no_cycle() -> None:
    arrows: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        if module in FACES:
            continue
        arrows.setdefault(package(module), set()).update(package(name) for name in ours(path))
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"packages in a circle: {' -> '.join((*above, name))}"
        if name not in done:
            for below in arrows.get(name, set()) - {name}:
                visit(below, (*above, name))
            done.add(name)

    for name in arrows:
        visit(name, ())


def test_architecture_only_app_data_opens_the_store() -> None:
    readers = {module for module, path in MODULES.items() if module.startswith("app.")
               and any(name.startswith("tracker.store") for name in ours(path))}  # fmt: skip
    assert {package(module) for module in readers} <= {"app.data"}


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("app.pages.")])
def test_architecture_pages_do_not_import_each_other(module: str) -> None:
    page = ".".join(module.split(".")[:3])
    others = {
        name
        for name in ours(MODULES[module])
        if name.startswith("app.pages.") and name != page and not name.startswith(f"{page}.")
    }
    assert not others, f"{module}: what pages share goes to app/widgets or app/data, not {sorted(others)}"


@pytest.mark.parametrize("place", STANDARD_LIBRARY_ONLY)
def test_architecture_the_nouns_need_the_standard_library_only(place: str) -> None:
    path = ROOT / place
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    foreign = {name.split(".")[0] for file in files for name in imports(file)}
    assert foreign <= {*sys.stdlib_module_names, "tracker"}


def test_architecture_the_command_line_imports_nothing_heavy() -> None:
    code = (
        "import sys, importlib, pkgutil, tracker.cli\n"
        "for m in pkgutil.iter_modules(tracker.cli.__path__):\n"
        "    importlib.import_module(f'tracker.cli.{m.name}')\n"
        f"print([n for n in {HEAVY!r} if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_architecture_help_needs_no_command_module() -> None:
    code = (
        "import sys, tracker.cli\n"
        "tracker.cli.main(['--version'])\n"
        "print(sorted(m for m in sys.modules if m.startswith('tracker.cli.')), 'duckdb' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "[] False"


# Public classes that still share a name; each line names why. The list only shrinks.
SHARED_NAMES = {
    "Access": "of a published model in the shipped tables, and of one in the store",
    "Measured": "the index of a placement, and what a queue knows of a model",
    "Problem": "of the solver of the index, and of a store's check",
}
# Programs that are not imported as modules of ours: an agent reads the one, fingerprints hash the others.
STAND_ALONE = ("runners/research/problem/train.py", "runners/harness/tasks")


def public_classes() -> dict[str, list[str]]:
    """Every public class by its name, with the modules that define one of that name."""
    found: dict[str, list[str]] = {}
    for module, path in MODULES.items():
        if path.relative_to(ROOT).as_posix().startswith(STAND_ALONE):
            continue
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(module)
    return found


def test_architecture_public_classes_have_unique_names() -> None:
    shared = {name: places for name, places in public_classes().items() if len(places) > 1}
    assert {name: places for name, places in shared.items() if name not in SHARED_NAMES} == {}


def test_options_that_do_not_go_together_end_as_wrong_usage() -> None:
    """Exit code 2, as README says, whichever command or request finds it."""
    wrong = []
    for path in sorted(Path("tracker").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)):
                continue
            said = "".join(
                part.value
                for argument in node.exc.args[:1]
                for part in ast.walk(argument)
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
            )
            kind = ast.unparse(node.exc.func)
            if "cannot be combined" in said and kind not in ("UsageError", "click.UsageError"):
                wrong.append(f"{path}:{node.lineno} {kind}: {said}")
    assert not wrong
