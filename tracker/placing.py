"""Places a model measured here on the index: joins the store's runs and the frontier's arithmetic.

May import the store and the frontier; the arithmetic itself is in `tracker.frontier.placement`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date

from tracker.frontier.bridges import Bridge, offsets
from tracker.frontier.placement import Measured, Placement, Scale, Unplaced, centered, place, task_benchmarks
from tracker.frontier.question import Question, axis, fitted, window
from tracker.frontier.tables import Tables, load_tables
from tracker.records import Run, TaskScore
from tracker.settings import Settings
from tracker.store import open_snapshot

HARNESS = "lm-eval"  # a benchmark on another harness is another instrument


def place_run(run: Run, settings: Settings, scale: Scale | None = None) -> Placement | Unplaced:
    """Where this run puts its model on the index, or why nowhere; `scale` spares making it for each run."""
    tables = load_tables()
    names = task_benchmarks(tables.benchmarks)
    scores = [score for score in run.scores if score.group is None]
    if not any(score.task in names for score in scores):
        tasks = ", ".join(score.task for score in scores) or "none"
        return Unplaced(f"no placement: none of the tasks is on the scale of the index ({tasks})")
    if run.limit is not None:
        return Unplaced(
            "no placement: `--limit` asks the first items of a task, which are no fair sample of it"
        )
    scale = scale or index_scale(tables, settings)
    bridges = _bridges(tables, names, settings, but=run.model.model_id)
    return place(
        [Measured(score.task, score.value, _stderr(score)) for score in scores],
        scale,
        released=_released(tables, run.model.model_id),
        offsets=offsets(scale.fit, bridges, harness=HARNESS),
    )


def index_scale(tables: Tables, settings: Settings) -> Scale:
    """The index of the newest vintage, with its draws and the closed models' dates."""
    question = Question()
    found = fitted(tables, question, settings.frontier_path)
    chosen = axis(tables, question, found)
    as_of = window(tables, question).as_of
    return Scale(found.fit, found.draws, chosen, tables.benchmarks, as_of)


def _stderr(score: TaskScore) -> float:
    """The score's own standard error, else that of as many right-or-wrong items."""
    if score.stderr is not None:
        return score.stderr
    return math.sqrt(score.value * (1.0 - score.value) / score.n_items)


def _released(tables: Tables, model_id: str) -> date | None:
    dates = [row.released for row in tables.models.values() if row.hub_id == model_id]
    return min(dates) if dates else None


def _bridges(tables: Tables, names: Mapping[str, str], settings: Settings, *, but: str) -> list[Bridge]:
    """Every published model that was also measured here, other than the one to be placed."""
    by_hub_id = {row.hub_id: row.model for row in tables.models.values() if row.hub_id}
    with open_snapshot(settings) as snapshot:
        rows = snapshot.query("board", tasks=sorted(names))
    return [
        Bridge(
            by_hub_id[row["model_id"]],
            names[row["task"]],
            centered(row["score"], tables.benchmarks[names[row["task"]]]),
        )
        for row in rows
        if row["model_id"] in by_hub_id and row["model_id"] != but and row["limit"] is None
    ]
