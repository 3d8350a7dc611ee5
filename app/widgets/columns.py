"""Columns of tables that several pages show: runs and studies; and how a value is written in any table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from streamlit import column_config as cc

from app.widgets import safe_text
from tracker.memory_estimate import NEED_COLUMNS, peak_of_need
from tracker.records.origins import origin_note

SHOWN_DECIMALS = 3  # of a fraction: a tenth of a percent, finer than any interval here
WHEN = "YYYY-MM-DD HH:mm"
GIB = 2**30  # bytes; memory is shown in GiB, files and cards in GB
GIB_FORMAT = "%.1f GiB"
NESTED = (
    "settings",
    "warnings",
    "versions",
    "fit",
    "hardware",
    "reused",
    "prompts",
    "sampling_values",
    "origin",
)  # columns of a run that hold JSON
SIGNED_BPB = "%+.4f"
PEAK_HELP = "As measured; empty where only the share of the card that vLLM reserved is known"

RUN_COLUMNS: Mapping[str, Any] = {
    "model_id": cc.TextColumn("Model", width=230, pinned=True),
    "started_at": cc.DatetimeColumn("Started", format=WHEN, pinned=True),
    "suite": cc.TextColumn("Suite"),
    "status": cc.TextColumn("Status"),
    "why": cc.TextColumn("Reason", width="medium"),
    "duration": cc.TextColumn("Duration"),
    "n_items": cc.NumberColumn("Items"),
    "n_reused_items": cc.NumberColumn("Reused", help="Items already answered by an earlier run"),
    "output_tokens": cc.NumberColumn("Output tokens", format="localized"),
    "tokens_per_s": cc.NumberColumn("Tokens/s", format="%.0f"),
    "device": cc.TextColumn("Device", width=110),
    "peak_memory_gib": cc.NumberColumn("Peak memory", format=GIB_FORMAT, help=PEAK_HELP),
    "energy_j": cc.NumberColumn("Energy (J)", format="localized"),
    "answered_by": cc.TextColumn("Engine", width="medium"),
    "run_id": cc.TextColumn("Run ID"),
}

STUDY_COLUMNS: Mapping[str, Any] = {
    "study_id": cc.TextColumn("Study", width=190, pinned=True),
    "agent": cc.TextColumn("Agent", width=190),
    "status": cc.TextColumn("Status", width=95),
    "tier": cc.TextColumn("Tier", width=75),
    "track": cc.TextColumn("Track", width=75),
    "n_done": cc.TextColumn("Trials", width=85),
    "n_accepted": cc.NumberColumn("Kept", width=60),
    "gain_bpb": cc.NumberColumn("Confirmed gain", format=SIGNED_BPB, width=115),
    "interval": cc.TextColumn("95% interval", width=150),
    "claimed_gain_bpb": cc.NumberColumn("Claimed gain", format=SIGNED_BPB, width=105),
    "seed": cc.NumberColumn("Seed", width=60),
    "started_at": cc.DatetimeColumn("Started", format=WHEN),
}


def run_table(rows: Sequence[Mapping[str, Any]], *, of_many: bool = False) -> pd.DataFrame:
    """Runs as `RUN_COLUMNS`; with the model if they are `of_many`."""
    shown = _worded_runs(rows)
    shown = shown.assign(peak_memory_gib=peak_in_gib(shown))
    wanted = {name: column for name, column in RUN_COLUMNS.items() if of_many or name != "model_id"}
    return filled_columns(shown, wanted)


def run_export(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Runs for a download: every column that is a plain value."""
    return _worded_runs(rows).drop(columns=list(NESTED), errors="ignore")


def _worded_runs(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows).assign(
        why=[row["detail"] or row["reason"] for row in rows],
        duration=[safe_text.duration(stated(row, "duration_s")) for row in rows],
        output_tokens=[stated(row, "output_tokens") for row in rows],
        answered_by=[engine_phrase(row) for row in rows],
    )


def stated(run: Mapping[str, Any], name: str) -> float | None:
    """A figure of a run; None where it is 0 because the file of an imported one does not say it."""
    return None if run["origin"] and not run[name] else run[name]


def peak_in_gib(rows: pd.DataFrame) -> pd.Series[float]:
    """The peak memory of runs in GiB; missing where only the reserved share of a card is known."""
    columns = {name: rows[name].to_numpy(dtype=object) for name in NEED_COLUMNS if name in rows}
    peaks = [
        peak_of_need(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)
    ]
    return in_gib(pd.Series(peaks, index=rows.index, dtype=float))


def in_gib(amounts: pd.Series[Any]) -> pd.Series[float]:
    """Bytes as GiB; missing where they are missing."""
    return pd.to_numeric(amounts).astype(float) / GIB


def engine_phrase(run: Mapping[str, Any]) -> str:
    """The engine of a run with its version, precision and device, as far as they are known."""
    if note := origin_note(run):
        return note
    engine = " ".join(filter(None, (run["engine"], run["engine_version"])))
    return " · ".join(filter(None, (engine, run["quantization"], run["dtype"], run["device"])))


def with_gain_interval(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with both ends of the gain's interval as the text `interval`."""
    ends = zip(frame["gain_ci_low"], frame["gain_ci_high"], strict=True)
    return frame.assign(interval=[safe_text.bpb_ends(low, high) for low, high in ends])


def filled_columns(frame: pd.DataFrame, config: Mapping[str, Any]) -> pd.DataFrame:
    """The columns of `config`, without those in which no row has a value."""
    return frame[list(config)].dropna(axis="columns", how="all")
