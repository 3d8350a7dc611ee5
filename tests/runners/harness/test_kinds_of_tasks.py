"""Every kind of task of lm-eval on a tiny model: all metrics equal stock lm-eval's."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lm_eval import simple_evaluate
from lm_eval.api.metrics import chrf, f1_score, matthews_corrcoef, stderr_for_metric
from lm_eval.tasks import TaskManager

from runners.executors.jobs import run_job
from runners.harness.walk import prepare
from runners.sandbox.run import probe
from tests.builders.tiny_models import save_random, tiny_config, tiny_tokenizer
from tests.conftest import ROOT
from tracker.files.items import read_items, stored_parts
from tracker.records import EngineSettings, Item, Job, Model, Run, RunRequest, RunStatus, Suite, Task
from tracker.settings import Settings

FOLDER = str(ROOT / "tests" / "task_kinds")
WRITTEN = [
    "kind_penalty", "kind_ngram", "kind_minimum", "kind_neutral", "kind_bleu", "kind_text_metrics",
    "kind_filters", "kind_votes", "kind_no_stop", "kind_stops", "kind_separators", "kind_prefix",
    "kind_listed_shots", "kind_match", "kind_extracted", "kind_targets", "kind_own_metric",
    "kind_mean_length", "kind_chosen_docs",
]  # fmt: skip
CHOICES = [
    "kind_choice", "kind_shots", "kind_brier", "kind_f1", "kind_mcc", "kind_context", "kind_choice_prefix",
    "kind_results", "kind_delimiters", "kind_no_delimiter", "kind_letters", "kind_pair", "kind_two_right",
]  # fmt: skip
TEXTS = ["kind_rolling", "kind_rolling_words"]
OTHERS = ["kind_perplexity", "kind_only_perplexity", "kind_continued", "kind_mixed"]
TASKS = [*WRITTEN, *CHOICES, *TEXTS, *OTHERS]
GROUPS = ["kind_group", "kind_weighted", "kind_unweighted"]
REFUSED = {"kind_beams": "num_beams: 4", "kind_typical": "typical_p: 0.9"}
NO_SHARE = {
    "kind_only_perplexity", "kind_bleu", "kind_text_metrics", "kind_own_metric", "kind_mean_length",
    "kind_mcc", *TEXTS
}  # fmt: skip
TOLERANCE = {"abs": 1e-4, "rel": 1e-4}  # float32, summed over a continuation
PROTOCOL = {
    "kind_choice": Task("kind_choice", metric="acc_norm", chat=True, system="Be brief."),
    "kind_shots": Task("kind_shots", num_fewshot=3, chat=True, system="Be brief."),
    "kind_perplexity": Task("kind_perplexity", chat=True, system="Be brief."),
    "kind_ngram": Task("kind_ngram", chat=True, system="Be brief."),
}
SUITES = {  # of one job, so that the model is loaded once
    "kinds": tuple(Task(name) for name in (*TASKS, *REFUSED)),
    "groups": tuple(Task(name) for name in GROUPS),
    "tag": (Task("kind_tag"),),
    "perplexity": (Task("kind_only_perplexity"),),
    "unlike": (Task("kind_unlike"),),
    "protocol": tuple(PROTOCOL.values()),
    "programs": (Task("kind_program"), Task("kind_program_list"), Task("kind_executes")),
}
Theirs = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """One thread here and in the worker: on a busy machine, those of a tiny model wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    tokenizer = tiny_tokenizer()
    return save_random(
        tmp_path_factory.mktemp("model"), tokenizer, tiny_config(tokenizer, max_position_embeddings=512)
    )


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("home"))


def measured(settings: Settings, model: Model, suites: Sequence[Suite], **job: Any) -> dict[str, Run]:
    """Each suite's run, by its name or the place of its task's metric."""
    requests = tuple(RunRequest(f"{n}-{suite.name}", suite) for n, suite in enumerate(suites))
    asked = Job(
        model=model,
        settings=EngineSettings(engine="transformers", dtype="float32"),
        runs=requests,
        items_path=str(settings.items_path),
        **job,
    )
    return {run.run_id: run for run in run_job(asked, settings, lambda event: None).runs}


