"""Whole suites on servers that misbehave by chance: no traceback, no finished answer lost, the rest counted.

`TRACKER_TEST_MISBEHAVIOURS` sets how many servers are tried; the default suite tries few.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import stamina

from runners.engines.server.engine import ServerEngine
from runners.harness.events import Event
from runners.harness.walk import PreparedTask, RunningSuite, prepare
from tests.conftest import ROOT
from tests.doubles.misbehaving_double import Misbehaviour, misbehaviour, running_misbehaviour
from tracker.errors import TrackerError
from tracker.files.items import read_items
from tracker.records import EngineSettings, Item, Job, Model, RunRequest, Suite, Task

N_SERVERS = int(os.environ.get("TRACKER_TEST_MISBEHAVIOURS", "40"))
ATTEMPTS = 3
N_ITEMS = 8
SUITE = Suite("sums-suite", 1, "", (Task("sums"),), include_path=str(ROOT / "tests" / "tasks"), chat=True)
N_BLOCKS = 8  # tests, so that several processes share the work


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreparedTask, ...]:
    return prepare(SUITE, cache_path=tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _no_waiting(home: object) -> Iterator[None]:
    with stamina.set_testing(True, attempts=ATTEMPTS):
        yield


def texts() -> dict[str, str]:
    """The prompt of each document with an answer of its own."""
    return {f"Q: {n} + {n + 3} =\nA:": f"is {100 + n}" for n in range(N_ITEMS)}


def run_suite(
    server: Misbehaviour, tasks: tuple[PreparedTask, ...], items: Path, seed: int
) -> tuple[RunningSuite, str, dict[int, Item]]:
    """The suite after its end, what ended it early, and the stored items."""
    settings = EngineSettings(engine="server", base_url=server.url, concurrency=1 + seed % 5)
    model, request = Model("m", f"server:{seed}"), RunRequest(f"run-{seed}", SUITE)
    job = Job(
        model=model, settings=settings, runs=(request,), items_path=str(items), flush_s=60.0, limit=N_ITEMS
    )
    events: list[Event] = []
    engine = ServerEngine(model, settings)
    suite = RunningSuite(engine, job, request, tasks, events.append, stopped=lambda: False)
    error = ""
    try:
        suite.run_tasks()
    except TrackerError as end:  # whatever else it is would be a traceback
        error = str(end)
        assert error
        assert "\n" not in error
    return suite, error, read_items(sorted((items / request.run_id).glob("*.parquet")))


def told(warnings: list[str], words: str) -> int:
    """How many items the warnings say are so."""
    found = [re.search(rf"(\d+) of {N_ITEMS} {words}", warning) for warning in warnings]
    return sum(int(match[1]) for match in found if match)


@pytest.mark.parametrize("block", range(N_BLOCKS))
def test_server_misbehaviour_costs_what_it_touches(
    block: int, tasks: tuple[PreparedTask, ...], tmp_path: Path
) -> None:
    n_complete = n_finished = 0
    for seed in range(block, N_SERVERS, N_BLOCKS):
        with running_misbehaviour(misbehaviour(seed, texts(), attempts=ATTEMPTS)) as server:
            suite, error, items = run_suite(server, tasks, tmp_path, seed)
        finished = {n: server.finished[name] for n, name in enumerate(texts()) if name in server.finished}
        answered = {n: item.response for n, item in items.items() if not item.refused}
        assert answered == finished, f"seed {seed}: a finished answer is lost, or an unfinished one counts"
        n_finished += len(finished)
        if suite.tally.unavailable or error:
            continue
        n_complete += 1
        warnings = suite.tally.warnings
        assert items.keys() == set(range(N_ITEMS)), f"seed {seed}"
        assert [score.n_items for score in suite.tally.scores] == [N_ITEMS], f"seed {seed}"
        assert told(warnings, "requests got no answer") == N_ITEMS - len(finished), f"seed {seed}: {warnings}"
        n_empty = sum(text == "" for text in finished.values())
        assert told(warnings, "answers (?:is|are) empty") == n_empty, f"seed {seed}: {warnings}"
    print(f"{n_complete} runs complete, {n_finished} answers")
    assert n_complete > 0.5 * len(range(block, N_SERVERS, N_BLOCKS))
