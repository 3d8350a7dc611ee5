"""What happened in the world of an episode, as the process that holds it tells: read from a transcript."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST_ENTRIES = 500  # read of a list


@dataclass(frozen=True, slots=True)
class ReportedGoal:
    """A goal in words, and whether it was met."""

    text: str
    is_met: bool


@dataclass(frozen=True, slots=True)
class ReportedCall:
    """A call at a time of the simulated clock, and what happened during it; without one: after the last."""

    at: str
    call: str
    problem: str | None
    changes: tuple[str, ...]
    unsafe: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EpisodeReport:
    """An episode from the first second of the simulated clock to the last."""

    began: str
    ended: str
    simulated_s: int  # until the last call
    goals: tuple[ReportedGoal, ...]
    timeline: tuple[ReportedCall, ...]
    side_effects: int
    before: Mapping[str, str]  # by entity
    after: Mapping[str, str]

    @property
    def unsafe(self) -> tuple[str, ...]:
        """Every unsafe action, in order."""
        return tuple(one for call in self.timeline for one in call.unsafe)


def parse_report(report: Mapping[str, Any] | None) -> EpisodeReport | None:
    """The report in a transcript; None: there is none, or it has another shape."""
    if report is None:
        return None
    try:
        return EpisodeReport(
            began=str(report["began"]),
            ended=str(report["ended"]),
            simulated_s=int(report["simulated_s"]),
            goals=tuple(ReportedGoal(str(one["goal"]), one["met"] is True) for one in _some(report["goals"])),
            timeline=tuple(_call(one) for one in _some(report["timeline"])),
            side_effects=int(report["side_effects"]),
            before=_states(report["before"]),
            after=_states(report["after"]),
        )
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
        return None


def _call(one: Mapping[str, Any]) -> ReportedCall:
    problem = one["problem"]
    return ReportedCall(
        at=str(one["at"]),
        call=str(one["call"]),
        problem=None if problem is None else str(problem),
        changes=tuple(map(str, _some(one["changes"]))),
        unsafe=tuple(map(str, _some(one["unsafe"]))),
    )


def _states(values: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    rows = list(values.items())[:MOST_ENTRIES]
    return {str(name): ", ".join(f"{key} {value}" for key, value in state.items()) for name, state in rows}


def _some(values: Sequence[Any]) -> Sequence[Any]:
    if not isinstance(values, list):
        raise TypeError("not a list")
    return values[:MOST_ENTRIES]
