"""The columns of a comparison: paired differences, and items that only some models solved."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd
from streamlit import column_config as cc

from app.widgets import safe_text
from app.widgets.columns import filled_columns
from app.widgets.index_columns import months_phrase
from tracker.answers.model_table import ListedModel
from tracker.answers.published_comparison import PublishedComparison
from tracker.frontier.definitions import STANDING_LAG

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


INDEX_COLUMNS: Mapping[str, Any] = {
    "model": cc.TextColumn("Model", width=230, pinned=True),
    "index": cc.NumberColumn("Index", format="%.1f", width=65),
    "interval": cc.TextColumn("90% interval", width=105),
    "behind": cc.TextColumn("Behind closed models", width=165, help=f"At its release ({STANDING_LAG})"),
    "access": cc.TextColumn("Weights", width=75),
    "organization": cc.TextColumn("Organization", width=130),
    "released": cc.DateColumn("Released", width=95),
    "parameters": cc.TextColumn("Parameters", width=90),
    "needed_gb_4": cc.NumberColumn("GB at 4 bits", format="%.1f", width=90),
    "price_out": cc.NumberColumn("$ per M output", format="%.2f", width=105),
    "license": cc.TextColumn("License", width=110),
    "basis": cc.TextColumn("Index from", width=150),
    "measured": cc.TextColumn("Measured here", width=110),
}


def index_table(models: Sequence[ListedModel]) -> pd.DataFrame:
    """The compared models as `INDEX_COLUMNS`."""
    rows = [
        asdict(row)
        | {
            "interval": safe_text.ends(row.ci_low, row.ci_high),
            "behind": ""
            if row.access == "closed"
            else months_phrase(row.months_behind, row.months_bound, STANDING_LAG),
            "parameters": safe_text.count(row.n_params),
            "measured": "yes" if row.is_measured else "",
        }
        for row in models
    ]
    return filled_columns(pd.DataFrame(rows), INDEX_COLUMNS)


def benchmark_scores(found: PublishedComparison) -> pd.DataFrame:
    """One row per benchmark and model, with the columns that `charts.score_chart` reads."""
    return pd.DataFrame(
        [
            {
                "task": row.benchmark,
                "model": score.model,
                "score": score.score,
                "ci_low": math.nan if score.ci_low is None else score.ci_low,
                "ci_high": math.nan if score.ci_high is None else score.ci_high,
                "n_items": row.n_items,
                "measured_by": score.measured_by,
                "source_url": score.source_url,
                "vintage": found.vintage.isoformat(),
            }
            for row in found.benchmarks
            for score in row.scores
        ]
    )


def benchmark_columns(models: Sequence[str]) -> dict[str, Any]:
    """The columns of `benchmark_table`."""
    of_models = {
        f"score_{place}": cc.NumberColumn(model, format="percent", width=120)
        for place, model in enumerate(models)
    }
    return {
        "benchmark": cc.TextColumn("Benchmark", width=230, pinned=True),
        **of_models,
        "difference": cc.TextColumn("First − second", width=110, help="In percentage points"),
        "interval": cc.TextColumn("90% interval", width=130),
        "items": cc.TextColumn("Items", width=75),
        "domain": cc.TextColumn("Domain", width=100),
        "by": cc.TextColumn("Measured by", width=280),
    }


def benchmark_table(found: PublishedComparison) -> pd.DataFrame:
    """One row per benchmark with the score of each model."""
    return pd.DataFrame(
        [
            {
                "benchmark": row.benchmark,
                **{f"score_{place}": round(score.score, 3) for place, score in enumerate(row.scores)},
                "difference": f"{100 * row.difference:+.1f}",
                "interval": ""
                if row.ci_low is None or row.ci_high is None
                else f"{100 * row.ci_low:+.1f} to {100 * row.ci_high:+.1f}",
                "items": "private" if row.is_private else "public",
                "domain": row.domain,
                "by": ", ".join(dict.fromkeys(score.measured_by for score in row.scores)),
            }
            for row in found.benchmarks
        ]
    )


def difference_table(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of `rows.difference_rows` as `DIFFERENCE_COLUMNS`, in points."""
    ends = zip(rows["ci_low"], rows["ci_high"], strict=True)
    shown = rows.assign(
        difference=[f"{100 * value:+.1f}" for value in rows["difference"]],
        interval=[f"{100 * low:+.1f} to {100 * high:+.1f}" for low, high in ends],
    )
    return filled_columns(shown, DIFFERENCE_COLUMNS)
