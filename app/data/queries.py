"""The app's only reader of the database: cached queries on the newest published snapshot.

The snapshot's id is part of each cache key, so the next query sees a new snapshot. Each query has a
connection of its own, which is closed again; a server keeps the newest file open meanwhile.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from app.data.running_benches import Running, running_benches
from app.data.running_studies import UnderWay, under_way
from app.data.table_states import TableStates
from tracker.answers.abilities import Ability, read_abilities
from tracker.answers.agent_board import StudyRow
from tracker.answers.bench_progress import expected_total
from tracker.answers.comparison import newest_comparable
from tracker.answers.fits import KNOWN_MODELS, fit_candidates
from tracker.answers.leaderboard import ranked_rows, read_board, read_episode_counts
from tracker.answers.measured_speed import read_measured_speeds
from tracker.answers.repeatability import repeatability, repeatability_document
from tracker.answers.token_share import TokenShare, token_share
from tracker.errors import StoreError, TrackerError
from tracker.settings import load_settings
from tracker.store import keep_open, open_snapshot, published_at, snapshot_id

SINGLE_TASKS = "tasks"  # the suite of `--task`
AT_ONCE, ADOPT_EVERY_S = 2, 30.0  # new snapshots in a row, then one each so many seconds
KEPT_ANSWERS = 64  # a page runs about five queries
HOW_TO_FIND_A_HOME = (
    "move it back, or set TRACKER_HOME to where it is and start `tracker app` again; if only snapshots are"
    " lost, `tracker store publish` writes a new one"
)
PAIR_CANDIDATES = 20  # models measured last, among which a pair to compare is looked for
KEPT_TABLES = 12  # a suite's scores of 5,000 models are about 10 MB
LATEST_RUNS = 200  # a few weeks of work; also the size of the download
MISSING_TTL_S = 60.0  # a disk can lose a file without a new snapshot
KEPT_LASTING = 6  # of what changes seldom
KEPT_ITEMS = 8  # an item or a prompt with its reply can take megabytes
PREVIEW_CHARS = 160  # what fits into a table cell
ALL_ITEMS = 10**9  # more than any task has
PAGE_ITEMS = 25  # a screen of table rows


def snapshot() -> str:
    """The id of the snapshot of this home that is shown; a publication changes it, see `Adoptions`.

    Raises:
        StoreError: the pointer to it cannot be read, or this server has shown a snapshot of this home and
            none is left there.
    """
    settings = load_settings()
    name = snapshot_id(settings)
    if name is not None:
        _homes_shown().add(settings.home)
    elif settings.home in _homes_shown():
        message = f"the snapshots of the home `{settings.home}` are gone: it was moved or emptied"
        raise StoreError(message, hint=HOW_TO_FIND_A_HOME)
    adoptions = _adoptions(settings.home)
    shown = adoptions.shown(f"{settings.home}:{name}", time.monotonic())
    if adoptions.n_shown > 1:
        _forget_others(shown)
    return shown


class Adoptions:
    """Which snapshot a server shows: a new one at once, but of many in a row one each `ADOPT_EVERY_S`.

    Each one empties the caches: with a bench that publishes every second every visit would be a cold one.
    Queries that are not cached read the newest snapshot meanwhile.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shown = ""
        self.n_shown = 0  # snapshots so far
        self._left = float(AT_ONCE)  # new snapshots that are shown at once
        self._seen_s = 0.0

    def shown(self, newest: str, now_s: float) -> str:
        """The snapshot to show at this moment of a clock that only goes forward."""
        with self._lock:
            self._left = min(self._left + (now_s - self._seen_s) / ADOPT_EVERY_S, float(AT_ONCE))
            self._seen_s = now_s
            if newest != self._shown and (self._left >= 1.0 or not self._shown):
                self._left -= 1.0
                self._shown = newest
                self.n_shown += 1
            return self._shown

    def show_next(self) -> None:
        """Show the next new snapshot at once: a visitor has changed something and looks for it."""
        with self._lock:
            self._left = max(self._left, 1.0)


def show_own_change() -> None:
    """Show what a visitor has just changed, however many snapshots there were."""
    _adoptions(load_settings().home).show_next()


@st.cache_resource(show_spinner=False)
def _adoptions(home: Path) -> Adoptions:
    return Adoptions()


