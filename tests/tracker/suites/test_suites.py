"""Suites: every file loads, and names tasks, metrics and filters that lm-eval really has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runners.harness.task_index import folders_of
from tests.tracker.cli.test_commands import tracker
from tracker.errors import TrackerError, UnknownNameError
from tracker.frontier.bridges import task_scales
from tracker.frontier.placement import PLACED_SUITE, off_scale
from tracker.frontier.tables import load_tables
from tracker.records import Suite, Task
from tracker.suites import get_suite, read_suite, suite_names

SUITES = [get_suite(name) for name in suite_names()]
TASKS = [(suite, task) for suite in SUITES for task in suite.tasks]


def test_the_suites_are_these() -> None:
    assert suite_names() == [
        "anchor-reasoning",
        "anchor-small",
        "code",
        "home",
        "instruct",
        "place",
        "quick",
        "smoke",
        "tools",
    ]


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_a_suite_leaves_nothing_about_its_numbers_open(suite: Suite) -> None:
    assert suite.description
    for task in suite.tasks:
        stated = (task.metric, task.filter, task.chance, task.num_fewshot)
        assert None not in stated, task.task


@pytest.fixture(scope="session")
def task_names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of lm-eval's task names, made once."""
    return tmp_path_factory.mktemp("task-names")


@pytest.mark.parametrize(("suite", "task"), TASKS, ids=[f"{s.name}/{t.task}" for s, t in TASKS])
def test_a_task_has_the_metric_and_the_filter_that_the_suite_reads(
    suite: Suite, task: Task, task_names: Path
) -> None:
    for config in configs_of(task.task, suite, cache_path=task_names):
        assert task.metric in metrics_in(config)
        filters = [f["name"] for f in config.get("filter_list") or []] or ["none"]
        assert task.filter in filters
        assert config["output_type"] == "generate_until" or task.max_output_tokens is None
        assert bool(config.get("unsafe_code")) == (suite.name == "code")  # only there the model's code runs


def configs_of(name: str, suite: Suite, *, cache_path: Path) -> list[dict[str, Any]]:
    """The task's file, or those of all parts of a group; nothing is downloaded, no task code is run."""
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._index import Kind
    from lm_eval.tasks._yaml_loader import load_yaml

    folders = folders_of([name], include_path=suite.include_path, cache_path=cache_path)
    manager = TaskManager(include_path=[str(folder) for folder in folders], include_defaults=False)
    waiting, configs = [name], []
    while waiting:
        entry = manager.task_index[waiting.pop()]
        if entry.kind is Kind.TAG:
            waiting += entry.tags
            continue
        config = load_yaml(entry.yaml_path, resolve_func=False)
        if isinstance(config["task"], list):
            waiting += config["task"]
        else:
            configs.append(config)
    assert configs
    return configs


def metrics_in(config: dict[str, Any]) -> list[str]:
    """Names of metrics; one given as a function goes by the function's name, or by what it returns."""
    names = [str(metric["metric"]).rpartition(".")[2] for metric in config["metric_list"]]
    return [*names, *(f"pass@{k}" for metric in config["metric_list"] for k in metric.get("k", []))]


def test_mmlu_is_its_57_subjects_and_math_level_5_its_seven(task_names: Path) -> None:
    assert len(configs_of("mmlu", get_suite("anchor-small"), cache_path=task_names)) == 57
    assert len(configs_of("leaderboard_math_hard", get_suite("anchor-reasoning"), cache_path=task_names)) == 7


def test_a_typo_gets_the_near_name() -> None:
    with pytest.raises(UnknownNameError, match="no suite is called `qick`") as raised:
        get_suite("qick")
    assert "`quick`" in raised.value.hint


def test_a_seed_is_part_of_the_name() -> None:
    fresh = get_suite("quick@202648")
    assert (fresh.name, fresh.seed, fresh.tasks) == ("quick@202648", 202648, get_suite("quick").tasks)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("quick@", "the seed must be a whole number, got ``"),
        ("quick@-1", "got `-1`"),
        ("quick@²", "must be a whole number"),
        ("instruct@3", "takes no seed"),
    ],
)
def test_a_seed_that_makes_no_sense_is_refused(name: str, says: str) -> None:
    with pytest.raises(TrackerError, match=says) as raised:
        get_suite(name)
    assert raised.value.hint


GOOD = 'version = 1\ndescription = "d"\n[[tasks]]\ntask = "t"\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD + "chnce = 0.5", "unknown key `chnce`"),
        ("colour = 1\n" + GOOD, "unknown key `colour`"),
        (GOOD + "chance = 1.5", r"chance must be in 0\.\.1"),
        (GOOD + '[[tasks]]\ntask = "t"', "lists a task twice"),
        ('version = 1\ndescription = "d"', "no tasks"),
        ('description = "d"\n[[tasks]]\ntask = "t"', "version"),
        ("version = ", "mine.toml"),
    ],
    ids=["task key", "suite key", "range", "twice", "empty", "no version", "no TOML"],
)
def test_a_wrong_suite_file_is_named_with_what_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(TrackerError, match=says):
        read_suite(path)


def test_the_command_lists_the_suites() -> None:
    done = tracker("suites")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(name in done.stdout for name in suite_names())


def test_the_command_shows_one_suite_as_people_and_as_programs_read_it() -> None:
    done = tracker("suites", "quick")
    assert "quick_cubes" in done.stdout
    assert "seed 20261124" in done.stdout
    (suite,) = json.loads(tracker("suites", "anchor-small", "--json").stdout)["suites"]
    assert (suite["name"], suite["offline"], len(suite["tasks"])) == ("anchor-small", False, 5)
    arc = next(task for task in suite["tasks"] if task["task"] == "arc_challenge")
    assert (arc["metric"], arc["filter"], arc["num_fewshot"], arc["chance"]) == ("acc_norm", "none", 25, 0.25)
    assert "include_path" not in suite


def test_the_suite_that_an_unplaced_run_is_told_of_has_tasks_on_the_scale() -> None:
    names = task_scales(load_tables().benchmarks)
    assert all(task.task in names for task in get_suite(PLACED_SUITE).tasks)
    assert off_scale("smoke_sums").endswith("(smoke_sums); it contains those of `--suite place`")
