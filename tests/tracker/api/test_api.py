"""The Python interface: every call on a real store, benches with the engine that answers by rule."""

from __future__ import annotations

import ast
import os
import re
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import structlog

import tracker
from tests.builders.store_builder import NOW, build_store, measure_published
from tests.conftest import ROOT
from tests.runners.harness.test_worker import ENGINE, TASKS, rules
from tracker import api
from tracker.errors import BusyError, FieldError, UnknownNameError

FIRST, SECOND = "acme/atlas-2-8b", "borealis/nimbus-4b-thinking"
USER_SCRIPT = ROOT / "tests" / "tracker" / "api" / "typed_user.py"
SUMS: dict[str, Any] = {"task": "sums", "include_path": TASKS, "engine": ENGINE}
BENCH = 'home.bench("demo", suite="smoke")'  # as the README has it
BENCH_S = 120


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tracker.Home:
    settings = build_store(tmp_path_factory.mktemp("api"))
    measure_published(settings, hub_id="moonshotai/Kimi-K3")
    return tracker.open_home(settings.home)


@pytest.fixture
def empty(home: Path) -> tracker.Home:
    return tracker.open_home(home)


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT,
        env=os.environ | environment, timeout=BENCH_S,
    )  # fmt: skip


def test_api_names_are_those_of_the_package() -> None:
    assert tracker.__all__ == api.__all__
    assert {name: getattr(tracker, name) for name in tracker.__all__} == {
        name: getattr(api, name) for name in api.__all__
    }
    assert set(tracker.__all__) <= set(dir(tracker))
    with pytest.raises(AttributeError, match="no attribute `nothing`"):
        tracker.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_api_import_of_the_package_loads_no_other_module() -> None:
    code = "import sys; before = set(sys.modules); import tracker; print(sorted(set(sys.modules) - before))"
    assert python(code).stdout.strip() == "['tracker']"


