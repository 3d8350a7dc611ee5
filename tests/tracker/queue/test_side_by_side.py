"""Several models of the queue at once: real workers that meet, budgets, interrupts, what fits only alone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runners.harness.events import Event
from tests.conftest import ROOT
from tests.doubles.hub_double import Hub
from tests.tracker.queue.test_queue import ARITHMETIC, hub, jobs
from tracker.bench.run import bench_lock
from tracker.bench.seats import ALONE, seats_on
from tracker.bench.workers import Where
from tracker.errors import BusyError
from tracker.files.items import read_run
from tracker.queue import jobs as queue
from tracker.queue import runner
from tracker.queue.runner import Budget, Worked, work_off
from tracker.records import EngineSettings, RunStatus
from tracker.settings import Settings
from tracker.store import check

__all__ = ["hub"]
pytestmark = pytest.mark.clock
MEETING = replace(ARITHMETIC, engine="tests.doubles.engines:MeetingEngine")
NAMES = ("acme/one-1b", "acme/two-1b", "acme/three-1b")


@pytest.fixture
def models(hub: Hub, model_folder: Path, settings: Settings) -> tuple[str, ...]:
    """Three models on the Hub, queued in this order."""
    for n, name in enumerate(NAMES):
        hub.serve(name, model_folder)
        queue.add(settings, name, suite="smoke", priority=90 - n)
    return NAMES


@pytest.fixture
def meeting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which two engines meet."""
    place = tmp_path / "meeting"
    place.mkdir()
    monkeypatch.setenv("MEETING", f"{place}:2")
    return place


def side_by_side(settings: Settings, engine: EngineSettings = MEETING, **budget: Any) -> list[Worked]:
    return list(
        work_off(
            settings, Budget(**budget), lambda _: None, suite="smoke", engine=engine, where=Where(at_once=2)
        )
    )


def test_side_by_side_models_are_measured_at_once_without_a_speed(
    settings: Settings, models: tuple[str, ...], meeting: Path
) -> None:
    events: list[Event] = []
    work = work_off(
        settings, Budget(max_models=2), events.append, suite="smoke", engine=MEETING, where=Where(at_once=2)
    )
    worked = list(work)
    assert sorted((one.model_id, one.status, one.exit_code) for one in worked) == [
        ("acme/one-1b", "done", 0), ("acme/two-1b", "done", 0),
    ]  # fmt: skip
    assert len(list(meeting.iterdir())) == 2  # two processes, which waited for each other
    assert jobs(settings)["acme/three-1b"]["status"] == "queued"
    for one in worked:
        run = read_run(settings.items_path / one.run_ids[0])
        assert (run.status, run.n_items) == (RunStatus.COMPLETE, run.n_items)
        assert run.n_items > 0
        assert "1 other model may run on the same processor: no speed is recorded" in run.warnings
        assert (run.cost.tokens_per_s, run.cost.ttft_s, run.cost.energy_j) == (None, None, None)
        assert run.cost.duration_s > 0
    assert {event.task.partition(": ")[0] for event in events if event.task} == {"one-1b", "two-1b"}
    assert {event.message for event in events if event.event == "run"} == {"complete"}
    assert check(settings) == []
    assert list(settings.locks_path.glob("worker-*.json")) == []


def test_side_by_side_no_other_bench_begins_meanwhile(
    settings: Settings, models: tuple[str, ...], meeting: Path
) -> None:
    work = work_off(settings, Budget(), lambda _: None, suite="smoke", engine=MEETING, where=Where(at_once=2))
    next(work)
    with pytest.raises(BusyError, match="`queue run`"), bench_lock(settings, what="other"):
        pass
    work.close()  # the caller wants no more: what runs is stopped, and stays queued
    assert {row["status"] for row in jobs(settings).values()} <= {"queued", "done"}
    with bench_lock(settings, what="other"):
        assert runner._take(settings, "smoke", (), 0.0) is not None


