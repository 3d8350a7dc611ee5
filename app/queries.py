"""The one place where the app reads: the newest published snapshot, one cached answer per question.

An answer is kept under the snapshot's id, so a new snapshot is seen by the next question. The database
is opened for one question and closed; a connection is never kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import streamlit as st

from app import board as ranking
from app import fitting
from app.running import Running
from app.running import running as running_now
from app.studying import UnderWay, under_way
from tracker.research_board import StudyRow
from tracker.settings import load_settings
from tracker.store import open_snapshot, published_at, snapshot_id

KEPT_ANSWERS = 64  # a page asks about five questions; those of older snapshots go first
KEPT_TABLES = 12  # a suite's scores of 5,000 models are about 10 MB
LATEST_RUNS = 200  # some weeks of work; the download has the same
KNOWN_MODELS = 5000  # of the Hub; nobody reads further down a table
KEPT_ITEMS = 8  # an item, or what a model was asked and answered, can hold megabytes
PREVIEW_CHARS = 160  # what fits into a table cell
ALL_ITEMS = 10**9  # more than any task has
PAGE_ITEMS = 25  # a screen of table rows


def snapshot() -> str:
    """The id of the newest snapshot of this home; it changes with every publication."""
    settings = load_settings()
    newest = f"{settings.home}:{snapshot_id(settings)}"
    _forget_others(newest)
    return newest


def published() -> datetime | None:
    """When the newest snapshot was written; None before the first."""
    return published_at(load_settings())


@st.cache_resource(max_entries=1, show_spinner=False)
def _forget_others(newest: str) -> None:
    """Drop, once per snapshot, what was read of the one before: nobody asks for it again."""
    for kept in (_rows, _table, _ranked_board, _candidates, _item_scores, _item_rows, _exchange_rows):
        kept.clear()


def sources() -> pd.DataFrame:
    """The newest ingest of each source, with what is to be known of the source; the columns of `ingests`."""
    rows = _rows(snapshot(), "ingests")
    frame = pd.DataFrame(rows).drop_duplicates("source") if rows else pd.DataFrame()
    urls = {row["source"]: row["url"] for row in _rows(snapshot(), "sources")}
    frame = frame.drop(columns=["problems", "raw_sha256", "resume"], errors="ignore")
    return (
        frame.assign(url=frame["source"].map(urls)).sort_values("source", ignore_index=True)
        if rows
        else frame
    )


def running() -> list[Running]:
    """What is being measured at this moment; read anew each time."""
    return running_now(load_settings())


def expected_items(suite: str, version: int) -> int | None:
    """How many items a whole run of that suite had, if there was one."""
    rows = _rows(snapshot(), "suite_sizes")
    return next(
        (row["n_items"] for row in rows if (row["suite"], row["suite_version"]) == (suite, version)), None
    )


def jobs() -> pd.DataFrame:
    """The queue, the next on top: the columns of the table `jobs`, with `why` for its reasons, and `rank`."""
    rows = _rows(snapshot(), "jobs")
    frame = pd.DataFrame([{**row, "why": "; ".join(row["reasons"])} for row in rows])
    return frame.drop(columns="reasons", errors="ignore")


def latest_runs() -> list[dict[str, Any]]:
    """The newest runs of all models; the columns of the table `runs`."""
    return _rows(snapshot(), "latest_runs", n=LATEST_RUNS)


def board_tasks() -> list[dict[str, Any]]:
    """One row per suite and task: `suite task place n_models metric chance`; the fullest suite first."""
    return _rows(snapshot(), "board_tasks")


def board(suite: str, tasks: Sequence[str]) -> pd.DataFrame:
    """The best measured run of each model and settings on these tasks of a suite, one row per task.

    Columns: `model_id revision suite task metric score ci_low ci_high n_items n_total chance
    truncated_fraction engine dtype quantization device asked_max_model_len thinking limit path asked_dtype
    asked_quantization n_params license tokens_per_s ttft_s peak_memory_bytes weights_bytes overhead_bytes
    cache_bytes_per_token status measured_at run_id`.
    """
    return _table(snapshot(), "board", times=("measured_at",), suite=suite, tasks=sorted(tasks))


def ranked_board(suite: str, task: str, columns: tuple[str, ...]) -> pd.DataFrame:
    """The rows of `board.table`: one per model and settings, ranked by `task`; not to be changed."""
    return _ranked_board(snapshot(), suite, task, columns)


def candidates(suite: str, task: str) -> pd.DataFrame:
    """The rows of `fitting.candidates`: settings with their score on `task`, then models of the Hub."""
    return _candidates(snapshot(), suite, task)


@st.cache_resource(max_entries=KEPT_TABLES, show_spinner=False)
def _ranked_board(snapshot: str, suite: str, task: str, columns: tuple[str, ...]) -> pd.DataFrame:
    return ranking.table(board(suite, (task, *columns)), task, columns)


@st.cache_resource(max_entries=KEPT_TABLES, show_spinner=False)
def _candidates(snapshot: str, suite: str, task: str) -> pd.DataFrame:
    return fitting.candidates(board(suite, (task,)), hub_sizes(), task)


def claims_on(task: str) -> pd.DataFrame:
    """What is claimed of models of the Hub on the benchmark that is this task here, the best first."""
    return _table(snapshot(), "claims_on_task", times=("seen_at",), task=task)


def claims_of(model_id: str) -> pd.DataFrame:
    """One row per benchmark and source that says what a model of the Hub scores; columns: `model_claims`."""
    claims = _claims()
    return claims[claims["model_id"] == model_id].reset_index(drop=True)


def hub_ids() -> set[str]:
    """The models of the Hub of which a size or a claim is known."""
    return {*hub_sizes()["model_id"], *_claims()["model_id"]}


def _claims() -> pd.DataFrame:
    return _table(snapshot(), "model_claims", times=("seen_at",))


def claimed_and_measured(model_id: str) -> pd.DataFrame:
    """What sources say that a model scores beside what it scored here; columns: the read of that name."""
    return _table(snapshot(), "claimed_and_measured", times=("seen_at", "measured_at"), model_id=model_id)


def hub_sizes() -> pd.DataFrame:
    """The models of the Hub that could be run and whose size is known, the most asked for first.

    Columns: `model_id organization kind n_params weights_bytes license gated max_context released_at
    downloads trending`.
    """
    return _table(snapshot(), "hub_sizes", times=("released_at",), n=KNOWN_MODELS)


def open_failures(model_id: str | None = None) -> pd.DataFrame:
    """Failed runs that no later one made good, newest first; the columns of the table `runs`."""
    return _frame(_rows(snapshot(), "open_failures", model_id=model_id), times=("started_at",))


def score_series() -> list[dict[str, Any]]:
    """One row per series of scores that was ingested: `source benchmark variant unit n_models`."""
    return _rows(snapshot(), "series")


def ingest_health() -> list[dict[str, Any]]:
    """When each source was last asked and last complete, and whether it is overdue in this minute."""
    now = datetime.now(UTC).replace(second=0, microsecond=0, tzinfo=None)
    return _rows(snapshot(), "ingest_health", now=now)


def models() -> list[dict[str, Any]]:
    """One row per model that was run here, with its newest run."""
    return _rows(snapshot(), "models")


def model_ids() -> list[str]:
    """The models that were run here, by name."""
    return sorted({row["model_id"] for row in _rows(snapshot(), "models")}, key=str.casefold)


def newest_models(n: int) -> list[str]:
    """The models whose newest run with scores is the latest, at most `n`."""
    rows = [row for row in _rows(snapshot(), "models") if row["status"] in ("complete", "partial")]
    return list(dict.fromkeys(row["model_id"] for row in rows))[:n]


def comparable_runs(models: tuple[str, ...]) -> list[dict[str, Any]]:
    """One row per task of the runs that a comparison goes by, with engine, settings and date."""
    return _rows(snapshot(), "comparable_runs", models=models)


def item_scores(run_id: str) -> pd.DataFrame:
    """One row per scored item of a run, in the suite's order: `place task doc_id doc_hash score cluster`."""
    return _item_scores(snapshot(), run_id)


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


