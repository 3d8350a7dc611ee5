"""How long answers may become, by those that are stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runners.harness.events import read_job, write_job
from tests.builders.some_runs import items, key_of, model, run, score
from tracker.bench.expected_tokens import expected_tokens
from tracker.files.items import write_part, write_run
from tracker.records import EngineSettings, Item, Job, Model, RunRequest, Suite, Task
from tracker.records.origins import Origin
from tracker.records.paired import PairedReference
from tracker.settings import Settings
from tracker.store import Store, publish

NEW = model("acme/new-8b")


def measured(
    settings: Settings, number: int, of: Model, lengths: Mapping[int, int], *, task: str = "sums", **more: Any
) -> None:
    """Store a run whose answers to these documents have these lengths."""
    answers = [replace(items(task, 1, start=doc)[0], output_tokens=n) for doc, n in lengths.items()]
    stored(settings, number, of, answers, task=task, **more)


def stored(
    settings: Settings, number: int, of: Model, answers: list[Item], *, task: str = "sums", **more: Any
) -> None:
    is_written = answers[0].is_written
    group = more.pop("group", None)
    found = replace(
        score(task, of), n_items=len(answers), empty_fraction=0.0 if is_written else None, group=group
    )
    made = run(number, of=of, scores=(found,), n_items=len(answers), **more)
    write_run(settings.items_path, made)
    write_part(settings.items_path, made.run_id, key_of(task, of), answers)
    with Store.open(settings) as store:
        store.add_run(made)
    publish(settings)


def job(*tasks: str, of: Model = NEW, **more: Any) -> Job:
    suite = Suite("some", 1, "", tuple(Task(task) for task in tasks or ("sums",)))
    return Job(of, EngineSettings(), (RunRequest("run-1", suite),), "items", **more)


def test_expected_tokens_of_an_empty_home_are_none(settings: Settings) -> None:
    assert expected_tokens(job(), settings) == {}
    measured(settings, 1, model(), {0: 5}, task="other")
    assert expected_tokens(job(), settings) == {}


def test_expected_tokens_are_those_of_other_models_each_against_its_own_mean(settings: Settings) -> None:
    measured(settings, 1, model("acme/brief"), {0: 10, 1: 20, 3: 40})
    measured(settings, 2, model("acme/wordy"), {0: 1_000, 1: 4_000, 3: 2_000})
    # geometric means 20 and 2,000, so 200 of both; the first item has half of each, the others √2 times it
    assert expected_tokens(job(), settings) == {"sums": (100, 283, 0, 283)}
    # an item that only a wordy model has answered is not longer for it
    measured(settings, 3, model("acme/wordier"), {0: 10_000, 1: 40_000, 3: 20_000, 4: 20_000})
    found = expected_tokens(job(), settings)["sums"]
    assert sorted(range(5), key=lambda doc: found[doc]) == [2, 0, 4, 3, 1]


def test_expected_tokens_are_the_models_own_where_it_has_answered(settings: Settings) -> None:
    measured(settings, 1, model("acme/brief"), {0: 10, 1: 20, 2: 40})
    measured(settings, 2, replace(NEW, revision="1" * 40), {0: 400, 1: 100})
    found = expected_tokens(job(), settings)["sums"]
    assert found[:2] == (400, 100)
    assert found[2] == 400  # its own level of 200, twice as long as others are on average


def test_expected_tokens_of_each_model_are_those_of_its_largest_run(settings: Settings) -> None:
    measured(settings, 1, model(), {0: 10, 1: 20})
    measured(settings, 2, replace(model(), revision="1" * 40), {0: 70})
    assert expected_tokens(job(), settings) == {"sums": (10, 20)}


def test_expected_tokens_of_a_group_are_those_of_its_tasks(settings: Settings) -> None:
    measured(settings, 1, model(), {0: 10, 1: 20}, task="sums_easy", group="sums")
    assert expected_tokens(job(), settings) == {"sums_easy": (10, 20)}


def test_expected_tokens_of_repeats_are_those_of_the_task(settings: Settings) -> None:
    measured(settings, 1, model(), {0: 10, 1: 40}, task="sums#2", group="sums")
    assert expected_tokens(job(), settings) == {"sums": (10, 40)}


def test_expected_tokens_leave_out_choices_refusals_and_imported_answers(settings: Settings) -> None:
    choices = [replace(item, finish_reason="loglikelihood") for item in items("sums")]
    stored(settings, 1, model("acme/a"), choices)
    origin = Origin("lm-eval", None, "a.json", "0" * 64, run(1).started_at)
    measured(settings, 2, model("acme/b"), {0: 1}, origin=origin)
    assert expected_tokens(job(), settings) == {}
    some = [replace(item, output_tokens=7) for item in items("sums", 2)]
    stored(settings, 3, model("acme/c"), [some[0], replace(some[1], finish_reason="refused")])
    assert expected_tokens(job(), settings) == {"sums": (7,)}


@pytest.mark.parametrize(
    "ends_early",
    [
        {"minutes": 5.0},
        {"until_half_width": 0.02},
        {"until_mean_half_width": 0.02},
        {"reference": PairedReference("acme/atlas-8b", {"some": {"sums": "f"}})},
    ],
    ids=lambda given: next(iter(given)),
)
def test_expected_tokens_are_none_where_items_are_drawn(settings: Settings, ends_early: Any) -> None:
    measured(settings, 1, model(), {0: 10, 1: 20})
    assert expected_tokens(job(**ends_early), settings) == {}


def test_expected_tokens_of_a_store_that_cannot_be_read_are_none_and_end_no_bench(settings: Settings) -> None:
    measured(settings, 1, model(), {0: 10, 1: 20})
    for snapshot in settings.snapshots_path.glob("*.duckdb"):
        snapshot.write_bytes(b"no database")
    assert expected_tokens(job(), settings) == {}


def test_expected_tokens_are_bounded(settings: Settings) -> None:
    measured(settings, 1, model(), {0: 10, 99_999: 20, 100_000: 30, 10**9: 40})
    (found,) = expected_tokens(job(), settings).values()
    assert (len(found), found[0], found[-1], sum(found)) == (100_000, 10, 20, 30)
    measured(settings, 2, model(), {0: 10, 1: 10}, task="parity")
    assert expected_tokens(job("sums", "parity"), settings) == {"parity": (10, 10), "sums": (10,)}


def test_expected_tokens_go_with_the_job_file_and_may_be_absent_from_an_older_one(tmp_path: Path) -> None:
    asked = job(expected_tokens={"sums": (3, 0, 5)})
    write_job(tmp_path / "job.json", asked)
    assert read_job(tmp_path / "job.json") == asked
    older = (tmp_path / "job.json").read_text().replace(',"expected_tokens":{"sums":[3,0,5]}', "")
    (tmp_path / "job.json").write_text(older)
    assert read_job(tmp_path / "job.json") == job()
