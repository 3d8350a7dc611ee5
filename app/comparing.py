"""Two to four models on the items that all of them answered: scores, paired differences, who solved what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from tracker.stats import mcnemar, mean_interval, paired_difference

LEAST, MOST = 2, 4  # models
SHOWN_ITEMS = 400  # columns of the grid: more are thinner than a pixel on a phone
CHANCE_P = 0.05


def shared_scores(pairs: Mapping[str, pd.DataFrame], first: str) -> pd.DataFrame:
    """One row per item that all models answered: `suite task doc_id cluster` and a column per model.

    `pairs` has for each other model the rows of `paired_items` with `first`.
    """
    keys = ["suite", "task", "doc_id"]
    whole: pd.DataFrame | None = None
    for other, rows in pairs.items():
        if rows.empty:
            return pd.DataFrame(columns=[*keys, "cluster", first, *pairs])
        part = rows.rename(columns={"first_score": first, "second_score": other})
        part = part[[*keys, "cluster", first, other]].drop_duplicates(keys)
        whole = part if whole is None else whole.merge(part[[*keys, other]], on=keys)
    assert whole is not None  # there are at least two models
    return whole.reset_index(drop=True)


def scores(shared: pd.DataFrame, models: Sequence[str]) -> pd.DataFrame:
    """One row per task and model: `task model score ci_low ci_high n_items`, tasks in the order of the items."""
    found = []
    for (suite, task), rows in shared.groupby(["suite", "task"], sort=False):
        for model in models:
            clusters = _clusters(rows)
            interval = mean_interval(rows[model].tolist(), clusters=clusters)
            found.append(
                {"suite": suite, "task": task, "model": model, "score": interval.value, "ci_low": interval.low,
                 "ci_high": interval.high, "n_items": len(rows)}
            )  # fmt: skip
    return pd.DataFrame(found)


def differences(shared: pd.DataFrame, models: Sequence[str]) -> pd.DataFrame:
    """One row per task and pair: `first` minus `second` with its 95 % interval, and who alone solved how many."""
    found = []
    for (suite, task), rows in shared.groupby(["suite", "task"], sort=False):
        for place, first in enumerate(models):
            for second in models[place + 1 :]:
                found.append({"suite": suite, "task": task, **_difference(rows, first, second)})
    return pd.DataFrame(found)


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
    """The items of one task from the one that most solved to the one that fewest did: `doc_id place` per model."""
    right = shared[list(models)] >= 1.0
    # within the same number, those that the same models solved stand together
    order = np.lexsort((shared["doc_id"], *(~right[model] for model in reversed(models)), -right.sum(axis=1)))
    kept = shared.iloc[order].reset_index(drop=True)
    return kept.assign(place=kept.index, n_solved=right.iloc[order].sum(axis=1).to_numpy())


def split(shared: pd.DataFrame, models: Sequence[str]) -> pd.DataFrame:
    """The items that some of the models solved and others did not, with who did: `doc_id solved_by missed_by`."""
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
