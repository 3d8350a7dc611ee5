"""Every kind of task of lm-eval on a tiny model: all metrics equal stock lm-eval's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

from runners.executors.jobs import run_job
from runners.harness.walk import prepare
from tests.builders.tiny_models import save_random, tiny_config, tiny_tokenizer
from tests.conftest import ROOT
from tracker.files.items import read_items, stored_parts
from tracker.records import EngineSettings, Item, Job, Model, Run, RunRequest, RunStatus, Suite, Task
from tracker.settings import Settings

FOLDER = str(ROOT / "tests" / "task_kinds")
WRITTEN = ["kind_penalty", "kind_ngram", "kind_minimum", "kind_neutral", "kind_bleu", "kind_filters"]
CHOICES = ["kind_choice", "kind_shots", "kind_brier", "kind_f1", "kind_context"]
OTHERS = ["kind_perplexity", "kind_only_perplexity", "kind_mixed"]
TASKS = [*WRITTEN, *CHOICES, *OTHERS]
REFUSED = {"kind_beams": "num_beams: 4", "kind_typical": "typical_p: 0.9"}
TOLERANCE = {"abs": 1e-4, "rel": 1e-4}  # float32, summed over a continuation


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    tokenizer = tiny_tokenizer()
    return save_random(
        tmp_path_factory.mktemp("model"), tokenizer, tiny_config(tokenizer, max_position_embeddings=512)
    )


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("home"))


def measured(settings: Settings, model: Model, run_id: str, tasks: list[str]) -> Run:
    suite = Suite(run_id, 1, "", tuple(Task(name) for name in tasks), include_path=FOLDER, chat=False)
    job = Job(
        model=model,
        settings=EngineSettings(engine="transformers", dtype="float32"),
        runs=(RunRequest(run_id, suite),),
        items_path=str(settings.items_path),
    )
    end = run_job(job, settings, lambda event: None)
    return end.runs[0]


@pytest.fixture(scope="module")
def ours(settings: Settings, model: Model) -> Run:
    return measured(settings, model, "kinds", [*TASKS, *REFUSED])


@pytest.fixture(scope="module")
def stock(model: Model) -> dict[str, Any]:
    """The results of `simple_evaluate` for the same tasks."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    manager = TaskManager(include_path=[FOLDER], include_defaults=False)
    given = {"pretrained": model.path, "dtype": "float32", "device": "cpu"}
    found = simple_evaluate(
        model="hf", model_args=given, tasks=TASKS, task_manager=manager, batch_size=1, bootstrap_iters=0
    )
    return dict(found)


def items_of(settings: Settings, run: Run, task: str) -> dict[int, Item]:
    score = next(score for score in run.scores if score.task == task)
    return dict(read_items(stored_parts(settings.items_path, score.fingerprint)))


@pytest.mark.parametrize("task", TASKS)
def test_every_metric_of_a_task_equals_stock_lm_eval(ours: Run, stock: dict[str, Any], task: str) -> None:
    theirs = {
        key: float(value)
        for key, value in stock["results"][task].items()
        if "," in key and "_stderr" not in key and isinstance(value, int | float)
    }
    assert theirs
    found = {f"{one.metric},{one.filter}": one.value for one in ours.metrics if one.task == task}
    assert found == pytest.approx(theirs, **TOLERANCE)


@pytest.mark.parametrize("task", WRITTEN)
def test_written_answers_equal_stock_lm_eval(
    ours: Run, stock: dict[str, Any], settings: Settings, model: Model, task: str
) -> None:
    samples = {sample["doc_id"]: sample["resps"][0][0] for sample in stock["samples"][task]}
    scored = {score.task for score in ours.scores}
    if task not in scored:
        assert task == "kind_bleu"  # nothing of it is a share; its metrics are compared above
        return
    assert {doc: item.response for doc, item in items_of(settings, ours, task).items()} == samples


