"""The choices of a filter, in the order of the table that it filters."""

from __future__ import annotations

import pandas as pd

ALL = "All"  # the choice of a filter that keeps every row


def distinct(frame: pd.DataFrame, column: str) -> list[str]:
    """The values of a column, each once, in order of first appearance."""
    return list(dict.fromkeys(frame[column]))


def leaf_tasks(scores: pd.DataFrame) -> list[str]:
    """The tasks of a run that have items: all except groups of tasks."""
    return distinct(scores[~scores["task"].isin(scores["group"])], "task")