@st.cache_resource(show_spinner=False)
def _homes_shown() -> set[Path]:
    """The homes that had a snapshot since this server began."""
    return set()


def share_snapshots() -> None:
    """Keep the newest snapshot open between queries, as a server does."""
    keep_open()


def now() -> datetime:
    """The current time, from which ages and "this week" are counted."""
    return load_settings().now()


def published() -> datetime | None:
    """When the newest snapshot was written; None before the first."""
    return published_at(load_settings())


def state(*names: str) -> str:
    """A key that changes with the rows of the tables that these reads use, and not with each snapshot.

    The reads use no items.
    """
    shown, settings = snapshot(), load_settings()
    return _states(settings.home).of(names, shown, lambda: open_snapshot(settings))


@st.cache_resource(show_spinner=False)
def _states(home: Path) -> TableStates:
    return TableStates()


@st.cache_resource(max_entries=1, show_spinner=False)
def _forget_others(newest: str) -> None:
    """Clear the caches of older snapshots, once per snapshot."""
    for kept in (
        _rows, _table, _board, _ranked_board, _candidates, _item_scores, _item_rows, _exchange_rows,
        _repeatability, _abilities, _token_shares, _missing,
    ):  # fmt: skip
        kept.clear()
    gc.collect()  # once per snapshot, what Streamlit would do after every visit


def source_ingests() -> pd.DataFrame:
    """The newest ingest of each source: the columns of `ingests`, and the `url` of the source."""
    rows = _rows(snapshot(), "ingests")
    frame = pd.DataFrame(rows).drop_duplicates("source") if rows else pd.DataFrame()
    urls = {row["source"]: row["url"] for row in _lasting_rows(state("sources"), "sources")}
    frame = frame.drop(columns=["problems", "raw_sha256", "resume"], errors="ignore")
    return (
        frame.assign(url=frame["source"].map(urls)).sort_values("source", ignore_index=True)
        if rows
        else frame
    )


def runs_in_progress() -> list[Running]:
    """The runs in progress, not cached."""
    return running_benches(load_settings())


def expected_items(suite: str, version: int, limit: int | None) -> int | None:
    """The items of a run of that suite, by the sizes of its tasks in complete runs; None if there was none.

    Tasks that are chosen one by one are a different set each time.
    """
    if suite == SINGLE_TASKS:
        return None
    rows = [row for row in _rows(snapshot(), "task_sizes", suite=suite) if row["suite_version"] == version]
    return expected_total({row["task"]: row["n_items"] for row in rows}, limit=limit)


def jobs() -> pd.DataFrame:
    """The queue, next job first: `rank` and the columns of `jobs`, with `reasons` joined into `why`."""
    rows = _rows(snapshot(), "jobs")
    frame = pd.DataFrame([{**row, "why": "; ".join(row["reasons"])} for row in rows])
    return frame.drop(columns="reasons", errors="ignore")


def latest_runs() -> list[dict[str, Any]]:
    """The newest runs of all models; the columns of the table `runs`."""
    return _rows(snapshot(), "latest_runs", n=LATEST_RUNS)


def board_tasks() -> list[dict[str, Any]]:
    """One row per suite and task: `suite task place n_models metric chance`; suite with most scores first."""
    return _rows(snapshot(), "board_tasks")


def task_scores(suite: str, tasks: Sequence[str]) -> pd.DataFrame:
    """The best run of each model and settings on these tasks of a suite, one row per task.

    Columns: `model_id revision suite task metric score ci_low ci_high n_items n_total chance
    truncated_fraction empty_fraction completed_fraction completed_value completed_ci_low completed_ci_high
    repeats mean_output_tokens
    engine dtype quantization device asked_max_model_len thinking sampling max_output_tokens limit path
    asked_dtype asked_quantization n_params license tokens_per_s ttft_s peak_memory_bytes weights_bytes
    overhead_bytes cache_bytes_per_token status measured_at run_id`.
    """
    return _board(snapshot(), suite, tuple(sorted(tasks)))


@st.cache_resource(max_entries=KEPT_TABLES, show_spinner=False)
def _board(snapshot: str, suite: str, tasks: tuple[str, ...]) -> pd.DataFrame:
    with open_snapshot(load_settings()) as store:
        return read_board(store, suite, tasks)


def ranked_board(suite: str, task: str, columns: tuple[str, ...]) -> pd.DataFrame:
    """The rows of `ranked_rows`: one per model and settings, ranked by `task`; shared, so do not modify."""
    return _ranked_board(snapshot(), suite, task, columns)


