"""The page of runs: runs in progress, waiting jobs and failures."""

from __future__ import annotations

import ast
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.data.running_benches import ask_to_cancel, running_benches
from app.widgets import failure_hints
from app.widgets.safe_text import interval, percent
from tests.builders.some_runs import (
    STARTED_AT,
    items,
    key_of,
    model,
    run,
    score,
    store_runs,
)
from tests.builders.store_builder import build_store
from tests.conftest import ROOT
from tests.doubles.app_visit import said, visit
from tests.doubles.lock_files import write_lock
from tracker.answers.bench_progress import PartAnswers, bench_so_far
from tracker.errors import TrackerError
from tracker.files.items import write_fingerprint, write_part, write_run
from tracker.records import Run, RunStatus
from tracker.settings import Settings
from tracker.stats import anytime_interval
from tracker.store import JobRow, Store, publish

# what writes the reason of a run; a study has reasons of its own
WRITERS = [*(ROOT / "tracker" / "bench").glob("*.py"), *(ROOT / "runners").glob("*.py")]
WRITERS += [
    path
    for part in ("engines", "executors", "harness", "memory", "models")
    for path in ROOT.glob(f"runners/{part}/**/*.py")
]
NO_FAILURE = {
    "interrupted",
    "time_budget",
    "tasks_unavailable",
    "items_missing",
}  # of runs that ended in another way


def reasons_written(path: Path) -> Iterator[str]:
    """Every literal that the file gives as a `reason`: by name, as a field, in a table, as a return."""
    for node in ast.walk(ast.parse(path.read_text())):
        values: list[ast.expr] = []
        match node:
            case ast.Call(func=func, args=args, keywords=keywords):
                values = [keyword.value for keyword in keywords if keyword.arg == "reason"]
                if isinstance(func, ast.Name) and func.id == "Cause":
                    values += args[1:2]
            case ast.AnnAssign(target=ast.Name(id="stopped_for"), value=ast.expr() as value):
                values = [value]
            case ast.Assign(targets=[ast.Name(id="reason")], value=value):
                values = [value]
            case ast.Dict(keys=keys, values=given):
                values = [v for k, v in zip(keys, given, strict=True) if ast.unparse(k or v) == "'reason'"]
            case ast.FunctionDef(name="reason"):
                returned = [part.value for part in ast.walk(node) if isinstance(part, ast.Return)]
                values = [value for value in returned if value is not None]
            case ast.FunctionDef(name="_reason"):
                returned = [part.value for part in ast.walk(node) if isinstance(part, ast.Return)]
                values = [value.elts[0] for value in returned if isinstance(value, ast.Tuple)]
        for value in values:
            yield from (part.value for part in branches(value) if isinstance(part.value, str))


def branches(value: ast.expr) -> Iterator[ast.Constant]:
    """The constants that an expression can be, through conditional expressions in conditional expressions."""
    if isinstance(value, ast.IfExp):
        yield from branches(value.body)
        yield from branches(value.orelse)
    elif isinstance(value, ast.Constant):
        yield value


def test_failure_hints_cover_every_reason() -> None:
    written = {reason for path in WRITERS for reason in reasons_written(path)} - NO_FAILURE
    assert {"gated", "killed", "no_tasks", "unreachable", "disk_full", "error", "out_of_memory"} <= written
    assert written == set(failure_hints.HINTS)


@pytest.fixture
def filled(home: Path) -> Settings:
    return build_store(home)


def begin(settings: Settings, **more: Any) -> Run:
    """A run that this very process is at, on a task that it has begun."""
    begun = replace(run(9), status=RunStatus.RUNNING, ended_at=None, scores=(), n_items=0, **more)
    write_run(settings.items_path, begun)
    write_fingerprint(settings.items_path, begun.run_id, key_of("count_letters", model()), {"task": "…"})
    write_lock(settings, f"worker-{begun.run_id}", runs=[begun.run_id])
    return begun


def answer(settings: Settings, of: Run, n: int, *, start: int = 0) -> None:
    answers = items("count_letters", n, start=start)
    write_part(settings.items_path, of.run_id, key_of("count_letters", model()), answers)


def test_runs_page_resumed_run_shows_items_of_earlier_runs(filled: Settings) -> None:
    answer(filled, run(1), 120)
    begun = begin(filled)
    answer(filled, begun, 60, start=120)
    progress = visit("runs").get("progress")[0].proto
    assert (progress.value, progress.text) == (50, "180 of about 360 items, 120 of them from earlier runs")


