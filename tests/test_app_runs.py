"""What the page of runs says while something runs, waits or failed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app import reasons
from app.running import running
from tests.app_visit import said, visit
from tests.conftest import ROOT
from tests.lock_files import write_lock
from tests.some_runs import STARTED_AT, items, key_of, model, run, score, store_runs
from tests.store_builder import build_store
from tracker.items import write_fingerprint, write_part, write_run
from tracker.records import Run, RunStatus
from tracker.settings import Settings
from tracker.store import JobRow, Store, publish

# what writes the reason of a run; a study has reasons of its own
WRITERS = [ROOT / "tracker" / "bench.py", *(ROOT / "runners").glob("*.py")]
WRITERS += [
    path for part in ("engines", "executors", "harness") for path in ROOT.glob(f"runners/{part}/*.py")
]
NO_FAILURE = {"interrupted", "time_budget", "tasks_unavailable"}  # of runs that ended in another way


def reasons_written(path: Path) -> Iterator[str]:
    """Every literal that the file gives as a `reason`: by name, as a field, in a table, as a return."""
    for node in ast.walk(ast.parse(path.read_text())):
        values: list[ast.expr] = []
        match node:
            case ast.Call(func=func, args=args, keywords=keywords):
                values = [keyword.value for keyword in keywords if keyword.arg == "reason"]
                if isinstance(func, ast.Name) and func.id == "Cause":
                    values += args[1:2]
            case ast.Assign(targets=[ast.Name(id="reason")], value=value):
                values = [value]
            case ast.Dict(keys=keys, values=given):
                values = [v for k, v in zip(keys, given, strict=True) if ast.unparse(k or v) == "'reason'"]
            case ast.FunctionDef(name="_reason"):
                returned = [part.value for part in ast.walk(node) if isinstance(part, ast.Return)]
                values = [value.elts[0] for value in returned if isinstance(value, ast.Tuple)]
        for value in values:
            parts = [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value]
            yield from (p.value for p in parts if isinstance(p, ast.Constant) and isinstance(p.value, str))


def test_every_reason_for_which_a_run_can_fail_has_a_hint() -> None:
    written = {reason for path in WRITERS for reason in reasons_written(path)} - NO_FAILURE
    assert {"gated", "killed", "no_tasks", "unreachable", "disk_full", "error", "out_of_memory"} <= written
    assert written == set(reasons.HINTS)


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


def test_a_resumed_run_says_how_much_of_it_earlier_runs_had_answered(filled: Settings) -> None:
    answer(filled, run(1), 120)
    begun = begin(filled)
    answer(filled, begun, 60, start=120)
    progress = visit("runs.py").get("progress")[0].proto
    assert (progress.value, progress.text) == (50, "180 of about 360 items, 120 of them by earlier runs")


def test_with_a_limit_it_is_left_open_what_of_the_earlier_answers_counts(filled: Settings) -> None:
    answer(filled, run(1), 120)
    answer(filled, begin(filled, limit=20), 5, start=15)
    (found,) = running(filled)
    assert (found.n_items, found.n_reused_items) == (5, 0)
    assert "5 items answered" in said(visit("runs.py"))


def test_tasks_that_were_named_one_by_one_are_not_so_many_of_about_so_many(settings: Settings) -> None:
    whole = run(1, suite="tasks")
    store_runs(settings, replace(whole, scores=(score("sort_words", model()),), n_items=1319))
    answer(settings, begin(settings, suite="tasks"), 7)
    session = visit("runs.py")
    assert not session.get("progress")
    assert "7 items answered" in said(session)


def test_a_queue_of_which_all_is_done_says_so(settings: Settings) -> None:
    with Store.open(settings) as store:
        store.put_jobs(
            [JobRow("acme/atlas-8b", "quick", 1, "chat", "done", 50.0, (), STARTED_AT, STARTED_AT)]
        )
    publish(settings)
    session = visit("runs.py")
    assert "Nothing waits" in said(session)
    assert all("rank" not in table.value for table in session.dataframe)


@pytest.mark.parametrize("page", ["runs.py", "research.py"])
def test_a_store_that_breaks_during_a_run_is_said_in_one_sentence(filled: Settings, page: str) -> None:
    begin(filled)
    for snapshot in filled.snapshots_path.glob("*.duckdb"):
        snapshot.write_bytes(b"no database" * 1000)
    session = visit(page)
    assert all("cannot be read" in error.value for error in session.error)
    assert session.error


def test_a_pointer_that_cannot_be_read_is_said_in_one_sentence(filled: Settings) -> None:
    (pointer,) = (path for path in filled.snapshots_path.iterdir() if path.suffix != ".duckdb")
    pointer.unlink()
    pointer.mkdir()
    (error,) = visit("leaderboard.py").error
    assert "cannot be read" in error.value