@pytest.fixture(scope="module")
def runs(settings: Settings, model: Model) -> dict[str, Run]:
    """The run of each of `SUITES`."""
    suites = [Suite(name, 1, "", tasks, include_path=FOLDER) for name, tasks in SUITES.items()]
    return {run.suite: run for run in measured(settings, model, suites).values()}


@pytest.fixture(scope="module")
def ours(runs: dict[str, Run]) -> Run:
    return runs["kinds"]


def evaluated(model: Model, tasks: Sequence[str], **protocol: Any) -> Theirs:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    found = simple_evaluate(
        model="hf",
        model_args={"pretrained": model.path, "dtype": "float32", "device": "cpu"},
        tasks=list(tasks),
        task_manager=TaskManager(include_path=[FOLDER], include_defaults=False),
        batch_size=1,
        bootstrap_iters=0,
        **protocol,
    )
    return dict(found)


@pytest.fixture(scope="module")
def stock(model: Model) -> Theirs:
    """The results of `simple_evaluate` for the same tasks; groups share some, so each is asked by itself."""
    found = evaluated(model, TASKS)
    for name in (*GROUPS, "kind_tag"):
        more = evaluated(model, [name])
        found["groups"] = found.get("groups", {}) | more.get("groups", {})
        found["results"] = more["results"] | found["results"]
    return found


def values_of(results: Mapping[str, Any]) -> dict[str, float]:
    """The metrics among lm-eval's results of one task or group."""
    return {
        key: float(value)
        for key, value in results.items()
        if "," in key and "_stderr" not in key and isinstance(value, int | float)
    }


def metrics_of(run: Run, task: str) -> dict[str, float]:
    return {f"{one.metric},{one.filter}": one.value for one in run.metrics if one.task == task}


def items_of(settings: Settings, run: Run, task: str) -> dict[int, Item]:
    folder = settings.items_path / run.run_id
    fingerprints = (
        path.stem for path in folder.glob("*.json") if path.stem != "run" and _task_of(path) == task
    )
    return dict(read_items(stored_parts(settings.items_path, next(fingerprints))))


def _task_of(path: Path) -> str:
    return str(json.loads(path.read_bytes())["task"]["task"])


@pytest.mark.parametrize("task", TASKS)
def test_every_metric_of_a_task_equals_stock_lm_eval(ours: Run, stock: Theirs, task: str) -> None:
    theirs = values_of(stock["results"][task])
    assert theirs
    assert metrics_of(ours, task) == pytest.approx(theirs, **TOLERANCE)


@pytest.mark.parametrize("task", TASKS)
def test_every_item_of_a_task_equals_stock_lm_eval(
    ours: Run, stock: Theirs, settings: Settings, task: str
) -> None:
    items = items_of(settings, ours, task)
    samples = stock["samples"][task]
    assert items.keys() == {sample["doc_id"] for sample in samples}
    for sample in samples:
        item = items[sample["doc_id"]]
        answers = [answer for each in sample["resps"] for answer in each]
        scores = [one[0] if isinstance(one, list | tuple) else one for one in answers]
        numbers = [one for one in scores if isinstance(one, int | float)]
        assert item.prompt == sample["arguments"][0][0]
        assert item.log_probs == pytest.approx(numbers, **TOLERANCE)
        if isinstance(answers[0], str):
            assert item.response == answers[0]
        for name in sample["metrics"]:
            numbers, others = parts_of(item.metrics[f"{name},{sample['filter']}"])
            their_numbers, their_others = parts_of(sample[name])
            assert numbers == pytest.approx(their_numbers, **TOLERANCE)
            assert others == their_others


def parts_of(value: Any) -> tuple[list[float], list[Any]]:
    """The numbers in a metric's value, which may be a list of lists, and all else in it."""
    if isinstance(value, list | tuple | np.ndarray):
        parts = [parts_of(one) for one in value]
        return [n for numbers, _ in parts for n in numbers], [one for _, others in parts for one in others]
    return ([float(value)], []) if isinstance(value, int | float | np.number) else ([], [value])


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_has_the_metrics_that_it_states(runs: dict[str, Run], stock: Theirs, group: str) -> None:
    theirs = values_of(stock["groups"][group])
    assert theirs
    assert metrics_of(runs["groups"], group) == pytest.approx(theirs, **TOLERANCE)


