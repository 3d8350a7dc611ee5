"""A replicate asks everything again: what it shows, and that it counts nowhere else."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

import tracker
from runners.executors.jobs import forget_job, reap_orphans
from tests.builders.some_runs import model as some_model
from tests.builders.some_runs import run as some_run
from tests.builders.some_runs import score, store_runs
from tests.doubles.app_visit import said, visit
from tests.doubles.command import command
from tests.runners.harness.test_worker import (
    ENGINE,
    TASKS,
    assert_each_item_once,
    job,
    rules,
    run,
    start_parent,
    wait_for,
)
from tracker.answers.repeatability import repeatability, repeatability_line
from tracker.answers.run_lines import replicate_line
from tracker.bench.request import BenchRequest
from tracker.errors import FieldError
from tracker.files.items import read_items, stored_parts
from tracker.records import EngineSettings, Run, RunStatus
from tracker.settings import Settings
from tracker.store import Store, open_snapshot, publish

MODEL = "acme/tiny-1b"
N_SUMS = 400
LOST = 0.2  # of the questions, by their text, which the second measurement answers with nothing


def answered(settings: Settings, made: Run) -> dict[int, float | None]:
    key = made.scores[0].fingerprint
    return {
        doc: item.score
        for doc, item in read_items(stored_parts(settings.items_path, key), skipped=[]).items()
    }


def test_a_replicate_killed_amid_its_answers_goes_on_and_counts_only_itself(
    settings: Settings, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_FLUSH_S", "0.02")
    quick = settings.model_copy(update={"flush_s": 0.02})
    first, _ = run(quick, job(quick, model_folder, run_id="run-1"))
    slow = rules(model_folder, loses=LOST, delay_s=0.004)
    with start_parent(quick, job(quick, slow, run_id="run-2", replicate=2)) as parent:
        wait_for(parent, "progress")
        parent.kill()
    killed = reap_orphans(quick)
    forget_job(quick, killed)
    second, _ = run(quick, job(quick, rules(model_folder, loses=LOST), run_id="run-3", replicate=2))
    again, _ = run(quick, job(quick, rules(model_folder), run_id="run-4"))
    one, cut, two, reusing = first.runs[0], killed[0], second.runs[0], again.runs[0]

    assert (cut.status, cut.replicate, two.status, two.replicate) == (
        RunStatus.INTERRUPTED,
        2,
        RunStatus.COMPLETE,
        2,
    )
    assert {reuse.run_id for reuse in two.reused} == {"run-2"}
    assert 0 < two.n_reused_items < N_SUMS == two.n_items
    assert [(reuse.run_id, reuse.n_items) for reuse in reusing.reused] == [("run-1", N_SUMS)]
    for made in (one, two):
        assert_each_item_once(quick, made.scores[0].fingerprint)
    shown = [
        (each.value, each.ci_low, each.ci_high, each.n_items) for each in (one.scores[0], reusing.scores[0])
    ]
    assert shown[0] == shown[1]

    with Store.open(quick) as store:
        store.add_runs([one, cut, two, reusing])
    publish(quick)
    before, after = answered(quick, one), answered(quick, two)
    n_flips = sum(before[doc] != after[doc] for doc in before)
    found = repeatability("run-3", MODEL, quick)
    assert found is not None
    assert (found.earlier_run_id, found.replicate, found.differs) == ("run-1", 2, ())
    assert (found.n_items, found.n_flips) == (N_SUMS, n_flips)
    assert n_flips > 20
    assert repeatability_line(asdict(found)).endswith("since run run-1; asked again with the same settings")
    assert repeatability("run-4", MODEL, quick) is None


def test_a_replicate_is_asked_for_by_a_flag_and_reuses_nothing(
    settings: Settings, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_HOME", str(settings.home))
    asked = ("bench", str(model_folder), "--engine", ENGINE, "--task", "sums", "--include-path", TASKS)
    found = []
    for more in ((), ("--replicate", "2"), ("--replicate", "2")):
        ended = command(*asked, "--limit", "12", *more, "--json")
        assert ended.returncode == 0, ended.stderr
        found.append(json.loads(ended.stdout))
    assert [(one["replicate"], one["n_items"], one["n_reused_items"]) for one in found] == [
        (1, 12, 0),
        (2, 12, 0),
        (2, 12, 12),  # the same command again goes on with the same measurement
    ]


def test_a_replicate_is_in_no_ranking_comparison_or_placement(settings: Settings) -> None:
    of = some_model()
    better = replace(score("sort_words", of, 0.9), fingerprint="f" * 32)
    second = some_run(2, replicate=2, scores=(better,), of=of)
    store_runs(settings, some_run(1, of=of), second)
    with open_snapshot(settings) as snapshot:
        reads = {
            "board": {"suite": None, "tasks": None},
            "leaderboard": {},
            "comparable_runs": {"models": None},
            "runs_of_task": {"task": "sort_words"},
            "scored_runs": {"tasks": ["sort_words"]},
            "measured_suites": {},
            "newest_whole_runs": {"at": second.ended_at},
        }
        found = {
            name: {row["run_id"] for row in snapshot.query(name, **given)} for name, given in reads.items()
        }
        tasks = {row["task"]: row["metric"] for row in snapshot.query("board_tasks")}
    assert found == {name: {some_run(1).run_id} for name in reads}
    assert len(tasks) == 3
    home = tracker.open_home(settings.home)
    assert set(home.runs()["replicate"]) == {1, 2}


def test_a_replicate_says_what_it_is_wherever_its_run_is_shown(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_HOME", str(settings.home))
    monkeypatch.setenv("COLUMNS", "200")
    store_runs(settings, some_run(1), some_run(2, replicate=2))
    assert replicate_line(2) in command("show", some_model().model_id).stdout
    shown = json.loads(command("show", some_model().model_id, "--json").stdout)["runs"]
    assert [one["replicate"] for one in shown] == [2, 1]
    line = replicate_line(2)
    assert line.capitalize() in said(visit("model", model=some_model().model_id))
    assert (replicate_line(1), replicate_line(None)) == ("", "")


@pytest.mark.parametrize("value", [0, -1, 1001])
def test_a_replicate_out_of_range_is_refused(value: int) -> None:
    with pytest.raises(FieldError, match="replicate"):
        BenchRequest("demo", EngineSettings(), replicate=value)


def test_a_replicate_goes_with_neither_speed_nor_queue() -> None:
    for flag in ("--speed", "--queue"):
        words = [flag, "--replicate", "2", *(["demo"] if flag == "--speed" else [])]
        refused = command("bench", *words)
        assert f"`{flag}` cannot be combined with `--replicate`" in refused.stderr
