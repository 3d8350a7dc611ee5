"""The parts of the page of runs: running benches, the queue, failures with fixes, all runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from app.data import queries, running_benches
from app.data.running_benches import Running
from app.pages.runs import columns, controls
from app.widgets import downloads, refresh, safe_text
from app.widgets.columns import RUN_COLUMNS, run_export, run_table
from tracker.answers.bench_progress import BenchSoFar, bench_so_far
from tracker.errors import TrackerError
from tracker.settings import load_settings
from tracker.wording import agreeing, counted

SHOWN_TASKS = 4  # with a score so far; the last ones
SO_FAR = "Scores so far, with 95% intervals that hold at every look if the items come in random order."
ASKED, STOPPING = "asked_to_cancel", "bench_stopping"
LOOK_EVERY_S = 2.0  # the worker writes its items about every five seconds
NOTHING_RUNS = (
    "Nothing is running. Start a bench with `tracker bench ORG/NAME`, or run the queue with"
    " `tracker queue run`"
)


@st.fragment(run_every=LOOK_EVERY_S)
def show_running() -> None:
    """Show each running bench with its progress, refreshed every few seconds."""
    with refresh.errors_shown():
        found = queries.runs_in_progress()
        if not found:
            st.caption(NOTHING_RUNS)
        for run in found:
            with st.container(border=True):
                _show_one(run)


def _show_one(run: Running) -> None:
    st.subheader(safe_text.escaped(f"{run.model_id}, {run.suite}"), anchor=False)
    elapsed_s = (queries.now() - run.started_at).total_seconds()
    if not run.is_loaded:
        st.caption(f"Loading the engine {safe_text.escaped(run.engine)} for {safe_text.duration(elapsed_s)}")
        return
    expected = queries.expected_items(run.suite, run.suite_version, run.limit)
    n_done = run.n_items + run.n_reused_items
    found = bench_so_far(run.parts, n_left=None if expected is None else expected - n_done)
    reused = f", {run.n_reused_items:,} of them from earlier runs" if run.n_reused_items else ""
    if expected:
        left = "" if found.remaining_s is None else f" · about {safe_text.duration(found.remaining_s)} left"
        text = f"{n_done:,} of about {counted(expected, 'item')}{reused}{left}"
        st.progress(min(n_done / expected, 1.0), text=text)
    else:
        st.caption(f"{counted(n_done, 'item')} answered{reused}")
    _show_scores(found)
    last = "" if run.last_item_at is None else f" · last items at {run.last_item_at:%H:%M:%S} UTC"
    speed = "" if found.items_per_s is None else f" · {safe_text.rate(found.items_per_s)} items/s"
    st.caption(
        safe_text.escaped(
            f"{run.engine} · running for {safe_text.duration(elapsed_s)}{speed}{last} · run {run.run_id}"
        )
    )
    if run.process_id is not None:
        _show_cancel(run)


def _show_scores(found: BenchSoFar) -> None:
    """Show the score so far of the last tasks, with its interval."""
    shown = [row for row in found.tasks if row.score is not None][-SHOWN_TASKS:]
    for row in shown:
        said = f"{safe_text.percent(row.score)} ({safe_text.interval(row.ci_low, row.ci_high)})"
        st.text(safe_text.visible(f"{row.task}: {said} on {counted(row.n_items, 'item')}"))
    if shown:
        st.caption(SO_FAR)


def _show_cancel(run: Running) -> None:
    key = run.run_id
    if st.session_state.get(STOPPING) == key:
        st.caption("Stopping after the current answers…")
    elif st.session_state.get(ASKED) == key:
        st.warning("Stop this bench? Everything answered is kept; the same command resumes it.")
        with st.container(horizontal=True):
            is_sure = st.button("Stop", key=f"stop_{key}", type="primary")
            st.button("Keep it running", key=f"keep_{key}", on_click=_ask, args=(None,))
        if is_sure:
            _stop(key)
    else:
        st.button("Stop this bench", key=f"ask_{key}", on_click=_ask, args=(key,))


def _ask(run_id: str | None) -> None:
    st.session_state[ASKED] = run_id


def _stop(run_id: str) -> None:
    """Request the stop; a failure is shown without hiding the other benches."""
    _ask(None)
    try:
        running_benches.ask_to_cancel(load_settings(), run_id)
    except TrackerError as error:
        st.error(safe_text.escaped(str(error)))
    else:
        st.session_state[STOPPING] = run_id
        st.caption("Stopping after the current answers…")


def show_queue() -> None:
    """Show the queue in order, with the reasons, and the parked jobs with theirs."""
    jobs = queries.jobs()
    if jobs.empty:
        controls.show_queue_controls(jobs)
        st.info(
            "The queue is empty: run `tracker ingest` to find models and `tracker queue refresh` to add them"
        )
        return
    waiting = jobs[jobs["status"] != "done"]
    controls.show_queue_controls(waiting[waiting["status"] != "running"])
    if waiting.empty:
        done = f"{counted(len(jobs), 'job')} {agreeing(len(jobs), 'is', 'are')} done, none is left"
        st.info(f"{done}: run `tracker ingest` to find newer models")
        return
    st.dataframe(
        columns.job_table(waiting),
        column_config=columns.JOB_COLUMNS,
        placeholder="–",
        hide_index=True,
        alt="The queue: one row per model and suite, next on top, with reasons",
    )
    downloads.download_buttons(waiting, what="Queue", name="queue")


def show_failures() -> None:
    """Show the failed runs that no later run resolved, with how to fix them."""
    failed = queries.open_failures()
    if failed.empty:
        st.caption("No unresolved failures.")
        return
    st.dataframe(
        columns.failure_table(failed),
        column_config=columns.FAILURE_COLUMNS,
        hide_index=True,
        alt="Failed runs with their reasons and fixes",
    )
    downloads.download_buttons(columns.failure_table(failed), what="Failures", name="failures")


def show_all_runs(runs: Sequence[Mapping[str, Any]]) -> None:
    """Show the newest runs of all models; a row opens its model."""
    chosen = st.dataframe(
        run_table(runs, of_many=True),
        column_config=RUN_COLUMNS,
        placeholder="–",
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key="all_runs",
        alt="The newest runs of all models",
    )
    if chosen.selection.rows:
        row = runs[chosen.selection.rows[0]]
        st.switch_page("pages/model/page.py", query_params={"model": row["model_id"], "run": row["run_id"]})
    downloads.download_buttons(run_export(runs), what="Runs", name="runs")
