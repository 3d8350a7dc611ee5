"""What a section found: a line of JSON each, written at once, so that a crash later loses nothing."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path


class Verdict(StrEnum):
    """The answer to one assumption."""

    HOLDS = "holds"
    FAILS = "does not hold"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Finding:
    """One assumption with its verdict."""

    assumption: str  # its short name
    verdict: Verdict
    detail: str = ""  # the figure that decides, or why it was not checked


class Findings:
    """Writes what a section finds to a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def decide(self, assumption: str, holds: bool, detail: str = "") -> None:
        """Note a verdict."""
        verdict = Verdict.HOLDS if holds else Verdict.FAILS
        self._write(asdict(Finding(assumption, verdict, detail)))

    def leave_out(self, assumption: str, why: str) -> None:
        """Note that an assumption cannot be checked here."""
        self._write(asdict(Finding(assumption, Verdict.NOT_CHECKED, why)))

    def figure(self, name: str, value: float | str | None) -> None:
        """Note a figure, whatever it is."""
        self._write({"figure": name, "value": value})

    def _write(self, document: dict[str, object]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(document) + "\n")


def read_findings(path: Path) -> tuple[list[Finding], dict[str, float | str | None]]:
    """The verdicts and figures in a file; an incomplete last line is ignored."""
    found: list[Finding] = []
    figures: dict[str, float | str | None] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            document = json.loads(line)
        except ValueError:
            continue
        if "figure" in document:
            figures[document["figure"]] = document["value"]
        else:
            found.append(Finding(document["assumption"], Verdict(document["verdict"]), document["detail"]))
    return found, figures