def episode_counts(suite: str) -> list[dict[str, Any]]:
    """What the runs of a suite of episodes count, and the tokens of each episode; none for other suites."""
    return _episode_counts(snapshot(), suite)


@st.cache_resource(max_entries=KEPT_TABLES, show_spinner=False)
def _episode_counts(snapshot: str, suite: str) -> list[dict[str, Any]]:
    with open_snapshot(load_settings()) as store:
        return read_episode_counts(store, suite)


def suites_of_episodes() -> set[str]:
    """The suites with runs whose tasks are episodes."""
    return {row["suite"] for row in _rows(snapshot(), "runs_of_episodes")}


def candidates(suite: str, task: str) -> pd.DataFrame:
    """The rows of `fit_candidates`: measured settings with their score on `task`, then Hub models."""
    return _candidates(snapshot(), suite, task)


@st.cache_resource(max_entries=KEPT_TABLES, show_spinner=False)
def _ranked_board(snapshot: str, suite: str, task: str, columns: tuple[str, ...]) -> pd.DataFrame:
    return ranked_rows(task_scores(suite, (task, *columns)), task, columns)


@st.cache_resource(max_entries=KEPT_TABLES, show_spinner=False)
def _candidates(snapshot: str, suite: str, task: str) -> pd.DataFrame:
    speeds = read_measured_speeds(load_settings())
    return fit_candidates(task_scores(suite, (task,)), hub_sizes(), task, speeds)


def claims_on(task: str) -> pd.DataFrame:
    """The claims of Hub models on the benchmark of this task, best first."""
    return _table(snapshot(), "claims_on_task", times=("seen_at",), task=task)


def claims_of(model_id: str) -> pd.DataFrame:
    """The claims of a Hub model, one row per benchmark and source; the columns of `model_claims`."""
    claims = _claims()
    return claims[claims["model_id"] == model_id].reset_index(drop=True)


def hub_ids() -> set[str]:
    """The Hub models with a known size or claim."""
    return {*hub_sizes()["model_id"], *_claims()["model_id"]}


def _claims() -> pd.DataFrame:
    return _lasting_table(state("model_claims"), "model_claims", times=("seen_at",))


def claimed_and_measured(model_id: str) -> pd.DataFrame:
    """The claims of a model beside its scores measured here; the columns of the query of that name."""
    return _table(snapshot(), "claimed_and_measured", times=("seen_at", "measured_at"), model_id=model_id)


def hub_sizes() -> pd.DataFrame:
    """The runnable Hub models of known size, most popular first.

    Columns: `model_id organization kind n_params n_params_at_least weights_bytes license gated max_context
    released_at downloads trending`.
    """
    return _lasting_table(state("hub_sizes"), "hub_sizes", times=("released_at",), n=KNOWN_MODELS)


def open_failures(model_id: str | None = None) -> pd.DataFrame:
    """The failed runs without a later successful one, newest first; the columns of `runs`."""
    return _frame(_rows(snapshot(), "open_failures", model_id=model_id), times=("started_at",))


def score_series() -> list[dict[str, Any]]:
    """One row per ingested series of scores: `source benchmark variant unit n_models`."""
    return _lasting_rows(state("series"), "series")


def ingest_health() -> list[dict[str, Any]]:
    """The times of each source's last ingest and last complete one, and whether it is overdue."""
    minute = now().replace(second=0, microsecond=0, tzinfo=None)
    return _rows(snapshot(), "ingest_health", now=minute)


def token_shares() -> TokenShare | None:
    """The shares of open and closed models in the tokens of each day; None if they have not been ingested."""
    return _token_shares(snapshot())


@st.cache_resource(max_entries=1, show_spinner=False)
def _token_shares(newest: str) -> TokenShare | None:
    del newest  # part of the cache key
    try:
        return token_share(load_settings())
    except TrackerError:
        return None


def measured_models() -> list[dict[str, Any]]:
    """One row per model measured here, with its newest run."""
    return _rows(snapshot(), "models")


def model_ids() -> list[str]:
    """The IDs of the models measured here, sorted."""
    return list(_model_ids(snapshot()))


