"""Paired comparison of models measured here on the items that all answered, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, groupby
from typing import Any

import numpy as np

from tracker.answers.models import known_id
from tracker.errors import TrackerError
from tracker.records.origins import origin_of
from tracker.settings import Settings
from tracker.stats import Interval, mcnemar, mean_interval, paired_difference, smallest_detectable_difference
from tracker.store import NOTHING_MISSING, MissingItems, open_snapshot

Row = Mapping[str, Any]
RunsOf = Mapping[str, Mapping[str, str]]  # task → model → run
POWER = 0.8  # to detect `smallest_detectable_difference`
FIRST_BETTER, SECOND_BETTER = "first is better", "second is better"
NOT_SIGNIFICANT = "no significant difference"


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """First minus second on the same items, as fractions of 1, with a 95% interval."""

    n_items: int
    n_clusters: int | None  # None: items are independent
    first_value: float
    second_value: float
    difference: float
    stderr: float | None
    ci_low: float
    ci_high: float
    n_only_first: int | None  # items that only the first solved; None unless every score is 0 or 1
    n_only_second: int | None
    mcnemar_p: float | None  # exact; where clusters repeat, whole clusters are swapped
    smallest_detectable_difference: float | None

    @property
    def verdict(self) -> str:
        """The better one, if the interval excludes 0."""
        if self.ci_low > 0:
            return FIRST_BETTER
        return SECOND_BETTER if self.ci_high < 0 else NOT_SIGNIFICANT


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """A compared run, with the settings that may explain a difference."""

    run_id: str
    revision: str
    engine: str | None
    dtype: str | None
    quantization: str | None
    imported_from: str | None = None  # the tool that measured it; None: measured here
    origin_note: str | None = None  # that, its file, and when it was imported


@dataclass(frozen=True, slots=True)
class TaskComparison:
    """Two models on one task."""

    suite: str
    task: str
    metric: str
    filter: str
    paired: PairedDifference
    first_run: ComparedRun
    second_run: ComparedRun


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on every task with items that both answered."""

    first: str
    second: str
    tasks: tuple[TaskComparison, ...]
    missing: MissingItems = NOTHING_MISSING  # items that could not be read, so are not compared


def compare_named(
    first: str, second: str, settings: Settings, *, suite: str | None = None, task: str | None = None
) -> Comparison:
    """The comparison of two models as people name them: an id or the end of one, a folder, `demo`.

    Raises:
        UnknownNameError: nothing measured here is called so.
        TrackerError: they are one and the same, or have no item in common.
    """
    with open_snapshot(settings) as snapshot:
        known = snapshot.query("models")
    return compare_models(known_id(first, known), known_id(second, known), settings, suite=suite, task=task)


