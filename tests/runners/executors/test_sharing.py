"""Several workers of one job: their run equals that of one, item for item, whatever happens to them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runners.executors.jobs import JobEnd, run_job
from runners.executors.local import LocalExecutor, job_mark
from runners.executors.supervisor import WorkerEnd, marked_processes
from runners.harness.events import Event
from tests.runners.harness.test_worker import job, rules, suite
from tracker.files.items import read_items, stored_parts
from tracker.records import Condition, Item, Job, RunRequest, RunStatus, Task
from tracker.records.shards import Share
from tracker.settings import Settings

NO_CARDS: tuple[str, ...] = ()


def shared(settings: Settings, made: Job, n_workers: int) -> tuple[JobEnd, list[Event]]:
    events: list[Event] = []
    return run_job(made, settings, events.append, cards=[NO_CARDS] * n_workers), events


def alone(tmp_path: Path, made: Job) -> tuple[JobEnd, Settings]:
    other = Settings(home=tmp_path / "alone")
    return run_job(replace(made, items_path=str(other.items_path)), other, lambda _: None), other


def answers(settings: Settings, end: JobEnd) -> dict[str, dict[int, Item]]:
    """Every item behind the scores of a run; without how long it took."""
    return {
        score.fingerprint: {
            doc: replace(item, latency_s=None, ttft_s=None)
            for doc, item in read_items(stored_parts(settings.items_path, score.fingerprint)).items()
        }
        for score in end.runs[0].scores
    }


def n_rows(settings: Settings, end: JobEnd) -> int:
    return sum(
        len(read_items([part]))
        for score in end.runs[0].scores
        for part in stored_parts(settings.items_path, score.fingerprint)
    )


def assert_equal(one: JobEnd, other: JobEnd) -> None:
    a, b = one.runs[0], other.runs[0]
    assert (a.status, a.reason, a.n_items, a.n_reused_items) == (
        b.status,
        b.reason,
        b.n_items,
        b.n_reused_items,
    )
    assert (a.scores, a.metrics, a.prompts) == (b.scores, b.metrics, b.prompts)
    assert (a.cost.prompt_tokens, a.cost.output_tokens) == (b.cost.prompt_tokens, b.cost.output_tokens)


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_sharing_each_question_is_in_one_part_and_a_prefix_is_shared_evenly(n: int) -> None:
    for stride in (1, 4):
        parts = [Share(turn, n, stride) for turn in range(n)]
        owners = [[part.turn for part in parts if part.has(place)] for place in range(100)]
        assert all(len(owner) == 1 for owner in owners)
        for end in range(0, 100, 10):
            counts = [sum(owner == [turn] for owner in owners[:end]) for turn in range(n)]
            assert max(counts) - min(counts) <= stride


def test_sharing_three_workers_answer_what_one_answers_item_for_item(
    settings: Settings, model_folder: Path, tmp_path: Path
) -> None:
    made = job(settings, model_folder, "pair", "parity")
    one, other = alone(tmp_path, made)
    end, events = shared(settings, made, 3)
    assert_equal(end, one)
    assert answers(settings, end) == answers(other, one)
    assert n_rows(settings, end) == n_rows(other, one)  # nothing was asked twice
    assert (end.runs[0].cost.n_workers, one.runs[0].cost.n_workers) == (3, 1)
    assert [e.n_total for e in events if e.event == "task"][:1] == [800]
    assert end.log_path.with_name("worker-2").is_dir()


def test_sharing_a_killed_worker_goes_on_and_a_second_stage_and_a_precision_are_those_of_one_worker(
    settings: Settings, model_folder: Path, tmp_path: Path
) -> None:
    rules(model_folder, delay_s=0.002)
    staged = (Task("parity"), Task("sums", when=(Condition("parity", at_least=0.5),)))
    made = job(settings, model_folder, until_half_width=0.14)
    made = replace(made, runs=(RunRequest("run-1", replace(suite("sums"), tasks=staged)),), flush_s=0.05)
    one, _ = alone(tmp_path, made)
    killed: list[int] = []

    def kill_one(event: Event) -> None:
        if event.event == "progress" and not killed:
            for process in marked_processes(f"{job_mark(made.items_path, 'run-1')}#1"):
                killed.append(process.pid)
                process.kill()

    end = run_job(made, settings, kill_one, cards=[NO_CARDS] * 2)
    (run,) = end.runs
    assert killed
    assert [text for text in run.warnings if "worker 2 of 2 was started again" in text]
    assert (run.scores, run.n_items, run.status) == (
        one.runs[0].scores,
        one.runs[0].n_items,
        RunStatus.COMPLETE,
    )
    assert [score.n_items < (score.n_total or 0) for score in run.scores] == [True, True]


class WithoutOne(LocalExecutor):
    """An executor of whose workers the last one never comes to life."""

    def run(
        self, job: Job, on_event: Callable[[Event], None], *, log_path: Path, interrupts: Sequence[float]
    ) -> WorkerEnd:
        if job.shard is not None and job.shard.index == job.shard.count - 1:
            return WorkerEnd(3, log_path, "the node was lost", "node_lost")
        return super().run(job, on_event, log_path=log_path, interrupts=interrupts)


def test_sharing_the_others_ask_what_a_lost_worker_has_not_asked(
    settings: Settings, model_folder: Path
) -> None:
    made = job(settings, model_folder, "sums")
    events: list[Event] = []
    end = run_job(made, settings, events.append, executor=f"{__name__}:WithoutOne", cards=[NO_CARDS] * 3)
    (run,) = end.runs
    assert (run.status, run.n_items, n_rows(settings, end)) == (RunStatus.COMPLETE, 400, 400)
    assert run.warnings == ("worker 3 of 3 ended early: the node was lost; the others ask its questions",)
    by_worker = [e.n_total for e in events if e.event == "progress"]
    assert max(by_worker) == 400


@pytest.mark.executors
def test_sharing_ctrl_c_stops_all_workers_and_the_next_run_asks_the_rest(
    settings: Settings, model_folder: Path
) -> None:
    rules(model_folder, delay_s=0.02)
    made = job(settings, model_folder)

    def interrupt(event: Event) -> None:
        if event.event == "progress" and event.n_done > 20 and not sent:
            sent.append(event.n_done)
            os.kill(os.getpid(), signal.SIGINT)

    sent: list[int] = []
    end = run_job(made, settings, interrupt, cards=[NO_CARDS] * 2)
    assert (end.exit_code, end.runs[0].status) == (130, RunStatus.INTERRUPTED)
    assert not list(marked_processes(job_mark(made.items_path, "run-1")))
    again = replace(made, runs=(replace(made.runs[0], run_id="run-2"),))
    end, _ = shared(settings, again, 2)
    assert (end.runs[0].status, end.runs[0].n_items) == (RunStatus.COMPLETE, 400)
    assert 20 < end.runs[0].n_reused_items < 400
    assert n_rows(settings, end) == 400


@pytest.mark.executors
def test_sharing_a_time_budget_ends_with_a_prefix_of_the_draw(settings: Settings, model_folder: Path) -> None:
    rules(model_folder, delay_s=0.05)
    end, _ = shared(settings, job(settings, model_folder, minutes=0.05), 2)
    (run,) = end.runs
    assert (run.status, run.reason) == (RunStatus.PARTIAL, "time_budget")
    (score,) = run.scores
    assert 0 < score.n_items < 400
    order = np.random.default_rng(0).permutation(400)[: score.n_items]
    items = read_items(stored_parts(settings.items_path, score.fingerprint))
    assert score.value == pytest.approx(np.mean([items[doc].score or 0.0 for doc in order]))
