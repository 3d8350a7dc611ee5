"""The parts of the page of runs: what runs now, what waits and why, what went wrong and what helps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import streamlit as st

from app import downloads, live, queries, tables, text
from app.running import Running

LOOK_EVERY_S = 2.0  # the worker writes its items about every five seconds
NOTHING_RUNS = (
    "Nothing is running: `tracker bench ORG/NAME` starts one, `tracker bench --queue` the next of the queue"
)


@st.fragment(run_every=LOOK_EVERY_S)
def show_running() -> None:
    """Show each run under way with its progress, anew every few seconds."""
    with live.problems_said():
        found = queries.running()
        if not found:
            st.caption(NOTHING_RUNS)
        for run in found:
            with st.container(border=True):
                _show_one(run)


def _show_one(run: Running) -> None:
    st.subheader(text.escaped(f"{run.model_id}, {run.suite}"), anchor=False)
    elapsed_s = (datetime.now(UTC) - run.started_at).total_seconds()
    if not run.is_loaded:
        st.caption(f"The engine {text.escaped(run.engine)} is being loaded, for {text.duration(elapsed_s)}")
        return
    expected = queries.expected_items(run.suite, run.suite_version) if run.limit is None else None
    n_done = run.n_items + run.n_reused_items
    reused = f", {run.n_reused_items:,} of them by earlier runs" if run.n_reused_items else ""
    if expected:
        said = f"{n_done:,} of about {expected:,} items{reused}"
        st.progress(min(n_done / expected, 1.0), text=said)
    else:
        st.caption(f"{n_done:,} items answered{reused}")
    last = "" if run.last_item_at is None else f", the last items at {run.last_item_at:%H:%M:%S} UTC"
    st.caption(text.escaped(f"{run.engine}, for {text.duration(elapsed_s)}{last}; run {run.run_id}"))


def show_queue() -> None:
    """Show what is measured next, with the reasons, and what is parked and why."""
    jobs = queries.jobs()
    if jobs.empty:
        st.info("The queue is empty: `tracker ingest` finds models, `tracker queue refresh` puts them in")
        return
    waiting = jobs[jobs["status"] != "done"]
    if waiting.empty:
        st.info(f"Nothing waits, {len(jobs):,} jobs are done: `tracker ingest` finds newer models")
        return
    st.dataframe(
        tables.jobs(waiting),
        column_config=tables.JOBS,
        placeholder="–",
        hide_index=True,
        alt="The queue: one row per model and suite, the next on top, with the reasons",
    )
    downloads.buttons(waiting, what="Queue", name="queue")


def show_failures() -> None:
    """Show the failed runs that no later one made good, with what helps."""
    failed = queries.open_failures()
    if failed.empty:
        st.caption("No failed run is open.")
        return
    st.dataframe(
        tables.failures(failed),
        column_config=tables.FAILURES,
        hide_index=True,
        alt="Failed runs with their reasons and what helps",
    )
    downloads.buttons(tables.failures(failed), what="Failures", name="failures")


def show_all(runs: Sequence[Mapping[str, Any]]) -> None:
    """Show the newest runs of all models; a row opens its model."""
    chosen = st.dataframe(
        tables.runs(runs, of_many=True),
        column_config=tables.RUNS,
        placeholder="–",
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key="all_runs",
        alt="The newest runs of all models",
    )
    if chosen.selection.rows:
        row = runs[chosen.selection.rows[0]]
        st.switch_page("app_pages/model.py", query_params={"model": row["model_id"], "run": row["run_id"]})
    downloads.buttons(tables.exported_runs(runs), what="Runs", name="runs")
