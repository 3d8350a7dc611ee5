"""Retention: items of older runs can be removed; scores, what kept runs rest on and unfinished runs stay."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.builders.some_runs import TASKS, items, model, parts_of, run, store_runs
from tests.conftest import ROOT
from tracker.cli import main
from tracker.errors import BusyError, FieldError
from tracker.files.items import write_part, write_run
from tracker.files.removed import REMOVED_FILE, Removed, add_removed, read_removed
from tracker.locks import exclusive_lock
from tracker.records import EngineSettings, Run, RunStatus
from tracker.settings import Settings
from tracker.store import check, open_snapshot, prune, publish, rebuild
from tracker.store.archive import export_home, import_home

KILLED = """
import os, signal, sys
from pathlib import Path
from tracker.settings import load_settings
from tracker.store import prune
left, is_before, unlink = int(sys.argv[1]), sys.argv[2] == "before", Path.unlink
def dying(path, **named):
    global left
    if path.suffix == ".parquet":
        left -= 1
        if not left and is_before:
            os.kill(os.getpid(), signal.SIGKILL)
        unlink(path, **named)
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
    else:
        unlink(path, **named)
Path.unlink = dying
prune(load_settings(), keep=1, is_applied=True)
"""


def own_scores(number: int, **more: object) -> Run:
    """A run whose items no other run shares, as with a newer version of the engine."""
    a_run = run(number, **more)
    scores = tuple(replace(one, fingerprint=f"{number:02d}{one.fingerprint[2:]}") for one in a_run.scores)
    return replace(a_run, scores=scores)


@pytest.fixture
def weekly(settings: Settings) -> Settings:
    """Four runs of one model and one of another, each with three tasks of ten items."""
    store_runs(settings, *map(own_scores, (1, 2, 3, 4)), own_scores(5, of=model("acme/other-1b")))
    return settings


def folders(settings: Settings) -> list[str]:
    return sorted({path.parent.name for path in parts_of(settings)})


def ids(*numbers: int) -> list[str]:
    return [run(number).run_id for number in numbers]


def values(settings: Settings) -> list[tuple[object, ...]]:
    with open_snapshot(settings) as snapshot:
        return snapshot.select("select run_id, task, value, n_items from task_scores order by all").rows


def test_retention_without_apply_only_says_what_it_would_remove(weekly: Settings) -> None:
    before = {path: path.read_bytes() for path in weekly.home.rglob("*.parquet")}
    found = prune(weekly, keep=2)
    assert [one.run_id for one in found.runs] == ids(1, 2)
    assert (found.n_kept, found.n_items, found.is_applied) == (3, 60, False)
    assert found.n_bytes == sum(
        len(content) for path, content in before.items() if path.parent.name in ids(1, 2)
    )
    assert {path: path.read_bytes() for path in weekly.home.rglob("*.parquet")} == before
    assert not (weekly.items_path / REMOVED_FILE).exists()


def test_retention_keeps_the_newest_runs_and_every_score(weekly: Settings) -> None:
    before = values(weekly)
    assert prune(weekly, keep=2, is_applied=True).is_applied
    assert folders(weekly) == ids(3, 4, 5)
    rebuild(weekly)
    publish(weekly)
    assert values(weekly) == before
    assert check(weekly) == []
    with open_snapshot(weekly) as snapshot:
        answer = snapshot.select("select count(*) from items")
    assert (answer.rows, answer.missing.n_parts) == ([(90,)], 0)
    again = prune(weekly, keep=2, is_applied=True)
    assert (again.runs, folders(weekly)) == ((), ids(3, 4, 5))


def test_retention_keeps_what_a_kept_run_rests_on(settings: Settings) -> None:
    store_runs(settings, run(1))
    reusing = replace(run(2), n_reused_items=30)
    write_run(settings.items_path, reusing)
    rebuild(settings)
    publish(settings)
    assert prune(settings, keep=1, is_applied=True).runs == ()
    assert folders(settings) == ids(1)


@pytest.mark.parametrize(
    "other",
    [
        {"limit": 5},
        {"settings": EngineSettings(max_model_len=512)},
        {"suite": "broad"},
        {"repeats": 3},
        {"max_output_tokens": 64},
    ],
    ids=lambda other: next(iter(other)),
)
def test_retention_another_measurement_is_no_newer_run(settings: Settings, other: dict[str, object]) -> None:
    store_runs(settings, own_scores(1), own_scores(2, **other))
    assert prune(settings, keep=1).runs == ()


def test_retention_keeps_the_newest_complete_run_besides_partial_ones(settings: Settings) -> None:
    partial = {"status": RunStatus.PARTIAL, "reason": "stopped"}
    store_runs(settings, own_scores(1), own_scores(2), own_scores(3, **partial), own_scores(4, **partial))
    prune(settings, keep=1, is_applied=True)
    assert folders(settings) == ids(2, 4)


@pytest.mark.parametrize("status", [RunStatus.RUNNING, RunStatus.INTERRUPTED])
def test_retention_leaves_unfinished_runs_and_what_they_reuse(settings: Settings, status: RunStatus) -> None:
    old, newer = own_scores(1), own_scores(2)
    store_runs(settings, old, newer)
    going = run(3, status=status, reason="killed", pid=os.getpid(), scores=())
    write_run(settings.items_path, going)
    reused = old.scores[0].fingerprint
    (settings.items_path / going.run_id / f"{reused}.json").write_text("{}")
    write_part(settings.items_path, going.run_id, "e" * 32, items(TASKS[0], 3))
    prune(settings, keep=1, is_applied=True)
    left = {path.name.split("-")[0] for path in parts_of(settings) if path.parent.name == old.run_id}
    assert left == {reused}
    assert len(list((settings.items_path / going.run_id).glob("*.parquet"))) == 1


def test_retention_items_that_are_lost_otherwise_are_still_told(weekly: Settings) -> None:
    prune(weekly, keep=2, is_applied=True)
    next(iter((weekly.items_path / run(4).run_id).glob("*.parquet"))).unlink()
    assert [problem.kind for problem in check(weekly)] == ["missing_items"]
    with open_snapshot(weekly) as snapshot:
        assert snapshot.select("select count(*) from items").missing.run_ids == (run(4).run_id,)


def test_retention_removes_nothing_beside_a_bench(weekly: Settings) -> None:
    with exclusive_lock(weekly, "bench", busy="another bench is running", hint="wait", what="m"):
        assert prune(weekly, keep=1).runs
        with pytest.raises(BusyError, match="a bench is running"):
            prune(weekly, keep=1, is_applied=True)
    assert len(folders(weekly)) == 5


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", [1, 4, 9])
def test_retention_killed_amid_it_is_finished_by_the_next(weekly: Settings, step: int, when: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(step), when],
        env=os.environ | {"TRACKER_HOME": str(weekly.home), "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert [problem.kind for problem in check(weekly) if problem.kind != "leftover"] == []
    prune(weekly, keep=1, is_applied=True)
    assert (folders(weekly), check(weekly)) == (ids(4, 5), [])


def test_retention_is_known_after_export_and_import(weekly: Settings, tmp_path: Path) -> None:
    prune(weekly, keep=1, is_applied=True)
    export_home(weekly, tmp_path / "home.tar.zst")
    there = Settings(home=tmp_path / "there")
    import_home(there, tmp_path / "home.tar.zst")
    assert (folders(there), check(there)) == (ids(4, 5), [])


def test_retention_a_damaged_line_of_the_record_hides_no_other(tmp_path: Path) -> None:
    add_removed(tmp_path, [Removed("a" * 32, ("r1", "r2"))])
    with (tmp_path / REMOVED_FILE).open("ab") as file:
        file.write(b'{"fingerprint": \n[1]\n{"fingerprint": 3, "runs": "all"}\n')
    add_removed(tmp_path, [Removed("b" * 32, ("r3",))])
    assert read_removed(tmp_path) == {("a" * 32, "r1"), ("a" * 32, "r2"), ("b" * 32, "r3")}


def test_retention_on_the_command_line(weekly: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    main(["store", "prune", "--keep", "3"])
    assert "`--apply` removes them" in capsys.readouterr().out
    main(["store", "prune", "--keep", "3", "--apply", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert (document["is_applied"], document["n_items"], document["n_kept"]) == (True, 30, 4)
    assert [one["run_id"] for one in document["runs"]] == ids(1)
    main(["store", "prune", "--keep", "3"])
    assert "nothing to remove" in capsys.readouterr().out
    with pytest.raises(FieldError):
        prune(weekly, keep=0)
