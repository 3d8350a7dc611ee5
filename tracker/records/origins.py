"""Where a run comes from that another program measured and that was imported here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

IMPORTED = "imported, not measured here"  # as every face says it
SUFFIX = " (imported)"  # of the `model_id`: nothing here has verified which weights answered
SUITE_PREFIX = "imported-"  # of the suite, which is named after the tool


@dataclass(frozen=True, slots=True)
class Origin:
    """The file, the program and the evaluator behind an imported run."""

    tool: str  # "lm-eval", "inspect", "every-eval-ever"
    tool_version: str | None  # None: the file does not say
    file: str  # name of the file or folder that was imported, without its path
    sha256: str  # of all files of the run; the same content is never imported twice
    imported_at: datetime
    evaluated_by: str | None = None  # None: the file does not say

    def __post_init__(self) -> None:
        """Check that the time has a zone and the hash is one."""
        if self.imported_at.tzinfo is None:
            raise ValueError(f"{self.file}: `imported_at` must have a time zone")
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError(f"{self.file}: sha256 must be 64 hex digits, got `{self.sha256}`")

    @property
    def sentence(self) -> str:
        """What every face says about the run."""
        version = f" {self.tool_version}" if self.tool_version else ""
        by = f", evaluated by {self.evaluated_by}" if self.evaluated_by else ""
        return (
            f"{IMPORTED}: {self.tool}{version}, file `{self.file}`{by}, on {self.imported_at:%Y-%m-%d}"
            f" (sha256 {self.sha256[:12]}…)"
        )


def origin_of(row: Mapping[str, Any]) -> Origin | None:
    """The origin of a run as the database and JSON have the run; None: measured here, or it has none."""
    found = row.get("origin")
    if not isinstance(found, Mapping):
        return None
    return Origin(
        tool=found["tool"],
        tool_version=found["tool_version"],
        file=found["file"],
        sha256=found["sha256"],
        imported_at=datetime.fromisoformat(found["imported_at"]),
        evaluated_by=found["evaluated_by"],
    )


def origin_note(row: Mapping[str, Any]) -> str | None:
    """What every face says about where an imported run comes from; None: it was measured here."""
    origin = origin_of(row)
    return None if origin is None else origin.sentence


def imported_id(name: str) -> str:
    """The `model_id` of an imported model that its file calls `name`."""
    return name + SUFFIX


def is_imported_id(model_id: str) -> bool:
    """Whether this is the id of an imported model."""
    return model_id.endswith(SUFFIX)


def named_id(model_id: str) -> str:
    """The name that the file of an imported model gave it; of any other model, its id."""
    return model_id.removesuffix(SUFFIX)
