"""Which runs the page that compares models goes by, and what it says of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.data import frontier_views
from app.http import api
from tests.builders.some_runs import (
    items,
    key_of,
    model,
    run,
    score,
)
from tests.doubles.app_visit import said, visit
from tracker.files.items import write_part, write_run
from tracker.frontier.question import Question
from tracker.records import Model, Run
from tracker.settings import Settings
from tracker.store import Store, open_snapshot, publish

pytestmark = pytest.mark.clock
A, B = model("acme/atlas-8b"), model("acme/bolt-7b")


def one_by_one(number: int, of: Model, *tasks: str) -> Run:
    """A run of `tracker bench --task …`."""
    scores = tuple(score(task, of) for task in tasks)
    return run(number, of=of, suite="tasks", scores=scores, n_items=10 * len(tasks))


@pytest.fixture
def measured(settings: Settings) -> Settings:
    """Both on `sums`; the first also, later and on more items, on `words` and `letters`."""
    runs = (
        one_by_one(1, A, "sums"),
        one_by_one(2, A, "words", "letters"),
        one_by_one(3, B, "letters", "sums"),
    )
    with Store.open(settings) as store:
        for a_run in runs:
            write_run(settings.items_path, a_run)
            for one in a_run.scores:
                key = key_of(one.task, a_run.model)
                answers = items(one.task)
                if one.task == "letters":
                    answers = [replace(item, cluster=f"passage {item.doc_id // 2}") for item in answers]
                write_part(settings.items_path, a_run.run_id, key, answers)
            store.add_run(a_run)
    publish(settings)
    return settings


@pytest.mark.usefixtures("measured")
def test_compare_page_pairs_single_tasks_task_by_task() -> None:
    session = visit("compare", compare=[A.model_id, B.model_id])
    table = session.dataframe[0].value
    assert list(zip(table["task"], table["n_items"], strict=True)) == [("sums", 10), ("letters", 10)]


@pytest.mark.usefixtures("measured")
def test_compare_page_names_its_runs_with_date_and_settings() -> None:
    words = said(visit("compare", compare=[A.model_id, B.model_id])).replace("\\", "")
    date, engine = "2026-11-24", "transformers 5.19.0 · float32 · cpu"
    assert f"{A.model_id} on sums: {date}, {engine}; run {run(1).run_id}" in words
    assert f"{A.model_id} on letters: {date}, {engine}; run {run(2).run_id}" in words
    assert f"{B.model_id}: {date}, {engine}; run {run(3).run_id}" in words


def test_compare_page_and_command_pair_the_same_runs(measured: Settings) -> None:
    with open_snapshot(measured) as snapshot:
        rows = snapshot.query("paired_items", first=A.model_id, second=B.model_id, suite="tasks")
    runs = {(row["task"], row["first_run_id"], row["second_run_id"]) for row in rows}
    assert runs == {
        ("sums", run(1).run_id, run(3).run_id),
        ("letters", run(2).run_id, run(3).run_id),
    }


def test_an_open_and_a_closed_model_are_compared_by_published_scores() -> None:
    """The values are those of the route, and those of the benchmark's page."""
    asked = {"first": "moonshotai/Kimi-K3", "second": "GPT-5.6 Sol"}
    found = api.compare_route(asked | {"published": "true"})
    assert [row["access"] for row in found["models"]] == ["open", "closed"]
    (pair,) = found["index_differences"]
    first, second = (row["index"] for row in found["models"])
    assert pair["difference"] == pytest.approx(first - second)
    (gpqa,) = (row for row in found["benchmarks"] if row["benchmark"] == "GPQA diamond")
    page = {row["model"]: row for row in api.benchmarks_route({"benchmark": "GPQA diamond"})["scores"]}
    scores = [page[row["model"]] for row in found["models"]]
    assert [row["score"] for row in gpqa["scores"]] == [row["score"] for row in scores]
    assert [row["ci_low"] for row in gpqa["scores"]] == [row["ci_low"] for row in scores]
    assert gpqa["ci_low"] < scores[0]["score"] - scores[1]["score"] < gpqa["ci_high"]


def test_compare_page_of_a_fresh_home_opens_on_the_best_open_and_closed_model() -> None:
    session = visit("compare")
    places, scores = (frame.value for frame in session.dataframe[:2])
    found = frontier_views.frontier(Question())
    assert list(places["model"]) == [found.best("open")["model"], found.best("closed")["model"]]
    assert len(scores) > 5
    assert "are compared by published data alone" in said(session)


@pytest.mark.usefixtures("measured")
def test_a_measured_model_without_a_place_on_the_index_says_so() -> None:
    assert "None of these models, or only one" in said(visit("compare", compare=[A.model_id, "Kimi K3"]))
