"""The main tables as plain values for programs: what `app/routes.py` answers as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd

from app import board, boards, digests, frontier_data, queries
from tracker.errors import TrackerError, UnknownNameError
from tracker.frontier.population import params_that_fit
from tracker.frontier.question import Only, Question
from tracker.frontier.tables import ATTRIBUTION
from tracker.research_board import board as agents_board

FEED_DAYS = 7
MOST_DAYS = 3660  # ten years
MOST_GB = 1e6  # a petabyte, more than any machine has
Answer = Callable[[Mapping[str, str]], Any]


def leaderboard(asked: Mapping[str, str]) -> Any:
    """The scores of `?suite=`, of all its tasks or of `?task=`, ranked inside each task."""
    known = queries.board_tasks()
    if not known:
        return []
    suite = _one_of(asked, "suite", [row["suite"] for row in known])
    tasks = [row["task"] for row in known if row["suite"] == suite]
    chosen = [_one_of(asked, "task", tasks)] if "task" in asked else tasks
    scores = queries.board(suite, chosen)
    ranked = pd.concat([board.table(scores, task, ()) for task in chosen], ignore_index=True)
    return _records(board.exported(ranked))


def frontier(asked: Mapping[str, str]) -> Any:
    """The gap by the six definitions; `?vintage=`, `?axis=`, `?only=`, `?fits_gb=`, `?without=`."""
    question = Question(
        vintage=date.fromisoformat(asked["vintage"]) if "vintage" in asked else None,
        only=Only(asked["only"]) if "only" in asked else None,
        max_params=_params_that_fit(asked["fits_gb"]) if "fits_gb" in asked else None,
        without=(asked["without"],) if "without" in asked else (),
        benchmark=asked.get("axis"),
    )
    if question.benchmark in boards.names():
        found = frontier_data.on_board(question.benchmark, question, queries.snapshot())
    else:
        found = frontier_data.frontier(question)
    best = {f"best_{group}": _plain(found.best(group).to_dict()) for group in ("open", "closed")}
    gaps = [
        {"id": row.id, "unit": row.unit, "value": row.value, "ci_low": row.ci_low, "ci_high": row.ci_high,
         "n": row.n, "n_censored": row.n_censored, "note": row.note}
        for row in found.gaps
    ]  # fmt: skip
    return {
        "as_of": found.as_of.isoformat(),
        "vintage": found.vintage.isoformat(),
        "axis": found.axis,
        "intervals": _intervals(question, found),
        **best,
        "definitions": gaps,
        "models": _records(found.points),
        "attribution": list(ATTRIBUTION),
    }


def _intervals(question: Question, found: frontier_data.Frontier) -> str:
    """`given`, `not known` where nothing says how sure a value is, or that they are being computed."""
    if found.has_intervals and not found.points["ci_low"].isna().all():
        return "given"
    return frontier_data.BEING_DRAWN if question.benchmark is None else "not known"


def _params_that_fit(gigabytes: str) -> int:
    """The largest number of parameters that fits.

    Raises:
        TrackerError: it is no amount of memory.
    """
    try:
        memory_gb = float(gigabytes)
    except ValueError:
        memory_gb = math.nan
    if not 0.0 < memory_gb <= MOST_GB:
        raise TrackerError(
            f"fits_gb must be a number of gigabytes above 0 and up to 1,000,000, got {gigabytes!r}"
        )
    return params_that_fit(memory_gb)


def lags(_: Mapping[str, str]) -> Any:
    """The standing lag (G3) on each benchmark."""
    return _records(frontier_data.benchmark_lags(Question()))


def models(_: Mapping[str, str]) -> Any:
    """The models that were run here, each with its newest run."""
    return [_plain(row) for row in queries.models()]


def research(_: Mapping[str, str]) -> Any:
    """The board of agents by groups of comparable studies, as `tracker research board --json` has it."""
    return [_plain(asdict(group)) for group in agents_board(queries.complete_studies())]


def runs(_: Mapping[str, str]) -> Any:
    """The newest runs."""
    return [_plain(row) for row in queries.latest_runs()]


def queue(_: Mapping[str, str]) -> Any:
    """The queue, the next on top."""
    return _records(queries.jobs())


def sources(_: Mapping[str, str]) -> Any:
    """The newest ingest of each source."""
    return _records(queries.sources())


def changes(asked: Mapping[str, str]) -> Any:
    """What changed in the last `?days=` days, a week if it does not say."""
    days = int(asked.get("days", str(FEED_DAYS)))
    if not 1 <= days <= MOST_DAYS:
        raise TrackerError(f"days must be from 1 to {MOST_DAYS}, got {days}")
    return _records(digests.lines(digests.changed(days, most=None)))


TABLES: dict[str, Answer] = {
    "leaderboard": leaderboard,
    "frontier": frontier,
    "lags": lags,
    "models": models,
    "research": research,
    "runs": runs,
    "queue": queue,
    "sources": sources,
    "changes": changes,
}


def feed() -> bytes:
    """The Atom feed."""
    return digests.feed(FEED_DAYS)


def shown_snapshot() -> str:
    """The id of the snapshot that is shown, after one read of it.

    Raises:
        StoreError: it cannot be read.
    """
    queries.board_tasks()
    return queries.snapshot().rpartition(":")[2]


def _one_of(asked: Mapping[str, str], key: str, known: list[str]) -> str:
    """What is asked for, else the first.

    Raises:
        UnknownNameError: there is no such.
    """
    name = asked.get(key, known[0])
    if name not in known:
        raise UnknownNameError(key, name, known=set(known))
    return name


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [_plain(row) for row in frame.to_dict("records")]


def _plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row of values that JSON has: times in ISO 8601, nothing for what is missing."""
    return {str(name): _value(value) for name, value in row.items()}


def _value(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is pd.NaT:
        return None
    if isinstance(value, datetime | date):
        return value.isoformat()
    return json.loads(json.dumps(value, default=str)) if isinstance(value, dict | list | tuple) else value
