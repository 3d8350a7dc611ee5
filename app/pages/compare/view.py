"""The parts of the page that compares models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from app.data import published_comparisons, queries, row_labels
from app.pages.compare import charts, columns, rows
from app.widgets import cached_chart, downloads, missing_items, safe_text, url_select
from app.widgets.columns import engine_phrase
from tracker.answers.comparison import RunsOf, shared_suites, tasks_by_run

KEPT_COMPARISONS = 4  # some megabytes each
EMPTY = "These models share no items: run `tracker bench` on them with the same suite"
EMPTY_IMPORTED = (
    "These models share no items: an imported run pairs with one measured here where task, metric, filter,"
    " prompt and right answer of a question agree"
)


def choose_models(measured: Sequence[str], published: Sequence[str]) -> list[str]:
    """Two to four models; at first the two measured last that share a suite, else the best of each group.

    Raises:
        TrackerError: the link names a model that is neither measured here nor published.
    """
    newest = queries.newest_pair()
    here = set(measured)
    first = newest if len(newest) >= rows.LEAST else published_comparisons.best_of_each_group()
    return url_select.select_many(
        f"Models ({rows.LEAST} to {rows.MOST})",
        [*measured, *(name for name in published if name not in here)],
        key="compare",
        first=first,
        most=rows.MOST,
        kind="model",
    )


def not_measured(names: Sequence[str]) -> str:
    """Why these models are compared by published data alone."""
    listed = safe_text.escaped(", ".join(names))
    return (
        f"Not measured here: {listed}. So the models are compared by published data alone;"
        " `tracker bench ORG/NAME` measures open ones."
    )


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """The items that all models answered, with what they say, and the runs behind them; frames are shared."""

    items: pd.DataFrame  # of `rows.shared_scores`
    scores: pd.DataFrame  # of `rows.score_rows`
    differences: pd.DataFrame  # of `rows.difference_rows`
    models: Sequence[str]
    runs_of: RunsOf
    runs: Mapping[str, Mapping[str, Any]]  # by run id: rows of `queries.comparable_runs`


def shared_items(models: Sequence[str]) -> Shared:
    """The shared items of the suite that the reader picks."""
    runs = queries.comparable_runs(tuple(models))
    suites = shared_suites(runs, models)
    if not suites:
        nothing = pd.DataFrame()
        return Shared(nothing, nothing, nothing, models, {}, {})
    suite = url_select.select_one("Suite", list(suites), key="compare_suite")
    runs_of = suites[suite]
    counting = {run_id for of_model in runs_of.values() for run_id in of_model.values()}
    missing_items.show_missing(counting)
    compared = _compared(f"{queries.snapshot()} {runs_of}", tuple(models), _runs_of=runs_of)
    return Shared(
        *compared, models, runs_of, {row["run_id"]: row for row in runs if row["run_id"] in counting}
    )


@st.cache_resource(max_entries=KEPT_COMPARISONS, show_spinner=False)
def _compared(
    key: str, models: tuple[str, ...], *, _runs_of: RunsOf
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The shared items, the scores and the differences; `key` names the snapshot and the runs."""
    counting = {run_id for of_model in _runs_of.values() for run_id in of_model.values()}
    items = rows.shared_scores({one: queries.item_scores(one) for one in counting}, _runs_of, models)
    if items.empty:
        return items, items, items
    return items, rows.score_rows(items, models), rows.difference_rows(items, models)


def show_scores(shared: Shared) -> None:
    """Show the runs compared, the scores per task, and the paired differences."""
    models = shared.models
    scores = shared.scores
    cached_chart.render(charts.model_legend, models, alt="Legend: " + ", ".join(models))
    for model in models:
        for run_id, tasks in tasks_by_run(shared.runs_of, model).items():
            of_tasks = f" on {', '.join(tasks)}" if len(tasks) < len(shared.runs_of) else ""
            st.caption(safe_text.escaped(f"{model}{of_tasks}: {_run(shared.runs[run_id])}"))
    day = max((run["measured_at"] for run in shared.runs.values()), default=None)
    caption = cached_chart.ChartCaption(
        "Scores on the shared items, 95% intervals",
        day and day.date(),
        cached_chart.source_of(run["origin"] is not None for run in shared.runs.values()),
    )
    cached_chart.render(charts.score_chart, scores, models, alt=charts.score_alt(scores), caption=caption)
    downloads.download_buttons(scores, what="Scores", name="shared-scores")
    st.header("Paired differences", anchor=False)
    st.caption(
        "All models answer the same items, so item difficulty cancels out: a paired difference can be"
        " significant even when the separate intervals overlap. Tasks are not averaged."
    )
    differences = shared.differences
    st.dataframe(
        columns.difference_table(differences),
        column_config=columns.DIFFERENCE_COLUMNS,
        placeholder="–",
        hide_index=True,
        alt="One row per task and pair: difference with 95% interval, and items solved by only one model",
    )
    downloads.download_buttons(differences, what="Differences", name="differences")


def _run(run: Mapping[str, Any]) -> str:
    """One run as a phrase: when, with what, its id."""
    return f"{run['measured_at']:%Y-%m-%d}, {engine_phrase(run)}; run {run['run_id']}"


def show_solved(shared: Shared) -> None:
    """Show the items of one task that each model solved; a row of those that only some solved opens the
    item.
    """
    models = shared.models
    st.header("Items solved", anchor=False)
    task = st.selectbox(
        "Task", row_labels.distinct(shared.items, "task"), key="compare_task", bind="query-params"
    )
    of_task = rows.solved_rows(shared.items[shared.items["task"] == task], models)
    cached_chart.render(charts.solved_chart, of_task, models, alt=charts.solved_alt(of_task, models, task))
    split = rows.split_rows(of_task, models)
    if split.empty:
        st.caption("All of these models solved the same items of this task.")
        return
    st.caption(
        f"{len(split)} of {len(of_task)} items were solved by only some of the models. Click a row to open"
        " the item."
    )
    chosen = st.dataframe(
        split,
        column_config=columns.SPLIT_COLUMNS,
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key="split_rows",
        alt="Items solved by only some of the models",
    )
    if chosen.selection.rows:
        st.switch_page(
            "pages/items/page.py",
            query_params=_item_link(shared, task, int(split["doc_id"].iloc[chosen.selection.rows[0]])),
        )
    downloads.download_buttons(split, what="Differing items", name=f"split-{task}")
    downloads.download_buttons(of_task, what="Items", name=f"solved-{task}")


def _item_link(shared: Shared, task: str, doc_id: int) -> dict[str, str | list[str]]:
    """The link to the first model's answer to an item, with the answers of the others beside it."""
    model = shared.models[0]
    run_id = shared.runs_of[task][model]
    of_task = queries.item_scores(run_id).query("task == @task")
    page = int((of_task["doc_id"] < doc_id).sum()) // queries.PAGE_ITEMS + 1
    link: dict[str, str | list[str]] = {
        "items_of": model,
        "of_run": run_id,
        "of_task": task,
        "item": f"{task} {doc_id}",
    }
    link["beside"] = list(shared.models[1:])
    return link | ({"page": str(page)} if page > 1 else {})