def test_runs_page_with_a_limit_counts_no_earlier_answers(filled: Settings) -> None:
    answer(filled, run(1), 120)
    answer(filled, begin(filled, limit=20), 5, start=15)
    (found,) = running_benches(filled)
    assert (found.n_items, found.n_reused_items) == (5, 0)
    assert visit("runs").get("progress")[0].proto.text == "5 of about 120 items"


def test_a_running_bench_shows_its_score_so_far_with_the_interval_that_holds_at_every_look(
    filled: Settings,
) -> None:
    answer(filled, begin(filled), 60)
    (found,) = running_benches(filled)
    (task,) = bench_so_far(found.parts, n_left=None).tasks
    scores = [item.score for item in items("count_letters", 60) if item.score is not None]
    expected = anytime_interval(scores)
    assert (task.score, task.ci_low, task.ci_high) == (expected.value, expected.low, expected.high)
    session = visit("runs")
    ends = interval(expected.low, expected.high)
    shown = f"count_letters: {percent(expected.value)} ({ends}) on 60 items"
    assert shown in [one.value for one in session.text]


def test_the_time_left_goes_by_the_speed_between_the_first_and_the_last_answers() -> None:
    first = PartAnswers("sums", (1.0,) * 10, 10, STARTED_AT)
    later = [PartAnswers("sums", (0.0,) * 20, 20, STARTED_AT + timedelta(seconds=5 * n)) for n in range(1, 5)]
    found = bench_so_far([*later, first], n_left=100)
    assert (found.items_per_s, found.remaining_s) == (4.0, 25.0)
    assert bench_so_far([first], n_left=100).remaining_s is None


def test_a_bench_is_stopped_as_by_a_signal_and_one_that_ended_is_not(filled: Settings) -> None:
    begun = begin(filled)
    with subprocess.Popen(["sleep", "60"]) as process:
        started_at_s = psutil.Process(process.pid).create_time()
        name = f"worker-{begun.run_id}"
        write_lock(filled, name, runs=[begun.run_id], parent=process.pid, parent_started_at=started_at_s)
        session = visit("runs")
        session.button(key=f"ask_{begun.run_id}").click().run()
        session.button(key=f"stop_{begun.run_id}").click().run()
        assert process.wait(timeout=30) == -signal.SIGTERM
    with pytest.raises(TrackerError, match="no longer running"):
        ask_to_cancel(filled, begun.run_id)


@pytest.mark.usefixtures("filled")
def test_runs_page_says_what_is_overdue_and_that_no_timer_is_installed() -> None:
    words = said(visit("runs"))
    assert "No weekly timer is installed" in words
    assert "`tracker schedule install` installs" in words
    assert "Last complete ingest" in words


def test_runs_page_single_tasks_have_no_expected_total(settings: Settings) -> None:
    whole = run(1, suite="tasks")
    store_runs(settings, replace(whole, scores=(score("sort_words", model()),), n_items=1319))
    answer(settings, begin(settings, suite="tasks"), 7)
    session = visit("runs")
    assert not session.get("progress")
    assert "7 items answered" in said(session)


def test_runs_page_reports_a_finished_queue(settings: Settings) -> None:
    with Store.open(settings) as store:
        store.put_jobs(
            [JobRow("acme/atlas-8b", "quick", 1, "chat", "done", 50.0, (), STARTED_AT, STARTED_AT)]
        )
    publish(settings)
    session = visit("runs")
    assert "1 job is done, none is left" in said(session)
    assert all("rank" not in table.value for table in session.dataframe)


@pytest.mark.parametrize("page", ["runs", "research"])
def test_runs_and_research_pages_report_a_broken_store_in_one_sentence(filled: Settings, page: str) -> None:
    begin(filled)
    for snapshot in filled.snapshots_path.glob("*.duckdb"):
        snapshot.write_bytes(b"no database" * 1000)
    session = visit(page)
    assert all("cannot read" in error.value for error in session.error)
    assert session.error


def test_leaderboard_reports_an_unreadable_pointer_in_one_sentence(filled: Settings) -> None:
    (pointer,) = (path for path in filled.snapshots_path.iterdir() if path.suffix != ".duckdb")
    pointer.unlink()
    pointer.mkdir()
    (error,) = visit("leaderboard").error
    assert "cannot read" in error.value