@st.cache_resource(max_entries=1, show_spinner=False)
def _model_ids(snapshot: str) -> tuple[str, ...]:
    return tuple(sorted({row["model_id"] for row in _rows(snapshot, "models")}, key=str.casefold))


def newest_models(n: int) -> list[str]:
    """The IDs of the `n` models with the newest runs that have scores."""
    rows = [row for row in _rows(snapshot(), "models") if row["status"] in ("complete", "partial")]
    return list(dict.fromkeys(row["model_id"] for row in rows))[:n]


def newest_pair() -> tuple[str, ...]:
    """The two models measured last that share a suite; else the two measured last, if there are two."""
    newest = newest_models(PAIR_CANDIDATES)
    return newest_comparable(newest, comparable_runs(tuple(newest)))


def comparable_runs(models: tuple[str, ...]) -> list[dict[str, Any]]:
    """One row per task of the runs that a comparison uses, with engine, settings and date."""
    return _rows(snapshot(), "comparable_runs", models=models)


def item_scores(run_id: str) -> pd.DataFrame:
    """One row per scored item of a run, in suite order: `place task doc_id doc_hash score cluster`."""
    return _item_scores(snapshot(), run_id)


def model_runs(model_id: str) -> list[dict[str, Any]]:
    """All runs of a model, newest first; the columns of `runs`."""
    return _rows(snapshot(), "model_runs", model_id=model_id)


def run_repeatability(run_id: str, model_id: str) -> dict[str, Any] | None:
    """A run against the newest earlier one whose answers it does not reuse; None: there is none."""
    return _repeatability(snapshot(), run_id, model_id)


def model_abilities(model_id: str) -> tuple[Ability, ...]:
    """The areas in which a model was measured here, each with its mean."""
    return _abilities(snapshot(), model_id)


def run_scores(run_id: str) -> pd.DataFrame:
    """One row per task of a run, in suite order; the columns of `task_scores`, with `value` as `score`."""
    return _frame(_rows(snapshot(), "run_scores", run_id=run_id)).rename(columns={"value": "score"})


def other_metrics(run_id: str) -> pd.DataFrame:
    """The metrics of a run that are not the score of their task, each in its own unit."""
    metrics = _frame(_rows(snapshot(), "task_metrics", run_id=run_id))
    if metrics.empty:
        return metrics
    shown = ["task", "metric", "filter", "value", "stderr", "n_items", "higher_is_better"]
    return metrics.loc[~metrics["is_headline"].astype(bool), shown].reset_index(drop=True)


def missing_items(run_id: str) -> str:
    """A sentence on the items of a run that can no longer be read; empty if all can."""
    return _missing(snapshot(), run_id)


def items_page(
    run_id: str, *, task: str | None, only: str | None, words: str | None, page: int
) -> list[dict[str, Any]]:
    """One page of a run's items with long texts shortened; `n_matching` is the number on all pages."""
    offset = (page - 1) * PAGE_ITEMS
    where = {"run_id": run_id, "task": task, "only": only, "words": words}
    return _rows(snapshot(), "items_page", **where, limit=PAGE_ITEMS, offset=offset, preview=PREVIEW_CHARS)


def items(run_id: str, *, task: str | None, only: str | None, words: str | None) -> pd.DataFrame:
    """All matching items of a run with full texts, for a download; not cached."""
    with open_snapshot(load_settings()) as store:
        rows = store.query("items_page", run_id=run_id, task=task, only=only, words=words, limit=ALL_ITEMS)
    return pd.DataFrame(rows).drop(columns=["place", "n_matching"], errors="ignore")


def item(run_id: str, *, task: str, doc_id: int) -> dict[str, Any] | None:
    """One item with full texts; None if the run has no such item."""
    rows = _item_rows(snapshot(), run_id, task, doc_id)
    return rows[0] if rows else None


def runs_of_task(task: str) -> dict[str, str]:
    """The newest run of each model that answered a task, by its ID."""
    return {row["model_id"]: row["run_id"] for row in _rows(snapshot(), "runs_of_task", task=task)}


def studies() -> list[dict[str, Any]]:
    """The auto-research studies, newest first; the columns of the query of that name."""
    return _lasting_rows(state("studies"), "studies", study_id=None, tier=None, track=None)


def newest_study_day() -> date | None:
    """The day on which the newest study began; None without any."""
    started = max((row["started_at"] for row in studies()), default=None)
    return None if started is None else started.date()


