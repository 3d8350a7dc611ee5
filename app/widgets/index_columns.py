"""The columns of the capability index and of months behind, in every table of models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from streamlit import column_config as cc

from app.widgets import safe_text

BOUNDS = {"at_least": "at least ", "at_most": "at most "}
INDEX_TABLE_COLUMNS: Mapping[str, Any] = {
    "index": cc.NumberColumn("Index", format="%.1f", width=65, help="Capability index"),
    "index_interval": cc.TextColumn("Index: 90% interval", width=140),
    "index_basis": cc.TextColumn(
        "Index from",
        width=150,
        help="Published scores, a run here that can be placed, or a third party's estimate (TECI)",
    ),
    "behind": cc.TextColumn(
        "Behind closed models",
        width=165,
        help="With the id of the definition: G3 at the model's release, G6 on the day of the data",
    ),
    "months_as_of": cc.TextColumn("As of", width=95, help="Day of the published data"),
}


def with_index_texts(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `with_index` with `index_interval` and `behind` as texts."""
    ends = zip(rows["index_ci_low"], rows["index_ci_high"], strict=True)
    months = zip(rows["months_behind"], rows["months_bound"], rows["months_definition"], strict=True)
    is_placed = rows["index"].notna()
    return rows.assign(
        index=rows["index"].round(1),
        index_interval=pd.Series([safe_text.ends(*pair) for pair in ends], rows.index).where(is_placed),
        behind=pd.Series([months_phrase(*each) for each in months], rows.index).where(is_placed),
        months_as_of=rows["months_as_of"].map(str, na_action="ignore"),
    )


def months_phrase(months: float | None, bound: str | None, definition: str | None) -> str:
    """Months with the bound and the id of the definition: `at least 40.9 months (G6)`."""
    if safe_text.known(months) is None:
        return safe_text.NOTHING
    return f"{BOUNDS.get(bound or '', '')}{safe_text.months(months)} ({definition})"
