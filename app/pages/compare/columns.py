"""The columns of a comparison: paired differences, and items that only some models solved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from streamlit import column_config as cc

from app.widgets.columns import filled_columns

DIFFERENCE_COLUMNS: Mapping[str, Any] = {
    "task": cc.TextColumn("Task", width=150, pinned=True),
    "first": cc.TextColumn("First", width=190),
    "second": cc.TextColumn("Second", width=190),
    "difference": cc.TextColumn("First − second", width=110, help="In percentage points"),
    "interval": cc.TextColumn("95% interval", width=140),
    "says": cc.TextColumn("Verdict", width=190),
    "n_only_first": cc.NumberColumn("Only first", width=80, help="Items solved by the first model only"),
    "n_only_second": cc.NumberColumn("Only second", width=90, help="Items solved by the second model only"),
    "p_value": cc.NumberColumn(
        "McNemar p",
        format="%.3f",
        width=90,
        help="Exact test, two-sided; items that share a passage count together",
    ),
    "n_items": cc.NumberColumn("Items", width=65),
}

SPLIT_COLUMNS: Mapping[str, Any] = {
    "task": cc.TextColumn("Task", width=150, pinned=True),
    "doc_id": cc.NumberColumn("Item", width=70),
    "solved_by": cc.TextColumn("Solved by", width=380),
    "missed_by": cc.TextColumn("Missed by", width=380),
}


def difference_table(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of `rows.difference_rows` as `DIFFERENCE_COLUMNS`, in points."""
    ends = zip(rows["ci_low"], rows["ci_high"], strict=True)
    shown = rows.assign(
        difference=[f"{100 * value:+.1f}" for value in rows["difference"]],
        interval=[f"{100 * low:+.1f} to {100 * high:+.1f}" for low, high in ends],
    )
    return filled_columns(shown, DIFFERENCE_COLUMNS)
