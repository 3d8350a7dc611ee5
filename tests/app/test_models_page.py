"""The page of all models: what it lists, its filters, and the JSON route with the same rows."""

from __future__ import annotations

from datetime import date

import pytest

from app.data import frontier_views
from app.http import api
from app.pages.models import charts
from tests.builders.store_builder import NOW
from tests.doubles.app_visit import handed_over, visit
from tracker.answers.model_table import FIRST_REASONING, reasons
from tracker.frontier.question import Question
from tracker.frontier.tables import load_tables
from tracker.memory_estimate import GB, needed_bytes, stored_bits

pytestmark = pytest.mark.clock


@pytest.fixture(autouse=True)
def fresh(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home into which nothing was ingested."""
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path_factory.mktemp("fresh")))
    monkeypatch.setenv("TRACKER_NOW", NOW.isoformat())


def test_a_fresh_home_lists_every_model_of_the_index_and_the_estimates() -> None:
    rows = api.all_models_route({})
    published = [row for row in rows if row["basis"] == "published scores"]
    points = frontier_views.frontier(Question()).answer.points
    assert {row["model"] for row in published} == {point.model for point in points}
    assert {row["access"] for row in published} == {"open", "closed"}
    estimates = {row["hub_id"] for row in rows if row["basis"] != "published scores"}
    assert estimates < {row.hub_id for row in load_tables().small_open_models}
    assert [row["index"] for row in rows] == sorted((row["index"] for row in rows), reverse=True)


def test_memory_is_the_rule_of_the_program_and_closed_models_have_none() -> None:
    rows = {row["model"]: row for row in api.all_models_route({})}
    kimi = rows["Kimi K3"]
    for bits in (16, 8, 4):
        needed = needed_bytes(weights_bytes=kimi["n_params"] * stored_bits(bits) / 8)
        assert needed is not None
        assert kimi[f"needed_gb_{bits}"] == pytest.approx(needed / GB)
    gap = frontier_views.frontier(Question()).gap("G3")
    assert kimi["months_behind"] == pytest.approx(gap.value)
    assert rows["GPT-5.6 Sol"]["needed_gb_4"] is None


def test_page_has_the_rows_of_the_route_and_its_filters_are_in_the_link() -> None:
    (every,) = handed_over("models").values()
    assert list(every["model"]) == [row["model"] for row in api.all_models_route({})]
    (small,) = handed_over("models", search="qwen", weights="Open", most="up to 9B").values()
    assert len(small)
    assert set(small["access"]) == {"open"}
    assert small["n_params"].max() <= 9e9
    assert small["model"].str.contains("qwen", case=False).all()


def test_license_and_reasoning_are_known_without_an_ingest_and_can_be_filtered() -> None:
    (free,) = handed_over("models", licensed="apache-2.0").values()
    assert len(free) > 20
    assert set(free["license"]) == {"apache-2.0"}
    (thinking,) = handed_over("models", reasoning="Thinks before it answers").values()
    assert set(thinking["is_reasoning"]) == {True}
    assert thinking["released"].min() >= FIRST_REASONING.isoformat()
    (older,) = handed_over("models", reasoning="Does not think", weights="Closed").values()
    assert older["released"].max() < FIRST_REASONING.isoformat()


@pytest.mark.parametrize(
    ("name", "thinks"),
    [
        ("gpt-5.1_high", True),
        ("claude-sonnet-4-20250514_16K", True),
        ("DeepSeek-R1", True),
        ("gpt-4.1-mini-2025-04-14", None),
        ("Phi-3-mini-4k-instruct", None),
        ("Qwen3.7-Max", None),
    ],
)
def test_reasoning_is_read_from_the_name_of_a_scored_version(name: str, thinks: bool | None) -> None:
    assert reasons([name], FIRST_REASONING) is thinks
    assert reasons([name], date(2024, 9, 11)) is False


def test_page_says_that_nothing_matches() -> None:
    session = visit("models", search="no such model")
    assert session.info[0].value == "No models match these filters"


@pytest.mark.parametrize("cost", list(charts.COSTS))
def test_chart_has_a_point_for_each_model_whose_cost_is_known(cost: str) -> None:
    (every,) = handed_over("models").values()
    column = charts.COSTS[cost][0]
    spec = charts.cost_chart(every.assign(href=""), cost=cost).to_dict()
    lines, rows = sorted(spec["datasets"].values(), key=len)
    known = every[column].dropna()
    levels = [row["index"] for row in lines]
    assert max(levels) == every.dropna(subset=[column])["index"].max()
    assert len(rows) == len(known[known > 0] if column != "released" else known)
