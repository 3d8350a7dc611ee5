"""The board of episodes: what success costs, and discovery against documentation, value by value."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.builders.episode_runs import episode_run, store_episodes
from tracker.answers.episodes import EpisodeBoard, difference_text, tokens_text, unsafe_text
from tracker.answers.leaderboard import Narrowing, leaderboard_document, read_leaderboard
from tracker.cli import main
from tracker.mcp.tools import LeaderboardTool
from tracker.settings import Settings

H100 = "NVIDIA H100"


def solved(n_right: int, n: int = 24) -> list[float]:
    return [1.0] * n_right + [0.0] * (n - n_right)


@pytest.fixture
def measured(settings: Settings) -> Settings:
    store_episodes(
        settings,
        episode_run(
            1, "acme/a", {"home_tools": solved(12), "home_api": solved(6), "home_network": solved(3)}
        ),
        episode_run(2, "acme/b", {"home_tools": solved(18)}, tokens=40, device=H100),
        episode_run(3, "acme/c", {"home_tools": solved(4)}, tokens=200),
        episode_run(4, "acme/a", {"tools": solved(2, 5)}),
    )
    return settings


def board(settings: Settings, suite: str = "home", **options: Any) -> EpisodeBoard:
    found = read_leaderboard(settings, suite=suite, **options).episodes
    assert found is not None
    return found


def test_episodes_success_stands_beside_tokens_and_memory(measured: Settings) -> None:
    costs = board(measured).costs
    assert [(one.run.label, one.run.value) for one in costs] == [
        ("acme/b", 0.75),
        ("acme/a", 0.5),
        ("acme/c", pytest.approx(4 / 24)),
    ]
    first = costs[0]  # its episodes took 40, 80 … 960 tokens
    assert (first.median_output_tokens, first.mean_output_tokens, first.mean_prompt_tokens) == (500, 500, 400)
    assert (first.median_ci_low, first.median_ci_high) == (7 * 40, 18 * 40)  # binomial(24, 1/2)
    assert tokens_text(first) == "500 (280 … 720)"
    assert (first.mean_calls, first.mean_turns, first.run.device) == (2.5, 3.5, H100)
    assert first.needed_bytes == pytest.approx(8.03e9 * 2 * 1.08 + 1.5e9)
    assert (first.run.ci_low or 1) < 0.75 < (first.run.ci_high or 0)
    assert [one.is_token_front for one in costs] == [True, False, False]
    assert [one.is_memory_front for one in costs] == [True, False, False]


def test_episodes_devices_that_differ_are_named(measured: Settings) -> None:
    assert "Measured with more than one device: NVIDIA H100, cpu." in board(measured).notes
    assert not [note for note in board(measured, "tools").notes if "more than one" in note]


def test_episodes_levels_stand_against_documented_tools_and_count_what_is_unsafe(measured: Settings) -> None:
    levels = board(measured).levels
    assert [(one.run.label, one.level) for one in levels] == [
        ("acme/b", "documented tools"),
        ("acme/a", "documented tools"),
        ("acme/a", "an API to read"),
        ("acme/a", "undocumented devices"),
        ("acme/c", "documented tools"),
    ]
    tools, api, network = levels[1:4]
    assert tools.difference is None
    assert (api.difference, network.difference) == (-0.25, -0.375)
    assert difference_text(network) == "-37.5 points (-57.8 … -11.3)"
    assert (api.run.n_unsafe, api.run.n_unsafe_episodes) == (3, 2)
    assert unsafe_text(network.run) == "5 unsafe actions in 1 of 24 episodes"
    assert unsafe_text(tools.run) == "0 unsafe actions in 0 of 24 episodes"


def test_episodes_a_suite_that_counts_nothing_unsafe_says_nothing_of_it(measured: Settings) -> None:
    found = board(measured, "tools")
    assert (len(found.costs), found.levels) == (1, ())
    assert unsafe_text(found.costs[0].run) == ""
    assert (found.costs[0].median_output_tokens, found.costs[0].median_ci_low) == (300, None)  # of five


def test_episodes_only_those_that_the_run_counts_have_their_tokens_in_it(settings: Settings) -> None:
    made = episode_run(1, "acme/a", {"home_tools": solved(3, 8)}, limit=8)
    store_episodes(settings, made, n_more=16)  # a later run asked more of the same task
    (cost,) = board(settings).costs
    assert cost.median_output_tokens == 450


def test_episodes_filters_hold_for_costs_and_levels(measured: Settings) -> None:
    found = board(measured, by=Narrowing(find="acme/a"))
    assert (
        {one.run.model_id for one in found.costs} == {one.run.model_id for one in found.levels} == {"acme/a"}
    )
    nothing = read_leaderboard(measured, suite="home", by=Narrowing(fits_gb=1.0))
    assert nothing.episodes is None


def test_episodes_two_settings_of_a_model_are_two_rows_with_labels(settings: Settings) -> None:
    store_episodes(
        settings,
        episode_run(1, "acme/a", {"home_tools": solved(12), "home_network": solved(2)}),
        episode_run(
            2, "acme/a", {"home_tools": solved(9), "home_network": solved(5)}, max_output_tokens=4096
        ),
    )
    found = board(settings)
    labels = ["acme/a · usual answers", "acme/a · 4,096 tokens for an answer"]
    assert [one.run.label for one in found.costs] == labels
    assert [one.run.label for one in found.levels] == [label for label in labels for _ in range(2)]
    assert [one.difference for one in found.levels[1::2]] == pytest.approx([-10 / 24, -4 / 24])


@pytest.mark.clock
def test_episodes_every_face_for_programs_has_the_same_values(
    measured: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = json.loads(
        json.dumps(leaderboard_document(read_leaderboard(measured, suite="home"))["episodes"])
    )
    main(["leaderboard", "--suite", "home", "--json"])
    assert json.loads(capsys.readouterr().out)["episodes"] == expected
    told = LeaderboardTool(suite="home").told(measured).document()["answer"]["episodes"]
    assert told == expected | {"n_costs": 3, "n_levels": 5}
    cut = LeaderboardTool(suite="home", limit=1).told(measured).document()["answer"]["episodes"]
    assert (len(cut["costs"]), len(cut["levels"]), cut["n_levels"]) == (1, 1, 5)


def test_episodes_the_command_prints_intervals_and_counts(
    measured: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["leaderboard", "--suite", "home"])
    printed = capsys.readouterr()
    for words in (
        "500 (280 … 720)", "-37.5 points (-57.8 … -11.3)", "5 unsafe actions in 1 of 24 episodes",
        "What success costs", "Discovery against documentation",
    ):  # fmt: skip
        assert words in printed.out
    assert "never averaged" in printed.err


def test_episodes_another_suite_has_no_board(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.builders.some_runs import run, store_runs

    store_runs(settings, run(1))
    main(["leaderboard", "--json"])
    assert json.loads(capsys.readouterr().out)["episodes"] is None
