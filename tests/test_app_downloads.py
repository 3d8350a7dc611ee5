"""Every table of a page can be taken along: what its buttons hand over has the table's rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from app import digests
from tests.app_visit import handed_over, visit
from tests.some_studies import study
from tests.store_builder import CANDIDATES, TASKS, build_store
from tests.studies_builder import AGENT

FIRST, SECOND = CANDIDATES[1].model.model_id, CANDIDATES[2].model.model_id


@pytest.fixture(scope="module")
def small_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_store(tmp_path_factory.mktemp("small")).home


@pytest.fixture(autouse=True)
def home(small_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRACKER_HOME", str(small_home))
    return small_home


def test_the_frontier_hands_over_its_models_definitions_and_lags() -> None:
    files = handed_over("frontier.py", axis="GPQA diamond")
    assert set(files) == {"frontier-models.csv", "frontier-definitions.csv", "frontier-lags.csv"}
    assert list(files["frontier-definitions.csv"]["id"]) == ["G1", "G2", "G3", "G4", "G5", "G6"]
    assert {"value", "ci_low", "ci_high", "unit"} <= set(files["frontier-definitions.csv"])


def test_a_model_hands_over_its_runs_claims_scores_and_studies() -> None:
    files = handed_over("model.py", model=FIRST)
    (scores,) = (frame for name, frame in files.items() if name.startswith("scores-"))
    assert list(scores["task"]) == list(TASKS)
    assert {"score", "ci_low", "ci_high"} <= set(scores)
    assert {"runs.csv", "claimed-and-measured.csv"} <= set(files)
    studies = handed_over("model.py", model=AGENT)["studies-as-agent.csv"]
    assert study(1).study_id in set(studies["study_id"])


def test_a_comparison_hands_over_scores_differences_and_the_items_that_differ() -> None:
    files = handed_over("compare.py", compare=[FIRST, SECOND])
    assert len(files["shared-scores.csv"]) == 2 * len(TASKS)
    assert len(files["differences.csv"]) == len(TASKS)
    (split,) = (frame for name, frame in files.items() if name.startswith("split-"))
    (items,) = (frame for name, frame in files.items() if name.startswith("solved-"))
    shown = visit("compare.py", compare=[FIRST, SECOND]).dataframe[1].value
    assert list(split["doc_id"]) == list(shown["doc_id"])
    assert 0 < len(split) < len(items)


def test_what_could_not_be_run_and_who_is_told_apart_are_handed_over() -> None:
    assert list(handed_over("runs.py")["failures.csv"]["reason"]) == ["gated", "does_not_fit"]
    comparisons = handed_over("research.py")["research-comparisons.csv"]
    assert {"better", "worse", "difference_bpb", "n_seeds", "p", "p_adjusted"} == set(comparisons)


def test_of_what_changed_every_line_is_handed_over_not_those_alone_that_are_shown(home: Path) -> None:
    shown, every = digests.changed(7, most=2), digests.changed(7, most=None)
    assert any(section.n > len(section.lines) for section in shown.sections)
    assert [section.n for section in shown.sections] == [len(section.lines) for section in every.sections]
    assert len(handed_over("changes.py")["changes.csv"]) == sum(section.n for section in every.sections)
