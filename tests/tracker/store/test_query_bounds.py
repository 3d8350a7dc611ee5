"""A user's SELECT ends in time, in bounded memory, with an answer or one sentence, whatever it is."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType

import pytest

import tracker.store
from tests.builders.some_runs import run, store_runs
from tests.builders.statements import BOMBS, statement
from tests.conftest import ROOT
from tracker.answers.shipped import answer_sql
from tracker.errors import FieldError, TrackerError
from tracker.settings import Settings
from tracker.store import QueryLimits, open_snapshot

TIMEOUT_S = 5.0
GRACE_S = 10.0
MEMORY_BYTES = 1_000_000_000
SECRET = "planted-secret-4711"
FEW = ("padding", "parentheses", "large rows")  # without `TRACKER_TEST_STATEMENTS`
N_STATEMENTS = int(os.environ.get("TRACKER_TEST_STATEMENTS", "6"))


@pytest.fixture
def filled(settings: Settings) -> Settings:
    store_runs(settings, run(1))
    (settings.home / "secret.txt").write_text(SECRET)
    return settings


def said(sql: str, settings: Settings, **limits: float) -> str:
    """The answer or the sentence, as text."""
    given = QueryLimits(**{"timeout": TIMEOUT_S, "max_rows": 1000} | limits)  # type: ignore[arg-type]
    try:
        return repr(answer_sql(sql, settings, given))
    except TrackerError as error:
        return f"{error}"


# The peak of children counts from the size of the process that starts them: a small one here, not pytest.
MEASURED = """
import json, resource, sys, time
from pathlib import Path
from tests.tracker.store.test_query_bounds import said
from tracker.settings import Settings
settings = Settings(home=Path(sys.argv[1]))
for sql in json.load(sys.stdin):
    began_s = time.monotonic()
    answer = said(sql, settings)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(json.dumps([answer, time.monotonic() - began_s, peak]), flush=True)
"""


def measured(statements: list[str], settings: Settings) -> list[tuple[str, float, int]]:
    """Answer, seconds and peak bytes of all children so far, for each statement."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(settings.home)],
        input=json.dumps(statements), cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def bombs() -> dict[str, str]:
    return BOMBS if os.environ.get("TRACKER_TEST_STATEMENTS") else {name: BOMBS[name] for name in FEW}


@pytest.mark.parametrize("name", bombs())
def test_query_bounds_a_bomb_ends_in_a_sentence_or_an_answer(filled: Settings, name: str) -> None:
    ((answer, took_s, peak_bytes),) = measured([BOMBS[name]], filled)
    assert answer.startswith("Answer(") or "\n" not in answer
    assert took_s < TIMEOUT_S + GRACE_S
    assert peak_bytes < MEMORY_BYTES


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("select count(*) from range(100000) a, range(100000) b, range(1000) c", "no answer within 1 s"),
        ("select repeat('a', 1000000000)", "more memory than it may have"),
        ("select repeat('a', 100000000)", "a row of the answer is larger than 64 MiB"),
        (f"select {'[' * 300}1{']' * 300}", "nested more than 100 levels"),
        ("select '\ud800'", "character 9 is U+D800"),
        ("select 'a\0b'", "character 10 is U+0000"),
    ],
)
def test_query_bounds_says_which_limit_was_reached(filled: Settings, sql: str, words: str) -> None:
    assert words in said(sql, filled, timeout=1.0 if "range(1000)" in sql else 30.0)


@pytest.mark.parametrize(
    "sql", ["update extensions", "select 1; select 2", "", "load httpfs", "set threads = 64"]
)
def test_query_bounds_a_statement_of_another_kind_is_refused(filled: Settings, sql: str) -> None:
    with open_snapshot(filled) as snapshot, pytest.raises(TrackerError, match="only a single SELECT"):
        snapshot.select(sql)


