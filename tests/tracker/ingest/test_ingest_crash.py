"""Ingests that are killed at any moment: every row is there before and after, whatever the answer was.

`TRACKER_TEST_KILLS` sets how many ingests are killed per case; the default suite kills few.
"""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT
from tests.doubles.sources_double import SourcesHub, entry
from tests.tracker.ingest.test_damaged_answers import DAMAGES, given, known, once
from tests.tracker.ingest.test_ingest import hub, there
from tracker.settings import Settings
from tracker.store import Store, check, open_snapshot, publish

__all__ = ["hub", "there"]

N_KILLS = int(os.environ.get("TRACKER_TEST_KILLS", "1"))
# Imports once and forks an ingest for each line, so that a kill costs no start-up.
INGESTS = """
import os, signal, sys
from datetime import datetime, timezone
from tracker.ingest.run import ingest
from tracker.settings import Settings
import tracker.sources.epoch, tracker.sources.lmarena, tracker.sources.hub_models
settings = Settings.model_validate_json(sys.argv[1])
ever = datetime(2020, 1, 1, tzinfo=timezone.utc)
def run(source):
    print("begins", os.getpid(), flush=True)
    ingest([source], settings, since=ever if source == "hub-models" else None)
    print("ended", flush=True)
    signal.pause()  # until it is killed, so that its process number is not another one's
for line in sys.stdin:
    child = os.fork() or run(line.strip())
    os.waitpid(child, 0)
    print("gone", flush=True)
"""
# one of each kind, and an answer that is as it was
CASES = {
    "epoch": [
        "epoch: a file cut after 11 rows",
        "epoch: percent instead of fractions",
        "epoch: no accessibility of models",
        "epoch: half of the bytes",
    ],
    "lmarena": ["lmarena: 5 rows", "lmarena: ratings in another unit"],
    "models-dev": ["models.dev: no label", "models.dev: prices per token"],
    "openrouter": ["openrouter: 20 of 35 models, as it says itself"],
    "hub-models": [],
}


def environment(hub: SourcesHub) -> dict[str, str]:
    return os.environ | {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1"}


def kill_one(ingests: subprocess.Popen[str], source: str, after_s: float) -> None:
    """Start an ingest and kill it after that time, or when it has ended."""
    assert ingests.stdin is not None
    assert ingests.stdout is not None
    print(source, file=ingests.stdin, flush=True)
    pid = int(ingests.stdout.readline().split()[1])
    select.select([ingests.stdout], [], [], after_s)
    os.kill(pid, signal.SIGKILL)
    while not ingests.stdout.readline().endswith("gone\n"):  # a line of the killed one may be cut off
        pass


@pytest.mark.parametrize("source", CASES)
def test_ingest_crash_a_kill_at_any_moment_leaves_every_row(
    there: Settings, hub: SourcesHub, source: str
) -> None:
    settings = given(there, hub)
    hub.put(*(entry(f"acme/m-{n}") for n in range(30)))
    once(settings, source)
    before = known(settings)
    dice = random.Random(1)
    command = [sys.executable, "-c", INGESTS, settings.model_dump_json()]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment(hub)
    ) as ingests:
        for damage in [None, *CASES[source]]:
            answers, hub.documents, hub.arena = (hub.documents, hub.arena), {**hub.documents}, {**hub.arena}
            if damage is not None:
                DAMAGES[damage].apply(hub)
            began_s = time.monotonic()
            once(settings, source)
            whole_s = time.monotonic() - began_s
            for _ in range(N_KILLS):
                kill_one(ingests, source, dice.uniform(0, 1.2 * whole_s))
                after = known(settings)
                assert after["models"] == before["models"], damage
                assert after["scores"] == before["scores"], damage
                assert after["dated"] == before["dated"], damage
            hub.documents, hub.arena = answers
        ingests.communicate("")
    outcome = once(settings, source)
    assert outcome.status.value == "completed"
    assert (outcome.n_new, outcome.n_changed, outcome.n_gone) == (0, 0, 0)
    assert known(settings) == before
    publish(settings)
    with open_snapshot(settings) as snapshot:
        assert snapshot.query("ingests")[0]["status"] == "completed"
    assert [problem.kind for problem in check(settings)] == []


@pytest.mark.parametrize("source", ["epoch", "lmarena"])
def test_ingest_crash_a_first_ingest_is_stored_whole_or_not_at_all(
    there: Settings, hub: SourcesHub, source: str
) -> None:
    settings = given(there, hub)
    dice = random.Random(2)
    command = [sys.executable, "-c", INGESTS, settings.model_dump_json()]
    found = set()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment(hub)
    ) as ingests:
        for _ in range(3 * N_KILLS):
            kill_one(ingests, source, dice.uniform(0, 2.0))
            with Store.open(settings) as store:
                rows = store._connection.execute(
                    "select (select count(*) from current_models), (select count(*) from current_scores)"
                ).fetchall()
                store._connection.execute("delete from model_snapshots")
                store._connection.execute("delete from published_scores")
            found.add(rows[0])
        ingests.communicate("")
    once(settings, source)
    with Store.open(settings) as store:
        whole = store._connection.execute(
            "select (select count(*) from current_models), (select count(*) from current_scores)"
        ).fetchall()
    assert found <= {(0, 0), whole[0]}