def test_side_by_side_what_is_too_large_for_its_part_is_measured_alone(
    settings: Settings, models: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[tuple[str, bool]] = []
    measured = runner.bench

    def noting(request: Any, *words: Any, seat: Any = None, **named: Any) -> Any:
        order.append((request.model, seat is None))
        return measured(request, *words, seat=seat, **named)

    monkeypatch.setattr(runner, "bench", noting)
    monkeypatch.setattr(runner, "_is_too_large", lambda request, *_: request.model == "acme/one-1b")
    worked = side_by_side(settings, ARITHMETIC)
    assert sorted(one.status for one in worked) == ["done"] * 3
    assert sorted(order[:2]) == [("acme/three-1b", False), ("acme/two-1b", False)]
    assert order[2:] == [("acme/one-1b", True)]
    alone = read_run(settings.items_path / worked[-1].run_ids[0])
    assert alone.cost.tokens_per_s is not None


def test_side_by_side_a_model_that_fits_the_machine_but_not_its_part_is_found_out(
    settings: Settings, models: tuple[str, ...]
) -> None:
    from runners.hardware import GIB, Gpu, Hardware
    from tracker.bench.request import BenchRequest

    card = Gpu("A", "GPU-1", 24 * GIB, 24 * GIB, "9.0")
    machine = Hardware("cpu", 4, 64 * GIB, 32 * GIB, (card,))
    engine = EngineSettings(engine="vllm")
    request = BenchRequest(model="acme/one-1b", engine=engine, suites=("smoke",))
    roomy, tight = seats_on(machine, engine, 2), seats_on(machine, engine, 2**12)
    assert not runner._is_too_large(request, settings, roomy[0])
    assert runner._is_too_large(request, settings, tight[0])
    assert not runner._is_too_large(request, settings, ALONE)


def test_side_by_side_one_that_fails_ends_no_other(
    settings: Settings, models: tuple[str, ...], hub: Hub
) -> None:
    queue.add(settings, "meta-llama/Llama-3.1-8B-Instruct", suite="smoke", priority=99)  # gated
    queue.add(settings, "acme/unknown-1b", suite="smoke", priority=98)
    found = {one.model_id: (one.status, one.exit_code) for one in side_by_side(settings, ARITHMETIC)}
    assert found == {
        "meta-llama/Llama-3.1-8B-Instruct": ("parked", 3),
        "acme/unknown-1b": ("queued", 1),
        **dict.fromkeys(NAMES, ("done", 0)),
    }


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_side_by_side_what_was_ended_is_resumed(
    settings: Settings, models: tuple[str, ...], meeting: Path, number: signal.Signals
) -> None:
    (meeting / "nobody").touch()  # who comes first does not wait
    command = [sys.executable, "-m", "tracker", "queue", "run", "--suite", "smoke", "--json"]
    with subprocess.Popen(
        [*command, "--at-once", "2", "--engine", MEETING.engine],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said: list[str] = []
        for line in process.stderr:
            said.append(line)
            if "items" in line:
                break
        process.send_signal(number)
        output, _ = process.communicate(timeout=240)
    if number == signal.SIGINT:
        assert process.returncode == 130, said
        assert {job["exit_code"] for job in json.loads(output)["jobs"]} <= {0, 130}
        assert {row["status"] for row in jobs(settings).values()} <= {"queued", "done"}
    rest = side_by_side(settings, ARITHMETIC)
    assert {one.status for one in rest} == {"done"}
    assert {row["status"] for row in jobs(settings).values()} == {"done"}
    assert check(settings) == []


def test_side_by_side_in_a_thread(settings: Settings, models: tuple[str, ...], meeting: Path) -> None:
    found: list[Worked] = []
    thread = threading.Thread(target=lambda: found.extend(side_by_side(settings, max_models=2)))
    thread.start()
    thread.join()
    assert [one.status for one in found] == ["done"] * 2
