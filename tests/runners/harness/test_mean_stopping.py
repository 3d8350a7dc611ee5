"""A suite that ends once the mean of its tasks is known."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.mean_stopping import Suite as SimulatedSuite
from benchmarks.mean_stopping import ended
from runners.harness.mean_stopping import DrawnAnswer, StrataDraw, item_cost
from tests.builders.some_runs import items as some_items
from tests.builders.some_runs import run as some_run
from tests.builders.some_runs import store_runs
from tests.runners.harness.test_worker import TASKS, job, rules, run
from tracker.answers.model_record import read_model
from tracker.answers.run_lines import mean_document, mean_line
from tracker.bench.request import BenchRequest, check_mean_of, half_width
from tracker.errors import FieldError, TrackerError, UsageError
from tracker.files.items import read_items, stored_parts
from tracker.records import EngineSettings, Job, RunStatus
from tracker.records.suite_means import SuiteMean
from tracker.serialization import dump
from tracker.settings import Settings
from tracker.suites import get_suite

FEW = """

def few_sums(**_):
    return {"test": sums()["test"].select(range(40))}
"""
FEW_SUMS = "include: sums.yaml\ntask: few_sums\ncustom_dataset: !function make.few_sums\n"
EVEN_PAIR = """
group: even_pair
task: [sums_a, few_sums]
aggregate_metric_list:
  - {metric: exact_match, aggregation: mean, weight_by_size: false, filter_list: [number]}
