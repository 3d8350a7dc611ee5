"""The worker process and the executor above it, with an engine that answers by rule."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from runners.executors.jobs import JobEnd, forget_job, reap_orphans, run_job
from runners.executors.local import job_mark
from runners.executors.supervisor import MARK, marked_processes
from runners.harness.events import Event
from tests.conftest import ROOT
from tracker.files.items import read_items, read_run, stored_parts
from tracker.records import EngineSettings, Job, Model, RunRequest, RunStatus, Suite, Task
from tracker.serialization import dump_json
from tracker.settings import Settings

ENGINE = "tests.doubles.engines:ArithmeticEngine"
TASKS = str(ROOT / "tests" / "tasks")
N_KILLS = int(os.environ.get("TRACKER_TEST_KILLS", "12"))


def suite(*tasks: str) -> Suite:
    return Suite("sums-suite", 1, "", tuple(Task(task) for task in tasks), include_path=TASKS)


def job(settings: Settings, folder: Path, *tasks: str, run_id: str = "run-1", **options: object) -> Job:
    made = Job(
        model=Model("acme/tiny-1b", "0" * 40, path=str(folder)),
        settings=EngineSettings(engine=ENGINE),
        runs=(RunRequest(run_id, suite(*(tasks or ("sums",)))),),
        items_path=str(settings.items_path),
        flush_s=settings.flush_s,
    )
    return replace(made, **options)  # type: ignore[arg-type]


def rules(folder: Path, **values: object) -> Path:
    (folder / "double.json").write_text(json.dumps(values))
    return folder


def run(settings: Settings, made: Job) -> tuple[JobEnd, list[Event]]:
    events: list[Event] = []
    return run_job(made, settings, events.append), events


def test_worker_every_item_is_kept_with_what_it_was_made_of(settings: Settings, model_folder: Path) -> None:
    end, _ = run(settings, job(settings, model_folder))
    assert (end.exit_code, end.runs[0].status, end.runs[0].n_items) == (0, RunStatus.COMPLETE, 400)
    score = end.runs[0].scores[0]
    items = read_items(stored_parts(settings.items_path, score.fingerprint))
    assert sorted(items) == list(range(400))
    assert score.value == pytest.approx(sum(item.score or 0 for item in items.values()) / 400)
    third = items[3]  # 3 + 6 = 9
    assert (third.prompt, third.response, third.extracted, third.target) == ("Q: 3 + 6 =\nA:", " 9", "9", "9")
    assert (third.score, third.finish_reason) == (1.0, "stop")
    assert score.truncated_fraction == pytest.approx(sum(i.truncated for i in items.values()) / 400)
    assert score.unparsed_fraction == pytest.approx(
        sum(i.extracted == "[invalid]" for i in items.values()) / 400
    )


def test_worker_resume_of_a_complete_run_asks_nothing_and_scores_the_same(
    settings: Settings, model_folder: Path
) -> None:
    first, _ = run(settings, job(settings, model_folder, "sums", "parity"))
    second, _ = run(settings, job(settings, model_folder, "sums", "parity", run_id="run-2"))
    assert second.runs[0].n_reused_items == second.runs[0].n_items == 500
    assert second.runs[0].cost.prompt_tokens == 0
    assert [s.value for s in second.runs[0].scores] == [s.value for s in first.runs[0].scores]


def test_worker_resume_adds_more_items_to_those_already_measured(
    settings: Settings, model_folder: Path
) -> None:
    run(settings, job(settings, model_folder, limit=30))
    end, _ = run(settings, job(settings, model_folder, run_id="run-2", limit=50))
    assert (end.runs[0].n_items, end.runs[0].n_reused_items) == (50, 30)


def test_worker_resume_reuses_nothing_from_another_model_engine_or_prompt(
    settings: Settings, model_folder: Path
) -> None:
    made = job(settings, model_folder, limit=5)
    run(settings, made)
    changed = [
        replace(made, model=replace(made.model, revision="1" * 40)),
        replace(made, model=replace(made.model, model_id="acme/other")),
        replace(made, settings=replace(made.settings, seed=1)),
        replace(made, settings=replace(made.settings, max_model_len=128)),
        replace(made, runs=(RunRequest("x", replace(suite("sums"), chat=True)),)),
        replace(
            made, runs=(RunRequest("x", replace(suite("sums"), tasks=(Task("sums", max_output_tokens=8),))),)
        ),
    ]
    for number, other in enumerate(changed):
        named = replace(other, runs=(replace(other.runs[0], run_id=f"other-{number}"),))
        end, _ = run(settings, named)
        assert end.runs[0].n_reused_items == 0, number


def test_worker_a_group_scores_the_mean_over_its_items(settings: Settings, model_folder: Path) -> None:
    end, _ = run(settings, job(settings, model_folder, "pair"))
    whole, *leaves = end.runs[0].scores
    assert (whole.task, whole.n_items, whole.group) == ("pair", 800, None)
    assert [(leaf.task, leaf.group) for leaf in leaves] == [("sums_a", "pair"), ("sums_b", "pair")]
    assert whole.value == pytest.approx(sum(leaf.value for leaf in leaves) / 2)
    assert (end.runs[0].status, end.runs[0].reason) == (RunStatus.COMPLETE, None)


def test_worker_a_task_without_its_data_leaves_the_others_alone(
    settings: Settings, model_folder: Path
) -> None:
    end, events = run(settings, job(settings, model_folder, "from_hub", "parity"))
    assert (end.exit_code, end.runs[0].status, end.runs[0].reason) == (
        0,
        RunStatus.PARTIAL,
        "tasks_unavailable",
    )
    assert [score.task for score in end.runs[0].scores] == ["parity"]
    assert any(event.event == "unavailable" and event.task == "from_hub" for event in events)


def test_worker_no_task_left_is_an_outage(settings: Settings, model_folder: Path) -> None:
    end, _ = run(settings, job(settings, model_folder, "from_hub"))
    assert (end.exit_code, end.runs[0].status, end.runs[0].reason) == (4, RunStatus.FAILED, "no_tasks")


@pytest.mark.parametrize(
    ("rule", "code", "reason", "n_kept"),
    [
        ({"load_fails": True}, 3, "out_of_memory", 0),
        ({"out_of_memory_at": 101}, 3, "out_of_memory", 100),
        ({"unreachable_at": 51}, 4, "unreachable", 50),
    ],
    ids=["no memory to load", "no memory in the middle", "server gone"],
)
def test_worker_a_model_that_cannot_continue_is_a_failed_run_and_keeps_its_items(
    settings: Settings, model_folder: Path, rule: dict[str, object], code: int, reason: str, n_kept: int
) -> None:
    end, _ = run(settings, job(settings, rules(model_folder, **rule)))
    assert (end.exit_code, end.runs[0].status, end.runs[0].reason) == (code, RunStatus.FAILED, reason)
    again, _ = run(settings, job(settings, rules(model_folder), run_id="run-2"))
    assert (again.runs[0].status, again.runs[0].n_reused_items) == (RunStatus.COMPLETE, n_kept)


def test_a_worker_killed_by_the_kernel_is_recorded(settings: Settings, model_folder: Path) -> None:
    end, _ = run(settings, job(settings, rules(model_folder, die_at=100)))
    assert (end.exit_code, end.runs[0].status, end.runs[0].reason) == (3, RunStatus.FAILED, "killed")
    assert "memory" in (end.runs[0].detail or "")


def test_a_worker_without_progress_is_ended(settings: Settings, model_folder: Path) -> None:
    impatient = settings.model_copy(update={"heartbeat_timeout_s": 8.0})
    end, _ = run(impatient, job(impatient, rules(model_folder, hang_at=20)))
    assert (end.exit_code, end.runs[0].reason) == (3, "hang")
    assert not list(marked_processes(job_mark(settings.items_path, "run-1")))


def test_worker_resume_asks_a_broken_chunk_again(settings: Settings, model_folder: Path) -> None:
    first, _ = run(settings, job(settings, model_folder, limit=20))
    part = stored_parts(settings.items_path, first.runs[0].scores[0].fingerprint)[0]
    part.write_bytes(part.read_bytes()[:100])
    end, _ = run(settings, job(settings, model_folder, run_id="run-2", limit=20))
    assert (end.runs[0].n_items, end.runs[0].n_reused_items) == (20, 0)
    assert any("is unreadable" in warning for warning in end.runs[0].warnings)


def test_worker_a_precise_enough_interval_ends_the_task(settings: Settings, model_folder: Path) -> None:
    end, _ = run(settings, job(settings, model_folder, until_half_width=0.12))
    score = end.runs[0].scores[0]
    assert end.runs[0].status is RunStatus.COMPLETE
    assert score.n_items < score.n_total == 400  # type: ignore[operator]
    assert score.ci_high - score.ci_low <= 0.24 + 1e-9  # type: ignore[operator]


def test_worker_what_a_budget_leaves_is_a_random_sample_whatever_the_order_of_answers(
    settings: Settings, model_folder: Path
) -> None:
    """Only whole blocks of a seeded random order count: a block cut short leaves no trace in the score."""
    end, _ = run(settings, job(settings, rules(model_folder, delay_s=0.05), minutes=0.06))
    score = end.runs[0].scores[0]
    order = np.random.default_rng(0).permutation(400)
    items = read_items(stored_parts(settings.items_path, score.fingerprint))
    assert score.n_items in {4, 12, 28, 60}
    assert len(items) >= score.n_items
    assert {int(n) for n in order[: score.n_items]} <= items.keys()
    assert score.value == pytest.approx(
        sum(items[n].score or 0 for n in order[: score.n_items]) / score.n_items
    )


def test_worker_a_time_budget_ends_cleanly_with_a_valid_score(settings: Settings, model_folder: Path) -> None:
    slow = rules(model_folder, delay_s=0.05)
    end, _ = run(settings, job(settings, slow, minutes=0.05))
    assert (end.exit_code, end.runs[0].status, end.runs[0].reason) == (0, RunStatus.PARTIAL, "time_budget")
    assert 0 < end.runs[0].scores[0].n_items < 400


def start_parent(settings: Settings, made: Job, **more: object) -> subprocess.Popen[bytes]:
    """A process that runs the job as `tracker bench` would."""
    path = settings.home / f"{made.runs[0].run_id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(dump_json(made))
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from runners.executors.jobs import run_job\nfrom tracker.serialization import load_json\n"
        "from tracker.records import Job\nfrom tracker.settings import load_settings\n"
        f"job = load_json(Job, Path({str(path)!r}).read_bytes(), where='job')\n"
        "sys.exit(run_job(job, load_settings(), lambda event: print(event.event, flush=True),"
        f" **{more!r}).exit_code)"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


def wait_for(parent: subprocess.Popen[bytes], event: str) -> None:
    assert parent.stdout is not None
    for line in parent.stdout:
        if line.decode().strip() == event:
            return
    raise AssertionError(f"no {event}")


def test_worker_a_task_whose_own_code_fails_leaves_the_others_alone(
    settings: Settings, model_folder: Path
) -> None:
    end, _ = run(settings, job(settings, model_folder, "no_such_field", "bad_yaml", "parity"))
    assert (end.exit_code, end.runs[0].status) == (0, RunStatus.PARTIAL)
    assert [score.task for score in end.runs[0].scores] == ["parity"]
    assert "'nosuch' is undefined" in end.runs[0].warnings[0]
    assert "`bad_yaml.yaml`, line" in end.runs[0].warnings[1]


def test_a_task_with_code_of_its_own_is_resumed_until_that_code_changes(
    settings: Settings, model_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "tasks"
    shutil.copytree(TASKS, folder)
    made = job(settings, model_folder, "sums_few_shot", limit=10)
    own = replace(made.runs[0].suite, include_path=str(folder))

    def again(number: int) -> int:
        named = replace(made, runs=(RunRequest(f"again-{number}", own),))
        return run(settings, named)[0].runs[0].n_reused_items

    assert [again(0), again(1)] == [0, 10]
    code = folder / "make.py"
    code.write_text(code.read_text().replace("a + 3", "a + 4"))
    assert again(2) == 0


def test_worker_ctrl_c_before_anything_is_loaded_is_an_interruption(
    settings: Settings, model_folder: Path
) -> None:
    with start_parent(settings, job(settings, model_folder)) as parent:
        log = settings.home / "jobs" / "run-1" / "worker.log"
        while not log.exists() and parent.poll() is None:
            os.sched_yield()
        parent.send_signal(signal.SIGINT)
        assert parent.wait(timeout=60) == 130
    assert read_run(settings.items_path / "run-1").status is RunStatus.INTERRUPTED


def test_a_worker_never_outlives_a_parent_killed_while_it_starts(
    settings: Settings, model_folder: Path
) -> None:
    with start_parent(settings, job(settings, rules(model_folder, delay_s=0.05))) as parent:
        log = settings.home / "jobs" / "run-1" / "worker.log"
        while not log.exists() and parent.poll() is None:
            os.sched_yield()
        parent.kill()
    _, alive = psutil.wait_procs(list(marked_processes(job_mark(settings.items_path, "run-1"))), timeout=30)
    assert not alive
    assert [r.status for r in reap_orphans(settings)] == [RunStatus.INTERRUPTED]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=["Ctrl-C", "a closed terminal"])
def test_worker_resume_after_an_interruption_keeps_finished_items(
    settings: Settings, model_folder: Path, number: signal.Signals
) -> None:
    slow = rules(model_folder, delay_s=0.01)
    with start_parent(settings, job(settings, slow)) as parent:
        wait_for(parent, "progress")
        parent.send_signal(number)
        assert parent.wait(timeout=30) == 130
    assert read_run(settings.items_path / "run-1").status is RunStatus.INTERRUPTED
    end, _ = run(settings, job(settings, rules(model_folder), run_id="run-2"))
    assert end.runs[0].n_items == 400
    assert end.runs[0].n_reused_items > 0


def test_a_worker_whose_parent_was_killed_ends_and_its_run_gets_a_final_status(
    settings: Settings, model_folder: Path
) -> None:
    slow = rules(model_folder, delay_s=0.01)
    with start_parent(settings, job(settings, slow)) as parent:
        wait_for(parent, "progress")
        workers = [p for p in psutil.Process(parent.pid).children() if p.environ().get(MARK)]
        parent.kill()
    psutil.wait_procs(workers, timeout=30)
    runs = reap_orphans(settings)
    assert [(r.run_id, r.status) for r in runs] == [("run-1", RunStatus.INTERRUPTED)]
    assert not list(marked_processes(job_mark(settings.items_path, "run-1")))
    forget_job(settings, runs)
    assert reap_orphans(settings) == []


@pytest.mark.timeout(600)
def test_worker_resume_after_kill_9_at_any_moment_loses_no_chunk_and_doubles_none(
    settings: Settings, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILLs of the worker or of its parent, at random moments of runs that resume each other.

    `TRACKER_TEST_KILLS` says how many.
    """
    monkeypatch.setenv("TRACKER_FLUSH_S", "0.02")
    quick = settings.model_copy(update={"flush_s": 0.02})
    folder = rules(model_folder, delay_s=0.004)
    chance = random.Random(20261124)
    seen: set[Path] = set()
    for kill in range(N_KILLS):
        made = job(quick, folder, "sums", "pair", "parity", run_id=f"kill-{kill:03d}")
        with start_parent(quick, made) as parent:
            if kill % 2:  # half of them anywhere in its life, half while it answers and writes
                wait_for(parent, "task")
            time.sleep(chance.uniform(0.0, 1.5))  # the random moment itself, not a wait for something
            kill_somebody(parent, job_mark(quick.items_path, made.runs[0].run_id), chance)
            parent.wait(timeout=60)
        forget_job(quick, reap_orphans(quick))
        parts = set(quick.items_path.glob("*/*.parquet"))
        assert seen <= parts
        seen = parts
    end, _ = run(quick, job(quick, rules(model_folder), "sums", "pair", "parity", run_id="last"))
    assert (end.runs[0].status, end.runs[0].n_items) == (RunStatus.COMPLETE, 1300)
    assert end.runs[0].n_reused_items > 0
    for score in end.runs[0].scores:
        assert_each_item_once(quick, score.fingerprint)
    assert not list(quick.items_path.glob("*/*.tmp"))
    assert not [p for p in marked_processes() if p.environ().get(MARK, "").startswith(str(quick.items_path))]