def test_query_bounds_gives_the_first_rows_of_more(filled: Settings) -> None:
    found = answer_sql("from range(1000000000000)", filled, QueryLimits(max_rows=2500))
    assert (len(found.rows), found.rows[-1], found.has_more) == (2500, (2499,), True)
    whole = answer_sql("from range(2500)", filled, QueryLimits(max_rows=2500))
    assert (len(whole.rows), whole.has_more) == (2500, False)
    large = answer_sql("select repeat('a', 2000000) from range(100)", filled)
    assert (len(large.rows), large.has_more) == (33, True)


@pytest.mark.parametrize("limits", [{"timeout": 0.0}, {"timeout": float("nan")}, {"max_rows": 0}])
def test_query_bounds_refuses_what_is_no_limit(limits: dict[str, float]) -> None:
    with pytest.raises(FieldError):
        QueryLimits(**limits)  # type: ignore[arg-type]


def test_query_bounds_control_c_ends_it_at_once(filled: Settings) -> None:
    threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        answer_sql("select lpad('a', 2000000000, 'b')", filled)
    assert time.monotonic() - started < 20.0


def test_query_bounds_the_worker_of_a_killed_parent_ends_itself(filled: Settings) -> None:
    code = (
        "from tracker.answers.shipped import answer_sql; from tracker.settings import load_settings;"
        " from tracker.store import QueryLimits, open_snapshot;"
        " answer_sql(\"select lpad('a', 2000000000, 'b')\", load_settings(), QueryLimits(timeout=4))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | {"TRACKER_HOME": str(filled.home)}
    ) as parent:
        ends_at = time.monotonic() + 60
        while not (workers := children(parent.pid)) and time.monotonic() < ends_at:
            os.sched_yield()
        parent.kill()
    (worker,) = workers
    ends_at = time.monotonic() + 30
    while is_running(worker) and time.monotonic() < ends_at:
        os.sched_yield()
    assert not is_running(worker)


def test_query_bounds_the_worker_imports_little_besides_duckdb_and_pyarrow() -> None:
    code = (
        "import sys, tracker.store.select_worker\n"
        "print([n for n in ('pydantic', 'psutil', 'tracker.settings') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_query_bounds_the_names_of_the_store_are_those_of_its_modules() -> None:
    modules = {name: getattr(tracker.store, name) for name in tracker.store.__all__}
    wrong = [name for name, value in modules.items() if isinstance(value, ModuleType)]
    assert wrong == []  # a module of the same name would hide it
    assert set(tracker.store.__all__) <= set(dir(tracker.store))
    with pytest.raises(AttributeError, match="no attribute `publsh`"):
        _ = tracker.store.publsh


def children(pid: int) -> list[int]:
    try:
        words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [int(word) for word in words]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def files(home: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in home.rglob("*")
        if path.is_file()
    }


@pytest.mark.timeout(300 + 5 * N_STATEMENTS)
def test_query_bounds_every_statement_gets_an_answer_or_one_sentence(filled: Settings) -> None:
    """`TRACKER_TEST_STATEMENTS` says how many are drawn."""
    draw = random.Random(os.environ.get("TRACKER_TEST_SEED", "2026"))
    places = {"home": str(filled.home), "items": str(filled.items_path)}
    before = files(filled.home)
    statements = [statement(draw, places) for _ in range(N_STATEMENTS)]
    found = measured(statements, filled)
    assert len(found) == N_STATEMENTS
    for sql, (answer, took_s, _) in zip(statements, found, strict=True):
        assert answer, ascii(sql)
        assert SECRET not in answer, ascii(sql)
        assert took_s < 2 * TIMEOUT_S, ascii(sql)
    n_answers = sum(answer.startswith("Answer(") for answer, _, _ in found)
    longest_s, peak_bytes = max(took_s for _, took_s, _ in found), found[-1][2]
    assert peak_bytes < MEMORY_BYTES
    assert files(filled.home) == before
    assert n_answers > 0
    figures = f"{N_STATEMENTS} statements, {n_answers} answered, longest {longest_s:.1f} s"
    print(f"{figures}, peak {peak_bytes / 1e6:.0f} MB")
