"""The columns of the table of all models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from streamlit import column_config as cc

from app.widgets import safe_text
from app.widgets.index_columns import months_phrase
from tracker.frontier.definitions import STANDING_LAG
from tracker.memory_estimate import STORED_NOTE

NEEDED = f"For the weights, 4,096 tokens and the engine; {STORED_NOTE}"
MODEL_COLUMNS: Mapping[str, Any] = {
    "model": cc.TextColumn("Model", width=230, pinned=True),
    "index": cc.NumberColumn("Index", format="%.1f", width=65, help="Capability index"),
    "interval": cc.TextColumn("90% interval", width=105),
    "behind": cc.TextColumn("Behind closed models", width=165, help="At its release (G3)"),
    "access": cc.TextColumn("Weights", width=75),
    "organization": cc.TextColumn("Organization", width=130),
    "released": cc.DateColumn("Released", width=95),
    "parameters": cc.TextColumn("Parameters", width=90),
    "needed_gb_4": cc.NumberColumn("GB at 4 bits", format="%.1f", width=90, help=NEEDED),
    "needed_gb_8": cc.NumberColumn("GB at 8 bits", format="%.1f", width=90, help=NEEDED),
    "needed_gb_16": cc.NumberColumn("GB at 16 bits", format="%.1f", width=95, help=NEEDED),
    "price_out": cc.NumberColumn("$ per M output", format="%.2f", width=105, help="Million output tokens"),
    "thinks": cc.TextColumn("Thinks", width=70, help="Before it answers; empty where that is not stated"),
    "license": cc.TextColumn(
        "License", width=110, help="Of open weights, as the Hub states it; `tracker ingest` fetches more"
    ),
    "max_context": cc.NumberColumn("Context", format="localized", width=90),
    "basis": cc.TextColumn("Index from", width=150),
    "measured": cc.TextColumn("Measured here", width=110),
}


def model_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of `listed_models.frame` as the columns of `MODEL_COLUMNS`."""
    months = zip(frame["months_behind"], frame["months_bound"], strict=True)
    ends = zip(frame["ci_low"], frame["ci_high"], strict=True)
    shown = frame.assign(
        index=frame["index"].round(1),
        interval=[safe_text.ends(low, high) for low, high in ends],
        behind=[months_phrase(value, bound, STANDING_LAG) for value, bound in months],
        parameters=[safe_text.count(value) for value in frame["n_params"]],
        thinks=[{True: "yes", False: "no"}.get(value, "") for value in frame["is_reasoning"]],
        measured=frame["is_measured"].map({True: "yes", False: ""}),
    )
    return shown[list(MODEL_COLUMNS)]
