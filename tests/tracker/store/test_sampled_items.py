"""The items of a run that asked a random sample: those that it asked, in whatever order runs are stored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from runners.harness.sample import SAMPLE_SEED, first_docs, sampled_docs
from tests.builders.some_runs import items, key_of, model, run, score
from tracker.answers.comparison import compare_models
from tracker.answers.tables import read_items
from tracker.files.items import write_part, write_run
from tracker.records import Model, Run, RunStatus
from tracker.settings import Settings
from tracker.store import Store, open_snapshot, publish, rebuild

SIZES = {"anatomy": 300, "astronomy": 150}  # leaves of one group
OTHER = model("acme/other-1b")
Docs = dict[str, tuple[int, ...]]


def measured(
    settings: Settings,
    number: int,
    asked: Docs,
    *,
    of: Model | None = None,
    answered: Docs | None = None,
    **more: Any,
) -> Run:
    """A run that asked these documents, written as a worker does; `answered`: those that it did not reuse."""
    of = of or model()
    scores = tuple(
        replace(score(task, of), n_items=len(docs), n_total=SIZES[task])
        for task, docs in asked.items()
        if docs
    )
    made = replace(run(number, of=of), scores=scores, **more)
    write_run(settings.items_path, made)
    for task, docs in (asked if answered is None else answered).items():
        rows = [item for item in items(task, SIZES[task]) if item.doc_id in docs]
        if rows:
            write_part(settings.items_path, made.run_id, key_of(task, of), rows)
    with Store.open(settings) as store:
        store.add_run(made)
    publish(settings)
    return made


def sample(n: int) -> Docs:
    return sampled_docs(SIZES, n=n, seed=SAMPLE_SEED)


def whole() -> Docs:
    return first_docs(SIZES, n=1000)


def shown(settings: Settings, of: Run) -> Docs:
    """The documents that the items page and the download have of a run, by task."""
    found = read_items(settings, of.run_id)
    place = found.columns.index("task"), found.columns.index("doc_id")
    return by_task((row[place[0]], row[place[1]]) for row in found.rows)


def scored(settings: Settings, of: Run) -> Docs:
    """The documents behind the comparison of several runs in the app."""
    with open_snapshot(settings) as snapshot:
        return by_task(
            (row["task"], row["doc_id"]) for row in snapshot.query("item_scores", run_id=of.run_id)
        )


def by_task(rows: Iterable[tuple[str, int]]) -> Docs:
    found: dict[str, list[int]] = {task: [] for task in SIZES}
    for task, doc in rows:
        found[task].append(doc)
    return {task: tuple(sorted(docs)) for task, docs in found.items()}


@pytest.mark.parametrize("n", [1, 20, 200])
def test_a_sampled_run_shows_every_item_that_it_asked(settings: Settings, n: int) -> None:
    of = measured(settings, 1, sample(n), limit=n, sample_seed=SAMPLE_SEED)
    assert shown(settings, of) == scored(settings, of) == sample(n)


def test_a_sampled_run_shows_none_of_what_longer_runs_asked(settings: Settings) -> None:
    before = measured(settings, 1, sample(100), limit=100, sample_seed=SAMPLE_SEED)
    reused: Docs = {}
    of = measured(settings, 2, sample(40), answered=reused, limit=40, sample_seed=SAMPLE_SEED)
    after = measured(settings, 3, whole())
    assert shown(settings, of) == scored(settings, of) == sample(40)
    assert shown(settings, before) == scored(settings, before) == sample(100)
    assert shown(settings, after) == scored(settings, after) == whole()


def test_a_sampled_run_that_ran_out_of_time_shows_what_it_answered(settings: Settings) -> None:
    answered = {task: docs[1::3] for task, docs in sample(90).items()}
    partial: dict[str, Any] = {
        "limit": 90,
        "sample_seed": SAMPLE_SEED,
        "status": RunStatus.PARTIAL,
        "reason": "time_budget",
    }
    of = measured(settings, 1, answered, **partial)
    measured(settings, 2, sample(90), limit=90, sample_seed=SAMPLE_SEED)
    measured(settings, 3, whole())
    assert shown(settings, of) == scored(settings, of) == answered


def test_a_run_of_the_first_items_still_shows_those(settings: Settings) -> None:
    of = measured(settings, 1, first_docs(SIZES, n=7), limit=7)
    measured(settings, 2, whole())
    assert shown(settings, of) == scored(settings, of) == first_docs(SIZES, n=7)


def test_two_sampled_runs_are_compared_on_their_whole_sample(settings: Settings) -> None:
    measured(settings, 1, sample(60), limit=60, sample_seed=SAMPLE_SEED)
    measured(settings, 2, sample(60), of=OTHER, limit=60, sample_seed=SAMPLE_SEED)
    found = compare_models(model().model_id, OTHER.model_id, settings)
    assert {row.task: row.paired.n_items for row in found.tasks} == {
        task: len(docs) for task, docs in sample(60).items()
    }


def test_a_sampled_run_is_compared_with_a_whole_one_on_its_sample(settings: Settings) -> None:
    measured(settings, 1, sample(60), limit=60, sample_seed=SAMPLE_SEED)
    measured(settings, 2, whole(), of=OTHER)
    with open_snapshot(settings) as snapshot:
        rows = snapshot.query("paired_items", first=model().model_id, second=OTHER.model_id)
    assert by_task((row["task"], row["doc_id"]) for row in rows) == sample(60)


def test_a_sampled_run_with_repeats_shows_the_items_of_each(settings: Settings) -> None:
    asked = sample(60)["anatomy"]
    keys = {f"anatomy#{number}": key_of(f"anatomy#{number}", model()) for number in (1, 2)}
    total = replace(score("anatomy", model()), n_items=len(asked), repeats=2, fingerprint="f" * 32)
    parts = [
        replace(total, task=name, group="anatomy", repeats=None, fingerprint=key)
        for name, key in keys.items()
    ]
    of = replace(run(1), scores=(total, *parts), limit=60, sample_seed=SAMPLE_SEED, repeats=2)
    write_run(settings.items_path, of)
    for name, key in keys.items():
        stored = "anatomy" if name == "anatomy#1" else name  # the first may be the items of an earlier run
        rows = [
            replace(item, task=stored) for item in items("anatomy", 300)
        ]  # of all: a longer run asked them
        write_part(settings.items_path, of.run_id, key, rows)
    with Store.open(settings) as store:
        store.add_run(of)
    publish(settings)
    found = read_items(settings, of.run_id)
    place = found.columns.index("task"), found.columns.index("doc_id")
    both = {
        name: {row[place[1]] for row in found.rows if row[place[0]] == name}
        for name in ("anatomy", "anatomy#2")
    }
    assert both == {"anatomy": set(asked), "anatomy#2": set(asked)}
    with open_snapshot(settings) as snapshot:
        one = snapshot.query("item_scores", run_id=of.run_id)
        on_disk = snapshot.query("scores_on_disk", model_id=None, run_id=of.run_id)
    assert len(one) == 2 * len(asked)
    assert {row["n_items_on_disk"] for row in on_disk} == {len(asked)}


def test_a_run_with_repeats_is_compared_by_its_first_and_no_better_than_a_plain_one(
    settings: Settings,
) -> None:
    docs = {"anatomy": whole()["anatomy"]}

    def compared() -> list[tuple[str, int, str]]:
        found = compare_models(model().model_id, OTHER.model_id, settings, task="anatomy")
        return [(row.task, row.paired.n_items, row.first_run.run_id) for row in found.tasks]

    def chosen() -> set[tuple[str, str]]:
        with open_snapshot(settings) as snapshot:
            rows = snapshot.query("comparable_runs", models=[model().model_id])
        return {(row["task"], row["run_id"]) for row in rows}

    measured(settings, 1, docs, of=OTHER, suite="tasks")
    total = replace(score("anatomy", model()), n_items=300, repeats=2, fingerprint="f" * 32)
    first = replace(
        total, task="anatomy#1", group="anatomy", repeats=None, fingerprint=key_of("anatomy", model())
    )
    second = replace(first, task="anatomy#2", fingerprint="e" * 32)
    repeated = replace(run(2), suite="tasks", scores=(total, first, second), repeats=2, n_items=600)
    write_run(settings.items_path, repeated)
    write_part(settings.items_path, repeated.run_id, first.fingerprint, items("anatomy", 300))
    with Store.open(settings) as store:
        store.add_run(repeated)
    publish(settings)
    assert compared() == [("anatomy", 300, repeated.run_id)]
    assert chosen() == {("anatomy", repeated.run_id), ("anatomy#2", repeated.run_id)}
    plain = measured(settings, 3, docs, answered={}, suite="tasks", n_items=300, n_reused_items=300)
    assert compared() == [("anatomy", 300, plain.run_id)]
    assert chosen() == {("anatomy", plain.run_id)}


def test_the_seed_of_a_sample_survives_a_rebuild(settings: Settings) -> None:
    of = measured(settings, 1, sample(60), limit=60, sample_seed=SAMPLE_SEED)
    rebuild(settings)
    publish(settings)
    with open_snapshot(settings) as snapshot:
        assert snapshot.select('select "limit", sample_seed from runs').rows == [(60, SAMPLE_SEED)]
    assert shown(settings, of) == sample(60)
