"""The embedded model: our items against stock lm-eval's, and a kill in the middle."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runners.executors.jobs import run_job
from runners.executors.local import job_mark
from runners.executors.supervisor import marked_processes
from runners.models.demo import demo_model
from tests.conftest import ROOT, give_demo
from tests.runners.harness.test_worker import assert_each_item_once, start_parent, wait_for
from tracker.answers.comparison import compare_models
from tracker.bench.run import store_runs
from tracker.exchange.import_runs import import_results
from tracker.files.items import read_items, read_run, stored_parts
from tracker.records import EngineSettings, Item, Job, Model, Run, RunRequest, RunStatus
from tracker.settings import Settings
from tracker.suites import get_suite

LIMIT = 5
LOG_PROB_TOLERANCE = 1e-4  # nats, summed over a choice, in float32


@pytest.fixture(scope="module")
def home_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def model(home_settings: Settings, demo_home: Path) -> Model:
    give_demo(demo_home, home_settings)
    return demo_model(home_settings)


@pytest.fixture(scope="module")
def ours(home_settings: Settings, model: Model) -> Run:
    """The `smoke` suite by our harness."""
    job = Job(
        model=model,
        settings=EngineSettings(engine="transformers", dtype="float32"),
        runs=(RunRequest("parity", get_suite("smoke")),),
        items_path=str(home_settings.items_path),
        limit=LIMIT,
    )
    end = run_job(job, home_settings, lambda event: None)
    assert end.exit_code == 0, end.log_path.read_text()[-2000:]
    return end.runs[0]


def stock(model: Model, task: str, *, chat: bool) -> dict[str, Any]:
    suite = get_suite("smoke")
    command = [
        sys.executable,
        "-m",
        "tests.doubles.stock_lm_eval",
        str(model.path),
        task,
        str(suite.include_path),
    ]
    command += [str(LIMIT), *(["chat"] if chat else [])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout))


def items_of(settings: Settings, run: Run, task: str) -> Mapping[int, Item]:
    score = next(score for score in run.scores if score.task == task)
    return read_items(stored_parts(settings.items_path, score.fingerprint))


@pytest.mark.parametrize("kind", ["choice", "generation"])
@pytest.mark.timeout(600)
def test_parity_items_and_scores_equal_stock_lm_eval(
    home_settings: Settings, model: Model, ours: Run, kind: str
) -> None:
    spec = next(t for t in get_suite("smoke").tasks if (t.metric == "exact_match") == (kind == "generation"))
    reference = stock(model, spec.task, chat=kind == "generation")
    items = items_of(home_settings, ours, spec.task)
    assert sorted(items) == sorted(map(int, reference["samples"]))
    for doc_id, sample in reference["samples"].items():
        item = items[int(doc_id)]
        assert item.prompt == sample["prompt"]
        if kind == "choice":
            theirs = [float(log_prob) for log_prob, _ in sample["resps"]]
            assert item.log_probs == pytest.approx(theirs, abs=LOG_PROB_TOLERANCE)
        else:
            assert item.response == sample["resps"][0]
        assert {k: float(v) for k, v in item.metrics.items()} == pytest.approx(
            {k: float(v) for k, v in sample["metrics"].items()}
        )
    score = next(score for score in ours.scores if score.task == spec.task)
    assert score.value == pytest.approx(float(reference["scores"][f"{score.metric},{score.filter}"]))


def test_parity_imported_results_of_stock_lm_eval_equal_the_run_measured_here(
    home_settings: Settings, ours: Run
) -> None:
    store_runs(home_settings, [ours])
    imported = import_results(ROOT / "tests" / "fixtures" / "foreign" / "lm_eval", home_settings).runs
    assert len(imported) == len(ours.scores)
    theirs = {score.task: (score, found.run) for found in imported for score in found.run.scores}
    for score in ours.scores:
        other, run = theirs[score.task]
        for name in ("metric", "filter", "value", "ci_low", "ci_high", "n_items", "n_total"):
            assert getattr(other, name) == getattr(score, name), (score.task, name)
        items = read_items(sorted((home_settings.items_path / run.run_id).glob("*.parquet")))
        for doc_id, item in items_of(home_settings, ours, score.task).items():
            same = ("doc_hash", "prompt", "target", "response", "score", "choices")
            assert [getattr(items[doc_id], name) for name in same] == [getattr(item, name) for name in same]
            assert items[doc_id].log_probs == pytest.approx(item.log_probs, abs=LOG_PROB_TOLERANCE)
    model_id = imported[0].run.model.model_id
    compared = compare_models(ours.model.model_id, model_id, home_settings)
    assert {row.task: row.paired.difference for row in compared.tasks} == dict.fromkeys(theirs, 0.0)
    assert {row.second_run.imported_from for row in compared.tasks} == {"lm-eval"}


def test_parity_resume_of_a_killed_bench_of_a_real_model(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path / "home", flush_s=0.01)
    monkeypatch.setenv("TRACKER_HOME", str(settings.home))
    made = Job(
        model=model,
        settings=EngineSettings(engine="transformers", dtype="float32"),
        runs=(RunRequest("killed", get_suite("smoke")),),
        items_path=str(settings.items_path),
        flush_s=settings.flush_s,
    )
    with start_parent(settings, made) as parent:
        wait_for(parent, "progress")
        for worker in marked_processes(job_mark(settings.items_path, "killed")):
            worker.kill()
        assert parent.wait(timeout=60) == 3
    assert read_run(settings.items_path / "killed").reason == "killed"
    again = replace(made, runs=(RunRequest("again", get_suite("smoke")),))
    run = run_job(again, settings, lambda event: None).runs[0]
    assert (run.status, run.n_items) == (RunStatus.COMPLETE, 16)
    assert 0 < run.n_reused_items < 16
    for score in run.scores:
        assert_each_item_once(settings, score.fingerprint)