@pytest.mark.timeout(BENCH_S)
def test_api_is_typed_for_its_users(tmp_path: Path) -> None:
    """Slow because mypy reads the package as a user's own project does, without a cache."""
    (tmp_path / "mine.py").write_text(USER_SCRIPT.read_text())
    (tmp_path / "wrong.py").write_text(
        "import tracker\n\ntracker.open_home().frontier(as_off='2025-12-01')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "mine.py", "wrong.py"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )  # fmt: skip
    *errors, summary = done.stdout.splitlines()
    assert summary == "Found 1 error in 1 file (checked 2 source files)", done.stdout
    assert errors[0].startswith(
        'wrong.py:3: error: Unexpected keyword argument "as_off" for "frontier" of "Home"'
    )


def test_api_script_of_a_user_uses_every_name(
    built: tracker.Home, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {node.attr for node in ast.walk(ast.parse(USER_SCRIPT.read_text()))
             if isinstance(node, ast.Attribute)}  # fmt: skip
    methods = {name for name in vars(tracker.Home) if not name.startswith("_")}
    assert {*tracker.__all__, *methods} - names == set()
    runpy.run_path(str(USER_SCRIPT))["main"](str(built.path))
    assert capsys.readouterr().out != ""


def test_api_open_home_takes_the_folder_of_the_command_line(home: Path, tmp_path: Path) -> None:
    assert tracker.open_home().path == home
    assert tracker.open_home(str(tmp_path / "other")).path == tmp_path / "other"
    assert tracker.open_home("~/none-yet").path == Path.home() / "none-yet"
    (tmp_path / "file").write_text("")
    with pytest.raises(tracker.TrackerError, match="is not a folder"):
        tracker.open_home(tmp_path / "file")


FRAMES: dict[str, Callable[[tracker.Home], pd.DataFrame]] = {
    "models": lambda home: home.models(),
    "models of the Hub": lambda home: home.models(known=True),
    "runs": lambda home: home.runs(),
    "studies": lambda home: home.studies(),
    "query": lambda home: home.query("select run_id, n_items, started_at, duration_s, n_items > 3 from runs"),
    "sums": lambda home: home.query("select sum(n_items), list(n_items), 1.5::decimal(4, 2) from runs"),
}  # fmt: skip


@pytest.mark.parametrize("name", FRAMES)
def test_api_frames_have_the_same_types_with_and_without_rows(
    built: tracker.Home, empty: tracker.Home, name: str
) -> None:
    filled, none = FRAMES[name](built), FRAMES[name](empty)
    assert len(filled) > 0
    assert dict(filled.dtypes) == dict(none.dtypes)


def test_api_frames_hold_aware_times_and_missing_integers(built: tracker.Home) -> None:
    found = built.query(
        "select timestamp '2026-11-24 12:00' as at, null::bigint as n, true as b,"
        " [1, null] as l, '{\"a\": 1}'::json as j"
    )
    assert [str(kind) for kind in found.dtypes] == [
        "datetime64[us, UTC]",
        "Int64",
        "boolean",
        "object",
        "object",
    ]
    assert found["at"][0] == NOW
    assert found["n"].isna().all()
    assert (found["l"][0], found["j"][0]) == ([1, None], {"a": 1})


def test_api_models_narrow_as_the_command_line_does(built: tracker.Home) -> None:
    assert set(built.models(license="mit")["model_id"]) == {SECOND}
    assert set(built.models(max_params="4B")["model_id"]) == set(
        built.models(max_params=4_000_000_000)["model_id"]
    )
    fits = built.models(fits_gb=24)
    assert (fits["needed_bytes"] <= 24e9).all()
    known = built.models(known=True, fits_gb=24)
    assert 0 < len(known) < len(built.models(known=True))


def test_api_runs_and_items_follow_a_score_to_its_answers(built: tracker.Home) -> None:
    (run_id,) = built.runs(model="atlas-2-8b", suite="quick", status="complete")["run_id"]
    items = built.items(run_id, task="count_letters")
    board = built.leaderboard("quick", task="count_letters").set_index("model_id")
    assert items["score"].mean() == pytest.approx(board.loc[FIRST, "score"])
    wrong = built.items(run_id, task="count_letters", only="wrong")
    assert len(wrong) == (items["score"] < 1).sum()
    assert len(built.items(run_id, limit=7)) == 7
    assert len(built.items(run_id)) == sum(
        built.items(run_id, task=task).shape[0] for task in items_tasks(built, run_id)
    )


def items_tasks(home: tracker.Home, run_id: str) -> list[str]:
    return list(home.query(f"select distinct task from task_scores where run_id = '{run_id}'")["task"])


def test_api_trials_are_those_of_a_study(built: tracker.Home) -> None:
    study = built.studies().iloc[0]
    trials = built.trials(study["study_id"])
    assert (~trials["is_placebo"]).sum() == study["n_done"]


WRONG: dict[str, tuple[Callable[[tracker.Home], object], type[Exception], str]] = {
    "day": (lambda home: home.frontier(as_of="yesterday"), FieldError, "as_of is not a date: `yesterday`"),
    "size": (lambda home: home.leaderboard(max_params="big"), FieldError, "max_params is not a number"),
    "only": (lambda home: home.frontier(only="hidden"), UnknownNameError, "of `only` is called `hidden`"),  # type: ignore[arg-type]
    "override": (lambda home: home.frontier(override="date"), UnknownNameError, "override is called `date`"),
    "series": (lambda home: home.frontier(series="x", benchmark="y"), tracker.TrackerError, "be combined"),
    "suite": (lambda home: home.leaderboard("quik"), UnknownNameError, "no suite is called `quik`"),
    "model": (lambda home: home.compare(FIRST, "nimbus-5b"), UnknownNameError, "no model is called"),
    "status": (lambda home: home.runs(status="done"), UnknownNameError, "no status is called `done`"),
    "run": (lambda home: home.items("20260101-000000-abcdef"), UnknownNameError, "no run is called"),
    "run to place": (lambda home: home.placement("nothing"), UnknownNameError, "no run is called"),
    "items": (lambda home: home.items("any", limit=0), FieldError, "limit must be at least 1"),
    "study": (lambda home: home.trials("nothing"), UnknownNameError, "no study is called"),
    "memory": (lambda home: home.models(known=True, fits_gb=0), FieldError, "fits_gb must be a number of GB"),
    "statement": (lambda home: home.query("drop table runs"), tracker.TrackerError, "only a single SELECT"),
    "limit": (lambda home: home.bench("demo", limit=0), FieldError, "limit must be more than 0"),
    "until": (lambda home: home.bench("demo", until=50), FieldError, "until must be between 0 and 50"),
    "bench's suite": (lambda home: home.bench("demo", suite="quik"), UnknownNameError, "no suite is called"),
    "engine": (lambda home: home.bench("demo", engine="vlm"), tracker.TrackerError, "vlm"),
    "vram_gb": (lambda home: home.fit("demo", vram_gb=-1), FieldError, "vram_gb must be a positive number"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_api_refuses_with_an_error_that_says_what_helps(built: tracker.Home, name: str) -> None:
    call, kind, says = WRONG[name]
    with pytest.raises(kind, match=re.escape(says)) as refused:
        call(built)
    assert isinstance(refused.value, tracker.TrackerError)


def test_api_frontier_takes_dates_and_texts_alike(built: tracker.Home) -> None:
    asked = {"as_of": date(2025, 12, 1), "max_params": 40_000_000_000}
    assert built.frontier(**asked) == built.frontier(as_of="2025-12-01", max_params="40B")  # type: ignore[arg-type]


def test_api_fit_says_whether_a_folder_fits(empty: tracker.Home, model_folder: Path) -> None:
    found = empty.fit(str(model_folder), vram_gb=24, engine="vllm")
    assert (found.fit.fits, found.fit.engine) == (True, "vllm")
    assert [row.context for row in found.by_context] == [64]


@pytest.mark.timeout(BENCH_S)
def test_api_bench_keeps_its_runs_and_prints_nothing(
    empty: tracker.Home, model_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    events: list[tracker.Event] = []
    users_logs = structlog.get_config()
    (run,) = empty.bench(str(model_folder), limit=20, on_event=events.append, **SUMS)
    assert (run.status, run.n_items, run.n_reused_items) == ("complete", 20, 0)
    assert {"ready", "progress", "run"} <= {event.event for event in events}
    answers: list[tracker.Run] = []
    thread = threading.Thread(target=lambda: answers.extend(empty.bench(str(model_folder), limit=20, **SUMS)))
    thread.start()
    thread.join(BENCH_S)
    assert [(again.n_reused_items, again.scores[0].value) for again in answers] == [(20, run.scores[0].value)]
    assert list(empty.runs()["status"]) == ["complete", "complete"]
    assert isinstance(empty.placement(run.run_id), tracker.Unplaced)
    assert capfd.readouterr() == ("", "")
    assert structlog.get_config() == users_logs


@pytest.mark.timeout(BENCH_S)
def test_api_bench_returns_a_model_that_cannot_be_run_as_a_failed_run(
    empty: tracker.Home, model_folder: Path
) -> None:
    (failed,) = empty.bench(str(rules(model_folder, load_fails=True)), **SUMS)
    assert (failed.status, failed.reason) == ("failed", "out_of_memory")
    (model_folder / "model.safetensors").unlink()
    (refused,) = empty.bench(str(model_folder), **SUMS)
    assert (refused.status, refused.reason) == ("failed", "missing_weights")
    assert list(empty.runs(status="failed")["run_id"]) == [refused.run_id, failed.run_id]


class ProgressError(Exception):
    """What a caller's own function raises."""


@pytest.mark.timeout(BENCH_S)
def test_api_bench_ends_with_what_on_event_raises_and_resumes(
    empty: tracker.Home, model_folder: Path
) -> None:
    def stop(event: tracker.Event) -> None:
        if event.event == "progress":
            raise ProgressError

    with pytest.raises(ProgressError):
        empty.bench(str(model_folder), on_event=stop, **SUMS)
    assert list(empty.runs()["status"]) == ["interrupted"]
    (run,) = empty.bench(str(model_folder), **SUMS)
    assert (run.status, run.n_items) == ("complete", 400)


@pytest.mark.timeout(BENCH_S)
def test_api_bench_is_refused_while_another_one_runs(empty: tracker.Home, model_folder: Path) -> None:
    refused: list[BusyError] = []

    def second(event: tracker.Event) -> None:
        if event.event == "ready":
            with pytest.raises(BusyError) as busy:
                empty.bench(str(model_folder), limit=20, **SUMS)
            refused.append(busy.value)

    empty.bench(str(model_folder), limit=20, on_event=second, **SUMS)
    assert [bool(error.hint) for error in refused] == [True]


SCRIPT = """
import sys, tracker
home, seen = tracker.open_home(), []
def show(event):
    if event.event == "progress" and not seen:
        seen.append(event)
        print("answers", flush=True)
try:
    home.bench(sys.argv[1], task="sums", include_path=sys.argv[2], engine=sys.argv[3], on_event=show)
except KeyboardInterrupt:
    print(home.runs()["status"].tolist())
"""


@pytest.mark.timeout(BENCH_S)
def test_api_bench_in_a_plain_script_stores_what_ctrl_c_ended(
    home: Path, model_folder: Path, tmp_path: Path
) -> None:
    script = tmp_path / "mine.py"
    script.write_text(SCRIPT)
    rules(model_folder, delay_s=0.05)
    with subprocess.Popen(
        [sys.executable, str(script), str(model_folder), TASKS, ENGINE],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"TRACKER_FLUSH_S": "0.1"},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "answers\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "['interrupted']\n"
        assert process.wait(BENCH_S) == 0


def readme_example() -> str:
    text = (ROOT / "README.md").read_text()
    found = re.search(r"## From Python\n.*?```python\n(.*?)```", text, re.DOTALL)
    assert found
    return found.group(1)


@pytest.mark.timeout(BENCH_S)
def test_api_example_of_the_readme_runs(
    empty: tracker.Home, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The embedded model takes a minute to make and to ask: the engine that answers by rule stands in."""
    code = readme_example()
    assert len(code.splitlines()) <= 10
    assert code.count(BENCH) == code.count('"smoke"') - 1 == 1
    code = code.replace(BENCH, f"home.bench({str(model_folder)!r}, limit=20, **{SUMS!r})")
    code = code.replace('"smoke"', '"tasks"')
    exec(compile(code, "README.md", "exec"), {})
    said = capsys.readouterr().out
    assert model_folder.name in said
    assert "G1" in said
