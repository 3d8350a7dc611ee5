"""The one place where the app reads: the newest published snapshot, one cached answer per question.

An answer is kept under the snapshot's id, so a new snapshot is seen by the next question. The database
is opened for one question and closed; a connection is never kept.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pandas as pd
import streamlit as st

from tracker.settings import load_settings
from tracker.store import open_snapshot, snapshot_id

KEPT_ANSWERS = 128  # a page asks about five questions; more than enough for twenty visitors
KEPT_ITEMS = 8  # an item in full can hold megabytes
PREVIEW_CHARS = 160  # what fits into a table cell
ALL_ITEMS = 10**9  # more than any task has
PAGE_ITEMS = 25  # a screen of table rows


def snapshot() -> str:
    """The id of the newest snapshot of this home; it changes with every publication."""
    settings = load_settings()
    return f"{settings.home}:{snapshot_id(settings)}"


def leaderboard() -> pd.DataFrame:
    """The best measured run of each model, settings and suite, one row per task that is no part of another.

    Columns: `model_id revision suite suite_version task metric filter score ci_low ci_high chance n_items
    n_total truncated_fraction engine quantization dtype device asked_max_model_len thinking tokens_per_s
    peak_memory_bytes status reason measured_at run_id limit`.
    """
    frame = _frame(_rows(snapshot(), "leaderboard"), times=("started_at", "ended_at"))
    frame = frame.rename(columns={"value": "score"})
    if frame.empty:
        return frame
    whole = frame[frame["group"].isna()]
    quantization = whole["quantization"].fillna(whole["model_quantization"])
    return whole.assign(quantization=quantization, measured_at=whole["ended_at"].fillna(whole["started_at"]))


def open_failures(model_id: str | None = None) -> pd.DataFrame:
    """Failed runs that no later one made good, newest first; the columns of the table `runs`."""
    return _frame(_rows(snapshot(), "open_failures", model_id=model_id), times=("started_at",))


def ingest_health() -> list[dict[str, Any]]:
    """When each source was last asked and last complete, and whether it is overdue; the age is of this minute."""
    now = datetime.now(UTC).replace(second=0, microsecond=0, tzinfo=None)
    return _rows(snapshot(), "ingest_health", now=now)


def model_ids() -> list[str]:
    """The models that were run here, by name."""
    return sorted({row["model_id"] for row in _rows(snapshot(), "models")}, key=str.casefold)


def model_runs(model_id: str) -> list[dict[str, Any]]:
    """All runs of one model, newest first; the columns of the table `runs`."""
    return _rows(snapshot(), "model_runs", model_id=model_id)


def run_scores(run_id: str) -> pd.DataFrame:
    """One row per task of a run, in the suite's order; the columns of `task_scores`, `value` as `score`."""
    return _frame(_rows(snapshot(), "run_scores", run_id=run_id)).rename(columns={"value": "score"})


def items_page(run_id: str, *, task: str | None, only: str | None, page: int) -> list[dict[str, Any]]:
    """One page of a run's items, long texts cut short; each row says in `n_matching` how many there are."""
    offset = (page - 1) * PAGE_ITEMS
    where = {"run_id": run_id, "task": task, "only": only}
    return _rows(snapshot(), "items_page", **where, limit=PAGE_ITEMS, offset=offset, preview=PREVIEW_CHARS)


def items(run_id: str, *, task: str | None, only: str | None) -> pd.DataFrame:
    """All items of a run that a filter keeps, in full: for a download, so nothing of it is cached."""
    with open_snapshot(load_settings()) as store:
        rows = store.query("items_page", run_id=run_id, task=task, only=only, limit=ALL_ITEMS)
    return pd.DataFrame(rows).drop(columns=["place", "n_matching"], errors="ignore")


def item(run_id: str, *, task: str, doc_id: int) -> dict[str, Any] | None:
    """One item in full, or None if the run has no such item."""
    rows = _item_rows(snapshot(), run_id, task, doc_id)
    return rows[0] if rows else None


@st.cache_data(max_entries=KEPT_ANSWERS, show_spinner=False)
def _rows(snapshot: str, name: str, **params: Any) -> list[dict[str, Any]]:
    """The rows of one named read; `snapshot` stands in the cache's key alone."""
    with open_snapshot(load_settings()) as store:
        return store.query(name, **params)


@st.cache_data(max_entries=KEPT_ITEMS, show_spinner=False)
def _item_rows(snapshot: str, run_id: str, task: str, doc_id: int) -> list[dict[str, Any]]:
    with open_snapshot(load_settings()) as store:
        return store.query("items_page", run_id=run_id, task=task, doc_id=doc_id, limit=1)


def _frame(rows: list[dict[str, Any]], *, times: tuple[str, ...] = ()) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    for name in times if len(frame) else ():
        frame[name] = pd.to_datetime(frame[name], utc=True)
    return frame
