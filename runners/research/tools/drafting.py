"""The tools that read and change a draft: its script, its numbers, how it differs from the incumbent."""

from __future__ import annotations

import difflib
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

from runners.research.agents.history import change_key
from runners.research.agents.patching import patched
from runners.research.agents.prompting import moved
from runners.research.problem import script as scripts
from runners.research.problem import space as spaces
from runners.research.tools import catalog
from runners.research.tools.catalog import Arguments
from runners.research.tools.standing import CELL_CHARS, StudyStanding, space_text
from runners.research.tools.workspace import Draft
from tracker.records.studies import Change, Track
from tracker.wording import counted

MAX_OUTPUT_CHARS = 16_000  # of one answer: about 5,000 tokens
MAX_LINES = 400
MAX_HITS = 60
MAX_NOTES_CHARS = 20_000
MAX_SCRIPT_CHARS = 90_000


class Drafting:
    """Carries out the calls that concern an agent's draft and notes."""

    def __init__(self, standing: StudyStanding, lock: threading.RLock) -> None:
        """Work on the draft of this study; `lock` is held while its files change."""
        self._standing = standing
        self._lock = lock
        self._setting = standing.setting
        self._work = standing.work

    def _text(self, path: str) -> str:
        draft = self._standing.draft().change
        found: dict[str, Callable[[], str]] = {
            catalog.SCRIPT: lambda: self._standing.script(draft),
            catalog.INCUMBENT: lambda: self._standing.script(self._standing.incumbent),
            catalog.NUMBERS: lambda: json.dumps(dict(draft.params), indent=2) + "\n",
            catalog.PROGRAM: lambda: self._standing.study.program,
            catalog.SPACE: lambda: space_text(self._setting.space),
            catalog.NOTES: self._work.notes,
        }
        return found[path]()

    def read_file(self, given: Arguments) -> str:
        """Lines of a file of the session."""
        lines = self._text(given["path"]).splitlines()
        start = given.get("start", 1)
        end = min(given.get("end", len(lines)), start + MAX_LINES - 1, len(lines))
        if start > max(1, len(lines)):
            raise ValueError(f"`{given['path']}` has {counted(len(lines), 'line')}")
        shown = [f"{number:>4} {lines[number - 1]}" for number in range(start, end + 1)]
        kept, size = [], 0
        for line in shown:
            size += len(line) + 1
            if size > MAX_OUTPUT_CHARS - CELL_CHARS:
                break
            kept.append(line)
        last = start + len(kept) - 1
        more = (
            f"\n({len(lines) - last} more lines: read on with start={last + 1})" if last < len(lines) else ""
        )
        return "\n".join(kept) + more if kept else "(empty)"

    def search(self, given: Arguments) -> str:
        """The lines that contain a text."""
        wanted = given["text"].casefold()
        if not wanted.strip():
            raise ValueError("`text` is empty")
        paths = [given["path"]] if "path" in given else [p for p in catalog.FILES if p != catalog.INCUMBENT]
        hits = []
        for path in paths:
            for number, line in enumerate(self._text(path).splitlines(), start=1):
                if wanted in line.casefold():
                    hits.append(f"{path}:{number}: {line.strip()[:CELL_CHARS]}")
        if not hits:
            return "no line contains it"
        more = f"\n({len(hits) - MAX_HITS} more)" if len(hits) > MAX_HITS else ""
        return "\n".join(hits[:MAX_HITS]) + more

    def edit_file(self, given: Arguments, key: str) -> str:
        """Change the script or the numbers of the draft."""
        with self._lock:
            if (again := self._again(key)) is not None:
                return again
            draft = self._standing.draft().change
            text = _edited(self._text(given["path"]), given)
            if given["path"] == catalog.NUMBERS:
                return self._keep(Change(self._numbers(_numbers_of(text)), draft.script), key)
            if self._standing.study.track is not Track.CODE:
                raise ValueError(
                    f"on the track `{self._standing.study.track}` only `{catalog.NUMBERS}` may change"
                )
            self._check_script(text, draft)
            is_shipped = text == self._setting.shipped_script
            return self._keep(Change(draft.params, None if is_shipped else text), key)

    def set_numbers(self, given: Arguments, key: str) -> str:
        """Change numbers of the draft."""
        with self._lock:
            if (again := self._again(key)) is not None:
                return again
            draft = self._standing.draft().change
            changes = given["changes"]
            if not changes:
                raise ValueError("`changes` is empty: name at least one number")
            change = Change(self._numbers({**draft.params, **changes}), draft.script)
            if change_key(change) == change_key(draft):
                named = ", ".join(f"`{name}` is {value}" for name, value in changes.items())
                raise ValueError(
                    f"the draft has these numbers already ({named[:CELL_CHARS]}): give other values"
                )
            return self._keep(change, key)

    def reset_draft(self, _given: Arguments, key: str) -> str:
        """Go back to the incumbent."""
        with self._lock:
            said = "the draft is equal to the incumbent"
            self._work.write_draft(Draft(self._standing.incumbent, call=key, said=said))
            return said

    def _again(self, key: str) -> str | None:
        """The answer of this very call, if it was carried out before a kill and its answer was lost."""
        draft = self._work.draft()
        return draft.said if key and draft is not None and draft.call == key else None

    def _keep(self, change: Change, key: str) -> str:
        is_edited = change_key(change) != change_key(self._standing.incumbent)
        said = f"done; {self._summary(change)}"
        self._work.write_draft(Draft(change, is_edited=is_edited, call=key, said=said))
        return said

    def _summary(self, change: Change) -> str:
        incumbent = self._standing.incumbent
        if change_key(change) == change_key(incumbent):
            return "the draft is equal to the incumbent"
        parts = [moved(incumbent, change, self._setting.space)] if change.params != incumbent.params else []
        if self._standing.script(change) != self._standing.script(incumbent):
            before, after = (
                self._standing.script(incumbent).splitlines(),
                self._standing.script(change).splitlines(),
            )
            lines = list(difflib.unified_diff(before, after, n=0, lineterm=""))[2:]
            n_new = sum(line.startswith("+") for line in lines)
            n_gone = sum(line.startswith("-") for line in lines)
            parts.append(f"train.py +{n_new} -{n_gone} lines")
        return f"against the incumbent: {', '.join(parts)}"

    def _numbers(self, params: Mapping[str, object]) -> Mapping[str, Any]:
        return spaces.validate(params, self._setting.tier)

    def _check_script(self, text: str, draft: Change) -> None:
        """Refuse a script that could not run, or that changes what is frozen."""
        if len(text) > MAX_SCRIPT_CHARS:
            raise ValueError(
                f"the script would have {len(text):,} characters, more than {MAX_SCRIPT_CHARS:,}"
            )
        frozen = scripts.regions(self._setting.shipped_script).frozen_hash
        if scripts.regions(text).frozen_hash != frozen:
            raise ValueError("outside the EDITABLE markers nothing may change")
        try:
            scripts.parsed(text)
            spaces.values(Change(draft.params, text), self._setting.tier)
        except SyntaxError as error:
            raise ValueError(
                f"this would not be valid Python: {error.msg}, line {error.lineno or 0}"
            ) from error
        except (RecursionError, MemoryError) as error:
            raise ValueError("this would be nested too deeply to be parsed") from error

    def diff(self) -> str:
        """The draft against the incumbent."""
        draft, incumbent = self._standing.draft().change, self._standing.incumbent
        lines = difflib.unified_diff(
            self._standing.script(incumbent).splitlines(),
            self._standing.script(draft).splitlines(),
            "incumbent/train.py",
            "train.py",
            n=2,
            lineterm="",
        )
        numbers = (
            moved(incumbent, draft, self._setting.space) if draft.params != incumbent.params else "unchanged"
        )
        return "\n".join([f"numbers: {numbers}", *lines])

    def notes_write(self, given: Arguments) -> str:
        """Add to the notes, or replace them."""
        with self._lock:
            before, text = self._work.notes(), given["text"].strip()
            if given.get("replace"):
                after = text
            elif text and before.endswith(text):  # also a call that was carried out before a kill
                after = before
            else:
                after = f"{before}\n{text}".strip()
            if len(after) > MAX_NOTES_CHARS:
                raise ValueError(
                    f"the notes would have {len(after):,} characters, more than {MAX_NOTES_CHARS:,}: "
                    "shorten them with replace=true"
                )
            self._work.write_notes(after)
            return f"the notes have {counted(len(after), 'character')}"


def _edited(text: str, given: Arguments) -> str:
    """The file after the edit.

    Raises:
        ValueError: it is not one kind of edit, or it does not apply.
    """
    kinds = [name for name in ("old", "patch", "content") if name in given]
    if len(kinds) != 1 or ("new" in given) != (kinds == ["old"]):
        raise ValueError("give either `old` and `new`, or `patch`, or `content`")
    if kinds == ["content"]:
        return str(given["content"])
    if kinds == ["patch"]:
        return patched(text, given["patch"]).script
    old, new = given["old"], given["new"]
    n_found = text.count(old) if old else 0
    if n_found != 1:
        where = "is empty" if not old else "is not in the file" if not n_found else f"occurs {n_found} times"
        raise ValueError(f"`old` {where}: give a passage that occurs exactly once")
    return text.replace(old, new)


def _numbers_of(text: str) -> Mapping[str, object]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"`{catalog.NUMBERS}` would not be valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"`{catalog.NUMBERS}` must be an object of names with values")
    return found
