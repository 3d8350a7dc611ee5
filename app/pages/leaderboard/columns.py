"""The columns of the leaderboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from streamlit import column_config as cc

from app.widgets import safe_text
from app.widgets.columns import (
    GIB_FORMAT,
    PEAK_HELP,
    SHOWN_DECIMALS,
    WHEN,
    filled_columns,
    in_gib,
    peak_in_gib,
)
from app.widgets.index_columns import INDEX_TABLE_COLUMNS, with_index_texts

LEADERBOARD_COLUMNS: Mapping[str, Any] = {
    "rank": cc.NumberColumn(
        "Rank",
        width=55,
        help="Models whose scores are not significantly different share a rank",
        pinned=True,
    ),
    "label": cc.TextColumn("Model", width=230, pinned=True),
    "score": cc.ProgressColumn("Score", format="percent", min_value=0.0, max_value=1.0, width=130),
    "interval": cc.TextColumn("95% interval", width=120),
    "basis": cc.TextColumn(
        "Basis",
        width=120,
        help="Measured on this machine, imported from another program, or claimed by a source",
    ),
    "origin_note": cc.TextColumn("Imported from", width=420),
    **INDEX_TABLE_COLUMNS,
    "n_params": cc.NumberColumn("Parameters", format="compact", width=90),
    "license": cc.TextColumn("License", width=95),
    "organization": cc.TextColumn("Organization", width=110),
    "needed_gib": cc.NumberColumn(
        "Memory needed",
        format=GIB_FORMAT,
        help="Estimate: weights, 4,096 tokens of context and engine overhead",
    ),
    "tokens_per_s": cc.NumberColumn("Tokens/s", format="%.0f", help="Output tokens per second of generation"),
    "device": cc.TextColumn("Device", width=110, help="On which the speed was measured"),
    "peak_memory_gib": cc.NumberColumn("Peak memory", format=GIB_FORMAT, help=PEAK_HELP),
    "n_items": cc.NumberColumn("Items", width=65),
    "truncated_fraction": cc.NumberColumn(
        "Truncated", format="percent", help="Fraction of answers cut off by the token limit"
    ),
    "completed_value": cc.NumberColumn(
        "Completed", format="percent", help="Score on the answers that ended by themselves, with text"
    ),
    "engine": cc.TextColumn("Engine", width=100),
    "status": cc.TextColumn(
        "Status", width=90, help="A partial run was stopped on purpose or could not run every task"
    ),
    "measured_at": cc.DatetimeColumn("Measured", format=WHEN, help="In your browser's time zone"),
}


def leaderboard_table(rows: pd.DataFrame, other_tasks: Sequence[str]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Rows of `ranked_rows` as shown, with their configuration; other tasks follow the first."""
    ends = zip(rows["ci_low"], rows["ci_high"], strict=True)
    shown = with_index_texts(rows).assign(
        interval=[safe_text.interval(low, high) for low, high in ends],
        score=rows["score"].round(SHOWN_DECIMALS),
        truncated_fraction=rows["truncated_fraction"].round(SHOWN_DECIMALS),
        completed_value=rows["completed_value"].astype(float).round(SHOWN_DECIMALS),
        needed_gib=in_gib(rows["needed_bytes"]),
        peak_memory_gib=peak_in_gib(rows),
    )
    config: dict[str, Any] = {}
    for name, column in LEADERBOARD_COLUMNS.items():
        config[name] = column
        if name == "interval":
            config |= _task_columns(other_tasks)
    for name in other_tasks:
        pair = [f"score of {name}", f"± of {name}"]
        shown[pair] = shown[pair].round(SHOWN_DECIMALS)
    return filled_columns(shown, config), config


def _task_columns(tasks: Sequence[str]) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for name in tasks:
        config[f"score of {name}"] = cc.NumberColumn(name, format="percent", width=110)
        config[f"± of {name}"] = cc.NumberColumn(
            "±", format="percent", width=70, help=f"Half the width of the 95% interval of {name}"
        )
    return config
