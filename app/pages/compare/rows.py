"""Compare two to four models on their shared items: scores, paired differences, solved items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from tracker.answers.comparison import RunsOf, item_clusters, paired, shared_score, tasks_by_run

LEAST, MOST = 2, 4  # models
SHOWN_ITEMS = 400  # columns of the grid: more are thinner than a pixel on a phone


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
    """The scores of one model, each task from the run that counts for it."""
    parts = [
        items[run_id][items[run_id]["task"].isin(tasks)]
        for run_id, tasks in tasks_by_run(runs_of, model).items()
    ]
    return pd.concat(parts, ignore_index=True)


def score_rows(shared: pd.DataFrame, models: Sequence[str]) -> pd.DataFrame:
    """One row per task and model: `task model score ci_low ci_high n_items`."""
    found = []
    for task, rows in shared.groupby("task", sort=False):
        for model in models:
            interval = shared_score(rows[model].tolist(), clusters=_clusters(rows))
            ends = {"ci_low": interval.low, "ci_high": interval.high, "n_items": len(rows)}
            found.append({"task": task, "model": model, "score": interval.value} | ends)
    return pd.DataFrame(found)


def difference_rows(shared: pd.DataFrame, models: Sequence[str]) -> pd.DataFrame:
    """One row per task and pair: `first` minus `second`, its 95% interval, items that only one solved."""
    return pd.DataFrame(
        [
            {"task": task, **_difference(rows, first, second)}
            for task, rows in shared.groupby("task", sort=False)
            for first, second in combinations(models, 2)
        ]
    )


def _difference(rows: pd.DataFrame, first: str, second: str) -> dict[str, object]:
    found = paired(rows[first].tolist(), rows[second].tolist(), clusters=_clusters(rows))
    return {
        "first": first,
        "second": second,
        "difference": found.difference,
        "ci_low": found.ci_low,
        "ci_high": found.ci_high,
        "n_items": found.n_items,
        "n_only_first": found.n_only_first,
        "n_only_second": found.n_only_second,
        "p_value": found.mcnemar_p,
        "says": found.verdict,
    }


def _clusters(rows: pd.DataFrame) -> list[str] | None:
    named = rows["cluster"].astype(object).where(rows["cluster"].notna(), None)
    return item_clusters(named.tolist(), rows["doc_id"].tolist())


def solved_rows(shared: pd.DataFrame, models: Sequence[str]) -> pd.DataFrame:
    """The items of one task, those solved by most models first, with `place` and `n_solved`."""
    right = shared[list(models)] >= 1.0
    # within the same number, those that the same models solved stand together
    order = np.lexsort((shared["doc_id"], *(~right[model] for model in reversed(models)), -right.sum(axis=1)))
    kept = shared.iloc[order].reset_index(drop=True)
    return kept.assign(place=kept.index, n_solved=right.iloc[order].sum(axis=1).to_numpy())


def split_rows(shared: pd.DataFrame, models: Sequence[str]) -> pd.DataFrame:
    """The items that only some models solved: `task doc_id solved_by missed_by`."""
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
