"""Tables: which columns are shown, in which words, and how a value is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from streamlit import column_config as cc

from app import reasons, text

SHOWN_DECIMALS = 3  # of a fraction: a tenth of a percent, finer than any interval here
WHEN = "YYYY-MM-DD HH:mm"
NESTED = ("settings", "warnings", "versions", "fit", "hardware")  # columns of a run that hold JSON
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
    "rank": cc.NumberColumn(
        "Rank", width=55, help="Models that are not told apart share a rank", pinned=True
    ),
    "label": cc.TextColumn("Model", width=230, pinned=True),
    "score": cc.ProgressColumn("Score", format="percent", min_value=0.0, max_value=1.0, width=130),
    "interval": cc.TextColumn("95 % interval", width=120),
    "basis": cc.TextColumn("Basis", width=120, help="Measured on this machine, or claimed by a source"),
    "n_params": cc.NumberColumn("Parameters", format="compact", width=90),
    "license": cc.TextColumn("Licence", width=95),
    "organization": cc.TextColumn("By", width=90),
    "needed_bytes": cc.NumberColumn(
        "Memory needed", format="bytes", help="Weights, 4,096 tokens of context and the engine: an estimate"
    ),
    "tokens_per_s": cc.NumberColumn("Tokens/s", format="%.0f", help="Output tokens per second of generation"),
    "peak_memory_bytes": cc.NumberColumn(
        "Peak memory", format="bytes", help="As measured; vLLM takes what it is given"
    ),
    "n_items": cc.NumberColumn("Items", width=65),
    "truncated_fraction": cc.NumberColumn("Truncated", format="percent", help=SHARE_HELP),
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
    "model_id": cc.TextColumn("Model", width=230, pinned=True),
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

PUBLISHED: Mapping[str, Any] = {
    "benchmark": cc.TextColumn("Benchmark", width=210, pinned=True),
    "score": cc.ProgressColumn("Score", format="percent", min_value=0.0, max_value=1.0, width=130),
    "model_version": cc.TextColumn("Version", width=190),
    "reported_by": cc.TextColumn("Reported by", width=110),
    "source": cc.TextColumn("Source", width=200),
    "source_url": cc.LinkColumn("Link", width=160),
    "evaluated_on": cc.DateColumn("Evaluated", width=100),
}

CLAIMS: Mapping[str, Any] = {
    "task": cc.TextColumn("Task", width=150, pinned=True),
    "claimed": cc.NumberColumn("Claimed", format="percent", width=85),
    "measured": cc.NumberColumn("Measured here", format="percent", width=110),
    "interval": cc.TextColumn("95 % interval", width=120),
    "verdict": cc.TextColumn("Verdict", width=215),
    "by": cc.TextColumn("Claimed by", width=110),
    "match": cc.TextColumn("Same task", width=90, help="close: other prompts, shots or items"),
    "n_items": cc.NumberColumn("Items", width=65),
    "source_url": cc.LinkColumn("Link", width=160),
}

CLAIMED: Mapping[str, Any] = {
    "benchmark": cc.TextColumn("Benchmark", width=210, pinned=True),
    "score": cc.ProgressColumn("Score", format="percent", min_value=0.0, max_value=1.0, width=130),
    "by": cc.TextColumn("Claimed by", width=130),
    "source": cc.TextColumn("Source", width=150),
    "task": cc.TextColumn("Task here", width=140),
    "source_url": cc.LinkColumn("Link", width=160),
    "evaluated_on": cc.DateColumn("Evaluated", width=100),
}

DIFFERENCES: Mapping[str, Any] = {
    "task": cc.TextColumn("Task", width=150, pinned=True),
    "first": cc.TextColumn("First", width=190),
    "second": cc.TextColumn("Second", width=190),
    "difference": cc.TextColumn("First − second", width=110),
    "interval": cc.TextColumn("95 % interval", width=140),
    "says": cc.TextColumn("Verdict", width=130),
    "n_only_first": cc.NumberColumn("Only first", width=80, help="Items that the first alone solved"),
    "n_only_second": cc.NumberColumn("Only second", width=90, help="Items that the second alone solved"),
    "p_value": cc.NumberColumn("McNemar p", format="%.3f", width=90, help="Exact, two-sided"),
    "n_items": cc.NumberColumn("Items", width=65),
}

SPLIT: Mapping[str, Any] = {
    "task": cc.TextColumn("Task", width=150, pinned=True),
    "doc_id": cc.NumberColumn("Item", width=70),
    "solved_by": cc.TextColumn("Solved by", width=380),
    "missed_by": cc.TextColumn("Missed by", width=380),
}

JOBS: Mapping[str, Any] = {
    "model_id": cc.TextColumn("Model", width=230, pinned=True),
    "suite": cc.TextColumn("Suite", width=80),
    "status": cc.TextColumn("Status", width=80),
    "rank": cc.NumberColumn("Points", format="%.0f", width=70, help="The higher, the sooner"),
    "why": cc.TextColumn("Why", width=320),
    "parked_reason": cc.TextColumn("Parked because", width=250),
    "n_params": cc.NumberColumn("Parameters", format="compact", width=90),
    "predicted_bytes": cc.NumberColumn("Memory needed", format="bytes"),
    "attempts": cc.NumberColumn("Attempts", width=75),
}

SOURCES: Mapping[str, Any] = {
    "title": cc.TextColumn("Source", width=230, pinned=True),
    "license": cc.TextColumn("Licence", width=260),
    "completed_at": cc.DatetimeColumn("Last complete", format=WHEN),
    "status": cc.TextColumn("Last time", width=150),
    "is_overdue": cc.CheckboxColumn("Overdue", width=70),
    "n_seen": cc.NumberColumn("Seen", format="localized", width=80),
    "reason": cc.TextColumn("What happened", width=260),
    "url": cc.LinkColumn("Where", width=220),
    "is_private": cc.CheckboxColumn("Not passed on", width=100),
}

BENCHMARKS: Mapping[str, Any] = {
    "benchmark": cc.TextColumn("Benchmark", width=220, pinned=True),
    "domain": cc.TextColumn("Domain", width=100),
    "is_private": cc.CheckboxColumn("Private items", width=95),
    "chance": cc.NumberColumn("Chance", format="percent", width=75),
    "n_items": cc.NumberColumn("Items", width=70),
    "lm_eval_task": cc.TextColumn("Task here", width=140),
    "url": cc.LinkColumn("Where", width=200),
    "description": cc.TextColumn("What it asks", width=500),
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


def leaderboard(rows: pd.DataFrame, columns: Sequence[str]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The rows of `board.table` as shown, with their configuration; the other tasks stand after the first."""
    ends = zip(rows["ci_low"], rows["ci_high"], strict=True)
    shown = rows.assign(
        interval=[text.interval(low, high) for low, high in ends],
        score=rows["score"].round(SHOWN_DECIMALS),
        truncated_fraction=rows["truncated_fraction"].round(SHOWN_DECIMALS),
    )
    config: dict[str, Any] = {}
    for name, column in LEADERBOARD.items():
        config[name] = column
        if name == "interval":
            config |= _other_tasks(columns)
    for name in columns:
        shown[[f"score of {name}", f"± of {name}"]] = shown[[f"score of {name}", f"± of {name}"]].round(
            SHOWN_DECIMALS
        )
    return _columns(shown, config), config


