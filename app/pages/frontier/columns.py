"""The columns of the tables of definitions and of models measured here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamlit import column_config as cc

DEFINITION_COLUMNS: Mapping[str, Any] = {
    "id": cc.TextColumn("ID", width=50, pinned=True),
    "behind": cc.TextColumn("Gap", width=130),
    "interval": cc.TextColumn("90% interval", width=110),
    "asks": cc.TextColumn("Question", width=520),
    "n": cc.TextColumn("n", width=60, help="Number of levels, records or days averaged over"),
    "n_censored": cc.TextColumn(
        "Not yet matched", width=120, help="Closed records that no open model has matched yet"
    ),
    "note": cc.TextColumn("Note"),
}

MEASURED_COLUMNS: Mapping[str, Any] = {
    "model": cc.TextColumn("Model", width=230, pinned=True),
    "index": cc.NumberColumn("Index", format="%.1f", width=65),
    "interval": cc.TextColumn("90% interval", width=110),
    "behind": cc.TextColumn(
        "Behind closed models",
        width=195,
        help="G3: at the model's release. G6: on the day of the data, if the release is not known",
    ),
    "calibrated": cc.TextColumn(
        "Calibrated",
        width=85,
        help="Whether enough models have both a published score and one of this harness",
    ),
    "published": cc.NumberColumn(
        "Published", format="%.1f", width=85, help="Index from published scores, to compare"
    ),
    "measured": cc.TextColumn("Suite", width=120),
    "day": cc.TextColumn("Date", width=170),
    "note": cc.TextColumn("Note", width="medium"),
}
