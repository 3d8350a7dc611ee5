"""A suite that changed: only its newest version is on the boards, whatever task is asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app import api, board, queries
from tests.app_visit import visit
from tests.some_runs import TASKS, model, run, score, store_runs
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


def test_only_the_tasks_of_the_newest_version_can_be_chosen(two_versions: Settings) -> None:
    with Store.open(two_versions) as store:
        rows = store.query("board_tasks")
    assert [(row["task"], row["n_models"]) for row in rows] == [(RENAMED, 1), ("sort_words", 1)]


@pytest.mark.parametrize("task", TASKS)
def test_no_score_of_an_old_version_passes_as_current(two_versions: Settings, task: str) -> None:
    with Store.open(two_versions) as store:
        rows = store.query("board", suite="quick", tasks=[task])
    assert [row["run_id"] for row in rows] == ([run(3).run_id] if task == "sort_words" else [])


@pytest.mark.usefixtures("two_versions")
def test_the_boards_answer_after_a_suite_changed() -> None:
    assert {row["task"] for row in api.leaderboard({})} == {RENAMED, "sort_words"}
    session = visit("leaderboard.py", task="odd_one_out")
    assert list(session.dataframe[0].value["label"]) == [model().model_id]
    assert session.selectbox(key="task").value == RENAMED


@pytest.mark.usefixtures("two_versions")
def test_a_task_that_nobody_has_a_score_on_is_a_table_without_rows() -> None:
    table = board.table(queries.board("quick", ("odd_one_out",)), "odd_one_out", ("sort_words",))
    assert table.empty
    assert {"label", "rank", "organization", "needed_bytes", "score of sort_words"} <= set(table)
