"""The columns of the list of benchmarks and of the scores on one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from streamlit import column_config as cc

from app.widgets import safe_text
from tracker.frontier.definitions import STANDING_LAG

LIST_COLUMNS: Mapping[str, Any] = {
    "benchmark": cc.TextColumn("Benchmark", width=230, pinned=True),
    "domain": cc.TextColumn("Domain", width=105),
    "solved": cc.ProgressColumn(
        "Solved",
        format="percent",
        min_value=0.0,
        max_value=1.0,
        width=120,
        help="The best score, from guessing (0%) to the highest possible (100%)",
    ),
    "behind": cc.TextColumn("Open models behind", width=225, help=f"{STANDING_LAG}, by release dates"),
    "best_open": cc.TextColumn("Best open", width=190),
    "best_open_score": cc.NumberColumn("Score", format="percent", width=75),
    "best_closed": cc.TextColumn("Best closed", width=190),
    "best_closed_score": cc.NumberColumn("Score", format="percent", width=75),
    "items": cc.TextColumn("Items", width=110),
    "n_models": cc.NumberColumn("Models", width=75),
    "lm_eval_task": cc.TextColumn("Local task", width=170, help="The task that measures it here"),
    "asks": cc.TextColumn("What it asks", width=520),
}
SCORE_COLUMNS: Mapping[str, Any] = {
    "model": cc.TextColumn("Model", width=220, pinned=True),
    "score": cc.ProgressColumn("Score", format="percent", min_value=0.0, max_value=1.0, width=130),
    "interval": cc.TextColumn("90% interval", width=110),
    "access": cc.TextColumn("Weights", width=80),
    "released": cc.DateColumn("Released", width=95),
    "measured_by": cc.TextColumn("Measured by", width=210),
    "evaluated_on": cc.DateColumn("Evaluated", width=95),
    "reported_by": cc.TextColumn("Reported by", width=110),
    "license": cc.TextColumn("License of the score", width=150),
    "source_url": cc.LinkColumn("Link", width=200),
    "model_version": cc.TextColumn("Version", width=220),
}


def list_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of `benchmarks.frame` as the columns of `LIST_COLUMNS`."""
    lags = zip(frame["months_behind"], frame["is_stale"], strict=True)
    behind = ["" if pd.isna(months) else lag_phrase(months, is_stale=is_stale) for months, is_stale in lags]
    shown = frame.assign(
        behind=behind,
        items=[
            items_phrase(None if pd.isna(n) else int(n), is_private=private)
            for n, private in zip(frame["n_items"], frame["is_private"], strict=True)
        ],
    )
    return shown[list(LIST_COLUMNS)]


def score_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of `benchmarks.score_frame` as the columns of `SCORE_COLUMNS`."""
    ends = zip(frame["ci_low"], frame["ci_high"], strict=True)
    shown = frame.assign(
        interval=[safe_text.interval(low, high) for low, high in ends],
        reported_by=frame["reported_by"].str.replace("_", " "),
    )
    return shown[list(SCORE_COLUMNS)]


def lag_phrase(months: float, *, is_stale: bool) -> str:
    """`4.8 months`, `2.1 months ahead`; whether open models were not scored lately."""
    side = " ahead" if months < 0 else ""
    return f"{safe_text.months(abs(months))}{side}{' (no new open model)' if is_stale else ''}"


def items_phrase(n_items: int | None, *, is_private: bool) -> str:
    """The number of items, and whether they are public: `198, public`."""
    kind = "private" if is_private else "public"
    return kind if n_items is None else f"{n_items:,}, {kind}"
