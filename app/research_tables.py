"""The tables of auto-research: which columns are shown, in which words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from streamlit import column_config as cc

from app import text
from app.tables import WHEN

SAVED = "%+.4f"
BPB = "%.4f"

BOARD: Mapping[str, Any] = {
    "rank": cc.NumberColumn(
        "Rank", width=55, help="Agents that are not told apart share a rank", pinned=True
    ),
    "agent": cc.TextColumn("Agent", width=210, pinned=True),
    "track": cc.TextColumn("Track", width=75, help="Where it is another than the group's"),
    "gain_bpb": cc.NumberColumn("Confirmed", format=SAVED, width=90, help="Bits per byte saved, on `test`"),
    "interval": cc.TextColumn("95 % interval", width=150),
    "share_of_tpe": cc.NumberColumn("Of TPE's", format="percent", width=80),
    "claimed_gain_bpb": cc.NumberColumn("Claimed", format=SAVED, width=85, help="By a loop without a gate"),
    "falsely_kept": cc.TextColumn("Placebos kept", width=150, help="Falsely accepted, with 95 % interval"),
    "valid_share": cc.NumberColumn("Valid", format="percent", width=70),
    "duplicate_share": cc.NumberColumn("Repeated", format="percent", width=80),
    "failed_share": cc.NumberColumn("Crashed", format="percent", width=75),
    "n_caught": cc.NumberColumn("Caught", width=70, help="Attempts to fake the score"),
    "tokens_per_unit": cc.NumberColumn(
        "Tokens per 0.01", format="localized", width=115, help="For each confirmed 0.01 bits per byte"
    ),
    "train_s": cc.NumberColumn("Training s", format="%.0f", width=85),
    "n_studies": cc.NumberColumn("Studies", width=70),
}

STUDIES: Mapping[str, Any] = {
    "study_id": cc.TextColumn("Study", width=190, pinned=True),
    "agent": cc.TextColumn("Agent", width=190),
    "status": cc.TextColumn("Status", width=95),
    "tier": cc.TextColumn("Tier", width=75),
    "track": cc.TextColumn("Track", width=75),
    "n_done": cc.TextColumn("Trials", width=85),
    "n_accepted": cc.NumberColumn("Kept", width=60),
    "gain_bpb": cc.NumberColumn("Confirmed", format=SAVED, width=90),
    "interval": cc.TextColumn("95 % interval", width=150),
    "claimed_gain_bpb": cc.NumberColumn("Claimed", format=SAVED, width=85),
    "seed": cc.NumberColumn("Seed", width=60),
    "started_at": cc.DatetimeColumn("Started", format=WHEN),
}

TRIALS: Mapping[str, Any] = {
    "slot": cc.NumberColumn("Slot", width=50, pinned=True),
    "verdict": cc.TextColumn("Verdict", width=130, pinned=True),
    "what": cc.TextColumn("What was changed", width=260),
    "claimed_gain_bpb": cc.NumberColumn("Claimed", format=SAVED, width=85),
    "confirmed_gain_bpb": cc.NumberColumn("Confirmed", format=SAVED, width=90),
    "p_better": cc.NumberColumn("P(better)", format="%.3f", width=80),
    "pairs": cc.TextColumn("Pairs", width=60, help="Of the gate, and of the confirmation"),
    "why": cc.TextColumn("Why", width=320),
    "val_bpb": cc.NumberColumn("val", format=BPB, width=75, help="What the agent was shown"),
    "proposer": cc.TextColumn("Proposed by", width=95),
    "categories": cc.TextColumn("Touches", width=150),
}

PAIRS: Mapping[str, Any] = {
    "phase": cc.TextColumn("Phase", width=110, pinned=True),
    "pair": cc.NumberColumn("Pair", width=50),
    "role": cc.TextColumn("Trained", width=95),
    "val_bpb": cc.NumberColumn("val", format=BPB, width=80),
    "select_bpb": cc.NumberColumn("select", format=BPB, width=80, help="Decides; no agent sees it"),
    "test_bpb": cc.NumberColumn("test", format=BPB, width=80),
    "status": cc.TextColumn("Status", width=95),
    "detail": cc.TextColumn("What happened", width=220),
    "train_s": cc.NumberColumn("Seconds", format="%.1f", width=80),
    "seed": cc.NumberColumn("Seed", format="%d", width=130),
}

COMPARISONS: Mapping[str, Any] = {
    "better": cc.TextColumn("Better", width=200),
    "worse": cc.TextColumn("than", width=200),
    "difference_bpb": cc.NumberColumn("By", format=BPB, width=80),
    "n_seeds": cc.NumberColumn("Shared seeds", width=100),
    "p": cc.NumberColumn("p", format="%.3f", width=70, help="Wilcoxon's signed ranks, two-sided"),
    "p_adjusted": cc.NumberColumn("p after Holm", format="%.3f", width=100),
}


def with_interval(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with both ends of the gain's interval as `interval`, in words."""
    ends = zip(frame["gain_ci_low"], frame["gain_ci_high"], strict=True)
    return frame.assign(interval=[text.bpb_ends(low, high) for low, high in ends])


def shown(frame: pd.DataFrame, config: Mapping[str, Any]) -> pd.DataFrame:
    """The columns of `config`, less those in which no row has a value."""
    return frame[list(config)].dropna(axis="columns", how="all")