def test_a_group_is_weighted_by_its_items_only_if_it_says_so(runs: dict[str, Run]) -> None:
    values = {
        (one.task, one.metric): (one.value, one.n_items)
        for one in runs["groups"].metrics
        if one.metric == "acc"
    }
    (a, n_a), (b, n_b) = values["kind_tagged", "acc"], values["kind_tagged_too", "acc"]
    assert n_a != n_b
    assert values["kind_weighted", "acc"][0] == pytest.approx((a * n_a + b * n_b) / (n_a + n_b))
    assert values["kind_unweighted", "acc"][0] == pytest.approx((a + b) / 2)
    shown = [score.task for score in runs["groups"].scores if score.group is None]
    assert shown == GROUPS


def test_a_tag_is_every_task_that_has_it(runs: dict[str, Run], stock: Theirs) -> None:
    for task in ("kind_tagged", "kind_tagged_too"):
        assert metrics_of(runs["tag"], task) == pytest.approx(values_of(stock["results"][task]), **TOLERANCE)


def test_the_headline_is_the_first_share_and_what_is_none_has_no_score(ours: Run) -> None:
    headlines = {one.task: one.metric for one in ours.metrics if one.is_headline}
    assert {name: headlines.get(name) for name in ("kind_perplexity", "kind_brier", "kind_f1")} == {
        "kind_perplexity": "acc",
        "kind_brier": "acc",
        "kind_f1": "f1",
    }
    scored = {score.task for score in ours.scores}
    assert set(TASKS) - scored == NO_SHARE
    assert {score.task: score.metric for score in ours.scores} == headlines
    assert ours.status is RunStatus.PARTIAL  # for the refused ones alone


@pytest.mark.filterwarnings("ignore")  # of scikit-learn, about resamples with a single label
def test_metrics_have_the_standard_errors_that_stock_lm_eval_gives_them(
    ours: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISABLE_MULTIPROC", "1")  # of lm-eval
    found = {(one.task, one.metric): one.stderr for one in ours.metrics}
    aggregations = {"mcc": matthews_corrcoef, "f1": f1_score, "chrf": chrf}
    for task, metric in (("kind_mcc", "mcc"), ("kind_f1", "f1"), ("kind_bleu", "chrf")):
        values = [item.metrics[f"{metric},none"] for item in items_of(settings, ours, task).values()]
        estimate = stderr_for_metric(aggregations[metric], bootstrap_iters=1000)
        assert estimate is not None
        assert found[task, metric] == pytest.approx(estimate(values), rel=0.25)  # both resample
    assert (found["kind_perplexity", "perplexity"] or 0.0) > 0.0  # of too heavy a tail to agree
    for metric in ("word_perplexity", "byte_perplexity", "bits_per_byte"):
        assert found["kind_rolling", metric] is None


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


def test_a_run_of_a_task_without_a_share_is_complete(runs: dict[str, Run], settings: Settings) -> None:
    run = runs["perplexity"]
    assert (run.status, run.scores, run.warnings) == (RunStatus.COMPLETE, (), ())
    (metric,) = run.metrics
    assert (metric.metric, metric.higher_is_better, metric.is_headline) == ("perplexity", False, False)
    assert metric.value > 1


def test_tokens_of_scored_texts_do_not_count_as_written(runs: dict[str, Run]) -> None:
    assert runs["perplexity"].cost.tokens_per_s is None


def test_chat_system_message_shots_and_metric_are_those_of_stock_lm_eval(
    runs: dict[str, Run], settings: Settings, model: Model
) -> None:
    same = {"kind_shots": "kind_three_shots"}  # where a file says what the suite says here
    found = evaluated(
        model,
        [same.get(name, name) for name in PROTOCOL],
        apply_chat_template=True,
        fewshot_as_multiturn=True,
        system_instruction="Be brief.",
    )
    run = runs["protocol"]
    for name in PROTOCOL:
        items = items_of(settings, run, name)
        samples = {
            sample["doc_id"]: sample["arguments"][0][0] for sample in found["samples"][same.get(name, name)]
        }
        assert {doc: item.prompt for doc, item in items.items()} == samples
        assert "Be brief." in items[0].prompt
        theirs = values_of(found["results"][same.get(name, name)])
        assert metrics_of(run, name) == pytest.approx(theirs, **TOLERANCE)
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
    settings: Settings, task: Task, says: str
) -> None:
    suite = Suite("wrong", 1, "", (task, Task("kind_f1")), include_path=FOLDER)
    prepared = prepare(suite, cache_path=settings.home / "cache")
    assert prepared[1].loaded is not None
    error = prepared[0].error
    assert error is not None
    assert says in f"{error} ({error.hint})"


