"""The tables under `data/frontier/`: every row is checked, and a wrong one is named with file and line."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tracker.errors import TrackerError
from tracker.frontier.facts import Access, OverrideKind, PrivateList
from tracker.frontier.tables import (
    ATTRIBUTION,
    load_licenses,
    load_published_index,
    load_self_reported,
    load_tables,
)

FOLDER = ROOT / "data" / "frontier"
TODAY = date(2026, 11, 24)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FOLDER, tmp_path / "frontier"))


def change(folder: Path, name: str, old: str, new: str) -> None:
    path = folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_frontier_tables_every_shipped_row_is_valid() -> None:
    tables = load_tables(today=TODAY)
    assert len(tables.scores) == 4995
    assert len(tables.models) == 227
    assert len(tables.benchmarks) == 59
    assert len(tables.small_open_models) == 124
    assert tables.vintages == (date(2025, 11, 17), date(2026, 4, 29), date(2026, 8, 11))
    assert len(load_published_index()) == 181
    assert len(load_self_reported()) == 2224
    assert len(load_licenses()) == 40


def test_frontier_tables_overrides_are_the_known_corrections_each_with_reason_and_source() -> None:
    tables = load_tables(today=TODAY)
    kinds = [row.kind for row in tables.overrides]
    assert {kind: kinds.count(kind) for kind in OverrideKind} == {
        OverrideKind.RELEASE_SCORED: 13,
        OverrideKind.WEIGHTS_PUBLISHED: 1,
        OverrideKind.ACCESS_LABEL: 22,
    }
    assert all(row.reason and row.source for row in tables.overrides)
    assert tables.models["GLM-5.1"].access is Access.UNKNOWN  # the table keeps what the source says


def test_frontier_tables_the_extended_private_list_contains_the_shorter_one() -> None:
    benchmarks = load_tables(today=TODAY).benchmarks.values()
    short = {row.benchmark for row in benchmarks if row.is_private(PrivateList.EPOCH)}
    extended = {row.benchmark for row in benchmarks if row.is_private(PrivateList.EXTENDED)}
    assert len(short) == 9
    assert short < extended
    assert "ARC-AGI-2" in extended - short


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("scores.csv", "vintage,model,", "vintage,modell,", "scores.csv:1: unknown column `modell`"),
        ("scores.csv", ",0.1,0.325,", ",1.1,0.325,", "scores.csv:2: Baichuan 2-7B on ARC AI2: score"),
        ("scores.csv", ",0.1,0.325,", ",nan,0.325,", "scores.csv:2: score: not a finite number"),
        ("scores.csv", ",0.1,0.325,", ",ten,0.325,", "scores.csv:2: score: could not convert"),
        ("scores.csv", "2025-11-17,Baichuan 2-7B", "2027-01-01,Baichuan 2-7B", "scores.csv:2: vintage"),
        ("scores.csv", "2025-11-17,Baichuan 2-7B", "2025-11-17,Nobody", "scores.csv:2: unknown model or"),
        ("scores.csv", ",third_party,", ",hearsay,", "scores.csv:2: reported_by"),
        ("models.csv", "2024-12-03", "03.12.2024", "models.csv:2: released"),
        ("models.csv", "Baichuan 2-7B,", "Baichuan 2-7B,,", "models.csv:3: 16 cells where 15"),
        ("overrides.csv", ",released,2024-09-24,", ",n_params,1,", "overrides.csv:2"),
        ("benchmarks.csv", "Aider polyglot,0.0,1.0", "Aider polyglot,1.0,1.0", "benchmarks.csv:2"),
    ],
    ids=[
        "unknown column", "above one", "not a number", "text", "future", "unknown model", "unknown reporter",
        "not ISO", "extra cell", "field that has no override", "chance at the ceiling",
    ],
)  # fmt: skip
def test_frontier_tables_a_row_that_cannot_be_true_is_named_with_file_and_line(
    folder: Path, name: str, old: str, new: str, says: str
) -> None:
    change(folder, name, old, new)
    with pytest.raises(TrackerError, match="csv") as raised:
        load_tables(folder, today=TODAY)
    assert says in str(raised.value)


def test_frontier_tables_a_row_that_stands_twice_is_refused_with_both_lines(folder: Path) -> None:
    path = folder / "scores.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines, lines[1]]))
    with pytest.raises(TrackerError, match=r"scores.csv:4997: the same row as line 2"):
        load_tables(folder, today=TODAY)


def test_frontier_tables_a_missing_table_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(TrackerError, match="cannot read"):
        load_tables(tmp_path, today=TODAY)


def test_frontier_tables_the_attribution_stands_in_the_readme_word_for_word() -> None:
    readme = " ".join((ROOT / "data" / "README.md").read_text().replace("> ", "").split())
    for line in ATTRIBUTION:
        assert line in readme