FITS: Mapping[str, Any] = {
    "label": cc.TextColumn("Model", width=230, pinned=True),
    "basis": cc.TextColumn("Basis", width=150),
    "score": cc.ProgressColumn("Score", format="percent", min_value=0.0, max_value=1.0, width=130),
    "interval": cc.TextColumn("95 % interval", width=120),
    "tokens_per_s": cc.NumberColumn("Tokens/s", format="%.0f", help="Output tokens per second, as measured"),
    "peak_memory_bytes": cc.NumberColumn(
        "Peak memory", format="bytes", help="As measured; vLLM takes what it is given"
    ),
    "n_params": cc.NumberColumn("Parameters", format="compact", width=90),
    "license": cc.TextColumn("Licence", width=100),
    "device": cc.TextColumn("Measured on", width=170),
}


def fits(rows: pd.DataFrame, contexts: Sequence[int]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The rows of `fitting.fitting` as shown, with their configuration: memory at each context length."""
    columns = [name for name in FITS if name in rows or name == "interval"]
    ends = zip(rows["ci_low"], rows["ci_high"], strict=True)
    shown = rows.assign(
        interval=[text.interval(low, high) for low, high in ends], score=rows["score"].round(SHOWN_DECIMALS)
    )
    config: dict[str, Any] = {}
    for name in columns:
        config[name] = FITS[name]
        if name == "interval":
            config |= {
                f"needs {context}": cc.NumberColumn(
                    f"at {context // 1024}k", format="bytes", width=80, help=f"Memory with {context:,} tokens"
                )
                for context in contexts
            }
    return _columns(shown, config), config


def _other_tasks(columns: Sequence[str]) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for name in columns:
        config[f"score of {name}"] = cc.NumberColumn(name, format="percent", width=110)
        config[f"± of {name}"] = cc.NumberColumn(
            "±", format="percent", width=70, help=f"Half the 95 % interval of {name}"
        )
    return config


def differences(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of `comparing.differences` as the columns of `DIFFERENCES`, in points."""
    ends = zip(rows["ci_low"], rows["ci_high"], strict=True)
    shown = rows.assign(
        difference=[f"{100 * value:+.1f}" for value in rows["difference"]],
        interval=[f"{100 * low:+.1f} … {100 * high:+.1f}" for low, high in ends],
    )
    return _columns(shown, DIFFERENCES)


def failures(runs: pd.DataFrame) -> pd.DataFrame:
    """Failed runs as the columns of `FAILURES`."""
    return _columns(runs.assign(hint=runs["reason"].map(reasons.hint)), FAILURES)


def runs(rows: Sequence[Mapping[str, Any]], *, of_many: bool = False) -> pd.DataFrame:
    """Runs as the columns of `RUNS`; with the model if they are `of_many`."""
    frame = pd.DataFrame(rows)
    shown = frame.assign(
        why=[row["detail"] or row["reason"] for row in rows],
        duration=[text.duration(row["duration_s"]) for row in rows],
        answered_by=[answered_by(row) for row in rows],
    )
    return _columns(shown, {name: RUNS[name] for name in RUNS if of_many or name != "model_id"})


def exported_runs(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """What a download of runs holds: every column that is a plain value."""
    return pd.DataFrame(rows).drop(columns=list(NESTED), errors="ignore")


def jobs(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `queries.jobs` as the columns of `JOBS`."""
    return _columns(rows, JOBS)


def sources(rows: pd.DataFrame, health: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The newest ingest of each source as the columns of `SOURCES`."""
    by_source = {row["source"]: row for row in health}
    shown = rows.assign(
        completed_at=[by_source[name]["completed_at"] for name in rows["source"]],
        is_overdue=[bool(by_source[name]["is_overdue"]) for name in rows["source"]],
        status=rows["status"].str.replace("_", " "),
    )
    return _columns(shown, SOURCES)


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
