"""The executor `ray` on a real cluster: two nodes on this machine, one of which is killed in the middle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from runners.executors import open_executor, ray_cluster
from runners.executors.jobs import reap_orphans, run_job
from runners.harness.events import Event
from tests.conftest import IMPORTED_FROM
from tests.runners.executors.test_sharing import NO_CARDS, alone, answers, assert_equal, n_rows
from tests.runners.harness.test_worker import job, rules, start_parent, wait_for
from tests.tracker.queue.test_side_by_side import MEETING, hub, meeting, models
from tracker.bench.workers import Where
from tracker.errors import TrackerError
from tracker.files.items import read_run
from tracker.queue.runner import Budget, work_off
from tracker.records import EngineSettings, RunStatus
from tracker.settings import Settings

__all__ = ["hub", "meeting", "models"]
pytestmark = [pytest.mark.executors, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[Any]:
    """Two nodes with room for two workers each, in processes of this machine."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", IMPORTED_FROM)
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setattr(ray_cluster, "PLACE_S", 3.0)
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    monkeypatch.setenv("TRACKER_RAY_ADDRESS", found.address)
    found.second = found.add_node(num_cpus=2)
    try:
        yield found
    finally:
        ray.shutdown()
        found.shutdown()


def test_ray_a_node_is_killed_in_the_middle_and_the_run_equals_the_local_one(
    cluster: Any, settings: Settings, model_folder: Path, tmp_path: Path
) -> None:
    rules(model_folder, delay_s=0.01)
    made = job(settings, model_folder, "pair")
    one, other = alone(tmp_path, made)
    settings = Settings(home=settings.home)
    assert open_executor("ray", settings).room(EngineSettings()) == 4  # type: ignore[attr-defined]
    killed: list[int] = []

    def kill_node(event: Event) -> None:
        if event.event == "progress" and event.n_done > 200 and not killed:
            killed.append(event.n_done)
            cluster.remove_node(cluster.second, allow_graceful=False)

    events: list[Event] = []

    def hear(event: Event) -> None:
        events.append(event)
        kill_node(event)

    end = run_job(made, settings, hear, executor="ray", cards=[NO_CARDS] * 3)
    (run,) = end.runs
    assert killed, (
        run.status,
        run.detail,
        [e for e in events if e.event != "progress"][-8:],
        end.log_path.read_text()[-2000:],
    )
    assert [e.message for e in events if "a node was lost" in e.message]
    assert run.status is RunStatus.COMPLETE, run.detail
    assert answers(settings, end) == answers(other, one)
    assert n_rows(settings, end) == n_rows(other, one)
    assert_equal(end, one)


def test_ray_a_driver_that_is_killed_leaves_nothing_behind_and_the_next_one_resumes(
    cluster: Any, settings: Settings, model_folder: Path
) -> None:
    rules(model_folder, delay_s=0.02)
    made = job(settings, model_folder, flush_s=0.2)
    driver = start_parent(settings, made, executor="ray", cards=[NO_CARDS] * 2)
    wait_for(driver, "progress")
    wait_for(driver, "progress")
    driver.kill()
    driver.wait()
    assert [run.status for run in reap_orphans(settings)] == [RunStatus.INTERRUPTED]
    again = replace(made, runs=(replace(made.runs[0], run_id="run-2"),))
    end = run_job(again, settings, lambda _: None, executor="ray", cards=[NO_CARDS] * 2)
    (run,) = end.runs
    assert (run.status, run.n_items) == (RunStatus.COMPLETE, 400)
    assert 0 < run.n_reused_items < 400
    assert n_rows(settings, end) == 400
    psutil.wait_procs([p for p in psutil.process_iter() if is_worker(p)], timeout=20)
    assert not [p for p in psutil.process_iter() if is_worker(p)]


def is_worker(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "runners.harness" in process.cmdline() and "tracker-node-" in process.cmdline()[-1]
    return False


def test_ray_models_of_the_queue_are_measured_at_once_on_the_nodes(
    settings: Settings, models: tuple[str, ...], meeting: Path, cluster: Any
) -> None:
    """`cluster` comes last: its nodes have the environment in which the models wait for each other."""
    where = Where("ray", at_once="auto")
    work = work_off(
        settings, Budget(max_models=2), lambda _: None, suite="smoke", engine=MEETING, where=where
    )
    worked = list(work)
    assert sorted((one.model_id, one.status) for one in worked) == [(name, "done") for name in models[:2]]
    assert len(list(meeting.iterdir())) == 2
    for one in worked:
        run = read_run(settings.items_path / one.run_ids[0])
        assert run.status is RunStatus.COMPLETE
        assert not [said for said in run.warnings if "may run on the same" in said]  # each has its own core


def test_ray_an_address_where_nothing_listens_is_named_at_once(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("TRACKER_RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(TrackerError, match=r"no Ray cluster at `127\.0\.0\.1:1`: .*refused"):
        open_executor("ray", Settings(home=settings.home)).room(EngineSettings())  # type: ignore[attr-defined]
