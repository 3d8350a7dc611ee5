"""Two to four models on the items that all of them answered: scores, paired differences, who solved what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from tracker.stats import mcnemar, mean_interval, paired_difference

LEAST, MOST = 2, 4  # models
SHOWN_ITEMS = 400  # columns of the grid: more are thinner than a pixel on a phone
RunsOf = Mapping[str, Mapping[str, str]]  # task → model → run


def shared_suites(runs: Sequence[Mapping[str, Any]], models: Sequence[str]) -> dict[str, RunsOf]:
    """Per suite the tasks that all models were read on by one metric and filter, with the runs that count.

    `runs`: rows of `queries.comparable_runs`; of a suite the newest version that has such a task.
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


def tasks_by_run(runs_of: RunsOf, model: str) -> dict[str, list[str]]:
    """The runs of one model that count, each with the tasks that it counts for."""
    found: dict[str, list[str]] = {}
    for task, of_model in runs_of.items():
        found.setdefault(of_model[model], []).append(task)
    return found


def shared_scores(items: Mapping[str, pd.DataFrame], runs_of: RunsOf, models: Sequence[str]) -> pd.DataFrame:
    """One row per item that all models answered: `task doc_id cluster` and a column per model.

    `items` has for each run the rows of `queries.item_scores`.
    """
    keys = ["task", "doc_id", "doc_hash"]
    first, *others = models
    whole = _answered(items, runs_of, first).drop_duplicates(keys).rename(columns={"score": first})
    for other in others:
        part = _answered(items, runs_of, other).drop_duplicates(keys).rename(columns={"score": other})
        whole = whole.merge(part[[*keys, other]], on=keys)
    places = {task: place for place, task in enumerate(runs_of)}
    in_order = whole.assign(place=whole["task"].map(places))
    return in_order.sort_values(["place", "doc_id"], ignore_index=True)


def _answered(items: Mapping[str, pd.DataFrame], runs_of: RunsOf, model: str) -> pd.DataFrame:
    """What one model scored, each task as in the run that counts for it."""
    parts = [
        items[run_id][items[run_id]["task"].isin(tasks)]
        for run_id, tasks in tasks_by_run(runs_of, model).items()
    ]
    return pd.concat(parts, ignore_index=True)


def scores(shared: pd.DataFrame, models: Sequence[str]) -> pd.DataFrame:
    """One row per task and model: `task model score ci_low ci_high n_items`."""
    found = []
    for task, rows in shared.groupby("task", sort=False):
        for model in models:
            interval = mean_interval(rows[model].tolist(), clusters=_clusters(rows))
            ends = {"ci_low": interval.low, "ci_high": interval.high, "n_items": len(rows)}
            found.append({"task": task, "model": model, "score": interval.value} | ends)
    return pd.DataFrame(found)


def differences(shared: pd.DataFrame, models: Sequence[str]) -> pd.DataFrame:
    """One row per task and pair: `first` minus `second`, its 95 % interval, who alone solved how many."""
    return pd.DataFrame(
        [
            {"task": task, **_difference(rows, first, second)}
            for task, rows in shared.groupby("task", sort=False)
            for first, second in combinations(models, 2)
        ]
    )


def _difference(rows: pd.DataFrame, first: str, second: str) -> dict[str, object]:
    a, b = rows[first].tolist(), rows[second].tolist()
    difference = paired_difference(a, b, clusters=_clusters(rows))
    is_binary = set(a) | set(b) <= {0.0, 1.0}
    test = mcnemar(a, b) if is_binary else None
    return {
        "first": first,
        "second": second,
        "difference": difference.value,
        "ci_low": difference.low,
        "ci_high": difference.high,
        "n_items": len(rows),
        "n_only_first": test.n_only_a if test else None,
        "n_only_second": test.n_only_b if test else None,
        "p_value": test.p_value if test else None,
        "says": _says(difference.low, difference.high),
    }


def _says(low: float, high: float) -> str:
    if low > 0:
        return "first is better"
    return "second is better" if high < 0 else "not told apart"


def _clusters(rows: pd.DataFrame) -> list[str] | None:
    """What belongs together, if the items say so."""
    if rows["cluster"].isna().all():
        return None
    alone = "item " + rows["doc_id"].astype(str)
    return list(rows["cluster"].where(rows["cluster"].notna(), alone))


def solved(shared: pd.DataFrame, models: Sequence[str]) -> pd.DataFrame:
    """The items of one task, those that most models solved first: with `place` and `n_solved`."""
    right = shared[list(models)] >= 1.0
    # within the same number, those that the same models solved stand together
    order = np.lexsort((shared["doc_id"], *(~right[model] for model in reversed(models)), -right.sum(axis=1)))
    kept = shared.iloc[order].reset_index(drop=True)
    return kept.assign(place=kept.index, n_solved=right.iloc[order].sum(axis=1).to_numpy())


def split(shared: pd.DataFrame, models: Sequence[str]) -> pd.DataFrame:
    """The items that some models solved and others did not: `task doc_id solved_by missed_by`."""
    right = shared[list(models)] >= 1.0
    mixed = shared[right.any(axis=1) & ~right.all(axis=1)]
    by = right.loc[mixed.index]
    return pd.DataFrame(
        {
            "task": mixed["task"],
            "doc_id": mixed["doc_id"],
            "solved_by": [", ".join(m for m in models if row[m]) for _, row in by.iterrows()],
            "missed_by": [", ".join(m for m in models if not row[m]) for _, row in by.iterrows()],
        }
    ).reset_index(drop=True)