def test_the_headline_is_the_first_share_and_what_is_none_has_no_score(ours: Run) -> None:
    headlines = {one.task: one.metric for one in ours.metrics if one.is_headline}
    assert {name: headlines.get(name) for name in ("kind_perplexity", "kind_brier", "kind_f1")} == {
        "kind_perplexity": "acc",
        "kind_brier": "acc",
        "kind_f1": "f1",
    }
    scored = {score.task for score in ours.scores}
    assert set(TASKS) - scored == {"kind_only_perplexity", "kind_bleu"}
    assert {score.task: score.metric for score in ours.scores} == headlines
    assert ours.status is RunStatus.PARTIAL  # for the refused ones alone


@pytest.mark.parametrize("task", REFUSED)
def test_sampling_that_an_engine_does_not_support_is_refused_by_name(ours: Run, task: str) -> None:
    (said,) = [warning for warning in ours.warnings if f"`{task}`" in warning]
    assert f"`{REFUSED[task]}` in its generation_kwargs is not supported by the engine `transformers`" in said


def test_items_of_choices_between_contexts_show_what_was_compared(ours: Run, settings: Settings) -> None:
    items = items_of(settings, ours, "kind_context")
    assert {item.choices for item in items.values()} == {("fox", "dog")}
    assert [items[n].target for n in range(4)] == ["fox", "dog", "fox", "dog"]
    for item in items.values():
        assert item.response == item.choices[item.log_probs.index(max(item.log_probs))]
        assert item.metrics["acc,none"] == float(item.response == item.target)


def test_items_of_mutual_information_choose_among_the_choices_alone(ours: Run, settings: Settings) -> None:
    for item in items_of(settings, ours, "kind_choice").values():
        assert len(item.choices) == len(item.log_probs) == 6
        assert [label.endswith(" (alone)") for label in item.choices] == [False] * 3 + [True] * 3
        assert item.response == item.choices[item.log_probs.index(max(item.log_probs[:3]))]


def test_a_group_has_the_metrics_that_it_states(settings: Settings, model: Model) -> None:
    run = measured(settings, model, "grouped", ["kind_group"])
    manager = TaskManager(include_path=[FOLDER], include_defaults=False)
    given = {"pretrained": model.path, "dtype": "float32", "device": "cpu"}
    found = simple_evaluate(
        model="hf", model_args=given, tasks=["kind_group"], task_manager=manager, bootstrap_iters=0
    )
    theirs = {
        key: float(value)
        for key, value in found["groups"]["kind_group"].items()
        if "," in key and isinstance(value, int | float)
    }
    group = {f"{one.metric},{one.filter}": one.value for one in run.metrics if one.task == "kind_group"}
    assert group == pytest.approx(theirs, **TOLERANCE)
    assert [score.task for score in run.scores] == ["kind_group", "kind_choice", "kind_shots"]


def test_a_run_of_a_task_without_a_share_is_complete(settings: Settings, model: Model) -> None:
    run = measured(settings, model, "perplexity", ["kind_only_perplexity"])
    assert (run.status, run.scores, run.warnings) == (RunStatus.COMPLETE, (), ())
    (metric,) = run.metrics
    assert (metric.metric, metric.higher_is_better, metric.is_headline) == ("perplexity", False, False)
    assert metric.value > 1
    assert Path(settings.items_path, "perplexity").is_dir()


PROTOCOL = {
    "kind_choice": Task("kind_choice", metric="acc_norm", chat=True, system="Be brief."),
    "kind_shots": Task("kind_shots", num_fewshot=3, chat=True, system="Be brief."),
    "kind_perplexity": Task("kind_perplexity", chat=True, system="Be brief."),
    "kind_ngram": Task("kind_ngram", chat=True, system="Be brief."),
}


