"""The section of the leaderboard for suites of episodes: its values are those of every other face."""

from __future__ import annotations

import json

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.http import routes
from app.pages.leaderboard.episodes import (
    COSTS,
    cost_alt,
    cost_chart,
    cost_frame,
    level_alt,
    level_chart,
    level_frame,
)
from tests.builders.episode_runs import episode_run, store_episodes
from tests.doubles.app_visit import handed_over, said, visit
from tests.tracker.answers.test_episodes import H100, board, solved
from tracker.answers.leaderboard import leaderboard_document, read_leaderboard
from tracker.settings import Settings

EVIL = "acme/<b>evil</b>"


@pytest.fixture
def measured(settings: Settings) -> Settings:
    store_episodes(
        settings,
        episode_run(
            1, "acme/a", {"home_tools": solved(12), "home_api": solved(6), "home_network": solved(3)}
        ),
        episode_run(
            2, EVIL, {"home_tools": solved(18)}, tokens=4000, device=H100, unsafe={"home_tools": (2, 1)}
        ),
        episode_run(3, "acme/a", {"tools": solved(2, 5)}),
    )
    return settings


def test_episodes_section_shows_the_values_of_the_answer(measured: Settings) -> None:
    session = visit("leaderboard", suite="home")
    assert "Episodes" in [header.value for header in session.header]
    assert [one.value for one in session.subheader] == [
        "What success costs",
        "Discovery against documentation",
    ]
    tables = [frame.value for frame in session.dataframe]
    (costs,) = [table for table in tables if "tokens" in table]
    (levels,) = [table for table in tables if "difference" in table]
    found = board(measured)
    assert list(costs["label"]) == [one.run.label for one in found.costs] == [EVIL, "acme/a"]
    assert list(costs["unsafe"]) == [
        "2 unsafe actions in 1 of 24 episodes",
        "0 unsafe actions in 0 of 24 episodes",
    ]
    assert list(costs["tokens"]) == ["50,000 (28,000 … 72,000)", "1,250 (700 … 1,800)"]
    assert list(levels["level"]) == ["documented tools"] * 2 + ["an API to read", "undocumented devices"]
    assert list(levels["unsafe"])[2:] == [
        "3 unsafe actions in 2 of 24 episodes",
        "5 unsafe actions in 1 of 24 episodes",
    ]
    words = said(session)
    assert "never averaged" in words
    assert "<b>" not in words


def test_episodes_section_is_absent_for_other_suites_and_without_levels_for_tools(measured: Settings) -> None:
    session = visit("leaderboard", suite="tools")
    assert [one.value for one in session.subheader] == ["What success costs"]
    assert "Measured on cpu" in said(session)
    nothing = visit("leaderboard", suite="home", find="nobody")
    assert "Episodes" not in [header.value for header in nothing.header]


def test_episodes_section_hands_over_the_numbers(measured: Settings) -> None:
    made = handed_over("leaderboard", suite="home")
    costs, levels = made["episodes-home-home_tools.csv"], made["levels-home.csv"]
    assert list(costs["median_output_tokens"]) == [50_000, 1250]
    assert list(levels["n_unsafe"]) == [2, 0, 3, 5]


def test_episodes_route_has_the_document_of_the_command(measured: Settings) -> None:
    expected = leaderboard_document(read_leaderboard(measured, suite="home"))["episodes"]
    with TestClient(Starlette(routes=routes.ROUTES)) as client:
        rows = client.get("/api/episodes.json").json()["rows"]
        assert (rows["suite"], rows["task"]) == ("home", "home_tools")
        assert rows["episodes"] == json.loads(json.dumps(expected))
        other = client.get("/api/episodes.json?task=home_network").json()["rows"]["episodes"]
        assert [one["run_id"][-8:] for one in other["costs"]] == ["1-000000"]
        refused = client.get("/api/episodes.json?suite=nope")
    assert (refused.status_code, "no suite is called `nope`" in refused.text) == (400, True)


@pytest.mark.parametrize("axis", list(COSTS))
def test_episodes_chart_of_costs_has_both_intervals_and_a_shape_for_each_device(
    measured: Settings, axis: str
) -> None:
    frame = cost_frame(board(measured).costs, axis)
    spec = cost_chart(frame, title=COSTS[axis], task="home_tools").to_dict()
    assert len(spec["layer"]) == 4
    assert all(frame["ci_low"] < frame["score"])
    assert all(frame["score"] < frame["ci_high"])
    if axis == "Tokens":
        assert all(frame["cost_low"] < frame["cost"])
        assert spec["layer"][2]["encoding"]["x"]["scale"]["type"] == "log"  # 1,250 to 50,000
    shape = spec["layer"][2]["encoding"]["shape"]
    assert shape["scale"]["domain"] == [H100, "cpu"]
    assert len(set(shape["scale"]["range"])) == 2
    assert list(frame["name"]) == [f"{EVIL} · 2 unsafe", "acme/a"]
    assert "75.0% at" in cost_alt(frame, task="home_tools", axis=axis)


def test_episodes_chart_of_levels_names_the_model_once_and_unsafe_actions_beside_the_score(
    measured: Settings,
) -> None:
    frame = level_frame(board(measured).levels)
    assert list(frame["name"]) == [
        EVIL, "documented tools", "acme/a", "documented tools", "an API to read", "undocumented devices",
    ]  # fmt: skip
    assert list(frame["says"].dropna()) == [
        "75.0% · 2 unsafe",
        "50.0%",
        "25.0% · 3 unsafe",
        "12.5% · 5 unsafe",
    ]
    assert level_chart(frame).to_dict()["height"] > 200
    assert "acme/a, undocumented devices, 12.5%, 5 unsafe actions in 1 of 24 episodes" in level_alt(frame)
