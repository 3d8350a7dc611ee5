"""The executor `slurm` through submitit's own cluster of processes on this machine."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

from runners.executors import open_executor
from runners.executors.jobs import run_job
from runners.executors.local import job_mark
from runners.executors.slurm import Attempt, StopFiles
from runners.executors.supervisor import marked_processes
from runners.harness.events import Event
from tests.runners.executors.test_sharing import NO_CARDS, answers, n_rows
from tests.runners.harness.test_worker import job, rules
from tracker.errors import TrackerError
from tracker.records import RunStatus
from tracker.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore")  # of submitit


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch, home: Path) -> Settings:
    """submitit's local cluster in the place of Slurm."""
    pytest.importorskip("submitit")
    monkeypatch.setenv("TRACKER_SLURM", '{"cluster": "local", "timeout_min": 10}')
    return Settings(home=home)


def kill_submitted(items_path: str, worker: str) -> int:
    """Kill the process that submitit started for a worker, and the worker, as a lost node does."""
    found = list(marked_processes(f"{job_mark(items_path, 'run-1')}{worker}"))
    above = {
        parent for process in found for parent in process.parents() if "submitit" in str(parent.cmdline())
    }
    for process in [*above, *found]:
        process.kill()
    psutil.wait_procs([*above, *found], timeout=10)
    return len(above)


@pytest.mark.executors
def test_slurm_two_jobs_share_a_run_and_one_that_is_lost_is_submitted_again(
    slurm: Settings, model_folder: Path
) -> None:
    rules(model_folder, delay_s=0.02)
    made = job(slurm, model_folder, flush_s=0.2)
    events: list[Event] = []
    killed: list[int] = []

    def hear(event: Event) -> None:
        events.append(event)
        if event.event == "progress" and event.n_done > 100 and not killed:
            killed.append(kill_submitted(made.items_path, "#1"))

    end = run_job(made, slurm, hear, executor="slurm", cards=[NO_CARDS] * 2)
    (run,) = end.runs
    assert killed[0] >= 1
    assert [e.message for e in events if "Slurm ended job" in e.message]
    assert (run.status, run.n_items) == (RunStatus.COMPLETE, 400)
    (items,) = answers(slurm, end).values()
    assert sorted(items) == list(range(400))
    assert n_rows(slurm, end) == 400


def test_slurm_one_job_runs_as_here(slurm: Settings, model_folder: Path) -> None:
    end = run_job(job(slurm, model_folder, limit=20), slurm, lambda _: None, executor="slurm")
    assert (end.exit_code, end.runs[0].status, end.runs[0].n_items) == (0, RunStatus.COMPLETE, 20)
    assert (end.log_path.parent / "submitted-1.json").is_file()


def test_slurm_stops_by_signals_and_by_files(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path, 1)
    signals: list[float] = []
    stops = StopFiles(attempt, signals)
    assert not stops
    attempt.stop(1).touch()
    assert len(stops) == 1
    signals.append(2.0)
    assert (len(stops), stops[0]) == (2, 2.0)


@pytest.mark.parametrize("name", ["ray", "slurm"])
def test_slurm_and_ray_that_are_not_installed_say_what_to_install(
    settings: Settings, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, {"ray": "ray", "slurm": "submitit"}[name], None)
    with pytest.raises(TrackerError, match=f"the executor `{name}` needs the package") as raised:
        open_executor(name, settings)
    assert f"[{name}]" in (raised.value.hint or "")


def test_slurm_where_nothing_can_be_submitted_says_so(settings: Settings, model_folder: Path) -> None:
    pytest.importorskip("submitit")
    with pytest.raises(TrackerError, match="cannot be submitted to Slurm"):
        run_job(job(settings, model_folder), settings, lambda _: None, executor="slurm")