def kill_somebody(parent: subprocess.Popen[bytes], mark: str, chance: random.Random) -> None:
    victims = [parent.pid, *(p.pid for p in marked_processes(mark))]
    try:
        os.kill(chance.choice(victims), signal.SIGKILL)
    except ProcessLookupError:
        return


def assert_each_item_once(settings: Settings, fingerprint: str) -> None:
    doc_ids: list[int] = []
    for part in stored_parts(settings.items_path, fingerprint):
        skipped: list[str] = []
        doc_ids += read_items([part], skipped=skipped)
        assert not skipped
    assert len(doc_ids) == len(set(doc_ids))


def test_fingerprints_stay_what_they_were_so_that_older_items_are_reused(
    settings: Settings, model_folder: Path
) -> None:
    end, _ = run(settings, job(settings, model_folder, "sums", "parity", limit=1))
    assert {score.task: score.fingerprint for score in end.runs[0].scores} == {
        "sums": "e178a3337fa8a895654f588f98441561",  # lm-eval 0.4.13
        "parity": "2096d265fcdacb7236811ecf71e39911",
    }


@pytest.mark.parametrize(
    ("rule", "reason", "says"),
    [
        ({"load_panics": True}, "unsupported", "cannot be loaded: PanicException: called"),
        ({"panic_at": 3}, "engine_died", "the run failed: PanicException: retry-limit-in-match over"),
        ({"refuses": True}, "unsupported", "its tokenizer takes too long"),
    ],
    ids=["panic while loading", "panic while answering", "every task refused"],
)
def test_worker_a_library_that_panics_fails_the_run_and_nothing_else(
    rule: dict[str, object], reason: str, says: str, settings: Settings, model_folder: Path
) -> None:
    end, _ = run(settings, job(settings, rules(model_folder, **rule)))
    (made,) = end.runs
    assert (end.exit_code, made.status, made.reason) == (3, RunStatus.FAILED, reason)
    assert says in (made.detail or "")
    assert (made.detail or "").isprintable()


