"""Suites: one TOML file of tasks each, in this folder, in the home, or at any path.

A user's suite is read by the same parser and names the results, so it may not have the name of a shipped one.
A suite with generated items has a seed; `quick@7` is `quick` with the items of seed 7, under that name.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from tracker.errors import TrackerError, UnknownNameError
from tracker.records import Condition, Suite, Task

FOLDER = Path(__file__).parent
SUFFIX = ".toml"
PATH_HINT = "`tracker suites` lists the available suites"
LOOSE = "tasks"  # the suite of individually selected tasks
NAME = re.compile(r"[\w.-]+", re.ASCII)


def suite_names(own: Path | None = None) -> list[str]:
    """Names of the shipped suites, then of those in the folder `own`."""
    shipped = sorted(path.stem for path in FOLDER.glob("*.toml"))
    return shipped + sorted(path.stem for path in own.glob("*.toml")) if own else shipped


def get_suite(name: str, *, own: Path | None = None) -> Suite:
    """The suite of that name, shipped or in the folder `own`, or the one in the TOML file at the path `name`.

    `NAME@SEED` is the same suite with other items.

    Raises:
        UnknownNameError: there is no such suite; similar names are suggested.
        TrackerError: its file is missing or invalid, another suite has its name, the seed is not a number, or
            the suite takes none.
    """
    known, at, seed = (name, "", "") if name.endswith(SUFFIX) else name.rpartition("@")
    if not at:
        known = name
    suite = _own_suite(Path(known).expanduser(), own) if is_path(known) else _named_suite(known, own)
    return _with_seed(suite, seed) if at else suite


def is_path(name: str) -> bool:
    """Whether `name` is a file: it ends in `.toml` or contains a slash."""
    return name.endswith(SUFFIX) or "/" in name


def stored_suite(name: str, *, own: Path) -> Suite:
    """The suite of that name, for a queue or a timer, which look it up later; a path is refused.

    Raises:
        TrackerError: as for `get_suite`, or `name` is a path.
    """
    if is_path(name.rpartition("@")[0] or name):
        hint = f"copy it to `{own}`, then use the name `{Path(name).stem}`"
        raise TrackerError(f"`{name}` is a file, but a queue or timer needs the name of a suite", hint=hint)
    return get_suite(name, own=own)


def _named_suite(name: str, own: Path | None) -> Suite:
    if (FOLDER / f"{name}{SUFFIX}").is_file():
        return read_suite(FOLDER / f"{name}{SUFFIX}")
    if own is not None and name in suite_names(own):
        return _own_suite(own / f"{name}{SUFFIX}", own)
    raise UnknownNameError("suite", name, known=suite_names(own))


def _own_suite(path: Path, own: Path | None) -> Suite:
    """A user's suite; its name identifies the results, so it must be unique.

    Raises:
        TrackerError: it is missing or invalid, or another suite has its name.
    """
    if path.stem in (*suite_names(), LOOSE):
        raise TrackerError(
            f"cannot use `{path}`: `{path.stem}` is the name of a shipped suite", hint="rename the file"
        )
    if not NAME.fullmatch(path.stem):
        message = f"cannot use `{path}`: the name may contain only letters, digits, `-`, `_` and `.`"
        raise TrackerError(message, hint="rename the file")
    suite = read_suite(path)
    stored = own / path.name if own is not None else path
    if stored.is_file() and not stored.samefile(path) and read_suite(stored) != suite:
        message = f"cannot use `{path}`: `{stored}` is a different suite with the same name"
        raise TrackerError(message, hint="rename one of the two files")
    return suite


def _with_seed(suite: Suite, seed: str) -> Suite:
    if suite.seed is None:
        raise TrackerError(
            f"suite `{suite.name}` takes no seed: its items are fixed",
            hint=f"use `{suite.name}` without a seed",
        )
    if not (seed.isascii() and seed.isdecimal()):
        raise TrackerError(
            f"the seed must be a whole number, got `{seed}`", hint=f"example: {suite.name}@{suite.seed}"
        )
    return replace(suite, name=f"{suite.name}@{int(seed)}", seed=int(seed))


def read_suite(path: Path) -> Suite:
    """The suite in a TOML file; `include_path` in it is relative to the file.

    Raises:
        TrackerError: no such file, invalid TOML, an unknown or missing key, a value out of range, an include
            path that is not a folder; the message names the file.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrackerError(f"cannot read `{path}`: {error.strerror}", hint=PATH_HINT) from error
    except ValueError as error:  # includes invalid UTF-8
        raise TrackerError(f"{path}: {error}", hint=PATH_HINT) from error
    _check_keys(raw, known={f.name for f in fields(Suite)} - {"name"}, where=str(path))
    for task in raw.get("tasks", []):
        _check_keys(task, known={f.name for f in fields(Task)}, where=f"{path}: {task.get('task', '?')}")
    try:
        tasks = tuple(_task(task, where=path) for task in raw.pop("tasks", []))
        if include := raw.pop("include_path", None):
            raw["include_path"] = str(_folder(path.parent / include, where=path))
        return Suite(name=path.stem, tasks=tasks, **raw)
    except (TypeError, ValueError) as error:
        raise TrackerError(f"{path}: {error}") from error


def _task(raw: dict[str, Any], *, where: Path) -> Task:
    conditions = raw.pop("when", [])
    for condition in conditions:
        known = {f.name for f in fields(Condition)}
        _check_keys(condition, known=known, where=f"{where}: {raw.get('task', '?')}: when")
    return Task(**raw, when=tuple(Condition(**condition) for condition in conditions))


def _folder(path: Path, *, where: Path) -> Path:
    if not path.is_dir():
        message = f"{where}: include_path: `{path}` is not a folder"
        raise TrackerError(message, hint="the path is relative to the TOML file")
    return path.resolve()


def _check_keys(raw: dict[str, Any], *, known: set[str], where: str) -> None:
    for key in raw:
        if key not in known:
            raise TrackerError(f"{where}: unknown key `{key}`", hint="known: " + ", ".join(sorted(known)))
