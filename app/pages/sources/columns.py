"""The columns of sources and benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from streamlit import column_config as cc

from app.widgets.columns import WHEN, filled_columns
from tracker.records.published import OutcomeStatus

SOURCE_COLUMNS: Mapping[str, Any] = {
    "title": cc.TextColumn("Source", width=230, pinned=True),
    "license": cc.TextColumn("License", width=260),
    "completed_at": cc.DatetimeColumn("Last complete", format=WHEN),
    "status": cc.TextColumn("Last status", width=150),
    "is_overdue": cc.CheckboxColumn("Overdue", width=75),
    "n_seen": cc.NumberColumn("Records", format="localized", width=85),
    "n_problems": cc.NumberColumn(
        "Left out", format="localized", width=85, help="Entries of the last answer that could not be read"
    ),
    "reason": cc.TextColumn("Details", width=260),
    "url": cc.LinkColumn("URL", width=220),
    "is_private": cc.CheckboxColumn(
        "Private",
        width=75,
        help="Its license does not allow redistribution, so its data stays on this machine",
    ),
}

TERMS_COLUMNS: Mapping[str, Any] = {
    "measured_by": cc.TextColumn("Measured by", width=300, pinned=True),
    "license": cc.TextColumn("License", width=200),
    "redistribution": cc.TextColumn("Redistribution", width=110),
    "n_scores": cc.NumberColumn("Scores", format="localized", width=75),
    "benchmarks": cc.TextColumn("Benchmarks", width=260),
    "url": cc.LinkColumn("URL", width=220),
    "basis": cc.TextColumn("Details", width=320),
}

BENCHMARK_COLUMNS: Mapping[str, Any] = {
    "benchmark": cc.TextColumn("Benchmark", width=220, pinned=True),
    "domain": cc.TextColumn("Domain", width=100),
    "is_private": cc.CheckboxColumn("Private items", width=95),
    "chance": cc.NumberColumn("Chance", format="percent", width=75, help="The score of guessing"),
    "n_items": cc.NumberColumn("Items", width=70),
    "lm_eval_task": cc.TextColumn("Local task", width=140, help="The task that measures this benchmark here"),
    "url": cc.LinkColumn("URL", width=200),
    "description": cc.TextColumn("Description", width=500),
}


def source_table(rows: pd.DataFrame, health: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The newest ingest of each source as `SOURCE_COLUMNS`."""
    by_source = {row["source"]: row for row in health}
    shown = rows.assign(
        completed_at=[by_source[name]["completed_at"] for name in rows["source"]],
        is_overdue=[bool(by_source[name]["is_overdue"]) for name in rows["source"]],
        status=[OutcomeStatus(status).label for status in rows["status"]],
    )
    return filled_columns(shown, SOURCE_COLUMNS)
