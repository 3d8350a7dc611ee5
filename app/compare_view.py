"""The parts of the page that compares models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from app import choosing, compare_charts, comparing, downloads, drawing, queries, rows, tables, text

EMPTY = "These models have no item in common: `tracker bench` them with the same suite"


def choose_models(measured: Sequence[str]) -> list[str]:
    """Two to four models; at first the two that were measured last."""
    return choosing.several(
        f"Two to {comparing.MOST} models",
        measured,
        key="compare",
        first=queries.newest_models(comparing.LEAST),
        most=comparing.MOST,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """The items that all models answered, as `comparing.shared_scores` has them, and the runs behind them."""

    items: pd.DataFrame
    models: Sequence[str]
    runs_of: comparing.RunsOf
    runs: Mapping[str, Mapping[str, Any]]  # by run id: rows of `queries.comparable_runs`


def shared_items(models: Sequence[str]) -> Shared:
    """What the models have in common, of the suite that the reader picks."""
    runs = queries.comparable_runs(tuple(models))
    suites = comparing.shared_suites(runs, models)
    if not suites:
        return Shared(pd.DataFrame(), models, {}, {})
    suite = choosing.one("Suite", list(suites), key="compare_suite")
    runs_of = suites[suite]
    counting = {run_id for of_model in runs_of.values() for run_id in of_model.values()}
    items = {run_id: queries.item_scores(run_id) for run_id in counting}
    shared = comparing.shared_scores(items, runs_of, models)
    return Shared(shared, models, runs_of, {row["run_id"]: row for row in runs if row["run_id"] in counting})


def show_scores(shared: Shared) -> None:
    """Show which runs are compared, dots and intervals per task, then the paired differences."""
    models = shared.models
    scores = comparing.scores(shared.items, models)
    drawing.show(compare_charts.legend_chart, models, alt="The marks: " + ", ".join(models))
    for model in models:
        for run_id, tasks in comparing.tasks_by_run(shared.runs_of, model).items():
            of_tasks = f" on {', '.join(tasks)}" if len(tasks) < len(shared.runs_of) else ""
            st.caption(text.escaped(f"{model}{of_tasks}: {_run(shared.runs[run_id])}"))
    drawing.show(compare_charts.score_chart, scores, models, alt=compare_charts.score_alt(scores))
    downloads.buttons(scores, what="Scores", name="shared-scores")
    st.header("Paired differences", anchor=False)
    st.caption(
        "On the same items, so that their difficulty cancels out: more pairs are told apart than by two"
        " separate intervals. Over all tasks nothing is averaged."
    )
    differences = comparing.differences(shared.items, models)
    st.dataframe(
        tables.differences(differences),
        column_config=tables.DIFFERENCES,
        placeholder="–",
        hide_index=True,
        alt="One row per task and pair: difference with 95 % interval, and who alone solved how many items",
    )
    downloads.buttons(differences, what="Differences", name="differences")


def _run(run: Mapping[str, Any]) -> str:
    """One run as a phrase: when, with what, its id."""
    return f"{run['measured_at']:%Y-%m-%d}, {tables.answered_by(run)}; run {run['run_id']}"


def show_solved(shared: Shared) -> None:
    """Show who solved which item of one task, and list those that only some solved; a row opens the item."""
    models = shared.models
    st.header("Who solved what", anchor=False)
    task = st.selectbox("Task", rows.distinct(shared.items, "task"), key="compare_task", bind="query-params")
    of_task = comparing.solved(shared.items[shared.items["task"] == task], models)
    drawing.show(
        compare_charts.solved_chart, of_task, models, alt=compare_charts.solved_alt(of_task, models, task)
    )
    split = comparing.split(of_task, models)
    if split.empty:
        st.caption("All of these models solved the same items of this task.")
        return
    st.caption(f"{len(split)} of {len(of_task)} items tell these models apart. A row opens the item.")
    chosen = st.dataframe(
        split,
        column_config=tables.SPLIT,
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key="split_rows",
        alt="Items that some of the models solved and others did not",
    )
    if chosen.selection.rows:
        st.switch_page(
            "app_pages/items.py",
            query_params=_item_link(shared, task, int(split["doc_id"].iloc[chosen.selection.rows[0]])),
        )
    downloads.buttons(split, what="Items that differ", name=f"split-{task}")
    downloads.buttons(of_task, what="Items", name=f"solved-{task}")


def _item_link(shared: Shared, task: str, doc_id: int) -> dict[str, str]:
    """Where the first model's answer to an item stands: its run, its task, its page."""
    model = shared.models[0]
    run_id = shared.runs_of[task][model]
    of_task = queries.item_scores(run_id).query("task == @task")
    page = int((of_task["doc_id"] < doc_id).sum()) // queries.PAGE_ITEMS + 1
    link = {"items_of": model, "of_run": run_id, "of_task": task, "item": f"{task} {doc_id}"}
    return link | ({"page": str(page)} if page > 1 else {})