def test_worker_that_takes_more_memory_than_its_model_may_need_is_stopped(
    settings: Settings, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runners.executors.local.MARGIN_BYTES", 2**30)
    folder = rules(model_folder, load_takes_bytes=2**30 + 2**29)
    end, _ = run(settings, job(settings, folder, fit={"weights_bytes": 1000}))
    (made,) = end.runs
    assert (end.exit_code, made.status, made.reason) == (3, RunStatus.FAILED, "out_of_memory")
    assert "GiB of main memory, more than the 1.0 GiB that this model may need" in (made.detail or "")


def test_worker_code_of_the_repository_is_named_before_it_runs_and_kept_with_the_run(
    settings: Settings, model_folder: Path
) -> None:
    plain, _ = run(settings, job(settings, model_folder, limit=2))
    (model_folder / "modeling_own.py").write_text("raise SystemExit\n")
    needing = replace(job(settings, model_folder).model, needs_remote_code=True)
    agreed = EngineSettings(engine=ENGINE, trust_remote_code=True)
    made = job(settings, model_folder, run_id="run-2", limit=2, model=needing)
    end, events = run(settings, replace(made, settings=agreed))
    says = f"running Python code of `acme/tiny-1b` at {'0' * 40}: modeling_own.py"
    assert end.runs[0].warnings == (says,)
    order = [event.event for event in events if event.event in ("warning", "ready")]
    assert order == ["warning", "ready"]
    assert end.runs[0].settings.trust_remote_code
    assert end.runs[0].n_reused_items == 0  # its items are not those without that code
    assert end.runs[0].scores[0].fingerprint != plain.runs[0].scores[0].fingerprint


def test_worker_refuses_speculative_decoding_where_nothing_is_written(
    settings: Settings, model_folder: Path
) -> None:
    asked = EngineSettings(engine=ENGINE, speculative="ngram")
    end, _ = run(settings, replace(job(settings, model_folder, "parity"), settings=asked))
    (stored,) = end.runs
    assert (stored.status, stored.reason) == (RunStatus.FAILED, "unsupported")
    assert "no text is written for `parity`, so there is nothing to speculate" in (stored.detail or "")


def test_worker_speculative_decoding_is_part_of_the_identity_of_texts_alone(
    settings: Settings, model_folder: Path
) -> None:
    plain, _ = run(settings, job(settings, model_folder, "sums", "parity", limit=2))
    asked = EngineSettings(engine=ENGINE, speculative="ngram")
    made = job(settings, model_folder, "sums", "parity", run_id="run-2", limit=2)
    proposed, _ = run(settings, replace(made, settings=asked))
    made = job(settings, model_folder, "parity", run_id="run-3", limit=2)
    steady, _ = run(settings, replace(made, settings=EngineSettings(engine=ENGINE, batch_invariant=True)))
    before, after, alone = (
        {one.task: one.fingerprint for one in end.runs[0].scores} for end in (plain, proposed, steady)
    )
    assert before["parity"] == after["parity"] != alone["parity"]
    assert before["sums"] != after["sums"]
