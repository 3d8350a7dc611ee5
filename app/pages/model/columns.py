"""The columns of the tables of the model page: published scores, claims, claims beside measurements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamlit import column_config as cc

METRIC_COLUMNS: Mapping[str, Any] = {
    "value": cc.NumberColumn("Value", format="%.5g"),
    "stderr": cc.NumberColumn("Standard error", format="%.3g"),
    "n_items": cc.NumberColumn("Items", format="localized"),
    "higher_is_better": cc.CheckboxColumn("Higher is better"),
}
ABILITY_COLUMNS: Mapping[str, Any] = {
    "area": cc.TextColumn("Area", width=200, pinned=True),
    "value": cc.NumberColumn("Mean score, chance at 0", format="%.1f%%"),
    "ci_low": cc.NumberColumn("95% from", format="%.1f%%"),
    "ci_high": cc.NumberColumn("to", format="%.1f%%"),
    "n_items": cc.NumberColumn("Items", format="localized"),
    "tasks": cc.NumberColumn("Tasks"),
    "measured_on": cc.TextColumn("Oldest run"),
}
PUBLISHED_COLUMNS: Mapping[str, Any] = {
    "benchmark": cc.TextColumn("Benchmark", width=210, pinned=True),
    "score": cc.ProgressColumn("Score", format="percent", min_value=0.0, max_value=1.0, width=130),
    "model_version": cc.TextColumn("Version", width=190),
    "reported_by": cc.TextColumn("Reported by", width=110),
    "source": cc.TextColumn("Source", width=200),
    "source_url": cc.LinkColumn("Link", width=160),
    "license": cc.TextColumn("License of the score", width=150),
    "evaluated_on": cc.DateColumn("Evaluated", width=100),
}

CLAIM_COLUMNS: Mapping[str, Any] = {
    "benchmark": cc.TextColumn("Benchmark", width=210, pinned=True),
    "score": cc.ProgressColumn("Score", format="percent", min_value=0.0, max_value=1.0, width=130),
    "by": cc.TextColumn("Claimed by", width=130),
    "source": cc.TextColumn("Source", width=150),
    "task": cc.TextColumn("Local task", width=140, help="The task that measures this benchmark here"),
    "source_url": cc.LinkColumn("Link", width=160),
    "evaluated_on": cc.DateColumn("Evaluated", width=100),
}

CLAIM_CHECK_COLUMNS: Mapping[str, Any] = {
    "task": cc.TextColumn("Task", width=150, pinned=True),
    "claimed": cc.NumberColumn("Claimed", format="percent", width=85),
    "measured": cc.NumberColumn("Measured here", format="percent", width=110),
    "interval": cc.TextColumn("95% interval", width=120),
    "verdict": cc.TextColumn("Verdict", width=215),
    "by": cc.TextColumn("Claimed by", width=110),
    "match": cc.TextColumn(
        "Task match", width=95, help="close: same benchmark with other prompts, shots or items"
    ),
    "n_items": cc.NumberColumn("Items", width=65),
    "source_url": cc.LinkColumn("Link", width=160),
}

SPEED_COLUMNS: Mapping[str, Any] = {
    "concurrency": cc.NumberColumn("At once", width=70, help="Requests under way at once"),
    "tokens": cc.NumberColumn("Output tokens/s", format="%.1f", width=110),
    "ttft": cc.TextColumn("First token (95% interval)", width=190),
    "tpot": cc.TextColumn("Per token after it", width=190),
    "e2el": cc.TextColumn("Whole answer", width=190),
    "goodput": cc.NumberColumn("Good answers/s", format="%.3g", width=110),
    "joules": cc.NumberColumn("J/token", format="%.3g", width=80),
    "requests": cc.TextColumn("Answered", width=100),
}