def agent_models() -> list[str]:
    """The IDs of the models that acted as agents, sorted."""
    return sorted({row["model_id"] for row in studies() if row["model_id"]}, key=str.casefold)


def complete_studies() -> list[StudyRow]:
    """The complete studies, which the agent leaderboard compares."""
    return [
        StudyRow(**row)
        for row in _lasting_rows(state("research_board"), "research_board", tier=None, track=None)
    ]


def attack_suite() -> dict[str, Any] | None:
    """The newest complete run of the suite of scripted attacks; None if there was none."""
    rows = _lasting_rows(state("attack_suite"), "attack_suite")
    return rows[0] if rows else None


def study_curves() -> pd.DataFrame:
    """The gain of each study after each trial; the columns of the query `research_curves`."""
    return _lasting_table(state("research_curves"), "research_curves")


def trials(study_id: str) -> list[dict[str, Any]]:
    """The finished trials of a study in order, placebos included; the columns of `trials`."""
    return _rows(snapshot(), "trials", study_id=study_id)


def trainings(study_id: str, slot: int) -> list[dict[str, Any]]:
    """The trainings behind one verdict, with their curves; the columns of `trainings`."""
    return _rows(snapshot(), "trial_trainings", study_id=study_id, slot=slot)


def exchanges(study_id: str, slot: int) -> list[dict[str, Any]]:
    """The prompts and replies of one trial, in full; the columns of `proposals`."""
    return _exchange_rows(snapshot(), study_id, slot)


def studies_under_way() -> list[UnderWay]:
    """The studies in progress, not cached."""
    return under_way(load_settings())


@st.cache_resource(max_entries=KEPT_ANSWERS, show_spinner=False)
def _rows(snapshot: str, name: str, **params: Any) -> list[dict[str, Any]]:
    """The rows of a named query, shared by all sessions, so do not modify them.

    `snapshot` is only part of the cache's key.
    """
    return _read_rows(name, params)


@st.cache_resource(max_entries=KEPT_LASTING, show_spinner=False)
def _lasting_rows(state: str, name: str, **params: Any) -> list[dict[str, Any]]:
    """The same for a read without items, kept until its tables change."""
    return _read_rows(name, params)


def _read_rows(name: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    with open_snapshot(load_settings()) as store:
        return store.query(name, **{key: list(v) if isinstance(v, tuple) else v for key, v in params.items()})


@st.cache_resource(max_entries=KEPT_TABLES, show_spinner=False)
def _table(snapshot: str, name: str, *, times: tuple[str, ...] = (), **params: Any) -> pd.DataFrame:
    """The same as a frame, shared because a copy per session is expensive; do not modify it."""
    return _read_table(name, times, params)


@st.cache_resource(max_entries=KEPT_LASTING, show_spinner=False)
def _lasting_table(state: str, name: str, *, times: tuple[str, ...] = (), **params: Any) -> pd.DataFrame:
    """The same for a read without items, kept until its tables change."""
    return _read_table(name, times, params)


def _read_table(name: str, times: Sequence[str], params: Mapping[str, Any]) -> pd.DataFrame:
    with open_snapshot(load_settings()) as store:
        frame = store.table(name, **params).to_pandas()
    for column in times:
        frame[column] = pd.to_datetime(frame[column], utc=True)
    return frame


@st.cache_resource(max_entries=KEPT_TABLES, show_spinner=False)
def _repeatability(snapshot: str, run_id: str, model_id: str) -> dict[str, Any] | None:
    return repeatability_document(repeatability(run_id, model_id, load_settings()))


@st.cache_resource(max_entries=KEPT_TABLES, show_spinner=False)
def _abilities(snapshot: str, model_id: str) -> tuple[Ability, ...]:
    with open_snapshot(load_settings()) as store:
        return read_abilities(store, model_id)


@st.cache_resource(max_entries=KEPT_TABLES, show_spinner=False)
def _item_scores(snapshot: str, run_id: str) -> pd.DataFrame:
    with open_snapshot(load_settings()) as store:
        return store.table("item_scores", run_id=run_id).to_pandas()


@st.cache_data(max_entries=KEPT_ANSWERS, show_spinner=False, ttl=MISSING_TTL_S)
def _missing(snapshot: str, run_id: str) -> str:
    with open_snapshot(load_settings()) as store:
        return store.read("scores_on_disk", run_id=run_id).missing.sentence


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
