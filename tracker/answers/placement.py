"""Place a model measured here on the index.

The arithmetic is in `tracker.frontier.placement`. Bridges are published lm-eval scores of known models, and
the whole runs of this home, which replace the published scores of the same model and task.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import cache
from itertools import islice
from typing import Any

from tracker.answers.vintages import tables_for
from tracker.frontier.bridges import (
    Bridge,
    TaskScale,
    bridge,
    index_names,
    shipped_bridges,
    task_scales,
    variant_of,
)
from tracker.frontier.facts import HarnessScore
from tracker.frontier.paired_shift import IndexShift, NoShift, ScoreShift, index_shift
from tracker.frontier.placement import (
    PLACED_SUITE,
    SMALL_PARAMS,
    THINKING_TASKS,
    Measured,
    Placement,
    Scale,
    Unplaced,
    off_scale,
    place,
)
from tracker.frontier.population import at_most, sizes, with_small_models
from tracker.frontier.question import Fitted, Question, axis, fitted, window
from tracker.frontier.tables import Tables, load_harness_scores
from tracker.records import Run, RunStatus, Task, TaskScore
from tracker.records.origins import IMPORTED
from tracker.settings import Settings
from tracker.store import open_snapshot
from tracker.suites import LOOSE, get_suite

PROTOCOL_SUITES = ("anchor-reasoning", "anchor-small", "place")  # measured as the published scores were
TRIED_RUNS = 8  # newest runs of a model among which one is looked for that can be placed
FIRST_ITEMS = (
    "not placed: an earlier version measured the first {limit} items of each task, which are not a random "
    "sample; repeat the run, which draws one"
)
NOT_ENDED = (
    "not placed: the run did not end, so its items are no random sample; repeat the command to resume it"
)


NOT_HERE = f"not placed: {IMPORTED}, so how it was asked is not known"


@cache
def protocol() -> dict[str, Task]:
    """How the scores behind the curve of each task were taken: metric, filter and shots, by its name."""
    return {task.task: task for name in PROTOCOL_SUITES for task in get_suite(name).tasks}


def place_run(
    run: Run, settings: Settings, scale: Scale | None = None, *, tables: Tables | None = None
) -> Placement | Unplaced:
    """The placement of the run's model on the index, or why there is none.

    For several runs, pass their `scale` and the `tables` that it was fitted to.
    """
    tables = tables or tables_for(settings)
    scales = task_scales(tables.benchmarks)
    if unplaced := _without_place(run, scales):
        return unplaced
    scores = [score for score in run.scores if score.group is None and not _score_differs(score, run.suite)]
    if not any(score.task in scales for score in scores):
        others = [way for score in run.scores if (way := _score_differs(score, run.suite))]
        return Unplaced(f"not placed: {others[0]}")
    published = load_harness_scores()
    counted = [score for score in scores if not run.thinks or score.task in THINKING_TASKS] or scores
    found = place(
        [_measured(score) for score in counted],
        scale or index_scale(tables, settings),
        released=release_day(tables, run.model.model_id, settings),
        bridges=_bridges(tables, published, scales, settings, but=run.model.model_id),
        variant=variant_of(run.model.model_id, published),
    )
    left = ", ".join(score.task for score in scores if score not in counted)
    if left and isinstance(found, Placement):
        return replace(found, note=f"{found.note}; answered without thinking, so not counted: {left}")
    return found


def place_runs(runs: Sequence[Run], settings: Settings) -> dict[str, Placement | Unplaced]:
    """Where each run that has scores falls, by its id."""
    tables = tables_for(settings)
    scales = task_scales(tables.benchmarks)
    scored = [run for run in runs if run.scores]
    is_needed = any(_without_place(run, scales) is None for run in scored)
    scale = index_scale(tables, settings) if is_needed else None
    return {run.run_id: place_run(run, settings, scale) for run in scored}


def paired_shift(
    shifts: Sequence[tuple[ScoreShift, str, str]], model_id: str, suite: str, settings: Settings
) -> IndexShift | NoShift:
    """What paired scores of a model and its copy are worth on the index; each with its metric and filter."""
    tables = tables_for(settings)
    scales = task_scales(tables.benchmarks)
    known = [
        (row, _differs(row.task, metric, name, suite)) for row, metric, name in shifts if row.task in scales
    ]
    if not known:
        tasks = ", ".join(row.task for row, _, _ in shifts)
        return NoShift(
            f"not given in months: the index contains none of these tasks ({tasks}); it contains those of "
            f"`--suite {PLACED_SUITE}`"
        )
    same = [row for row, way in known if not way]
    if not same:
        return NoShift(f"not given in months: {known[0][1]}")
    published = load_harness_scores()
    bridges = _bridges(tables, published, scales, settings, but=model_id)
    scale = index_scale(tables, settings)
    return index_shift(same, scale, bridges, variant=variant_of(model_id, published))


def _without_place(run: Run, scales: Mapping[str, TaskScale]) -> Unplaced | None:
    """The reason why a run cannot be placed whatever its scores are."""
    tasks = [score.task for score in run.scores if score.group is None]
    if run.origin is not None:
        return Unplaced(NOT_HERE)
    if not any(task in scales for task in tasks):
        return Unplaced(off_scale(", ".join(tasks) or "none"))
    if run.status not in (RunStatus.COMPLETE, RunStatus.PARTIAL):
        return Unplaced(NOT_ENDED)
    if run.limit is not None and run.sample_seed is None:
        return Unplaced(FIRST_ITEMS.format(limit=run.limit))
    return None


def _score_differs(score: TaskScore, suite: str) -> str:
    return _differs(score.task, score.metric, score.filter, suite)


def _differs(task: str, metric: str, filter_name: str, suite: str) -> str:
    """The way in which a score was not taken as the published ones of its task; empty if it was."""
    known = protocol().get(task)
    if known is None:
        return ""
    taken, published = f"{metric}, {filter_name}", f"{known.metric}, {known.filter}"
    if taken != published:
        return f"`{task}` was measured by `{taken}`, its published scores by `{published}`"
    if suite == LOOSE and known.num_fewshot:
        return f"`{task}` was measured without the {known.num_fewshot} examples of its published scores"
    return ""


def newest_placement(
    run_ids: Iterable[str], place_one: Callable[[str], Placement | Unplaced | None]
) -> tuple[str, Placement | Unplaced | None] | None:
    """The first of these runs, newest first, that is placed, else the newest one with its reason."""
    first: tuple[str, Placement | Unplaced | None] | None = None
    for run_id in islice(run_ids, TRIED_RUNS):
        found = place_one(run_id)
        if not isinstance(found, Unplaced):
            return run_id, found
        first = first or (run_id, found)
    return first


def equal_text(placement: Placement) -> str:
    """What the placement amounts to among small open models; empty if that is not known.

    Closed models say little about a model below all of them: their months are only a bound.
    """
    equal = placement.open_equal
    if equal is None:
        return ""
    if equal.bound == "at_most":
        return "above every open model under 10B of the data"
    if equal.bound == "at_least":
        months = f"at least {equal.months_behind:.1f} months behind the first of them"
        return f"below every open model under 10B of the data: {months}"
    low, high, side = equal.months_ci_low, equal.months_ci_high, "behind"
    if equal.months_behind < 0:
        low, high, side = -high, -low, "ahead of"
    ends = f" ({low:.1f} to {high:.1f})" if low < high else ""
    months = f"{abs(equal.months_behind):.1f} months {side} it{ends}"
    return f"equals the best open model under 10B of {equal.released:%b %Y}, {equal.model}: {months}"


def tasks_on_scale(tables: Tables) -> list[str]:
    """The tasks by which a run can be placed."""
    return sorted(task_scales(tables.benchmarks))


def index_scale(tables: Tables, settings: Settings) -> Scale:
    """The index of the newest vintage, with its draws and the dates of closed and of small open models."""
    question = Question()
    return scale_of(tables, question, fitted(tables, question, settings.frontier_path))


def scale_of(tables: Tables, question: Question, found: Fitted) -> Scale:
    """The scale of a fitted index; if the index has no draws, a placement has no interval."""
    chosen = axis(tables, question, found)
    small = at_most(
        with_small_models(chosen, tables.small_open_models), sizes(tables), max_params=SMALL_PARAMS
    )
    as_of = window(tables, question).as_of
    return Scale(found.fit, found.draws, chosen, tables.benchmarks, as_of, small)


def _measured(score: TaskScore) -> Measured:
    return Measured(score.task, score.value, _stderr(score), score.unparsed_fraction)


def _stderr(score: TaskScore) -> float:
    """The score's standard error; without one, or with all items equal, that of two more of each kind.

    The estimate of Agresti & Coull (American Statistician 52, 1998).
    """
    if score.stderr:
        return score.stderr
    n = score.n_items + 4
    p = (score.value * score.n_items + 2) / n
    return math.sqrt(p * (1.0 - p) / n)


def _is_bridge(row: Mapping[str, Any]) -> bool:
    """Whether a row of the board is a score of all items, of the weights as published, taken as published."""
    known = protocol().get(row["task"])
    is_whole = row["limit"] is None and row["n_items"] == row["n_total"] and not row["quantization"]
    return is_whole and row["suite"] != LOOSE and (known is None or known.metric in (None, row["metric"]))


def release_day(tables: Tables, model_id: str, settings: Settings) -> date | None:
    """The day of a model's release: by the index, else by a third party's estimate, else by the Hub."""
    dates = [row.released for row in tables.models.values() if row.hub_id == model_id]
    dates = dates or [row.released for row in tables.small_open_models if row.hub_id == model_id]
    if dates:
        return min(dates)
    with open_snapshot(settings) as snapshot:
        found = snapshot.query("hub_released", model_id=model_id)
    return found[0]["released"] if found else None


def _bridges(
    tables: Tables,
    published: Sequence[HarnessScore],
    scales: Mapping[str, TaskScale],
    settings: Settings,
    *,
    but: str,
) -> list[Bridge]:
    """Every model of the index with lm-eval scores, published or measured here, but the one being placed."""
    names = index_names(tables.models.values())
    with open_snapshot(settings) as snapshot:
        rows = snapshot.query("board", tasks=sorted(scales))
    whole = {
        (names[row["model_id"]], row["task"]): row
        for row in rows  # of several settings of one model, one counts
        if row["model_id"] in names and _is_bridge(row)
    }
    own = [
        bridge(model, scales[task], row["score"], variant_of(row["model_id"], published))
        for (model, task), row in whole.items()
    ]
    measured = {(row.model, row.task) for row in own}
    shipped = [
        row for row in shipped_bridges(published, names, scales) if (row.model, row.task) not in measured
    ]
    return [row for row in (*shipped, *own) if row.model != names.get(but)]
