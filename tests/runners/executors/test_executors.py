"""The seam for executors: one protocol, one registry, and worker files that every reader reads alike."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from app.data.running_benches import running_benches
from runners.executors import EXECUTORS, open_executor
from runners.executors.jobs import reap_orphans, run_job
from runners.executors.local import LocalExecutor, job_cards
from runners.hardware import Gpu, Hardware
from runners.harness.begin import new_run
from runners.harness.events import Event
from tests.runners.harness.test_worker import job, rules
from tracker.bench.request import BenchRequest
from tracker.errors import TrackerError, UnknownNameError
from tracker.files.items import read_doc_ids, read_run, stored_parts, write_run
from tracker.files.workers import WorkKind, worker_files, worker_path, write_worker_file
from tracker.records import EngineSettings, RunStatus
from tracker.settings import Settings

PLAIN = "tests.doubles.executors:PlainExecutor"
GONE = {"parent": 2**22, "parent_started_at": 0.0}  # no process has that number


def test_executor_of_another_module_runs_a_bench_from_one_place(
    settings: Settings, model_folder: Path
) -> None:
    events: list[Event] = []
    end = run_job(job(settings, model_folder, limit=20), settings, events.append, executor=PLAIN)
    assert (end.exit_code, end.runs[0].status, end.runs[0].n_items) == (0, RunStatus.COMPLETE, 20)
    assert end.log_path.read_text().startswith("ran elsewhere")
    assert {"ready", "run"} <= {event.event for event in events}
    (file,) = worker_files(settings, WorkKind.BENCH)
    assert (file.run_ids, file.executor, file.is_held) == (("run-1",), PLAIN, True)


def test_executor_whose_disk_loses_answers_reports_those_that_are_there(
    settings: Settings, model_folder: Path
) -> None:
    losing = "tests.doubles.executors:LosingExecutor"
    end = run_job(job(settings, model_folder, limit=20), settings, lambda _: None, executor=losing)
    (run,) = end.runs
    assert (run.status, run.reason) == (RunStatus.PARTIAL, "items_missing")
    there = read_doc_ids(stored_parts(settings.items_path, run.scores[0].fingerprint))
    assert run.n_items == len(there) < run.scores[0].n_items == 20
    assert f"only {len(there)} of 20 answers are on the disk" in (run.detail or "")
    assert run.warnings[-1] == run.detail
    assert read_run(settings.items_path / run.run_id) == run


def test_executor_ends_its_own_orphans_at_the_next_start(settings: Settings, model_folder: Path) -> None:
    made = job(settings, model_folder)
    write_run(settings.items_path, new_run(made, made.runs[0], pid=os.getpid()))
    write_worker_file(settings, WorkKind.BENCH, "run-1", runs=["run-1"], executor=PLAIN, **GONE)
    assert [(r.run_id, r.status) for r in reap_orphans(settings)] == [("run-1", RunStatus.INTERRUPTED)]
    assert (settings.home / "ended-orphans").read_text() == "run-1"


@pytest.mark.parametrize("name", ["lokal", "pbs"])
def test_executor_that_nobody_installed_is_refused_before_anything_else(name: str) -> None:
    with pytest.raises(UnknownNameError, match=f"no executor is called `{name}`"):
        BenchRequest(model="demo", engine=EngineSettings(), executor=name)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_such_package.cluster:Slurm", "is not installed"),
        ("tests.doubles.executors:NoSuchClass", "has no `NoSuchClass`"),
    ],
)
def test_executor_that_cannot_be_imported_says_why(settings: Settings, name: str, says: str) -> None:
    with pytest.raises(TrackerError, match=says):
        open_executor(name, settings)


def test_executor_local_is_the_default(settings: Settings) -> None:
    assert next(iter(EXECUTORS)) == "local"
    assert isinstance(open_executor("local", settings), LocalExecutor)


def test_worker_file_is_read_alike_by_the_app_and_the_next_start(
    settings: Settings, model_folder: Path
) -> None:
    made = job(settings, rules(model_folder))
    write_run(settings.items_path, new_run(made, made.runs[0], pid=os.getpid()))
    write_worker_file(settings, WorkKind.BENCH, "run-1", runs=["run-1"])
    assert [one.run_id for one in running_benches(settings)] == ["run-1"]
    assert reap_orphans(settings) == []  # this process lives


def test_worker_file_of_a_process_number_that_was_used_again_is_not_held(settings: Settings) -> None:
    started_at = psutil.Process().create_time() - 3600
    file = write_worker_file(settings, WorkKind.BENCH, "run-1", runs=["run-1"], parent_started_at=started_at)
    assert not file.is_held


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"runs": 3}', '{"parent": "x"}'])
def test_worker_file_that_is_broken_names_nothing_and_is_cleared(settings: Settings, content: str) -> None:
    path = worker_path(settings, WorkKind.BENCH, "broken")
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert [(f.is_held, f.run_ids) for f in worker_files(settings, WorkKind.BENCH)] == [(False, ())]
    assert running_benches(settings) == []
    assert reap_orphans(settings) == []
    assert not path.exists()


def test_worker_file_of_an_older_version_names_the_local_executor(settings: Settings) -> None:
    path = worker_path(settings, WorkKind.BENCH, "old")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(GONE | {"runs": ["old"]}))
    assert [(f.executor, f.run_ids) for f in worker_files(settings, WorkKind.BENCH)] == [("local", ("old",))]


def test_executor_gives_a_worker_the_cards_that_were_predicted(
    settings: Settings, model_folder: Path
) -> None:
    cards = tuple(Gpu("A", f"GPU-{n}", 24 * 2**30, n * 2**30, "9.0") for n in (3, 20, 22))
    machine = Hardware("cpu", 2, 2**34, 2**34, cards)
    made = job(settings, model_folder)
    on_vllm = replace(made, settings=EngineSettings(engine="vllm", tensor_parallel_size=2))
    chosen = {
        "two on vLLM": [card.uuid for card in job_cards(replace(on_vllm, fit={}), machine)],
        "one on transformers": [card.uuid for card in job_cards(replace(made, fit={}), machine)],
        "nothing predicted": [card.uuid for card in job_cards(replace(made, fit=None), machine)],
    }
    assert chosen == {
        "two on vLLM": ["GPU-22", "GPU-20"],
        "one on transformers": ["GPU-22"],
        "nothing predicted": ["GPU-22", "GPU-3", "GPU-20"],
    }
