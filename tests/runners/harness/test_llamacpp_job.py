"""Benches with llama.cpp that are killed or hang: nothing measured is lost, and nothing is asked twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import psutil
import pytest

from runners.executors.jobs import JobEnd, forget_job, run_job
from runners.executors.local import job_mark
from runners.executors.supervisor import marked_processes
from runners.harness.events import Event
from runners.models.demo import demo_gguf
from tests.runners.harness.test_worker import assert_each_item_once, suite
from tracker.records import EngineSettings, Job, RunRequest, RunStatus
from tracker.settings import Settings

pytest.importorskip("xllamacpp", reason="the extra `dev` installs it")
N_ITEMS = 6
SERVER = "runners.engines.llamacpp.serve"


def job(settings: Settings, run_id: str) -> Job:
    return Job(
        model=demo_gguf(),
        settings=EngineSettings(engine="llamacpp", max_model_len=512, max_num_seqs=1),
        runs=(RunRequest(run_id, suite("sums", "parity")),),
        items_path=str(settings.items_path),
        flush_s=0.0,
        limit=N_ITEMS,
    )


def run_until_progress(settings: Settings, run_id: str, act: Callable[[psutil.Process], None]) -> JobEnd:
    """Run the job, and do something to one of its processes once it has answered something."""
    mark, acted = job_mark(settings.items_path, run_id), []

    def on_event(event: Event) -> None:
        if event.event == "progress" and not acted:
            acted.append(event)
            for process in marked_processes(mark):
                if SERVER in " ".join(process.cmdline()):
                    act(process)

    end = run_job(job(settings, run_id), settings, on_event)
    assert acted
    assert not list(marked_processes(mark))
    forget_job(settings, end.runs)
    return end


def kill_its_worker(server: psutil.Process) -> None:
    os.kill(server.ppid(), signal.SIGKILL)


ENDS = (
    ("server", psutil.Process.kill, (3, RunStatus.FAILED, "engine_died")),
    ("worker", kill_its_worker, (3, RunStatus.FAILED, "killed")),
    ("hang", psutil.Process.suspend, (3, RunStatus.FAILED, "hang")),
)
IS_LONG = "TRACKER_TEST_KILLS" in os.environ  # else only the first end, as each takes a start of the worker


@pytest.mark.timeout(600)
def test_llamacpp_bench_survives_kill_9_of_the_server_of_the_worker_and_a_hang(settings: Settings) -> None:
    impatient = settings.model_copy(update={"heartbeat_timeout_s": 20.0})
    seen = 0
    for run_id, act, expected in ENDS if IS_LONG else ENDS[:1]:
        end = run_until_progress(impatient, run_id, act)
        (run,) = end.runs
        assert (end.exit_code, run.status, run.reason) == expected, run.detail
        stored = len(list(settings.items_path.glob("*/*.parquet")))
        assert stored > seen
        seen = stored
    end = run_job(job(settings, "last"), settings, lambda event: None)
    (run,) = end.runs
    assert (end.exit_code, run.status, run.n_items) == (0, RunStatus.COMPLETE, 2 * N_ITEMS), run.detail
    assert run.n_reused_items > 0
    for score in run.scores:
        assert_each_item_once(settings, score.fingerprint)
    assert run.engine is not None
    assert run.engine.versions["llama.cpp"].startswith("b")
