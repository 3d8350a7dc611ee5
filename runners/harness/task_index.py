"""Find the lm-eval task folders that define a task name, without lm-eval's own index.

A full `TaskManager()` parses 13,986 YAML files, which takes over 20 s (lm-eval 0.4.13). Here only the
top-level keys that name a task are parsed, which takes three seconds once, and milliseconds from the cache.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tracker.errors import TrackerError, UnknownNameError, near_names
from tracker.installation import install_command, installed_version
from tracker.serialization import write_atomically

INDEX_VERSION = 3  # raised when the contents of the cached index change
KEYS = ("task", "group", "tag", "include", "class", "unsafe_code")
MAX_SHOWN = 20  # own tasks in a hint
IGNORED = {"__pycache__", ".ipynb_checkpoints"}  # folders that lm-eval does not search
_KEY = re.compile(r"^(?![\s#\-])", re.MULTILINE)  # where a top-level key begins
_WANTED = re.compile(rf"[\"']?(?:{'|'.join(KEYS)})[\"']?[ \t]*:(?:\s|$)")
_PLAIN = re.compile(r"[\"']?(\w+)[\"']?[ \t]*:[ \t]+([A-Za-z_][\w./+-]*)\s*\Z")
_NO_STRING = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}  # plain words with another meaning
_WHOLE = re.compile(
    r"^(?:[{?%&!]|---|\.\.\.|<<)", re.MULTILINE
)  # at the top level: read the whole text as YAML
_ALIAS = re.compile(r"[\s\[,]\*\w")  # in a value: what it stands for is elsewhere in the text


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML in which `!function module.name` is a text."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: str(node.value))


@dataclass(frozen=True, slots=True)
class TaskNames:
    """All names defined under a folder of task files."""

    folders: dict[str, list[str]] = field(default_factory=dict)  # name → top-level folders that define it
    children: dict[str, list[str]] = field(default_factory=dict)  # group or tag → its members
    tags: list[str] = field(default_factory=list)  # those of `children` that are tags
    unsafe: list[str] = field(default_factory=list)  # tasks that run model-written code


def lm_eval_tasks_path() -> Path:
    """The folder of lm-eval's own tasks.

    Raises:
        TrackerError: lm-eval is not installed.
    """
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or spec.origin is None:
        raise TrackerError("lm-eval is not installed", hint=install_command("cpu"))
    return Path(spec.origin).parent / "tasks"


def names_in(folder: Path) -> TaskNames:
    """All tasks, groups and tags defined by the YAML files under `folder`, as lm-eval's `TaskManager` does.

    A file that is no legal YAML, or that names nothing, is passed over.
    """
    names = TaskNames()
    known: dict[Path, Mapping[str, Any]] = {}
    for path in sorted(folder.rglob("*.yaml"), key=Path.as_posix):
        relative = path.relative_to(folder).parts
        if IGNORED.intersection(relative):
            continue
        try:
            found = _merged(path, known, ())
        except (yaml.YAMLError, OSError, ValueError):
            continue
        _add(names, found, top=relative[0] if len(relative) > 1 else ".")
    return names


def _add(names: TaskNames, found: Mapping[str, Any], *, top: str) -> None:
    is_group = "group" in found and "class" not in found
    name = found.get("group" if is_group else "task")
    if not isinstance(name, str):
        return
    is_first = name not in names.folders or name in names.tags
    _place(names, name, top)
    if is_group:
        if is_first:
            names.children[name] = list(_members(found.get("task")))
        return
    if found.get("unsafe_code") is True:
        names.unsafe.append(name)
    tags = found.get("tag")
    for tag in tags if isinstance(tags, list) else [tags]:
        if isinstance(tag, str) and (tag in names.tags or tag not in names.folders):
            _place(names, tag, top)
            names.children.setdefault(tag, []).append(name)
            if tag not in names.tags:
                names.tags.append(tag)


def _place(names: TaskNames, name: str, top: str) -> None:
    if top not in names.folders.setdefault(name, []):
        names.folders[name].append(top)


def _members(task: Any) -> Iterator[str]:
    """The names in a group's list of tasks, at any depth."""
    if isinstance(task, str):
        yield task
    elif isinstance(task, list):
        for each in task:
            yield from _members(each)
    elif isinstance(task, dict):
        if isinstance(task.get("group"), str):
            yield task["group"]
        yield from _members(task.get("task"))


def _merged(path: Path, known: dict[Path, Mapping[str, Any]], above: tuple[Path, ...]) -> Mapping[str, Any]:
    """The keys of a task file and of those that it includes; its own take precedence.

    Raises:
        YAMLError, OSError, ValueError: it, or one that it includes, cannot be read, or they form a cycle.
    """
    if path in known:
        return known[path]
    if path in above:
        raise ValueError(f"{path} includes itself")
    own = dict(_keys(path.read_text(encoding="utf-8", errors="replace")))
    included = own.pop("include", None) or []
    merged: dict[str, Any] = {}
    for name in included if isinstance(included, list) else [included]:
        merged |= _merged(Path(os.path.normpath(path.parent / str(name))), known, (*above, path))
    known[path] = merged | own
    return known[path]


