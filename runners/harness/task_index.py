"""Which of lm-eval's task folders a name lives in, without lm-eval's own index.

A full `TaskManager()` parses 13,986 YAML files and costs 20 s and more (lm-eval 0.4.13); reading only the
lines that name a task takes two seconds once, and the cached answer takes milliseconds.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tracker.codec import write_atomically
from tracker.errors import TrackerError, UnknownNameError

_WORD = r"[\"']?([\w.:+-]+)[\"']?"
_NAME = re.compile(rf"^[\"']?(?:task|group|tag)[\"']?:[ \t]*{_WORD}[ \t]*(?:#.*)?$", re.MULTILINE)
_TAGS = re.compile(r"^[\"']?tag[\"']?:[ \t]*\n((?:[ \t]*-.*\n?)+)", re.MULTILINE)
_CHILDREN = re.compile(r"^[\"']?task[\"']?:[ \t]*\n((?:[ \t]*-.*\n?|[ \t]+.*\n?)+)", re.MULTILINE)
_GROUP = re.compile(rf"^[\"']?group[\"']?:[ \t]*{_WORD}", re.MULTILINE)
_ENTRY = re.compile(rf"-[ \t]*(?:[\"']?task[\"']?:[ \t]*)?{_WORD}[ \t]*(?:#.*)?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class TaskNames:
    """Every name under a folder of task files."""

    folders: dict[str, list[str]] = field(default_factory=dict)  # name → top folders that name it
    children: dict[str, list[str]] = field(default_factory=dict)  # group → names that it is made of


def lm_eval_tasks_path() -> Path:
    """The folder of lm-eval's own tasks.

    Raises:
        TrackerError: lm-eval is not installed.
    """
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or spec.origin is None:
        raise TrackerError("lm-eval is not installed", hint="pip install -c constraints.txt -e '.[cpu]'")
    return Path(spec.origin).parent / "tasks"


def names_in(folder: Path) -> TaskNames:
    """Every task, group and tag that the YAML files under `folder` name."""
    names = TaskNames()
    for path in sorted(folder.rglob("*.yaml")):
        text = path.read_text(errors="replace")
        relative = path.relative_to(folder).parts
        top = relative[0] if len(relative) > 1 else "."
        for name in _NAME.findall(text) + [n for block in _TAGS.findall(text) for n in _ENTRY.findall(block)]:
            if top not in names.folders.setdefault(name, []):
                names.folders[name].append(top)
        if group := _GROUP.search(text):
            found = [n for block in _CHILDREN.findall(text) for n in _ENTRY.findall(block)]
            names.children.setdefault(group.group(1), []).extend(found)
    return names


def builtin_names(cache_path: Path) -> TaskNames:
    """lm-eval's names, from the cache of this lm-eval version or made anew."""
    cached = cache_path / f"lm-eval-{importlib.metadata.version('lm_eval')}-tasks.json"
    if cached.is_file():
        try:
            return TaskNames(**json.loads(cached.read_bytes()))
        except (ValueError, TypeError):
            cached.unlink()
    names = names_in(lm_eval_tasks_path())
    write_atomically(cached, json.dumps(asdict(names)).encode())
    return names


def folders_of(tasks: Sequence[str], *, include_path: str | None, cache_path: Path) -> list[Path]:
    """The folders to index so that every one of `tasks` is found, ours last so that it wins.

    Raises:
        UnknownNameError: a task is in none of them; near names are offered.
    """
    own = names_in(Path(include_path)) if include_path else TaskNames()
    foreign = [task for task in tasks if task not in own.folders]
    folders: dict[Path, None] = {}  # a dict keeps the order
    if foreign:
        builtin = builtin_names(cache_path)
        seen: set[str] = set()
        while foreign:
            task = foreign.pop()
            if task in seen or task in own.folders:
                continue
            seen.add(task)
            if task not in builtin.folders:
                raise UnknownNameError("task", task, known=[*own.folders, *builtin.folders])
            folders.update(dict.fromkeys(lm_eval_tasks_path() / top for top in builtin.folders[task]))
            foreign += [child for child in builtin.children.get(task, []) if child in builtin.folders]
    if include_path:
        folders[Path(include_path)] = None
    return list(folders)