def compare_models(
    first: str, second: str, settings: Settings, *, suite: str | None = None, task: str | None = None
) -> Comparison:
    """The comparison of two models by their ids.

    Raises:
        TrackerError: they are the same, or have no item in common.
    """
    if first == second:
        raise TrackerError(f"`{first}` cannot be compared with itself", hint="name two different models")
    with open_snapshot(settings) as snapshot:
        answer = snapshot.read("paired_items", first=first, second=second, suite=suite, task=task)
        rows = answer.records()
        runs = {
            run["run_id"]: run for m in (first, second) for run in snapshot.query("model_runs", model_id=m)
        }
    if not rows:
        raise TrackerError(
            f"`{first}` and `{second}` have no item in common" + _limited(suite, task),
            hint=answer.missing.sentence or "measure both on the same suite with `tracker bench`",
        )
    parts = [list(group) for _, group in groupby(rows, key=_task_key)]
    tasks = tuple(_task_comparison(part, runs) for part in parts)
    return Comparison(first, second, tasks, answer.missing)


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain JSON values."""
    tasks = [
        {"suite": row.suite, "task": row.task, "metric": row.metric, "filter": row.filter}
        | asdict(row.paired)
        | {"verdict": row.paired.verdict}
        | {"first_run": asdict(row.first_run), "second_run": asdict(row.second_run)}
        for row in comparison.tasks
    ]
    return {
        "first": comparison.first,
        "second": comparison.second,
        "tasks": tasks,
        "missing_parts": comparison.missing.n_parts,
    }


def paired(
    first: Sequence[float], second: Sequence[float], *, clusters: Sequence[str] | None
) -> PairedDifference:
    """The paired difference of two models on the same items; `clusters` as returned by `item_clusters`."""
    difference = paired_difference(first, second, clusters=clusters)
    is_binary = set(first) | set(second) <= {0.0, 1.0}
    test = mcnemar(first, second, clusters=clusters) if is_binary else None
    mean_first, mean_second = sum(first) / len(first), sum(second) / len(second)
    detectable = None
    if is_binary:
        detectable = smallest_detectable_difference(
            len(first),
            score=(mean_first + mean_second) / 2,
            correlation=_correlation(first, second),
            power=POWER,
        )
    return PairedDifference(
        n_items=len(first),
        n_clusters=len(set(clusters)) if clusters is not None else None,
        first_value=mean_first,
        second_value=mean_second,
        difference=difference.value,
        stderr=difference.stderr,
        ci_low=difference.low,
        ci_high=difference.high,
        n_only_first=test.n_only_a if test else None,
        n_only_second=test.n_only_b if test else None,
        mcnemar_p=test.p_value if test else None,
        smallest_detectable_difference=detectable,
    )


def shared_score(scores: Sequence[float], *, clusters: Sequence[str] | None) -> Interval:
    """The score of one model on shared items, with its 95% interval."""
    return mean_interval(scores, clusters=clusters)


def item_clusters(clusters: Sequence[str | None], doc_ids: Sequence[int]) -> list[str] | None:
    """The cluster of each item, one of its own if it has none; None if no two items share a cluster."""
    named = [
        cluster if cluster is not None else f"item {doc_id}"
        for cluster, doc_id in zip(clusters, doc_ids, strict=True)
    ]
    return named if len(set(named)) < len(named) else None


def shared_suites(runs: Sequence[Row], models: Sequence[str]) -> dict[str, RunsOf]:
    """For each suite, the tasks that all models have by the same metric and filter, with the runs to compare.

    `runs`: rows of the read `comparable_runs`; for each suite the newest version with such a task.
    """
    by_suite: dict[tuple[str, int], dict[tuple[str, str, str], dict[str, str]]] = {}
    for row in runs:
        tasks = by_suite.setdefault((row["suite"], row["suite_version"]), {})
        of_model = tasks.setdefault((row["task"], row["metric"], row["filter"]), {})
        of_model[row["model_id"]] = row["run_id"]
    found: dict[str, RunsOf] = {}
    for (suite, _), tasks in by_suite.items():
        shared = {task: of_model for (task, *_), of_model in tasks.items() if set(of_model) >= set(models)}
        if shared:
            found.setdefault(suite, shared)
    return found


def newest_comparable(models: Sequence[str], runs: Sequence[Row]) -> tuple[str, ...]:
    """The first two of these models that share a suite; the first two of all if none do.

    `models`: newest first; `runs`: their rows of the read `comparable_runs`.
    """
    pairs = sorted(combinations(range(len(models)), 2), key=lambda pair: pair[::-1])
    for first, second in pairs:
        if shared_suites(runs, (models[first], models[second])):
            return models[first], models[second]
    return tuple(models[:2])


def tasks_by_run(runs_of: RunsOf, model: str) -> dict[str, list[str]]:
    """The runs of one model to compare, each with its tasks."""
    found: dict[str, list[str]] = {}
    for task, of_model in runs_of.items():
        found.setdefault(of_model[model], []).append(task)
    return found


def _task_comparison(rows: Sequence[Row], runs: Mapping[str, Row]) -> TaskComparison:
    first = rows[0]
    clusters = item_clusters([row["cluster"] for row in rows], [row["doc_id"] for row in rows])
    return TaskComparison(
        suite=first["suite"],
        task=first["task"],
        metric=first["metric"],
        filter=first["filter"],
        paired=paired(
            [float(row["first_score"]) for row in rows],
            [float(row["second_score"]) for row in rows],
            clusters=clusters,
        ),
        first_run=_subject(runs[first["first_run_id"]]),
        second_run=_subject(runs[first["second_run_id"]]),
    )


def _subject(run: Row) -> ComparedRun:
    quantization = run["quantization"] or run["model_quantization"]
    origin = origin_of(run)
    return ComparedRun(
        run["run_id"],
        run["revision"],
        run["engine"],
        run["dtype"],
        quantization,
        imported_from=None if origin is None else origin.tool,
        origin_note=None if origin is None else origin.sentence,
    )


def _task_key(row: Row) -> tuple[Any, ...]:
    runs = (row["first_run_id"], row["second_run_id"])
    return (row["suite"], row["suite_version"], row["task"], *runs)


def _limited(suite: str | None, task: str | None) -> str:
    parts = [f"suite `{suite}`"] if suite else []
    parts += [f"task `{task}`"] if task else []
    return " in " + ", ".join(parts) if parts else ""


def _correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Correlation of the two models' item scores; 0 if one of them is always right or always wrong."""
    if len(set(first)) < 2 or len(set(second)) < 2:
        return 0.0
    return float(np.clip(np.corrcoef(first, second)[0, 1], -1.0, 1.0))
