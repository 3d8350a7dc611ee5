"""How far the best open model was behind the best closed one on each published board of ratings.

Ratings of different days are not compared: a board is refitted as a whole, and its scale drifts. So no
release date is needed, and the distance is in points, not months.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from tracker.errors import TrackerError, UnknownNameError
from tracker.settings import Settings
from tracker.stats import Z90, normal_stderr
from tracker.store import open_snapshot

DEFAULT = "LMArena text"
UNITS = ("rating", "index")
HINT = "`tracker ingest lmarena` fetches every board"


@dataclass(frozen=True, slots=True)
class Leader:
    """The best model of a group on one board."""

    model: str
    value: float
    stderr: float | None


@dataclass(frozen=True, slots=True)
class BoardGap:
    """One board: how many points the best open model is behind the best closed one; negative: it leads."""

    day: date
    best_open: Leader
    best_closed: Leader
    gap: float
    ci_low: float | None  # 90%, of the two ratings' own errors
    ci_high: float | None
    n_open: int
    n_closed: int
    n_unlabeled: int
    is_certain: bool  # no model without a label is above the best closed or open one


@dataclass(frozen=True, slots=True)
class BoardHistory:
    """The boards of one series, oldest first."""

    series: str
    source: str
    unit: str
    boards: tuple[BoardGap, ...]
    attribution: tuple[str, ...]
    age_days: int


def board_history(settings: Settings, series: str = DEFAULT) -> BoardHistory:
    """The gap on each board of the series.

    Raises:
        TrackerError: no board has been ingested, or none has a closed and an open model.
        UnknownNameError: there is no such series.
    """
    with open_snapshot(settings) as snapshot:
        known = [row for row in snapshot.query("dated_series") if row["unit"] in UNITS]
        credit = {row["source"]: row["attribution"] for row in snapshot.query("sources")}
        rows = snapshot.query("dated_values", series=series)
    names = [row["series"] for row in known]
    if not names:
        raise TrackerError("no dated board has been ingested yet", hint=HINT)
    if series not in names:
        raise UnknownNameError("series", series, known=names)
    by_day: dict[date, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_day[row["day"]].append(row)
    boards = [gap for on, board in sorted(by_day.items()) if (gap := _gap(on, board)) is not None]
    if not boards:
        raise TrackerError(f"no board of `{series}` has both an open and a closed model", hint=HINT)
    source = rows[0]["source"]
    return BoardHistory(
        series=series,
        source=source,
        unit=rows[0]["unit"],
        boards=tuple(boards),
        attribution=(credit[source],) if source in credit else (),
        age_days=(settings.now().date() - boards[-1].day).days,
    )


def board_history_document(answer: BoardHistory) -> dict[str, Any]:
    """The answer as JSON values."""
    last = answer.boards[-1]
    notes = []
    if not last.is_certain:
        notes.append(
            "a model without a label is above the best open or closed one; its label would change this"
        )
    return {
        "series": answer.series,
        "source": answer.source,
        "unit": answer.unit,
        "as_of": last.day.isoformat(),
        "age_days": answer.age_days,
        "boards": [asdict(board) | {"day": board.day.isoformat()} for board in answer.boards],
        "notes": notes,
        "attribution": list(answer.attribution),
    }


def _gap(on: date, board: Sequence[Mapping[str, Any]]) -> BoardGap | None:
    groups: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in board:
        groups[row["access"]].append(row)
    if not groups["open"] or not groups["closed"]:
        return None
    best_open, best_closed = (_leader(groups[name]) for name in ("open", "closed"))
    gap = best_closed.value - best_open.value
    reach = None
    if best_open.stderr is not None and best_closed.stderr is not None:
        reach = Z90 * math.hypot(best_open.stderr, best_closed.stderr)
    unlabeled = max((row["value"] for row in groups["unknown"]), default=-math.inf)
    return BoardGap(
        day=on,
        best_open=best_open,
        best_closed=best_closed,
        gap=gap,
        ci_low=None if reach is None else gap - reach,
        ci_high=None if reach is None else gap + reach,
        n_open=len(groups["open"]),
        n_closed=len(groups["closed"]),
        n_unlabeled=len(groups["unknown"]),
        is_certain=unlabeled < min(best_open.value, best_closed.value),
    )


def _leader(rows: Sequence[Mapping[str, Any]]) -> Leader:
    best = max(rows, key=lambda row: (row["value"], row["name"]))
    low, high = best["ci_low"], best["ci_high"]
    stderr = None if low is None or high is None else normal_stderr(low, high)
    return Leader(best["name"], best["value"], stderr)
