"""A ladder: a model and its copies, which are measured on the same items, and how far each has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from tracker.records import EngineSettings

MOST_LOOKS = 5  # at the difference of one rung; more would make every interval wider
Value = str | int | float | bool | None


class RungStatus(StrEnum):
    """How far a rung has come."""

    WAITING = "waiting"  # nothing is measured yet
    MEASURED = "measured"
    FAILED = "failed"  # the model could not be run; see `reason`


class RungEnd(StrEnum):
    """Why a rung asks no further item."""

    PRECISE = "precise"  # the difference is known as precisely as was asked
    ALL_ITEMS = "all_items"
    LIMIT = "limit"  # the items that were allowed
    LOOKS = "looks"  # all looks are used up


@dataclass(frozen=True, slots=True)
class LadderRung:
    """One set of weights with its settings; the first rung of a ladder is the parent."""

    label: str
    model: str  # as the command names it
    model_id: str  # under which its runs are stored
    settings: EngineSettings
    changes: Mapping[str, Value] = field(default_factory=dict)  # settings in which it differs from the parent
    status: RungStatus = RungStatus.WAITING
    reason: str | None = None  # machine-readable cause of a failure
    detail: str | None = None  # the same for people
    run_ids: tuple[str, ...] = ()  # oldest first; the last one has the items that count
    limit: int | None = None  # items of each task that the last run was asked
    n_looks: int = 0  # so far at its difference
    looked_at: int | None = None  # the limit at the last look
    end: RungEnd | None = None  # None: it is not done

    def __post_init__(self) -> None:
        """A failed rung has a reason, a measured one a run."""
        if self.status is RungStatus.FAILED and not self.reason:
            raise ValueError(f"rung `{self.label}`: a failure needs a reason")
        if self.status is RungStatus.MEASURED and not self.run_ids:
            raise ValueError(f"rung `{self.label}`: a measured rung needs a run")

    @property
    def run_id(self) -> str | None:
        """The run whose items count."""
        return self.run_ids[-1] if self.run_ids else None


@dataclass(frozen=True, slots=True)
class Ladder:
    """A parent and its rungs on one suite."""

    ladder_id: str
    suite: str
    suite_version: int
    tasks: tuple[str, ...]
    precision: float  # half width of a difference at which its rung stops, as a fraction of 1
    rungs: tuple[LadderRung, ...]
    started_at: datetime
    updated_at: datetime
    command: str = ""  # that measures it again

    def __post_init__(self) -> None:
        """Check the precision, the times and the rungs."""
        if not 0.0 < self.precision < 0.5:
            raise ValueError(f"precision must be a fraction between 0 and 0.5, got {self.precision}")
        if not self.rungs:
            raise ValueError("a ladder has at least its parent")
        for moment in (self.started_at, self.updated_at):
            if moment.tzinfo is None:
                raise ValueError(f"{self.ladder_id}: times must have a time zone")

    @property
    def parent(self) -> LadderRung:
        """The model that the others are copies of."""
        return self.rungs[0]

    @property
    def reference(self) -> LadderRung:
        """The rung with which the others are compared: the first that was measured, usually the parent."""
        return next((rung for rung in self.rungs if rung.run_ids), self.rungs[0])
