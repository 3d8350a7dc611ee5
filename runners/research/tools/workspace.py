"""The files in which an agent's work on a study is kept, under `studies/<id>/tools/`.

Each appears whole or not at all, and before anything follows from it: `journal.jsonl` has every call before
and after it was carried out, `submissions/<n>.json` is the agent's n-th proposal, `asked.json` says which one
the study waits for, `probes/<n>.json` are short trainings, `draft.json` and `notes.md` what the agent works
on, `finished.json` that it wants no more trials. So whoever was killed, study or agent, continues from here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from tracker.files.studies import disk_errors
from tracker.records.studies import Change, Exchange
from tracker.serialization import (
    DiskFormat,
    append_line,
    dump_versioned,
    load_versioned,
    read_lines,
    writable_text,
    write_atomically,
)

FOLDER = "tools"
TOOLS_FORMAT = DiskFormat()  # of every file in this folder
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Draft:
    """The change that an agent is preparing."""

    change: Change = field(default_factory=Change)
    is_edited: bool = False  # since it was last equal to the incumbent
    call: str = ""  # the key of the call that wrote it
    said: str = ""  # and its answer


@dataclass(frozen=True, slots=True)
class AskedProposal:
    """The proposal that the study waits for; the numbers are bits per byte on `val`."""

    n_past: int  # of the agent's trials
    n_left: int
    baseline_bpb: float | None = None
    incumbent_bpb: float | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """A draft that was submitted, or the reason that none was."""

    change: Change | None
    note: str = ""
    diff: str | None = None
    problem: str | None = None
    member: str = ""  # of a team: who submitted it
    exchanges: tuple[Exchange, ...] = ()


@dataclass(frozen=True, slots=True)
class ProbeRun:
    """One short training of the draft, beside the incumbent's under the same seed."""

    n_past: int  # trials before it
    share: float
    n_tokens: int  # trained for it, the incumbent's included where they were new
    status: str
    draft_bpb: float | None = None  # on `val`
    incumbent_bpb: float | None = None
    detail: str | None = None
    train_s: float = 0.0
    member: str = ""


@dataclass(frozen=True, slots=True)
class DialogStep:
    """One answer of a model, and the answer of the tool that it called; None: not carried out yet."""

    reply: str
    exchanges: tuple[Exchange, ...] = ()
    result: str | None = None


@dataclass(frozen=True, slots=True)
class Dialog:
    """What a model did for one trial, call by call."""

    state: str = ""  # of the study, when it began
    steps: tuple[DialogStep, ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """An agent's wish to make no more trials."""

    n_past: int
    reason: str = ""


class Workspace:
    """The folder of one study's tools."""

    def __init__(self, study_folder: Path, *, member: str = "") -> None:
        self.folder = study_folder / FOLDER
        self._suffix = f"-{member}" if member else ""  # of what each member of a team has alone

    def draft(self) -> Draft | None:
        """The draft, if there is one."""
        return self._read(Draft, f"draft{self._suffix}.json")

    def write_draft(self, draft: Draft) -> None:
        """Replace the draft.

        Raises:
            DiskFullError: there is no room; the file is as it was.
        """
        self._write(f"draft{self._suffix}.json", draft)

    def asked(self) -> AskedProposal | None:
        """The proposal that the study waits for, if it does."""
        return self._read(AskedProposal, "asked.json")

    def write_asked(self, asked: AskedProposal) -> None:
        """Tell what the study waits for."""
        self._write("asked.json", asked)

    def submission(self, number: int) -> Submission | None:
        """The agent's proposal of this number, from 0, if it was submitted."""
        return self._read(Submission, f"submissions/{number:05d}.json")

    def write_submission(self, number: int, submission: Submission) -> None:
        """Keep a proposal; this is what submitting it means."""
        self._write(f"submissions/{number:05d}.json", submission)

    def probes(self) -> tuple[ProbeRun, ...]:
        """All short trainings, in order."""
        paths = sorted((self.folder / "probes").glob("[0-9]*.json"))
        found = (self._read(ProbeRun, str(path.relative_to(self.folder))) for path in paths)
        return tuple(probe for probe in found if probe is not None)

    def add_probe(self, probe: ProbeRun) -> None:
        """Keep a short training."""
        self._write(f"probes/{len(self.probes()):05d}.json", probe)

    def dialog(self, number: int) -> Dialog | None:
        """The dialog in which the agent's proposal of this number was made."""
        return self._read(Dialog, f"dialogs/{number:05d}{self._suffix}.json")

    def write_dialog(self, number: int, dialog: Dialog) -> None:
        """Keep a dialog: what was answered is never paid for twice."""
        self._write(f"dialogs/{number:05d}{self._suffix}.json", dialog)

    def finished(self) -> Finished | None:
        """The agent's wish to end, if it has said so."""
        return self._read(Finished, "finished.json")

    def write_finished(self, finished: Finished) -> None:
        """Keep the agent's wish to end."""
        self._write("finished.json", finished)

    def notes(self) -> str:
        """The agent's notes."""
        path = self.folder / "notes.md"
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    def write_notes(self, text: str) -> None:
        """Replace the notes."""
        path = self.folder / "notes.md"
        with disk_errors(path):
            write_atomically(path, writable_text(text).encode())

    def journal(self, entry: Mapping[str, Any]) -> None:
        """Append a line on a call: before it is carried out, and after."""
        path = self.folder / "journal.jsonl"
        stamped = {"format_version": TOOLS_FORMAT.version, "written_at": datetime.now(UTC).isoformat()}
        with disk_errors(path):
            append_line(path, writable_text(json.dumps(stamped | dict(entry), ensure_ascii=False)))

    def journal_entries(self) -> list[dict[str, Any]]:
        """The calls so far; lines that a kill cut off are left out."""
        lines = read_lines(self.folder / "journal.jsonl", TOOLS_FORMAT)
        return [dict(entry) for _, entry in lines if isinstance(entry, dict)]

    def _read(self, cls: type[R], name: str) -> R | None:
        path = self.folder / name
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return None
        return load_versioned(cls, raw, TOOLS_FORMAT, where=str(path))

    def _write(self, name: str, record: object) -> None:
        path = self.folder / name
        with disk_errors(path):
            write_atomically(path, dump_versioned(record, TOOLS_FORMAT))
