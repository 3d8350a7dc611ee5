"""The columns of the models that fit a card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from streamlit import column_config as cc

from app.widgets import safe_text
from app.widgets.columns import GIB_FORMAT, PEAK_HELP, SHOWN_DECIMALS, filled_columns, in_gib, peak_in_gib
from app.widgets.index_columns import INDEX_TABLE_COLUMNS, months_phrase, with_index_texts
from tracker.answers.leaderboard import number
from tracker.answers.measured_speed import measured_text
from tracker.answers.what_fits import WhatFits, speed_text
from tracker.frontier.definitions import STANDING_LAG
from tracker.memory_estimate import GB

SERVER_HELP = "Of the model's server, by a load generator: see the next column for the device and the load"
FIT_COLUMNS: Mapping[str, Any] = {
    "label": cc.TextColumn("Model", width=230, pinned=True),
    "basis": cc.TextColumn("Basis", width=150),
    "score": cc.ProgressColumn("Score", format="percent", min_value=0.0, max_value=1.0, width=130),
    "interval": cc.TextColumn("95% interval", width=120),
    "tokens_per_s": cc.NumberColumn("Tokens/s", format="%.0f", help="Output tokens per second of its run"),
    "speed_tokens_per_s": cc.NumberColumn("Server tokens/s", format="%.0f", width=115, help=SERVER_HELP),
    "speed_text": cc.TextColumn("Server speed", width=260),
    "peak_memory_gib": cc.NumberColumn("Peak memory", format=GIB_FORMAT, help=PEAK_HELP),
    **INDEX_TABLE_COLUMNS,
    "n_params": cc.NumberColumn("Parameters", format="compact", width=90),
    "license": cc.TextColumn("License", width=100),
    "device": cc.TextColumn("Measured on", width=170),
}
CURVE_COLUMNS: Mapping[str, Any] = {
    "model": cc.TextColumn("Model", width=280, pinned=True),
    "since": cc.DateColumn("Best since", width=100),
    "n_params": cc.NumberColumn("Parameters", format="compact", width=90),
    "needed": cc.TextColumn("Memory needed", width=115, help="At the bits chosen"),
    "index": cc.NumberColumn("Index", format="%.1f", width=65),
    "interval": cc.TextColumn("90% interval", width=110),
    "behind": cc.TextColumn(
        "Behind closed models", width=195, help="How long closed models had been at that level at its release"
    ),
}


EVIDENCE_HELP = (
    "published: scores of these weights; parent's: published scores of the weights that were quantized;"
    " estimated: a third party's estimate (TECI); measured here: by a run that can be placed"
)
CATALOG_COLUMNS: Mapping[str, Any] = {
    "model": cc.TextColumn("Model", width=280, pinned=True),
    "index": cc.NumberColumn("Index", format="%.1f", width=65, help="Capability index"),
    "interval": cc.TextColumn("90% interval", width=110),
    "evidence": cc.TextColumn("Evidence", width=105, help=EVIDENCE_HELP),
    "behind": cc.TextColumn("Behind closed models", width=165, help="At the model's release"),
    "bits": cc.NumberColumn("Bits", format="%g", width=60, help="Of a weight, the most that fit"),
    "needed": cc.TextColumn("Memory needed", width=115),
    "speed": cc.NumberColumn("Tokens/s", format="%.0f", width=85, help="For a named card; see below"),
    "speed_text": cc.TextColumn("Speed is", width=150, help="An estimate until it is measured on the card"),
    "license": cc.TextColumn("License", width=110),
}


def catalog_table(found: WhatFits) -> pd.DataFrame:
    """The models that fit as shown."""
    return pd.DataFrame(
        {
            "model": row.model_id,
            "index": None if row.index is None else round(row.index, 1),
            "interval": safe_text.ends(row.index_ci_low, row.index_ci_high),
            "evidence": row.evidence,
            "behind": months_phrase(row.months_behind, row.months_bound, STANDING_LAG),
            "bits": row.bits,
            "needed": f"{row.needed_bytes / GB:.1f} GB",
            "speed": row.tokens_per_s,
            "speed_text": speed_text(row),
            "license": row.license,
        }
        for row in found.rows
    )


def fit_table(rows: pd.DataFrame, contexts: Sequence[int]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Rows of `best_fits` as shown, with their configuration: memory at each context length in GiB."""
    ends = zip(rows["ci_low"], rows["ci_high"], strict=True)
    needs = {f"needs {context}": in_gib(rows[f"needs {context}"]) for context in contexts}
    shown = with_index_texts(rows).assign(
        interval=[safe_text.interval(low, high) for low, high in ends],
        score=rows["score"].round(SHOWN_DECIMALS),
        speed_tokens_per_s=number(rows, "speed_tokens_per_s"),
        speed_text=_measured_texts(rows),
        **needs,
    )
    if "peak_memory_bytes" in rows:
        shown["peak_memory_gib"] = peak_in_gib(rows)
    config: dict[str, Any] = {}
    for name in (name for name in FIT_COLUMNS if name in shown):
        config[name] = FIT_COLUMNS[name]
        if name == "interval":
            config |= {f"needs {context}": _need_column(context) for context in contexts}
    return filled_columns(shown, config), config


def _measured_texts(rows: pd.DataFrame) -> pd.Series[Any]:
    """`measured_text` of each row; a few of thousands have one."""
    texts = pd.Series(None, index=rows.index, dtype=object)
    if "speed_id" in rows:
        is_measured = rows["speed_id"].notna()
        texts.loc[is_measured] = [measured_text(row) for row in rows[is_measured].to_dict("records")]
    return texts


def _need_column(context: int) -> Any:
    return cc.NumberColumn(
        f"Memory at {context // 1024}k",
        format=GIB_FORMAT,
        width=115,
        help=f"Memory needed with {context:,} tokens of context",
    )