metadata: {version: 1.0}
"""
MEAN = SuiteMean(("a", "b"), 0.5, 0.48, 0.52, 300, 4_000, 0.02)


def with_few(made: Job, folder: Path) -> Job:
    """The job with two more tasks: one of forty items, and a group that counts it as much as a larger one.

    They lie in a copy of the folder, on whose content the fingerprints of its tasks rest.
    """
    shutil.copytree(TASKS, folder)
    with (folder / "make.py").open("a") as file:
        file.write(FEW)
    (folder / "few_sums.yaml").write_text(FEW_SUMS)
    (folder / "even_pair.yaml").write_text(EVEN_PAIR)
    runs = (replace(one, suite=replace(one.suite, include_path=str(folder))) for one in made.runs)
    return replace(made, runs=tuple(runs))


def test_mean_stopping_ends_a_suite_on_one_interval_for_the_mean_of_its_tasks(
    settings: Settings, model_folder: Path
) -> None:
    end, events = run(settings, job(settings, model_folder, "sums", "parity", until_mean_half_width=0.1))
    (found,) = end.runs
    assert found.status is RunStatus.COMPLETE
    assert found.suite_mean is not None
    mean = found.suite_mean
    assert (mean.tasks, mean.n_total, mean.is_reached) == (("sums", "parity"), 500, True)
    assert found.n_items == mean.n_items == sum(score.n_items for score in found.scores) < 200
    assert mean.value == pytest.approx(sum(score.value for score in found.scores) / 2)
    assert mean.ci_low < mean.value < mean.ci_high <= mean.ci_low + 0.2 + 1e-4
    assert [event.n_total for event in events if event.event == "task"] == [500]
    sums, parity = found.scores
    assert parity.value == 1.0
    assert sums.n_items > parity.n_items  # which has no variance
    whole = job(settings, model_folder, "sums", "parity", run_id="whole")
    truth, _ = run(settings, whole)
    for score, true in zip(found.scores, truth.runs[0].scores, strict=True):
        assert score.ci_low <= true.value <= score.ci_high  # type: ignore[operator]


def test_mean_stopping_counts_each_task_of_a_group_equally_where_the_group_does(
    settings: Settings, model_folder: Path, tmp_path: Path
) -> None:
    made = job(settings, model_folder, "even_pair", "parity", until_mean_half_width=0.12)
    (found,) = run(settings, with_few(made, tmp_path / "tasks"))[0].runs
    group, first, second = (score for score in found.scores if score.task != "parity")
    assert (group.task, first.group, second.group) == ("even_pair", "even_pair", "even_pair")
    assert group.value == pytest.approx((first.value + second.value) / 2)
    assert group.n_items < group.n_total == 440  # type: ignore[operator]
    assert group.ci_low < group.value < group.ci_high  # type: ignore[operator]
    assert found.suite_mean is not None
    parity = next(score for score in found.scores if score.task == "parity")
    assert found.suite_mean.value == pytest.approx((group.value + parity.value) / 2)


def test_mean_stopping_a_run_that_died_asks_the_same_items_when_it_is_resumed(
    settings: Settings, model_folder: Path, tmp_path: Path
) -> None:
    other = settings.model_copy(update={"home": tmp_path / "other"})
    asked = {"until_mean_half_width": 0.1}
    (straight,) = run(other, job(other, model_folder, "sums", "parity", **asked))[0].runs
    died, _ = run(settings, job(settings, rules(model_folder, die_at=60), "sums", "parity", **asked))
    assert died.runs[0].status is RunStatus.FAILED
    made = job(settings, rules(model_folder), "sums", "parity", run_id="run-2", **asked)
    (resumed,) = run(settings, made)[0].runs
    assert resumed.suite_mean == straight.suite_mean
    assert resumed.n_reused_items > 0
    for score in straight.scores:
        again = read_items(stored_parts(settings.items_path, score.fingerprint))
        assert read_items(stored_parts(other.items_path, score.fingerprint)).keys() == again.keys()


def test_mean_stopping_a_run_that_asks_everything_knows_the_mean_exactly(
    settings: Settings, model_folder: Path, tmp_path: Path
) -> None:
    made = job(settings, model_folder, "few_sums", until_mean_half_width=0.001)
    (found,) = run(settings, with_few(made, tmp_path / "tasks"))[0].runs
    (score,), mean = found.scores, found.suite_mean
    assert mean is not None
    assert (mean.n_items, mean.ci_low, mean.ci_high) == (40, score.value, score.value)


def test_mean_stopping_a_time_budget_leaves_a_mean_that_is_not_reached(
    settings: Settings, model_folder: Path
) -> None:
    slow = rules(model_folder, delay_s=0.05)
    made = job(settings, slow, "sums", "parity", until_mean_half_width=0.01, minutes=0.05)
    (found,) = run(settings, made)[0].runs
    assert (found.status, found.reason) == (RunStatus.PARTIAL, "time_budget")
    assert found.suite_mean is not None
    assert not found.suite_mean.is_reached
    assert any("of an incomplete block" in warning for warning in found.warnings)


def test_mean_stopping_names_tasks_that_are_in_no_mean_or_in_it_twice(
    settings: Settings, model_folder: Path
) -> None:
    made = job(settings, model_folder, "pair", "sums_a", "parity", until_mean_half_width=0.2)
    (found,) = run(settings, made)[0].runs
    assert found.suite_mean is not None
    assert found.suite_mean.tasks == ("pair", "parity")
    assert "the items of `sums_a` are in the mean already, by `pair`" in " ".join(found.warnings)
    assert (found.status, found.reason) == (RunStatus.PARTIAL, "tasks_unavailable")


def test_mean_stopping_leaves_out_what_the_engine_cannot_do(settings: Settings, model_folder: Path) -> None:
    made = job(settings, rules(model_folder, refuses=True), "sums", "parity", until_mean_half_width=0.1)
    (found,) = run(settings, made)[0].runs
    assert (found.status, found.reason, found.suite_mean) == (RunStatus.FAILED, "unsupported", None)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"until_half_width": 0.01}, "`--until`"),
        ({"until_better_than": "acme/a"}, "`--until-better-than`"),
        ({"limit": 100}, "`--limit`"),
        ({"repeats": 4}, "repeats"),
    ],
)
def test_mean_stopping_beside_what_it_cannot_go_with_is_refused(more: dict[str, object], said: str) -> None:
    request = BenchRequest("demo", EngineSettings(), until_mean_half_width=0.01)
    with pytest.raises(UsageError, match=f"`--until-mean` cannot be combined with {said}"):
        replace(request, **more)  # type: ignore[arg-type]


def test_mean_stopping_on_several_workers_is_refused() -> None:
    with pytest.raises(TrackerError, match="`--data-parallel` cannot be combined with `--until-mean`"):
        BenchRequest("demo", EngineSettings(), until_mean_half_width=0.01, data_parallel=2)


def test_mean_stopping_of_a_suite_without_a_fixed_mean_is_refused() -> None:
    with pytest.raises(UsageError, match=r"whether suite `place` asks .* depends on scores"):
        check_mean_of(get_suite("place"))
    with pytest.raises(UsageError, match="asks a sample of 200 items of each task"):
        check_mean_of(replace(get_suite("anchor-small"), sample=200))
    check_mean_of(get_suite("anchor-small"))


def test_mean_stopping_precision_out_of_range_is_told_by_its_own_name() -> None:
    with pytest.raises(FieldError, match="until_mean"):
        half_width(70.0, field="until_mean")


def test_suite_mean_is_shown_alike_from_the_run_and_from_the_database(settings: Settings) -> None:
    made = some_run(suite_mean=MEAN)
    store_runs(settings, made)
    (row,) = read_model(made.model.model_id, settings).runs
    assert row["suite_mean"] == mean_document(MEAN) == dump(MEAN) | {"is_reached": True}
    expected = "mean of 2 tasks, each counted equally: 50.0% (48.0–52.0%, 95% interval)"
    assert mean_line(row["suite_mean"]) == f"{expected} on 300 of 4,000 items; ±2 points reached"


@pytest.mark.parametrize("bad", [{"ci_high": 0.4}, {"n_items": 5_000}])
def test_suite_mean_that_cannot_be_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"mean 0.5|n_items"):
        replace(MEAN, **bad)  # type: ignore[arg-type]


def test_mean_stopping_covers_the_mean_and_asks_less_where_an_answer_is_dear() -> None:
    """Of 40 simulated models the interval misses at most two; by weight alone it takes more tokens."""
    suite = SimulatedSuite("", (1_500,) * 3, (0.7, 0.8, 0.6), (1.0, 1.0, 200.0), 0.04)
    rng = np.random.default_rng(3)
    models = [suite.answers(rng) for _ in range(40)]
    ends = [
        ended(answers, suite.costs.__getitem__, suite.half_width, seed=seed, by_weight=0.2)
        for seed, answers in enumerate(models)
    ]
    plain = [
        ended(answers, suite.costs.__getitem__, suite.half_width, seed=seed, by_weight=1.0)
        for seed, answers in enumerate(models[:10])
    ]
    assert sum(one.is_covered for one in ends) >= 38
    assert np.mean([one.cost for one in ends]) < 0.8 * np.mean([one.cost for one in plain])


def test_strata_draw_draws_each_item_once_and_never_one_that_is_gone() -> None:
    draw = StrataDraw((0.5, 0.5), (3, 50), 0.01, 0)
    while block := draw.next_block():
        assert all(abs(sum(one.chances) - 1) < 1e-9 for one in block)
        draw.accept(block, [DrawnAnswer(1.0, 1.0)] * len(block))
    drawn = [(one.stratum, one.place) for one in draw.drawn]
    assert sorted(drawn) == [(0, n) for n in range(3)] + [(1, n) for n in range(50)]
    assert all(one.chances[one.stratum] > 0 for one in draw.drawn)


def test_the_cost_of_an_answer_counts_a_prompt_token_as_a_tenth_and_no_cached_one() -> None:
    (item,) = some_items("a", 1)
    long = replace(item, prompt_tokens=1_000, cached_tokens=800, output_tokens=50)
    assert item_cost(long) == pytest.approx(70.0)