def studies() -> list[dict[str, Any]]:
    """The studies of auto-research, newest first; the columns of the read of that name."""
    return _rows(snapshot(), "studies", study_id=None, tier=None, track=None)


def agent_models() -> list[str]:
    """The models that were agents of auto-research, by name."""
    return sorted({row["model_id"] for row in studies() if row["model_id"]}, key=str.casefold)


def complete_studies() -> list[StudyRow]:
    """The studies that the board of agents compares."""
    return [StudyRow(**row) for row in _rows(snapshot(), "research_board", tier=None, track=None)]


def attack_suite() -> dict[str, Any] | None:
    """The newest run of the whole suite of scripted cheats; None if it never ran here."""
    rows = _rows(snapshot(), "attack_suite")
    return rows[0] if rows else None


def study_curves() -> pd.DataFrame:
    """What each study had gained after each trial; the columns of the read `research_curves`."""
    return _table(snapshot(), "research_curves")


def trials(study_id: str) -> list[dict[str, Any]]:
    """The finished trials of a study in their order, placebos included; the columns of the table `trials`."""
    return _rows(snapshot(), "trials", study_id=study_id)


def trainings(study_id: str, slot: int) -> list[dict[str, Any]]:
    """The trainings behind one verdict, with their curves; the columns of the table `trainings`."""
    return _rows(snapshot(), "trial_trainings", study_id=study_id, slot=slot)