def _keys(text: str) -> Mapping[str, Any]:
    """The values of `KEYS` at the top level of a YAML text.

    Raises:
        YAMLError: a value is no legal YAML.
    """
    if not _WHOLE.search(text):
        starts = [match.start() for match in _KEY.finditer(text)]
        blocks = [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]
        wanted = [block for block in blocks if _WANTED.match(block)]
        plain = [_PLAIN.match(block) for block in wanted]
        if all(match and match[2].lower() not in _NO_STRING for match in plain):  # most files
            return {match[1]: match[2] for match in plain if match}
        if not any(map(_ALIAS.search, wanted)):
            text = "".join(wanted)
    loaded = yaml.load(text, Loader=_Loader)  # noqa: S506  (a safe loader)
    return {key: loaded[key] for key in KEYS if key in loaded} if isinstance(loaded, dict) else {}


def builtin_names(cache_path: Path) -> TaskNames:
    """lm-eval's names, from the cache for this lm-eval version if there is one."""
    version = installed_version("lm_eval", extra="cpu")
    cached = cache_path / f"lm-eval-{version}-task-names-{INDEX_VERSION}.json"
    if cached.is_file():
        try:
            return TaskNames(**json.loads(cached.read_bytes()))
        except (ValueError, TypeError):
            cached.unlink()
    names = names_in(lm_eval_tasks_path())
    write_atomically(cached, json.dumps(asdict(names)).encode())
    return names


def folders_of(tasks: Sequence[str], *, include_path: str | None, cache_path: Path) -> list[Path]:
    """The folders to index so that all `tasks` are found; the user's is last and takes precedence.

    Raises:
        UnknownNameError: a task is in none of them; similar names are suggested.
    """
    own = names_in(Path(include_path)) if include_path else TaskNames()
    foreign = [name for name in _parts(tasks, own) if name not in own.folders]
    folders: dict[Path, None] = {}  # a dict keeps the order
    if foreign:
        builtin = builtin_names(cache_path)
        for task in tasks:
            if task not in own.folders and task not in builtin.folders:
                raise _unknown(task, own, builtin, include_path)
        for name in sorted(_parts(foreign, builtin)):
            tops = builtin.folders.get(name, [])  # a group may define a task of its own in its list
            folders.update(dict.fromkeys(lm_eval_tasks_path() / top for top in tops))
    if include_path:
        folders[Path(include_path)] = None
    return list(folders)


def _unknown(task: str, own: TaskNames, builtin: TaskNames, include_path: str | None) -> UnknownNameError:
    """The error for an unknown task; the user's own tasks are suggested first."""
    error = UnknownNameError("task", task, known=[*own.folders, *builtin.folders])
    similar = near_names(task, own.folders)
    if similar:
        error.hint = f"did you mean {' or '.join(f'`{name}`' for name in similar)}?"
    elif own.folders and error.hint.startswith("known:"):
        shown = sorted(own.folders)[:MAX_SHOWN]
        more = ", …" if len(own.folders) > len(shown) else ""
        error.hint = f"tasks in `{include_path}`: {', '.join(shown)}{more}"
    return error


def tag_members(
    folders: Sequence[Path], *, include_path: str | None, cache_path: Path
) -> dict[str, list[str]]:
    """The tasks behind each tag of lm-eval in these `folders` that the user's folder does not define.

    lm-eval indexes folder by folder, and of a tag used in several it keeps the tasks of the last.
    """
    if [str(folder) for folder in folders] == [include_path]:
        return {}
    own = names_in(Path(include_path)) if include_path else TaskNames()
    builtin = builtin_names(cache_path)
    return {tag: builtin.children[tag] for tag in builtin.tags if tag not in own.folders}


def tasks_that_run_code(
    tasks: Sequence[str], *, include_path: str | None, cache_path: Path
) -> tuple[str, ...]:
    """The `tasks` whose files say that they score an answer by executing it; no code is loaded.

    A group counts if any of its members does.
    """
    own = names_in(Path(include_path)) if include_path else TaskNames()
    needs_builtin = any(name not in own.folders for name in _parts(tasks, own))
    builtin = builtin_names(cache_path) if needs_builtin else TaskNames()
    unsafe = {name for name in builtin.unsafe if name not in own.folders}.union(own.unsafe)
    return tuple(task for task in tasks if unsafe.intersection(_parts([task], own, builtin)))


def _parts(tasks: Sequence[str], *indexes: TaskNames) -> set[str]:
    """These names and those of all their members."""
    parts: set[str] = set()
    waiting = list(tasks)
    while waiting:
        name = waiting.pop()
        if name not in parts:
            parts.add(name)
            waiting += next((i.children[name] for i in indexes if name in i.children), [])
    return parts
