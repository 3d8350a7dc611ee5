"""The clock: it stamps records, and what is asked relative to today counts from `Settings.now`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tracker.errors import TrackerError
from tracker.frontier.tables import load_series
from tracker.settings import load_settings

pytestmark = pytest.mark.clock
PRODUCT = ("tracker", "runners", "app")
CLOCKS = ("datetime.now(", "datetime.utcnow(", "date.today(", "datetime.today(", "time.time(")
NOW_CALLS = ("settings.now()", "load_settings().now()", "queries.now()")
MARK = "pytest.mark.clock"
SETTINGS = ROOT / "tracker" / "settings.py"


def clock_readings(path: Path) -> Iterator[tuple[int, bool]]:
    """The line of each reading of the clock, and whether it stamps a record or names a file."""
    tree = ast.parse(path.read_text())
    stamps: set[ast.AST] = set()
    for node in ast.walk(tree):
        match node:
            case ast.keyword(arg=str(name), value=value) if _is_moment(name):
                stamps |= set(ast.walk(value))
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if _is_moment(name):
                stamps |= set(ast.walk(value))
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    if isinstance(key, ast.Constant) and _is_moment(str(key.value)):
                        stamps |= set(ast.walk(value))
            case ast.JoinedStr():  # an id that sorts by time
                stamps |= set(ast.walk(node))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node).startswith(CLOCKS):
            yield node.lineno, node in stamps


def _is_moment(name: str) -> bool:
    return name == "at" or name.endswith("_at")


def test_the_clock_is_read_to_stamp_records_and_by_the_settings_alone() -> None:
    paths = [path for package in PRODUCT for path in sorted((ROOT / package).rglob("*.py"))]
    readings = {path: list(clock_readings(path)) for path in paths}
    assert sum(map(len, readings.values())) > 10
    asked = [
        f"{path.relative_to(ROOT)}:{line}: ask `Settings.now`, or call the stamp `…_at`"
        for path, found in readings.items()
        for line, is_stamp in found
        if not is_stamp and path != SETTINGS
    ]
    assert asked == []


def test_no_query_reads_the_clock_of_the_database() -> None:
    queries = sorted((ROOT / "tracker").rglob("*.sql"))
    assert queries
    words = ("now()", "current_date", "current_timestamp", "today()", "get_current_time")
    read = [path.name for path in queries if any(word in path.read_text().lower() for word in words)]
    assert read == [], "a moment is a $parameter"


def test_settings_now_is_the_machines_clock_unless_tracker_now_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TRACKER_NOW", raising=False)
    before = datetime.now(UTC)
    assert before <= load_settings().now() <= datetime.now(UTC)
    monkeypatch.setenv("TRACKER_NOW", "2026-11-24T12:00:00+14:00")
    assert load_settings().now().isoformat() == "2026-11-23T22:00:00+00:00"


@pytest.mark.parametrize(
    "value", ["yesterday", "2026-11-24T12:00:00", ""], ids=["a word", "no zone", "empty"]
)
def test_settings_refuse_a_tracker_now_that_is_no_moment(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("TRACKER_NOW", value)
    with pytest.raises(TrackerError, match="TRACKER_NOW"):
        load_settings()


def test_a_series_may_name_the_day_that_has_begun_in_any_zone_and_none_after_it(tmp_path: Path) -> None:
    path = tmp_path / "elo.csv"

    def dated(ahead: timedelta) -> None:
        day = (datetime.now(UTC) + ahead).date()
        path.write_text(
            f"model,access,released,value,ci_low,ci_high\na,open,{day},10,,\nb,closed,2025-01-01,9,,\n"
        )
        load_series(path)

    dated(timedelta(hours=13, minutes=55))
    with pytest.raises(TrackerError, match="in the future"):
        dated(timedelta(hours=38, minutes=5))


def modules_that_count_from_now() -> set[str]:
    """The modules of the product that ask the settings for the moment; of the app, the digest's alone."""
    texts = {path: path.read_text() for package in PRODUCT for path in (ROOT / package).rglob("*.py")}
    found = {path for path, text in texts.items() if any(call in text for call in NOW_CALLS)}
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in found}
    return modules - {"app.data.queries"}  # most of its reads know nothing of the day


def names_used(path: Path) -> set[str]:
    """Every module that the file imports, and every name that it takes from one."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_tests_of_what_reads_the_clock_run_under_shifted_clocks_too() -> None:
    counting = modules_that_count_from_now()
    assert len(counting) > 4
    unmarked = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text()
        if (counting & names_used(path) or any(clock in text for clock in CLOCKS)) and MARK not in text:
            unmarked.append(str(path.relative_to(ROOT)))
    assert unmarked == [], f"mark what depends on the day with `@{MARK}`: `make test-clock` runs it"
