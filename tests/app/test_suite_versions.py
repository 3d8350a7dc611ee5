"""A suite that changed: only its newest version is on the boards, whatever task is asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.data import queries
from app.http import api
from tests.builders.some_runs import (
    TASKS,
    model,
    run,
    score,
    store_runs,
)
from tests.doubles.app_visit import visit
from tracker.answers.leaderboard import ranked_rows
from tracker.settings import Settings
from tracker.store import Store

RENAMED = "count_all_letters"
OTHER = model("acme/beacon-4b")


@pytest.fixture
def two_versions(settings: Settings) -> Settings:
    """Version 2 of `quick` renames a task and drops one; one model was measured with version 1 alone."""
    kept = (RENAMED, "sort_words")
    newer = replace(run(3), suite_version=2, scores=tuple(score(task, model()) for task in kept))
    store_runs(settings, run(1), run(2, of=OTHER), newer)
    return settings


def test_suite_versions_offer_only_tasks_of_the_newest(two_versions: Settings) -> None:
    with Store.open(two_versions) as store:
        rows = store.query("board_tasks")
    assert [(row["task"], row["n_models"]) for row in rows] == [(RENAMED, 1), ("sort_words", 1)]


@pytest.mark.parametrize("task", TASKS)
def test_suite_versions_show_no_old_score_as_current(two_versions: Settings, task: str) -> None:
    with Store.open(two_versions) as store:
        rows = store.query("board", suite="quick", tasks=[task])
    assert [row["run_id"] for row in rows] == ([run(3).run_id] if task == "sort_words" else [])


@pytest.mark.usefixtures("two_versions")
def test_suite_versions_leaderboard_answers_after_a_change() -> None:
    assert {row["task"] for row in api.leaderboard_route({})} == {RENAMED, "sort_words"}
    session = visit("leaderboard", task="odd_one_out")
    assert list(session.dataframe[0].value["label"]) == [model().model_id]
    assert session.selectbox(key="task").value == RENAMED


@pytest.mark.usefixtures("two_versions")
def test_leaderboard_rows_of_a_task_without_scores_are_empty() -> None:
    table = ranked_rows(queries.task_scores("quick", ("odd_one_out",)), "odd_one_out", ("sort_words",))
    assert table.empty
    assert {"label", "rank", "organization", "needed_bytes", "score of sort_words"} <= set(table)
