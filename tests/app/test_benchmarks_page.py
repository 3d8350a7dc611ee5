"""The page of benchmarks: the list, one benchmark, what leads there, and the route with the same rows."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from app.data import benchmarks
from app.http import api
from app.pages.benchmarks import charts
from app.widgets import benchmark_links
from tests.builders.store_builder import NOW
from tests.doubles.app_visit import handed_over, said, visit
from tracker.answers.benchmarks import STATES, saturation
from tracker.errors import UnknownNameError
from tracker.frontier.tables import load_tables

pytestmark = pytest.mark.clock


@pytest.fixture(scope="module")
def fresh_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home into which nothing was ingested."""
    return tmp_path_factory.mktemp("fresh")


@pytest.fixture(autouse=True)
def fresh(fresh_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_HOME", str(fresh_home))
    monkeypatch.setenv("TRACKER_NOW", NOW.isoformat())


def test_every_benchmark_of_the_newest_scores_is_listed_with_its_lag() -> None:
    rows = {row["benchmark"]: row for row in api.benchmarks_route({})["benchmarks"]}
    tables = load_tables()
    newest = {row.benchmark for row in tables.scores if row.vintage == tables.vintages[-1]}
    assert set(rows) == newest
    lags = {row["benchmark"]: row["months"] for row in api.lags_route({})}
    listed = {name: row["months_behind"] for name, row in rows.items() if row["months_behind"] is not None}
    assert listed == lags
    (every,) = handed_over("benchmarks").values()
    assert list(every["benchmark"]) == sorted(rows, key=str.casefold)


def test_a_benchmark_has_every_published_score_with_its_source() -> None:
    found = api.benchmarks_route({"benchmark": "gpqa Diamond"})
    tables = load_tables()
    published = [
        row for row in tables.scores if row.vintage == tables.vintages[-1] and row.benchmark == "GPQA diamond"
    ]
    assert sum(row["n_scores"] for row in found["measured_by"]) == len(found["scores"]) == len(published)
    shown = {row["model"]: row["score"] for row in found["scores"]}
    raw = {row.model: row.raw_score for row in published if row.raw_score is not None}
    assert {model: shown[model] for model in raw} == raw
    best = {group: max(row["score"] for row in found["scores"] if row["access"] == group)
            for group in ("open", "closed")}  # fmt: skip
    assert (found["best_open_score"], found["best_closed_score"]) == (best["open"], best["closed"])
    assert all(row["ci_low"] <= row["score"] <= row["ci_high"] for row in found["scores"] if row["ci_low"])
    assert found["command"] == "tracker bench ORG/NAME --task gpqa_diamond_cot_zeroshot"
    assert "place" in found["suites"]


def test_a_benchmark_that_only_one_group_answered_has_no_lag_and_says_so() -> None:
    assert api.benchmarks_route({"benchmark": "CadEval"})["lag"] is None
    session = visit("benchmarks", benchmark="CadEval")
    assert session.header[0].value == "No open model has a score"
    assert "No task of lm-eval asks this benchmark" in said(session)


def test_page_tells_the_question_the_lag_and_how_to_run_it() -> None:
    session = visit("benchmarks", benchmark="GPQA diamond")
    assert session.title[0].value == "GPQA diamond"
    assert session.markdown[0].value.startswith("Graduate\\-level multiple choice")
    assert session.header[0].value == "Open models are behind by 4.8 months"
    assert session.code[0].value == "tracker bench ORG/NAME --task gpqa_diamond_cot_zeroshot"


def test_an_unknown_benchmark_is_named_with_the_nearest_known_one() -> None:
    with pytest.raises(UnknownNameError, match="no benchmark is called `gpqa`") as refused:
        api.benchmarks_route({"benchmark": "gpqa"})
    assert "GPQA diamond" in refused.value.hint


def test_filters_narrow_the_list() -> None:
    (shown,) = handed_over("benchmarks", items_are="Private items", local="false", about="arc").values()
    assert set(shown["benchmark"]) >= {"ARC-AGI", "ARC-AGI-2"}
    assert shown["is_private"].all()
    assert visit("benchmarks", about="no such thing").info[0].value == "No benchmarks match these filters"


def test_every_score_has_a_point_and_the_ceiling_is_marked() -> None:
    found = benchmarks.page("FrontierMath-2025-02-28-Private")
    frame = benchmarks.score_frame(found)
    shown = frame[frame["access"] != "unknown"].assign(href="")
    spec = charts.score_chart(
        shown, chance=found.facts.chance, ceiling=found.facts.ceiling, as_of=found.vintage
    ).to_dict()
    sizes = sorted(len(rows) for rows in spec["datasets"].values())
    assert sizes[-1] == len(shown)
    assert {"score": 0.57} in [row for rows in spec["datasets"].values() for row in rows]


def test_names_in_texts_lead_to_the_page() -> None:
    assert benchmark_links.linked("GPQA diamond") == "[GPQA diamond](benchmarks?benchmark=GPQA+diamond)"
    assert benchmark_links.linked("not a benchmark") == "not a benchmark"
    text = benchmark_links.with_links("5 new values on ARC\\-AGI\\-2, the highest 60%")
    assert text == "5 new values on [ARC\\-AGI\\-2](benchmarks?benchmark=ARC-AGI-2), the highest 60%"
    assert benchmark_links.with_links("on ARC\\-AGI\\-3") == "on ARC\\-AGI\\-3"


@pytest.mark.parametrize(
    ("share", "state"), [(0.95, STATES[0.95]), (0.9, STATES[0.85]), (0.3, "not saturated")]
)
def test_saturation_is_told_by_the_way_to_the_ceiling(share: float, state: str) -> None:
    assert saturation(share) == state


def test_scores_are_dated() -> None:
    assert benchmarks.page("MMLU").vintage == date(2026, 8, 11)