def test_a_repeat_with_another_metric_has_its_own_score(settings: Settings, model: Model) -> None:
    suites = [
        Suite("tasks", 1, "", (Task("kind_choice", metric=metric),), include_path=FOLDER)
        for metric in ("acc", "acc_norm")
    ]
    found = {}
    for run in measured(settings, model, suites, until_half_width=0.4).values():
        (score,) = run.scores
        (headline,) = [one for one in run.metrics if one.is_headline]
        assert headline.value == pytest.approx(score.value)
        items = items_of(settings, run, "kind_choice")
        assert all(item.score == item.metrics[f"{headline.metric},none"] for item in items.values())
        found[headline.metric] = score.fingerprint
    assert found.keys() == {"acc", "acc_norm"}
    assert found["acc"] != found["acc_norm"]


def test_a_group_of_unlike_metrics_has_no_score_of_its_own(runs: dict[str, Run]) -> None:
    run = runs["unlike"]
    assert [score.task for score in run.scores] == ["kind_choice"]
    headlines = [(one.task, one.metric) for one in run.metrics if one.is_headline]
    assert headlines == [("kind_choice", "acc")]
    values = {(one.task, one.metric): one.value for one in run.metrics}
    assert values["kind_length", "n_characters"] > 1  # its aggregation has no name
    assert run.status is RunStatus.COMPLETE


@pytest.mark.skipif(not probe().is_trusted, reason="there is no bubblewrap here")
def test_programs_are_scored_in_the_sandbox(runs: dict[str, Run], settings: Settings) -> None:
    run = runs["programs"]
    assert metrics_of(run, "kind_program") == {
        "pass@1,bodies": pytest.approx((1 + 1 / 3 + 0) / 3),
        "pass@2,bodies": pytest.approx((1 + 2 / 3 + 0) / 3),
    }
    assert metrics_of(run, "kind_program_list") == {"pass_at_1,bodies": pytest.approx(1 / 3)}
    assert [(score.task, score.metric) for score in run.scores] == [
        ("kind_program", "pass@1"),
        ("kind_program_list", "pass_at_1"),
    ]
    assert {one.higher_is_better for one in run.metrics} == {True}
    assert items_of(settings, run, "kind_program")[0].metrics == {"pass@1,bodies": 1.0, "pass@2,bodies": 1.0}


@pytest.mark.skipif(not probe().is_trusted, reason="there is no bubblewrap here")
def test_a_task_that_runs_code_by_its_own_means_is_refused(runs: dict[str, Run]) -> None:
    (said,) = [warning for warning in runs["programs"].warnings if "kind_executes" in warning]
    assert "it runs code that the model wrote by its own means, not with `code_eval`" in said


def test_without_bubblewrap_programs_are_refused(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    suite = Suite("programs", 1, "", (Task("kind_program"),), include_path=FOLDER)
    (prepared,) = prepare(suite, cache_path=settings.home / "cache")
    assert prepared.error is not None
    said = f"{prepared.error} ({prepared.error.hint})"
    assert "needs bubblewrap: bubblewrap is not installed (`apt install bubblewrap`" in said
    monkeypatch.undo()
    assert (probe().why == "bubblewrap is not installed") is (shutil.which("bwrap") is None)
