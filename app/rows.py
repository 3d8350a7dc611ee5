"""What a table row says beyond its query: the label that tells it from its neighbours, and its rank."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

# what can differ between two rows of one model, in the order in which people would name it
TELLING = ("quantization", "dtype", "engine", "revision", "run_id")
SHORT = 8  # characters of a hash that tell it from a handful of others


def with_labels(frame: pd.DataFrame, *, within: Sequence[str] = ("suite", "task")) -> pd.DataFrame:
    """`frame` with a column `label`: the model id, and where that is not enough, what differs.

    `within` names the columns inside which labels must differ.
    """
    labels = frame["model_id"].astype(str)
    for column in TELLING:
        together = [*(frame[name] for name in within), labels]
        twice = frame.groupby(together)["model_id"].transform("size") > 1 if len(frame) else labels == ""
        if not twice.any():
            break
        part = frame[column].map(_short)
        differs = part.groupby(together).transform("nunique") > 1
        labels = labels.where(~(twice & differs), labels + " · " + part)
    return frame.assign(label=labels)


def _short(value: object) -> str:
    if not isinstance(value, str) or not value:
        return "as published"
    return value.removeprefix("sha256:")[:SHORT] if len(value) >= 40 else value


def with_ranks(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with a column `rank` inside each task, sorted by it; models that are not told apart share one.

    A model's rank is one more than the number of models whose whole interval lies above its own. That is
    careful: a paired comparison on shared items tells more pairs apart than two separate intervals do.
    """
    low = frame["ci_low"].fillna(frame["score"])
    high = frame["ci_high"].fillna(frame["score"])
    ranks = pd.Series(1, index=frame.index, dtype="int64")
    for _, group in frame.groupby(["suite", "task"]):
        lows = low[group.index].sort_values()
        ranks[group.index] = [1 + int(len(lows) - lows.searchsorted(value, side="right")) for value in high[group.index]]
    ranked = frame.assign(rank=ranks)
    return ranked.sort_values(["task", "score", "label"], ascending=[True, False, True], ignore_index=True)
