"""The leaderboard and what fits a card, read from a store."""

from __future__ import annotations

import json

import pytest

from tests.builders.some_runs import TASKS, model, run, store_runs
from tracker.answers.fits import Among, fits_document, read_fits
from tracker.answers.leaderboard import Narrowing, leaderboard_document, read_leaderboard
from tracker.cli import main
from tracker.errors import TrackerError, UnknownNameError
from tracker.settings import Settings

SMALL, LARGE = (
    model("acme/small-1b", n_params=1_000_000_000),
    model("acme/large-70b", n_params=70_000_000_000),
)


@pytest.fixture
def two_sizes(settings: Settings) -> Settings:
    store_runs(settings, run(1, of=SMALL), run(2, of=LARGE))
    return settings


def test_leaderboard_of_nothing_names_the_command_that_measures(settings: Settings) -> None:
    with pytest.raises(TrackerError, match="nothing has been measured yet"):
        read_leaderboard(settings)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"suite": "quik"}, "no suite is called `quik`"),
        ({"task": "sort_word"}, "no task is called `sort_word`"),
    ],
    ids=["suite", "task"],
)
def test_leaderboard_names_what_it_does_not_know(
    two_sizes: Settings, asked: dict[str, str], says: str
) -> None:
    with pytest.raises(UnknownNameError, match=says):
        read_leaderboard(two_sizes, **asked)


def test_leaderboard_without_names_ranks_by_the_first_task_of_the_fullest_suite(two_sizes: Settings) -> None:
    found = read_leaderboard(two_sizes)
    assert (found.suite, found.task) == ("quick", TASKS[0])
    assert list(found.rows["rank"]) == [1, 1]


def test_leaderboard_keeps_what_fits_a_card(two_sizes: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    found = read_leaderboard(two_sizes, by=Narrowing(fits_gb=24))
    assert list(found.rows["model_id"]) == [SMALL.model_id]
    main(["leaderboard", "--fits-gb", "24", "--json"])
    assert json.loads(capsys.readouterr().out) == leaderboard_document(found)
    main(["leaderboard", "--fits-gb", "24"])
    assert SMALL.model_id in capsys.readouterr().out


def test_fits_takes_the_measured_models_that_fit_and_counts_those_asked_about(
    two_sizes: Settings,
) -> None:
    found = read_fits(two_sizes, memory_gb=24)
    (row,) = fits_document(found)["models"]
    assert (row["model_id"], row["basis"], row["is_measured"]) == (SMALL.model_id, "measured here", True)
    assert (found.n_models, row["needed_bytes"]) == (2, 3_660_000_000)  # 2e9 * 1.08 + 1.5e9
    assert read_fits(two_sizes, memory_gb=24, among=Among(max_params=1e8)).rows.empty


@pytest.mark.parametrize(
    ("asked", "says"),
    [({"memory_gb": 0.0}, "number of GB"), ({"memory_gb": 24.0, "context": 5}, "must be one of 4096")],
    ids=["memory", "context"],
)
def test_fits_refuses_what_is_out_of_range(settings: Settings, asked: dict[str, float], says: str) -> None:
    with pytest.raises(TrackerError, match=says):
        read_fits(settings, **asked)  # type: ignore[arg-type]


def test_fits_of_an_empty_store_is_empty(settings: Settings) -> None:
    assert fits_document(read_fits(settings, memory_gb=24))["models"] == []
