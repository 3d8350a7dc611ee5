"""What a table row says beyond its query: its label, its rank, and whether a filter keeps it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

# what can differ between two rows of one model, in the order in which people would name it
SETTINGS = ("quantization", "dtype", "engine", "asked_max_model_len", "thinking", "revision")
TELLING = (*SETTINGS, "run_id")
ALL = "All"  # the choice of a filter that keeps every row
RANK_NOTE = (
    "A rank counts the models whose whole interval lies higher, so models that are not told apart share it."
    " There is no average over tasks: they do not measure the same thing."
)
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
        part = frame[column].map(WORDS.get(column, _short))
        differs = part.groupby(together).transform("nunique") > 1
        labels = labels.where(~(twice & differs), labels + " · " + part)
    return frame.assign(label=labels)


def _short(value: object) -> str:
    if not isinstance(value, str) or not value:
        return "as published"
    return value.removeprefix("sha256:")[:SHORT] if len(value) >= 40 else value


def _context(tokens: float | None) -> str:
    return "any context" if tokens is None or pd.isna(tokens) else f"{tokens:,.0f} tokens of context"


def _thinking(value: object) -> str:
    if not isinstance(value, bool):
        return "thinking by default"
    return "thinking" if value else "no thinking"


WORDS: Mapping[str, Callable[[Any], str]] = {"asked_max_model_len": _context, "thinking": _thinking}


def with_ranks(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with a column `rank`, the tasks in the order in which they come, inside each the best first.

    A model's rank is one more than the number of models whose whole interval lies above its own, so those
    that are not told apart share one. That is careful: a paired comparison on shared items tells more pairs
    apart than two separate intervals do.
    """
    low = frame["ci_low"].fillna(frame["score"])
    high = frame["ci_high"].fillna(frame["score"])
    ranks = pd.Series(1, index=frame.index, dtype="int64")
    for _, group in frame.groupby(["suite", "task"]):
        lows = low[group.index].sort_values()
        ranks[group.index] = 1 + len(lows) - lows.searchsorted(high[group.index], side="right")
    places = {task: place for place, task in enumerate(distinct(frame, "task"))}
    ranked = frame.assign(rank=ranks, place=frame["task"].map(places))
    in_order = ranked.sort_values(
        ["place", "score", "label"], ascending=[True, False, True], ignore_index=True
    )
    return in_order.drop(columns="place")


def distinct(frame: pd.DataFrame, column: str) -> list[str]:
    """The values of a column in the order in which they first appear."""
    return list(dict.fromkeys(frame[column]))


def leaf_tasks(scores: pd.DataFrame) -> list[str]:
    """The tasks of a run that have items of their own: all but the groups of others."""
    return distinct(scores[~scores["task"].isin(scores["group"])], "task")
