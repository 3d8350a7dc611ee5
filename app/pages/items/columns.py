"""The columns of items and of the choices of one item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from streamlit import column_config as cc

from app.widgets import safe_text
from app.widgets.columns import filled_columns

ITEM_COLUMNS: Mapping[str, Any] = {
    "doc_id": cc.NumberColumn("Item", width="small", pinned=True),
    "task": cc.TextColumn("Task"),
    "verdict": cc.TextColumn("Verdict"),
    "extracted": cc.TextColumn("Extracted answer"),
    "target": cc.TextColumn("Target"),
    "prompt": cc.TextColumn("End of prompt", width="large"),
    "output_tokens": cc.NumberColumn("Output tokens"),
}

CHOICE_COLUMNS: Mapping[str, Any] = {
    "choice": cc.TextColumn("Choice", width="medium"),
    "log_prob": cc.NumberColumn("Log-probability", format="%.4f", help="Summed over its tokens, in nats"),
    "is_chosen": cc.CheckboxColumn("Chosen"),
    "is_target": cc.CheckboxColumn("Target"),
}


def item_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One page of items as `ITEM_COLUMNS`, every text on one line."""
    shown = [
        dict(row)
        | {"verdict": answer_verdict(row)}
        | {name: " ".join(safe_text.visible(row[name]).split()) for name in ("prompt", "extracted", "target")}
        for row in rows
    ]
    return filled_columns(pd.DataFrame(shown), ITEM_COLUMNS)


def choice_table(item: Mapping[str, Any]) -> pd.DataFrame:
    """The choices of one item as `CHOICE_COLUMNS`."""
    return pd.DataFrame(
        {
            "choice": [safe_text.visible(choice) for choice in item["choices"]],
            "log_prob": list(item["log_probs"] or [None] * len(item["choices"])),
            "is_chosen": [choice == item["response"] for choice in item["choices"]],
            "is_target": [choice == item["target"] for choice in item["choices"]],
        }
    )


def answer_verdict(item: Mapping[str, Any]) -> str:
    """The verdict on an answer in one or two words."""
    if item["score"] is None:
        word = "no score"
    elif item["is_right"]:
        word = "right"
    else:
        word = f"{100 * item['score']:.0f}% right" if item["score"] else "wrong"
    marks = [name for name in ("truncated", "unparsed") if item[f"is_{name}"]]
    return ", ".join([word, *marks])