def exchanges(study_id: str, slot: int) -> list[dict[str, Any]]:
    """What a model was asked for one trial and what it answered, whole; the columns of `proposals`."""
    return _exchange_rows(snapshot(), study_id, slot)


def studies_under_way() -> list[UnderWay]:
    """The studies that a process works on at this moment; read anew each time."""
    return under_way(load_settings())


@st.cache_resource(max_entries=KEPT_ANSWERS, show_spinner=False)
def _rows(snapshot: str, name: str, **params: Any) -> list[dict[str, Any]]:
    """The rows of one named read, shared by all sessions: nobody may change them.

    `snapshot` stands in the cache's key alone.
    """
    with open_snapshot(load_settings()) as store:
        return store.query(name, **{key: list(v) if isinstance(v, tuple) else v for key, v in params.items()})


@st.cache_resource(max_entries=KEPT_TABLES, show_spinner=False)
def _table(snapshot: str, name: str, *, times: tuple[str, ...] = (), **params: Any) -> pd.DataFrame:
    """The same as a frame that all sessions share, so nobody may change it: copying it would cost more."""
    with open_snapshot(load_settings()) as store:
        frame = store.table(name, **params).to_pandas()
    for column in times:
        frame[column] = pd.to_datetime(frame[column], utc=True)
    return frame


@st.cache_resource(max_entries=KEPT_TABLES, show_spinner=False)
def _item_scores(snapshot: str, run_id: str) -> pd.DataFrame:
    columns = ["place", "task", "doc_id", "doc_hash", "score", "cluster"]
    with open_snapshot(load_settings()) as store:
        return pd.DataFrame(store.query("item_scores", run_id=run_id), columns=columns)


@st.cache_resource(max_entries=KEPT_ITEMS, show_spinner=False)
def _item_rows(snapshot: str, run_id: str, task: str, doc_id: int) -> list[dict[str, Any]]:
    with open_snapshot(load_settings()) as store:
        return store.query("items_page", run_id=run_id, task=task, doc_id=doc_id, limit=1)


@st.cache_resource(max_entries=KEPT_ITEMS, show_spinner=False)
def _exchange_rows(snapshot: str, study_id: str, slot: int) -> list[dict[str, Any]]:
    with open_snapshot(load_settings()) as store:
        return store.query("trial_exchanges", study_id=study_id, slot=slot)


def _frame(rows: list[dict[str, Any]], *, times: tuple[str, ...] = ()) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    for name in times if len(frame) else ():
        frame[name] = pd.to_datetime(frame[name], utc=True)
    return frame
