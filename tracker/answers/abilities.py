"""How jagged a model measured here is: knowledge and reasoning against tool calls against running a home.

Each area is the plain mean of its tasks, with chance at 0, of one model with one set of settings. An area
whose suites were not run has no row.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tracker.store import Snapshot
from tracker.wording import counted

AREAS: Mapping[str, str] = {  # of a suite
    "place": "knowledge and reasoning",
    "anchor-small": "knowledge and reasoning",
    "anchor-reasoning": "knowledge and reasoning",
    "quick": "knowledge and reasoning",
    "tools": "tool calls",
    "home": "running a home",
}
SETTINGS = ("revision", "engine", "dtype", "quantization", "thinking", "sampling", "max_output_tokens")


@dataclass(frozen=True, slots=True)
class Ability:
    """One area: its mean score with chance at 0 and perfect at 1, and a 95% interval."""

    area: str
    value: float
    low: float
    high: float
    n_items: int
    tasks: tuple[str, ...]
    measured_on: str  # the day of its oldest run, in ISO 8601

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "area": self.area,
            "value": self.value,
            "ci_low": self.low,
            "ci_high": self.high,
            "n_items": self.n_items,
            "tasks": list(self.tasks),
            "measured_on": self.measured_on,
        }


def read_abilities(snapshot: Snapshot, model_id: str) -> tuple[Ability, ...]:
    """The areas of a model, with the settings that cover most of them; of equals, those used last."""
    rows = snapshot.query("leaderboard", suite=None, model_id=model_id)
    return abilities(rows)


def abilities(rows: Iterable[Mapping[str, Any]]) -> tuple[Ability, ...]:
    """The areas in these rows of the leaderboard."""
    by_settings: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        is_known = row["suite"].partition("@")[0] in AREAS and row["group"] is None
        if is_known and _is_share(row):
            by_settings.setdefault(tuple(row[name] for name in SETTINGS), []).append(row)
    if not by_settings:
        return ()
    best = max(
        by_settings.values(), key=lambda some: (len(_areas(some)), max(one["started_at"] for one in some))
    )
    return tuple(_ability(area, some) for area, some in _areas(best).items())


def ability_line(one: Mapping[str, Any]) -> str:
    """An area in one line; `one` is its document."""
    interval = f"{100 * one['ci_low']:.1f}–{one['ci_high']:.1%}"
    counts = f"{counted(len(one['tasks']), 'task')}, {counted(one['n_items'], 'item')}"
    return (
        f"{one['area']}: {one['value']:.1%} ({interval}; chance is 0; {counts}, since {one['measured_on']})"
    )


def _areas(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The rows by area, in the order of `AREAS`; of a task that stands in several suites the newest."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {area: {} for area in AREAS.values()}
    for row in sorted(rows, key=lambda one: one["started_at"]):
        found[AREAS[row["suite"].partition("@")[0]]][row["task"]] = row
    return {area: list(tasks.values()) for area, tasks in found.items() if tasks}


def _ability(area: str, rows: Sequence[Mapping[str, Any]]) -> Ability:
    """The mean of tasks, with an interval from theirs (MOVER: Zou and Donner, Stat. Med. 27, 2008)."""
    n = len(rows)
    values, lows, highs = (
        [_centered(row[key], row) for row in rows] for key in ("value", "ci_low", "ci_high")
    )
    value = sum(values) / n
    below = math.hypot(*(one - low for one, low in zip(values, lows, strict=True))) / n
    above = math.hypot(*(high - one for one, high in zip(values, highs, strict=True))) / n
    oldest: datetime = min(row["started_at"] for row in rows)
    return Ability(
        area=area,
        value=value,
        low=value - below,
        high=min(1.0, value + above),
        n_items=sum(int(row["n_items"]) for row in rows),
        tasks=tuple(str(row["task"]) for row in rows),
        measured_on=oldest.date().isoformat(),
    )


def _centered(value: float, row: Mapping[str, Any]) -> float:
    chance = float(row["chance"])
    return (value - chance) / (1 - chance)


def _is_share(row: Mapping[str, Any]) -> bool:
    """Whether a score has an interval and can be centered."""
    ends = [row[key] for key in ("value", "ci_low", "ci_high", "chance")]
    return all(one is not None and not math.isnan(one) for one in ends) and row["chance"] < 1
