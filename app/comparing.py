"""Two to four models on the items that all of them answered: scores, paired differences, who solved what."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from tracker.stats import mcnemar, mean_interval, paired_difference

LEAST, MOST = 2, 4  # models
SHOWN_ITEMS = 400  # columns of the grid: more are thinner than a pixel on a phone


def shared_suites(runs: Sequence[Mapping[str, Any]], models: Sequence[str]) -> dict[str, dict[str, str]]:
    """Per suite that all models were measured with, the run of each model that counts.

    `runs`: rows of `queries.comparable_runs`; of a suite the newest version that all have.
    """
    by_suite: dict[tuple[str, int], dict[str, str]] = {}
    for row in runs:
        by_suite.setdefault((row["suite"], row["suite_version"]), {})[row["model_id"]] = row["run_id"]
    found: dict[str, dict[str, str]] = {}
    for (suite, _), of_model in by_suite.items():
        if set(of_model) >= set(models):
            found.setdefault(suite, of_model)
    return found


def shared_tasks(runs: Sequence[Mapping[str, Any]], run_ids: Sequence[str]) -> list[str]:
    """The tasks that all of these runs read by the same metric and filter."""
    read = [
        {(row["task"], row["metric"], row["filter"]) for row in runs if row["run_id"] == run_id}
        for run_id in run_ids
    ]
    return [task for task, _, _ in set.intersection(*read)] if read else []


def shared_scores(items: Mapping[str, pd.DataFrame], tasks: Collection[str]) -> pd.DataFrame:
    """One row per item that all models answered: `task doc_id cluster` and a column per model.

    `items` has for each model the rows of `queries.item_scores`.
    """
    keys = ["task", "doc_id", "doc_hash"]
    first, *others = items
    whole = items[first].rename(columns={"score": first}).drop_duplicates(keys)
    for other in others:
        part = items[other].drop_duplicates(keys).rename(columns={"score": other})
        whole = whole.merge(part[[*keys, other]], on=keys)
    return whole[whole["task"].isin(tasks)].sort_values(["place", "doc_id"], ignore_index=True)


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
