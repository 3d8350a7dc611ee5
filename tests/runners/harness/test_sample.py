"""Runs with a limit ask a seeded random sample; suites with conditions ask what suits the model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runners.harness.sample import SAMPLE_SEED, sampled_docs
from runners.harness.walk import SECOND_STAGE
from tests.runners.harness.test_worker import TASKS, job, rules, run
from tracker.files.items import read_items, stored_parts
from tracker.records import Condition, RunRequest, RunStatus, Suite, Task
from tracker.settings import Settings
from tracker.stats import anytime_interval, mean_interval

SIZES = {"one": 300, "two": 100, "three": 7}


def docs_of(settings: Settings, fingerprint: str) -> set[int]:
    return set(read_items(stored_parts(settings.items_path, fingerprint)))


@pytest.mark.parametrize("n", [1, 30, 200, 407, 1000])
def test_sample_is_contained_in_a_larger_one(n: int) -> None:
    small = sampled_docs(SIZES, n=n, seed=3)
    larger = sampled_docs(SIZES, n=n + 50, seed=3)
    assert sum(map(len, small.values())) == min(n, 407)
    assert all(set(small[leaf]) <= set(larger[leaf]) for leaf in SIZES)


def test_sample_takes_every_item_equally_often_and_depends_on_the_seed() -> None:
    counts = np.zeros(407)
    for seed in range(400):
        chosen = sampled_docs(SIZES, n=100, seed=seed)
        for start, leaf in ((0, "one"), (300, "two"), (400, "three")):
            counts[[start + doc for doc in chosen[leaf]]] += 1
    expected = 400 * 100 / 407
    chi_square = float(((counts - expected) ** 2 / (expected * (1 - 100 / 407))).sum())
    assert abs(chi_square - 406) < 4 * np.sqrt(2 * 406)
    assert sampled_docs(SIZES, n=100, seed=0) != sampled_docs(SIZES, n=100, seed=1)


def test_sample_of_more_items_reuses_every_answer(settings: Settings, model_folder: Path) -> None:
    made = job(settings, model_folder, limit=30, sample_seed=SAMPLE_SEED)
    first, _ = run(settings, made)
    second, _ = run(settings, replace(made, limit=50, runs=(replace(made.runs[0], run_id="run-2"),)))
    assert (first.runs[0].limit, first.runs[0].sample_seed) == (30, SAMPLE_SEED)
    assert (second.runs[0].n_items, second.runs[0].n_reused_items) == (50, 30)
    asked = docs_of(settings, second.runs[0].scores[0].fingerprint)
    assert asked == set(sampled_docs({"sums": 400}, n=50, seed=SAMPLE_SEED)["sums"])
    assert max(asked) > 50


@pytest.mark.parametrize("task", ["sums_few_shot", "sums"])
def test_sample_asks_each_question_as_the_whole_task_does(
    settings: Settings, model_folder: Path, task: str
) -> None:
    sampled, _ = run(settings, job(settings, model_folder, task, limit=20, sample_seed=SAMPLE_SEED))
    whole, _ = run(settings, job(settings, model_folder, task, run_id="run-2"))
    assert sampled.runs[0].scores[0].fingerprint == whole.runs[0].scores[0].fingerprint
    assert whole.runs[0].n_reused_items == 20  # an item is reused only if its prompt is the same


def test_sample_of_a_group_is_drawn_from_all_of_its_items(settings: Settings, model_folder: Path) -> None:
    end, _ = run(settings, job(settings, model_folder, "pair", limit=40, sample_seed=SAMPLE_SEED))
    group, *leaves = end.runs[0].scores
    assert (group.task, group.n_items, group.n_total) == ("pair", 40, 800)
    assert sum(leaf.n_items for leaf in leaves) == 40


def staged(*tasks: Task, sample: int | None = 25) -> Suite:
    return Suite("staged", 1, "", tasks, chat=True, include_path=TASKS, sample=sample)


@pytest.mark.parametrize(
    ("condition", "asked"),
    [
        (Condition("sums", below=0.4), ["sums"]),
        (Condition("sums", at_least=0.4), ["sums", "parity"]),
        (Condition("sums", at_least=0.4, thinking=False), ["sums", "parity"]),
        (Condition("sums", thinking=True), ["sums"]),
    ],
    ids=["below", "above", "does not think", "thinks"],
)
def test_sample_suite_asks_a_task_if_its_condition_holds(
    settings: Settings, model_folder: Path, condition: Condition, asked: list[str]
) -> None:
    suite = staged(Task("sums"), Task("parity", when=(condition,)))
    made = replace(job(settings, model_folder), runs=(RunRequest("run-1", suite),))
    end, _ = run(settings, made)
    (ended,) = end.runs
    assert ended.status is RunStatus.COMPLETE
    assert [score.task for score in ended.scores] == asked
    assert (ended.limit, ended.sample_seed, ended.n_items) == (25, SAMPLE_SEED, 25 * len(asked))
    assert ended.thinks == (None if condition.thinking is None else False)


def test_sample_task_whose_first_stage_has_no_data_is_not_asked(
    settings: Settings, model_folder: Path
) -> None:
    late = (Task("parity", when=(Condition("no_such_field"),)), Task("sums"))
    suite = staged(Task("no_such_field"), *late)
    end, _ = run(settings, replace(job(settings, model_folder), runs=(RunRequest("run-1", suite),)))
    assert (end.runs[0].status, [score.task for score in end.runs[0].scores]) == (RunStatus.PARTIAL, ["sums"])


def test_a_condition_on_a_later_task_is_refused() -> None:
    with pytest.raises(ValueError, match="its condition names `sums`, no earlier task"):
        staged(Task("parity", when=(Condition("sums"),)), Task("sums"))


@pytest.mark.parametrize(("task", "n_all"), [("sums", 400), ("pair", 800)])
def test_sample_cut_short_by_time_says_how_well_it_knows_the_whole_task(
    settings: Settings, model_folder: Path, task: str, n_all: int
) -> None:
    slow = rules(model_folder, delay_s=0.05)
    made = job(settings, slow, task, limit=100, sample_seed=SAMPLE_SEED, minutes=0.06)
    end, _ = run(settings, made)
    score, *leaves = end.runs[0].scores
    assert (end.runs[0].reason, score.n_total, score.n_items in {4, 12, 28, 60}) == (
        "time_budget",
        n_all,
        True,
    )
    values = [round(score.value * score.n_items) > place for place in range(score.n_items)]
    assert score.stderr == pytest.approx(mean_interval(values, n_total=n_all).stderr)
    assert sum(leaf.n_items for leaf in leaves) in {0, score.n_items}


def test_sample_ends_once_the_whole_task_is_known_precisely_enough(
    settings: Settings, model_folder: Path
) -> None:
    made = job(settings, model_folder, limit=200, sample_seed=SAMPLE_SEED, until_half_width=0.2)
    end, _ = run(settings, made)
    score = end.runs[0].scores[0]
    asked = sampled_docs({"sums": 400}, n=200, seed=SAMPLE_SEED)["sums"]
    items = read_items(stored_parts(settings.items_path, score.fingerprint))
    order = [asked[n] for n in np.random.default_rng(0).permutation(200)]
    values = [items[doc].score or 0.0 for doc in order[: score.n_items]]
    found = {n: anytime_interval(values[:n], n_total=400, half_width=0.2) for n in (4, 12, 28, 60, 124)}
    assert score.n_items == min(n for n, interval in found.items() if interval.half_width <= 0.2)
    interval = anytime_interval(values, n_total=400, half_width=0.2)
    assert (score.ci_low, score.ci_high) == pytest.approx((interval.low, interval.high))


def not_started(settings: Settings, folder: Path, *tasks: Task, minutes: float = 0.03) -> list[str]:
    """The warnings about tasks that were not started; by default there is time for part of the first one."""
    made = job(settings, rules(folder, delay_s=0.1), minutes=minutes)
    end, _ = run(settings, replace(made, runs=(RunRequest("run-1", staged(*tasks)),)))
    assert end.runs[0].reason == "time_budget"
    return [warning for warning in end.runs[0].warnings if "not started" in warning]


def test_sample_suite_out_of_time_is_silent_about_tasks_that_it_would_not_have_asked(
    settings: Settings, model_folder: Path
) -> None:
    told = not_started(
        settings,
        model_folder,
        Task("sums"),
        Task("parity", when=(Condition("sums", below=0.01),)),
        Task("sums_a", when=(Condition("parity"),)),
        Task("sums_few_shot", when=(Condition("sums"),)),
    )
    assert told == ["task `sums_few_shot` was not started"]


def test_sample_suite_out_of_time_does_not_ask_whether_the_model_thinks(
    settings: Settings, model_folder: Path
) -> None:
    told = not_started(
        settings,
        model_folder,
        Task("sums"),
        Task("parity", when=(Condition("sums", thinking=True),)),
        Task("sums_few_shot", when=(Condition("sums", thinking=False),)),
    )
    assert told == [SECOND_STAGE]


def test_sample_suite_out_of_time_before_its_first_task_says_so_once_for_the_rest(
    settings: Settings, model_folder: Path
) -> None:
    later = [Task(name, when=(Condition("sums", at_least=0.5),)) for name in ("parity", "sums_few_shot")]
    told = not_started(settings, model_folder, Task("sums"), *later, minutes=1e-9)
    assert told == ["task `sums` was not started", SECOND_STAGE]
