"""Which tasks make a suite: one TOML file each, in this folder.

A suite whose items are drawn here has a seed; `quick@7` is `quick` with the items of seed 7, under that name.
"""

from __future__ import annotations

import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from tracker.errors import TrackerError, UnknownNameError
from tracker.records import Suite, Task

FOLDER = Path(__file__).parent


def suite_names() -> list[str]:
    """The suites that there are."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def get_suite(name: str) -> Suite:
    """The suite of that name; `NAME@SEED` is the same with other items.

    Raises:
        UnknownNameError: there is none; near names are offered.
        TrackerError: its file is wrong, or the seed is no number or of no use to it.
    """
    known, at, seed = name.partition("@")
    if known not in suite_names():
        raise UnknownNameError("suite", known, known=suite_names())
    suite = read_suite(FOLDER / f"{known}.toml")
    return _with_seed(suite, seed) if at else suite


def _with_seed(suite: Suite, seed: str) -> Suite:
    if suite.seed is None:
        raise TrackerError(
            f"suite `{suite.name}` takes no seed: its items are fixed", hint=f"tracker suites {suite.name}"
        )
    if not (seed.isascii() and seed.isdecimal()):
        raise TrackerError(f"`{seed}` is not a seed", hint=f"a whole number: {suite.name}@{suite.seed}")
    return replace(suite, name=f"{suite.name}@{int(seed)}", seed=int(seed))


def read_suite(path: Path) -> Suite:
    """The suite in a TOML file; `include_path` in it is relative to the file.

    Raises:
        TrackerError: no TOML, an unknown key, a missing one, a value out of range; names the file.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # also what is no UTF-8
        raise TrackerError(f"{path}: {error}") from error
    _check_keys(raw, known={f.name for f in fields(Suite)} - {"name"}, where=str(path))
    for task in raw.get("tasks", []):
        _check_keys(task, known={f.name for f in fields(Task)}, where=f"{path}: {task.get('task', '?')}")
    try:
        tasks = tuple(Task(**task) for task in raw.pop("tasks", []))
        if include := raw.pop("include_path", None):
            raw["include_path"] = str((path.parent / include).resolve())
        return Suite(name=path.stem, tasks=tasks, **raw)
    except (TypeError, ValueError) as error:
        raise TrackerError(f"{path}: {error}") from error


def _check_keys(raw: dict[str, Any], *, known: set[str], where: str) -> None:
    for key in raw:
        if key not in known:
            raise TrackerError(f"{where}: unknown key `{key}`", hint="known: " + ", ".join(sorted(known)))
