"""The columns of the tables of auto-research."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamlit import column_config as cc

from app.widgets.columns import SIGNED_BPB

BPB = "%.4f"

AGENT_COLUMNS: Mapping[str, Any] = {
    "rank": cc.NumberColumn(
        "Rank", width=55, help="Agents that do not differ significantly share a rank", pinned=True
    ),
    "agent": cc.TextColumn("Agent", width=210, pinned=True),
    "track": cc.TextColumn("Track", width=75, help="Shown where it differs from the group's"),
    "gain_bpb": cc.NumberColumn(
        "Confirmed gain", format=SIGNED_BPB, width=115, help="Bits per byte saved on `test`"
    ),
    "interval": cc.TextColumn("95% interval", width=150),
    "share_of_tpe": cc.NumberColumn(
        "vs. TPE", format="percent", width=80, help="Confirmed gain as a share of TPE's"
    ),
    "claimed_gain_bpb": cc.NumberColumn(
        "Claimed gain", format=SIGNED_BPB, width=105, help="What a loop without a gate would report"
    ),
    "falsely_kept": cc.TextColumn("Placebos kept", width=150, help="False-accept rate with 95% interval"),
    "valid_share": cc.NumberColumn("Valid", format="percent", width=70),
    "duplicate_share": cc.NumberColumn("Repeated", format="percent", width=80),
    "failed_share": cc.NumberColumn("Crashed", format="percent", width=75),
    "n_caught": cc.NumberColumn("Caught", width=70, help="Detected attempts to fake the score"),
    "tokens_per_unit": cc.NumberColumn(
        "Tokens per 0.01",
        format="localized",
        width=115,
        help="Tokens per 0.01 bits per byte of confirmed gain",
    ),
    "tokens_per_s": cc.NumberColumn(
        "Tokens/s", format="%.0f", width=80, help="Output tokens per second of asking the model"
    ),
    "minutes_per_unit": cc.NumberColumn(
        "Minutes per 0.01",
        format="%.1f",
        width=115,
        help="Minutes of asking and of trials per 0.01 bits per byte of confirmed gain",
    ),
    "train_s": cc.NumberColumn("Training (s)", format="%.0f", width=90),
    "transfer_gain_bpb": cc.NumberColumn(
        "Gain at 4× size",
        format=SIGNED_BPB,
        width=115,
        help="Bits per byte that the final change saves at four times the size",
    ),
    "n_studies": cc.NumberColumn("Studies", width=70),
}

TASK_COLUMNS: Mapping[str, Any] = {
    "agent": cc.TextColumn("Agent", width=210, pinned=True),
    "track": cc.TextColumn("Track", width=75),
    "n_trials": cc.NumberColumn("Trials", width=70),
    "share_of_tpe": cc.NumberColumn(
        "vs. TPE", format="percent", width=80, help="Mean over the tasks of its gain as a share of TPE's"
    ),
    "tasks": cc.TextColumn("Tasks", width=260),
}

TRIAL_COLUMNS: Mapping[str, Any] = {
    "slot": cc.NumberColumn("Slot", width=50, pinned=True),
    "verdict": cc.TextColumn("Verdict", width=130, pinned=True),
    "what": cc.TextColumn("Change", width=260),
    "claimed_gain_bpb": cc.NumberColumn("Claimed gain", format=SIGNED_BPB, width=105),
    "confirmed_gain_bpb": cc.NumberColumn("Confirmed gain", format=SIGNED_BPB, width=115),
    "p_better": cc.NumberColumn("P(better)", format="%.3f", width=80),
    "pairs": cc.TextColumn("Pairs", width=60, help="At the gate + for the confirmation"),
    "why": cc.TextColumn("Reason", width=320),
    "val_bpb": cc.NumberColumn("val", format=BPB, width=75, help="The split that the agent sees"),
    "proposer": cc.TextColumn("Proposed by", width=95),
    "categories": cc.TextColumn("Categories", width=150),
}

PAIR_COLUMNS: Mapping[str, Any] = {
    "phase": cc.TextColumn("Phase", width=110, pinned=True),
    "pair": cc.NumberColumn("Pair", width=50),
    "role": cc.TextColumn("Script", width=95),
    "val_bpb": cc.NumberColumn("val", format=BPB, width=80),
    "select_bpb": cc.NumberColumn(
        "select", format=BPB, width=80, help="Decides at the gate; hidden from agents"
    ),
    "test_bpb": cc.NumberColumn("test", format=BPB, width=80),
    "status": cc.TextColumn("Status", width=95),
    "detail": cc.TextColumn("Details", width=220),
    "train_s": cc.NumberColumn("Training (s)", format="%.1f", width=80),
    "seed": cc.NumberColumn("Seed", format="%d", width=130),
}

COMPARISON_COLUMNS: Mapping[str, Any] = {
    "better": cc.TextColumn("Better", width=200),
    "worse": cc.TextColumn("Worse", width=200),
    "difference_bpb": cc.NumberColumn("Difference", format=BPB, width=80),
    "n_seeds": cc.NumberColumn("Shared seeds", width=100),
    "p": cc.NumberColumn("p", format="%.3f", width=70, help="Wilcoxon signed-rank test, two-sided"),
    "p_adjusted": cc.NumberColumn("Holm-adjusted p", format="%.3f", width=120),
}
