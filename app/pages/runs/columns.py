"""The columns of the queue and of failures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from streamlit import column_config as cc

from app.widgets import failure_hints
from app.widgets.columns import GIB_FORMAT, WHEN, filled_columns, in_gib

JOB_COLUMNS: Mapping[str, Any] = {
    "model_id": cc.TextColumn("Model", width=230, pinned=True),
    "suite": cc.TextColumn("Suite", width=80),
    "status": cc.TextColumn("Status", width=80),
    "rank": cc.NumberColumn("Priority", format="%.0f", width=75, help="Higher runs sooner"),
    "why": cc.TextColumn("Reasons", width=320),
    "parked_reason": cc.TextColumn("Parked because", width=250),
    "n_params": cc.NumberColumn("Parameters", format="compact", width=90),
    "predicted_gib": cc.NumberColumn("Memory needed", format=GIB_FORMAT),
    "attempts": cc.NumberColumn("Attempts", width=75),
}

FAILURE_COLUMNS: Mapping[str, Any] = {
    "model_id": cc.TextColumn("Model", width=230, pinned=True),
    "suite": cc.TextColumn("Suite", width="small"),
    "reason": cc.TextColumn("Reason", width=130),
    "detail": cc.TextColumn("Details", width=300),
    "hint": cc.TextColumn("How to fix", width=440),
    "started_at": cc.DatetimeColumn("Started", format=WHEN),
}


def job_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `queries.jobs` as `JOB_COLUMNS`."""
    return filled_columns(rows.assign(predicted_gib=in_gib(rows["predicted_bytes"])), JOB_COLUMNS)


def failure_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Failed runs as `FAILURE_COLUMNS`; a cell renders no Markdown, so commands have no backticks there."""
    hints = [failure_hints.failure_hint(reason).replace("`", "") for reason in runs["reason"]]
    return filled_columns(runs.assign(hint=hints), FAILURE_COLUMNS)
