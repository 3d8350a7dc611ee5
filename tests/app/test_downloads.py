"""Every table of a page can be downloaded, and the download has the rows of the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.data import digests, gap_histories
from tests.builders.some_studies import study
from tests.builders.store_builder import (
    CANDIDATES,
    NOW,
    TASKS,
    build_store,
)
from tests.builders.studies_builder import AGENT
from tests.doubles.app_process import DRAWN_S
from tests.doubles.app_visit import handed_over, visit
from tracker.frontier.definitions import HEADLINE
from tracker.frontier.question import Question

FIRST, SECOND = CANDIDATES[1].model.model_id, CANDIDATES[2].model.model_id


@pytest.fixture(scope="module")
def small_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_store(tmp_path_factory.mktemp("small")).home


@pytest.fixture(autouse=True)
def home(small_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRACKER_HOME", str(small_home))
    monkeypatch.setenv("TRACKER_NOW", NOW.isoformat())
    return small_home


def test_downloads_of_the_frontier_are_models_history_definitions_and_lags() -> None:
    asked = Question(benchmark="GPQA diamond")
    assert gap_histories.over_time(asked, HEADLINE, wait_s=DRAWN_S) is not None
    files = handed_over("frontier", axis="GPQA diamond")
    parts = ("models", "gap-over-time", "definitions", "lags")
    assert set(files) == {f"frontier-{part}.csv" for part in parts}
    columns = ["as_of", "value", "ci_low", "ci_high", "n", "data_of", "age_days"]
    assert list(files["frontier-gap-over-time.csv"]) == columns
    assert list(files["frontier-definitions.csv"]["id"]) == ["G1", "G2", "G3", "G4", "G5", "G6", "G7"]
    assert {"value", "ci_low", "ci_high", "unit"} <= set(files["frontier-definitions.csv"])


def test_downloads_of_a_model_are_runs_claims_scores_and_studies() -> None:
    files = handed_over("model", model=FIRST)
    (scores,) = (frame for name, frame in files.items() if name.startswith("scores-"))
    assert list(scores["task"]) == list(TASKS)
    assert {"score", "ci_low", "ci_high"} <= set(scores)
    assert {"runs.csv", "claimed-and-measured.csv"} <= set(files)
    studies = handed_over("model", model=AGENT)["studies-as-agent.csv"]
    assert study(1).study_id in set(studies["study_id"])


def test_downloads_of_a_comparison_are_scores_differences_and_differing_items() -> None:
    files = handed_over("compare", compare=[FIRST, SECOND])
    assert len(files["shared-scores.csv"]) == 2 * len(TASKS)
    assert len(files["differences.csv"]) == len(TASKS)
    (split,) = (frame for name, frame in files.items() if name.startswith("split-"))
    (items,) = (frame for name, frame in files.items() if name.startswith("solved-"))
    shown = visit("compare", compare=[FIRST, SECOND]).dataframe[1].value
    assert list(split["doc_id"]) == list(shown["doc_id"])
    assert 0 < len(split) < len(items)


def test_downloads_include_failures_and_agent_comparisons() -> None:
    assert list(handed_over("runs")["failures.csv"]["reason"]) == ["gated", "does_not_fit"]
    comparisons = handed_over("research")["research-comparisons.csv"]
    assert {"better", "worse", "difference_bpb", "n_seeds", "p", "p_adjusted"} == set(comparisons)


@pytest.mark.clock
def test_downloads_of_changes_have_every_line_beyond_those_shown(home: Path) -> None:
    shown, every = digests.recent_digest(7, most=2), digests.recent_digest(7, most=None)
    assert any(section.n > len(section.lines) for section in shown.sections)
    assert [section.n for section in shown.sections] == [len(section.lines) for section in every.sections]
    assert len(handed_over("changes")["changes.csv"]) == sum(section.n for section in every.sections)