def test_chat_system_message_shots_and_metric_are_those_of_stock_lm_eval(
    settings: Settings, model: Model
) -> None:
    suite = Suite("protocol", 1, "", tuple(PROTOCOL.values()), include_path=FOLDER)
    job = Job(
        model=model,
        settings=EngineSettings(engine="transformers", dtype="float32"),
        runs=(RunRequest("protocol", suite),),
        items_path=str(settings.items_path),
    )
    run = run_job(job, settings, lambda event: None).runs[0]
    manager = TaskManager(include_path=[FOLDER], include_defaults=False)
    given = {"pretrained": model.path, "dtype": "float32", "device": "cpu"}
    same = {"kind_shots": "kind_three_shots"}  # where a file says what the suite says here
    found = simple_evaluate(
        model="hf",
        model_args=given,
        tasks=[same.get(name, name) for name in PROTOCOL],
        task_manager=manager,
        bootstrap_iters=0,
        apply_chat_template=True,
        fewshot_as_multiturn=True,
        system_instruction="Be brief.",
    )
    for name in PROTOCOL:
        items = items_of(settings, run, name)
        samples = {
            sample["doc_id"]: sample["arguments"][0][0] for sample in found["samples"][same.get(name, name)]
        }
        assert {doc: item.prompt for doc, item in items.items()} == samples
        assert "Be brief." in items[0].prompt
        theirs = {
            key: value
            for key, value in found["results"][same.get(name, name)].items()
            if "," in key and "_stderr" not in key and isinstance(value, int | float)
        }
        ours = {f"{one.metric},{one.filter}": one.value for one in run.metrics if one.task == name}
        assert ours == pytest.approx(theirs, **TOLERANCE)
    assert next(score.metric for score in run.scores if score.task == "kind_choice") == "acc_norm"


@pytest.mark.parametrize(
    ("task", "says"),
    [
        (
            Task("kind_choice", metric="accuracy"),
            "has no metric `accuracy` (it has: acc, acc_norm, acc_mutual",
        ),
        (Task("kind_filters", filter="number"), "has no filter `number` (it has: letters, first)"),
    ],
)
def test_a_metric_or_filter_that_a_task_does_not_have_is_named_before_it_is_asked(
    settings: Settings, model: Model, task: Task, says: str
) -> None:
    suite = Suite("wrong", 1, "", (task, Task("kind_f1")), include_path=FOLDER)
    prepared = prepare(suite, cache_path=settings.home / "cache")
    assert prepared[1].loaded is not None
    error = prepared[0].error
    assert error is not None
    assert says in f"{error} ({error.hint})"


def test_a_repeat_with_another_metric_has_its_own_score(settings: Settings, model: Model) -> None:
    found = {}
    for metric in ("acc", "acc_norm"):
        suite = Suite("tasks", 1, "", (Task("kind_choice", metric=metric),), include_path=FOLDER)
        job = Job(
            model=model,
            settings=EngineSettings(engine="transformers", dtype="float32"),
            runs=(RunRequest(f"by-{metric}", suite),),
            items_path=str(settings.items_path),
            until_half_width=0.4,
        )
        run = run_job(job, settings, lambda event: None).runs[0]
        (score,) = run.scores
        (headline,) = [one for one in run.metrics if one.is_headline]
        assert (headline.metric, headline.value) == (metric, pytest.approx(score.value))
        items = items_of(settings, run, "kind_choice")
        assert all(item.score == item.metrics[f"{metric},none"] for item in items.values())
        found[metric] = score.fingerprint
    assert found["acc"] != found["acc_norm"]


def test_a_group_of_unlike_metrics_has_no_score_of_its_own(settings: Settings, model: Model) -> None:
    run = measured(settings, model, "unlike", ["kind_unlike"])
    assert [score.task for score in run.scores] == ["kind_choice"]
    headlines = [(one.task, one.metric) for one in run.metrics if one.is_headline]
    assert headlines == [("kind_choice", "acc")]
    values = {(one.task, one.metric): one.value for one in run.metrics}
    assert values["kind_length", "n_characters"] > 1  # its aggregation has no name
    assert run.status is RunStatus.COMPLETE
