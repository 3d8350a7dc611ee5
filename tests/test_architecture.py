"""Executes the table of `docs/design.md` §3: who may import whom, and what stays out of our process."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = ("tracker", "runners", "app")

# place (longest prefix wins) → modules of ours that it may import
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "tracker.errors": (),
    "tracker.records": (),
    "tracker.ingested": (),
    "tracker.studies": ("tracker.records",),
    "tracker.study_files": (
        "tracker.codec", "tracker.errors", "tracker.records", "tracker.settings", "tracker.studies",
    ),
    "tracker.stats": (),
    "tracker.codec": ("tracker.errors",),
    "tracker.settings": ("tracker.errors",),
    "tracker.logs": (),
    "tracker.items": ("tracker.codec", "tracker.errors", "tracker.records"),
    "tracker.suites": ("tracker.errors", "tracker.records"),
    "tracker.frontier": ("tracker.errors", "tracker.records", "tracker.frontier"),
    "tracker.store": (
        "tracker.codec", "tracker.errors", "tracker.ingested", "tracker.items", "tracker.records",
        "tracker.settings", "tracker.store", "tracker.studies", "tracker.study_files",
    ),
    "tracker.sources": (
        "tracker.codec", "tracker.errors", "tracker.ingested", "tracker.records", "tracker.settings",
        "tracker.sources",
    ),
    "runners": (
        "runners", "tracker.codec", "tracker.errors", "tracker.items", "tracker.records", "tracker.settings",
        "tracker.stats", "tracker.studies", "tracker.study_files", "tracker.suites",
    ),
    # `sizing` says what fits a card, `items` how far a run is; both are pure readers
    "app": (
        "app", "tracker.errors", "tracker.frontier", "tracker.items", "tracker.records",
        "tracker.research_board", "tracker.settings", "tracker.sizing", "tracker.stats", "tracker.studies",
        "tracker.suites",
    ),
    "app.queries": (
        "app", "tracker.errors", "tracker.frontier", "tracker.records", "tracker.research_board",
        "tracker.settings", "tracker.stats", "tracker.store", "tracker.studies", "tracker.suites",
    ),
    # reads the files of a study under way, and writes the one that stops it
    "app.studying": ("app", "tracker.errors", "tracker.settings", "tracker.studies", "tracker.study_files"),
    # what the command line says of a placement and of a week is said by the same parts here
    "app.boards": ("app", "tracker.series", "tracker.settings"),
    "app.placements": (
        "app", "tracker.errors", "tracker.frontier", "tracker.items", "tracker.placing", "tracker.settings",
    ),
    "app.digests": ("app", "tracker.digest", "tracker.digest_forms", "tracker.settings"),
    "app.changes_view": ("app", "tracker.digest", "tracker.digest_forms"),
    "tracker.cli": ("tracker", "runners", "app"),
    "tracker.__main__": ("tracker.cli",),
    "tracker.held": ("tracker.codec", "tracker.errors", "tracker.settings"),
    # each joins parts that know nothing of each other, as `bench` does
    "tracker.bench": ("runners", "tracker"),
    "tracker.research": ("runners", "tracker"),
    "tracker.study_driver": ("runners", "tracker"),
    "tracker.research_board": ("tracker.stats", "tracker.studies"),
    "tracker.ingest": ("runners", "tracker"),
    "tracker.naming": ("tracker",),
    "tracker.queue": ("runners", "tracker"),
    "tracker.working_off": ("runners", "tracker"),
    "tracker.schedule": ("tracker.errors", "tracker.settings"),
    "tracker.weekly": ("runners", "tracker"),
    "tracker.digest": ("tracker",),
    "tracker.digest_forms": ("tracker.codec", "tracker.digest"),
    "tracker.notify": ("tracker.errors",),
    "tracker.cache_care": ("tracker.errors", "tracker.settings", "tracker.store"),
    "tracker.sizing": (),
    "tracker.priorities": ("tracker.ingested", "tracker.sizing"),
    "tracker.offers": (
        "tracker.errors", "tracker.frontier", "tracker.items", "tracker.placing", "tracker.settings",
        "tracker.store",
    ),
    "tracker.series": ("tracker.errors", "tracker.frontier", "tracker.settings", "tracker.store"),
    "tracker.placing": ("tracker.frontier", "tracker.records", "tracker.settings", "tracker.store"),
}  # fmt: skip
STANDARD_LIBRARY_ONLY = ("tracker.records", "tracker.errors", "tracker.ingested")
HEAVY = ("torch", "vllm", "lm_eval", "transformers", "streamlit", "ray", "optuna", "datasets")


def modules() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(path: Path) -> set[str]:
    """Every module that the file imports anywhere, with the names taken from it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def rule(module: str) -> tuple[str, ...] | None:
    places = [place for place in MAY_IMPORT if module == place or module.startswith(place + ".")]
    return MAY_IMPORT[max(places, key=len)] if places else None


def is_within(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or name.startswith(place + ".") for place in places)


@pytest.mark.parametrize(
    ("module", "path"), list(modules()), ids=lambda value: str(value) if isinstance(value, str) else ""
)
def test_imports_point_inwards(module: str, path: Path) -> None:
    allowed = rule(module)
    assert allowed is not None or module in PACKAGES, f"{module} stands in no row of the table"
    ours = {name for name in imports(path) if name.split(".")[0] in PACKAGES}
    submodules = {name for name in ours if not _is_attribute(name)}
    wrong = {
        n for n in submodules if not is_within(n, allowed or ()) and n not in ("tracker", "runners", "app")
    }
    assert not wrong, f"{module} must not import {sorted(wrong)}"


def _is_attribute(name: str) -> bool:
    """Whether the last part is a name inside a module rather than a module."""
    path = ROOT.joinpath(*name.split("."))
    return not (path.is_dir() or path.with_suffix(".py").is_file())


@pytest.mark.parametrize("module", STANDARD_LIBRARY_ONLY)
def test_the_nouns_need_the_standard_library_only(module: str) -> None:
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    assert {name.split(".")[0] for name in imports(path)} <= set(sys.stdlib_module_names)


def test_the_command_line_imports_nothing_heavy() -> None:
    code = (
        "import sys, importlib, pkgutil, tracker.cli\n"
        "for m in pkgutil.iter_modules(tracker.cli.__path__):\n"
        "    importlib.import_module(f'tracker.cli.{m.name}')\n"
        f"print([n for n in {HEAVY!r} if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_help_needs_no_command_module() -> None:
    code = (
        "import sys, tracker.cli\n"
        "tracker.cli.main(['--version'])\n"
        "print(sorted(m for m in sys.modules if m.startswith('tracker.cli.')), 'duckdb' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "[] False"
