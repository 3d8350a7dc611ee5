"""Tables: which columns are shown, in which words, and how a value is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from streamlit import column_config as cc

from app import reasons, text

SHOWN_DECIMALS = 3  # of a fraction: a tenth of a percent, finer than any interval here
WHEN = "YYYY-MM-DD HH:mm"
SHARE_HELP = "Answers that were cut off by the token budget"

DEFINITIONS: Mapping[str, Any] = {
    "id": cc.TextColumn("Id", width=50, pinned=True),
    "behind": cc.TextColumn("Open is behind by", width=130),
    "interval": cc.TextColumn("90 % interval", width=110),
    "asks": cc.TextColumn("What it asks", width=520),
    "n": cc.TextColumn("n", width=60, help="Levels, records or days behind the number"),
    "n_censored": cc.TextColumn("Not reached", width=90, help="Closed records that open has not reached yet"),
    "note": cc.TextColumn("Note"),
}

LEADERBOARD: Mapping[str, Any] = {
    "rank": cc.NumberColumn("Rank", width="small", help="Models that are not told apart share a rank"),
    "label": cc.TextColumn("Model", width=230, pinned=True),
    "task": cc.TextColumn("Task"),
    "score": cc.ProgressColumn("Score", format="percent", min_value=0.0, max_value=1.0, width=130),
    "interval": cc.TextColumn("95 % interval"),
    "chance": cc.NumberColumn("Chance", format="percent", help="The score of guessing"),
    "n_items": cc.NumberColumn("Items"),
    "truncated_fraction": cc.NumberColumn("Truncated", format="percent", help=SHARE_HELP),
    "tokens_per_s": cc.NumberColumn("Tokens/s", format="%.0f", help="Output tokens per second of generation"),
    "peak_memory_bytes": cc.NumberColumn("Peak memory", format="bytes"),
    "engine": cc.TextColumn("Engine", width=100),
    "status": cc.TextColumn(
        "Status", width=90, help="A partial run was stopped on purpose, or lacked a task"
    ),
    "measured_at": cc.DatetimeColumn("Measured", format=WHEN, help="In the time zone of this browser"),
}

FAILURES: Mapping[str, Any] = {
    "model_id": cc.TextColumn("Model", width=230, pinned=True),
    "suite": cc.TextColumn("Suite", width="small"),
    "reason": cc.TextColumn("Reason", width=130),
    "detail": cc.TextColumn("What happened", width=300),
    "hint": cc.TextColumn("What helps", width=440),
    "started_at": cc.DatetimeColumn("When", format=WHEN),
}

RUNS: Mapping[str, Any] = {
    "started_at": cc.DatetimeColumn("Started", format=WHEN, pinned=True),
    "suite": cc.TextColumn("Suite"),
    "status": cc.TextColumn("Status"),
    "why": cc.TextColumn("Reason", width="medium"),
    "duration": cc.TextColumn("Duration"),
    "n_items": cc.NumberColumn("Items"),
    "n_reused_items": cc.NumberColumn("Reused", help="Items that an earlier run had already answered"),
    "output_tokens": cc.NumberColumn("Output tokens", format="localized"),
    "tokens_per_s": cc.NumberColumn("Tokens/s", format="%.0f"),
    "peak_memory_bytes": cc.NumberColumn("Peak memory", format="bytes"),
    "energy_j": cc.NumberColumn("Energy (J)", format="localized"),
    "answered_by": cc.TextColumn("Engine", width="medium"),
    "run_id": cc.TextColumn("Run id"),
}

ITEMS: Mapping[str, Any] = {
    "doc_id": cc.NumberColumn("Item", width="small", pinned=True),
    "task": cc.TextColumn("Task"),
    "verdict": cc.TextColumn("Verdict"),
    "extracted": cc.TextColumn("Extracted answer"),
    "target": cc.TextColumn("Target"),
    "prompt": cc.TextColumn("Prompt (its end)", width="large"),
    "output_tokens": cc.NumberColumn("Output tokens"),
}

CHOICES: Mapping[str, Any] = {
    "choice": cc.TextColumn("Choice", width="medium"),
    "log_prob": cc.NumberColumn("Log-probability", format="%.4f", help="Summed over its tokens, in nats"),
    "is_chosen": cc.CheckboxColumn("Chosen"),
    "is_target": cc.CheckboxColumn("Target"),
}


def leaderboard(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of `rows.with_ranks` as the columns of `LEADERBOARD`."""
    ends = zip(rows["ci_low"], rows["ci_high"], strict=True)
    shown = rows.assign(
        interval=[text.interval(low, high) for low, high in ends],
        score=rows["score"].round(SHOWN_DECIMALS),
        truncated_fraction=rows["truncated_fraction"].round(SHOWN_DECIMALS),
        chance=rows["chance"].round(SHOWN_DECIMALS),
    )
    return _columns(shown, LEADERBOARD)


def failures(runs: pd.DataFrame) -> pd.DataFrame:
    """Failed runs as the columns of `FAILURES`."""
    return _columns(runs.assign(hint=runs["reason"].map(reasons.hint)), FAILURES)


def runs(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Runs as the columns of `RUNS`."""
    frame = pd.DataFrame(rows)
    return _columns(
        frame.assign(
            why=[row["detail"] or row["reason"] for row in rows],
            duration=[text.duration(row["duration_s"]) for row in rows],
            answered_by=[answered_by(row) for row in rows],
        ),
        RUNS,
    )


def answered_by(run: Mapping[str, Any]) -> str:
    """The engine of a run with its version, precision and device, as far as they are known."""
    engine = " ".join(filter(None, (run["engine"], run["engine_version"])))
    return " · ".join(filter(None, (engine, run["quantization"], run["dtype"], run["device"])))


def items(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One page of items as the columns of `ITEMS`, every text on one line."""
    shown = [
        dict(row)
        | {"verdict": verdict(row)}
        | {name: " ".join(text.visible(row[name]).split()) for name in ("prompt", "extracted", "target")}
        for row in rows
    ]
    return _columns(pd.DataFrame(shown), ITEMS)


def choices(item: Mapping[str, Any]) -> pd.DataFrame:
    """The choices of one item as the columns of `CHOICES`."""
    return pd.DataFrame(
        {
            "choice": [text.visible(choice) for choice in item["choices"]],
            "log_prob": list(item["log_probs"] or [None] * len(item["choices"])),
            "is_chosen": [choice == item["response"] for choice in item["choices"]],
            "is_target": [choice == item["target"] for choice in item["choices"]],
        }
    )


def verdict(item: Mapping[str, Any]) -> str:
    """What became of an answer, in one or two words."""
    if item["score"] is None:
        word = "no score"
    elif item["is_right"]:
        word = "right"
    else:
        word = f"{100 * item['score']:.0f} % right" if item["score"] else "wrong"
    marks = [name for name in ("truncated", "unparsed") if item[f"is_{name}"]]
    return ", ".join([word, *marks])


def _columns(frame: pd.DataFrame, config: Mapping[str, Any]) -> pd.DataFrame:
    """The columns of `config`, less those in which no row has a value."""
    return frame[list(config)].dropna(axis="columns", how="all")
