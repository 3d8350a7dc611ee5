"""The leaderboard's rows: one per model and settings, the ranked task's score beside the other columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from app import rows
from tracker.sizing import CACHE_FRACTION, OVERHEAD_BYTES

SHORT_CONTEXT = 4096  # tokens; what "fits" means on the leaderboard
BYTES_PER_PARAM = 2  # weights in 16 bits, where nothing more is known
MEASURED, CLAIMED = "measured here", "claimed"
SUBJECT = ("model_id", *rows.SETTINGS)  # one row of the table; a label says only what differs inside its task


@dataclass(frozen=True, slots=True)
class Narrowing:
    """What a row must be to stay; an empty tuple and None keep every row."""

    find: str = ""
    fits_gb: int | None = None
    max_params: float | None = None
    licenses: tuple[str, ...] = ()
    organizations: tuple[str, ...] = ()


def with_facts(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with `organization`, and `needed_bytes`: the memory for a short context."""
    ids = frame["model_id"].astype(str)
    organization = ids.str.split("/").str[0].where(ids.str.contains("/", regex=False), "local")
    return frame.assign(organization=organization, needed_bytes=needed(frame, context=SHORT_CONTEXT))


def needed(frame: pd.DataFrame, *, context: int) -> pd.Series[float]:
    """Bytes for the weights, one sequence of `context` tokens and the engine.

    From what the fit check read of the headers where a run kept it, else from the number of parameters;
    missing where neither is known, and for a longer context also where the cache is not known.
    """
    weights = number(frame, "weights_bytes")
    weights = weights.fillna(number(frame, "n_params") * BYTES_PER_PARAM)
    overhead = number(frame, "overhead_bytes").fillna(OVERHEAD_BYTES)
    cache = number(frame, "cache_bytes_per_token") * context
    if context <= SHORT_CONTEXT:
        cache = cache.fillna(weights * CACHE_FRACTION)
    return weights + cache + overhead


def number(frame: pd.DataFrame, name: str) -> pd.Series[float]:
    """A column as floats, nothing as NaN; all NaN if there is none of that name."""
    if name not in frame:
        return pd.Series(np.nan, index=frame.index)
    return pd.to_numeric(frame[name], errors="coerce").astype(float)


def table(frame: pd.DataFrame, task: str, columns: Sequence[str]) -> pd.DataFrame:
    """One row per model and settings, ranked by `task`, with the scores of the other columns.

    `frame` has one row per model, settings and task. The score of a column `c` stands in `score of c`, half
    the width of its interval in `± of c`.
    """
    ranked = rows.with_ranks(rows.with_labels(frame[frame["task"] == task]))
    ranked = with_facts(ranked.assign(basis=MEASURED))
    for name in columns:
        other = frame[frame["task"] == name].drop_duplicates([*SUBJECT])
        half_width = (other["ci_high"] - other["ci_low"]) / 2
        beside = {f"score of {name}": other["score"], f"± of {name}": half_width}
        ranked = ranked.merge(other[[*SUBJECT]].assign(**beside), how="left", on=[*SUBJECT])
    return ranked


def with_claims(table: pd.DataFrame, claims: pd.DataFrame) -> pd.DataFrame:
    """`table` with what is claimed on the ranked task below it; a claim has no interval, and so no rank."""
    if claims.empty:
        return table
    claimed = with_facts(claims.assign(label=claims["model_id"], basis=CLAIMED, rank=np.nan, metric=None))
    claimed = claimed.assign(measured_at=pd.to_datetime(claims["seen_at"], utc=True))
    kept = [name for name in claimed if name in table or name in ("source_url", "reporter")]
    return pd.concat([table.astype({"rank": float}), claimed[kept]], ignore_index=True)


def narrowed(table: pd.DataFrame, by: Narrowing) -> pd.DataFrame:
    """The rows that a narrowing keeps; a row whose size is not known fits nowhere."""
    keep = pd.Series(True, index=table.index)
    if by.find.strip():
        keep &= table["label"].str.contains(by.find.strip(), case=False, regex=False)
    if by.fits_gb is not None:
        keep &= table["needed_bytes"] <= by.fits_gb * 1e9
    if by.max_params is not None:
        keep &= number(table, "n_params") <= by.max_params
    if by.licenses:
        keep &= table["license"].fillna("not stated").isin(by.licenses)
    if by.organizations:
        keep &= table["organization"].isin(by.organizations)
    return table[keep]


def measured(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that were measured here, with whole ranks."""
    rows = table[table["basis"] == MEASURED]
    return rows.astype({"rank": int})


def complete(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The rows that have a score in every one of these columns."""
    return table.dropna(subset=[f"score of {name}" for name in columns]) if columns else table


def exported(table: pd.DataFrame) -> pd.DataFrame:
    """What a download holds: the plain values in the words of the store, without this machine's folders."""
    return table.drop(columns=["label", "path", "cache_bytes_per_token", "overhead_bytes"], errors="ignore")
