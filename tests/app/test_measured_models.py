"""Models measured here on the pages: points and table of the frontier, index columns, what fits a card."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import streamlit as st

from app.data import frontier_views, measured_models
from tests.builders.store_builder import NOW, build_store, measure_published
from tests.doubles.app_process import DRAWN_S
from tests.doubles.app_visit import handed_over, said, visit
from tracker.answers.best_that_fits import CardBudget, answer_best_that_fits
from tracker.answers.cards import card_with
from tracker.answers.measured import answer_measured
from tracker.answers.what_fits import WhatFitsAsked, answer_what_fits
from tracker.files.items import read_run, write_run
from tracker.frontier.question import Question
from tracker.settings import Settings
from tracker.store import Store, publish

PUBLISHED_ID = "moonshotai/Kimi-K3"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = build_store(tmp_path_factory.mktemp("measured"))
    measure_published(settings, hub_id=PUBLISHED_ID)
    return settings.home


@pytest.fixture
def store(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("TRACKER_HOME", str(home))
    monkeypatch.setenv("TRACKER_NOW", NOW.isoformat())
    st.cache_resource.clear()
    yield Settings(home=home)
    st.cache_resource.clear()


@pytest.fixture
def placed(store: Settings) -> Settings:
    """The draws and every place are there."""
    assert frontier_views.drawn(Question(), wait_s=DRAWN_S) is not None
    found = measured_models.measured(Question(), wait_s=DRAWN_S)
    assert found is not None
    assert found.has_intervals
    return store


@pytest.mark.clock
@pytest.mark.slow_clock
def test_frontier_page_lists_the_placed_model_and_why_others_have_no_place(placed: Settings) -> None:
    session = visit("frontier")
    (table,) = (block.value for block in session.dataframe if "calibrated" in block.value)
    answer = answer_measured(Question(), placed)
    assert answer is not None
    (row,) = answer.newest
    assert list(table["model"]) == [PUBLISHED_ID]
    assert table["index"][0] == round(row.placement.index, 1)
    assert table["behind"][0] == f"{row.placement.months_behind:.1f} months (G3)"
    words = said(session)
    assert "Triangles: 1 model measured here, 90% intervals as bars" in words
    assert "the index contains none of these tasks" in words


def test_frontier_page_has_the_points_before_the_intervals(
    store: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With draws that never come, the place is there and its interval is not."""
    monkeypatch.setattr(frontier_views, "drawn", lambda question, **_: None)
    assert measured_models.measured(Question(), wait_s=DRAWN_S) is not None
    session = visit("frontier")
    (table,) = (block.value for block in session.dataframe if "calibrated" in block.value)
    assert (list(table["model"]), list(table["interval"])) == ([PUBLISHED_ID], ["–"])
    assert "intervals are being computed" in said(session)


@pytest.mark.usefixtures("placed")
@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"axis": "GPQA diamond"}, "placed on the whole capability index only"),
        ({"only": "Private only"}, "placed on the whole capability index only"),
        ({"without": ["Kimi K3"]}, "No model measured here has a place on the index"),
    ],
    ids=["benchmark", "private", "left out"],
)
def test_frontier_page_says_why_no_triangle_is_shown(params: dict[str, str], words: str) -> None:
    session = visit("frontier", **params)
    assert words in said(session)
    assert not [block for block in session.dataframe if "calibrated" in block.value]


def test_frontier_page_of_an_empty_store_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path))
    assert measured_models.measured(Question(), wait_s=DRAWN_S) is not None
    assert "`tracker bench ORG/NAME` measures a model and puts it on this chart" in said(visit("frontier"))


@pytest.mark.usefixtures("placed")
def test_frontier_size_filter_names_the_bits_and_old_links_mean_16() -> None:
    def filters(**params: str) -> str:
        return next(line for line in said(visit("frontier", **params)).splitlines() if "Filters" in line)

    assert "10\\.42B parameters \\(16\\-bit weights\\)" in filters(size="fits 24 GB")
    packed = filters(size="fits 24 GB", weight_bits="4 bits")
    assert "34\\.08B parameters \\(4\\-bit weights, scores of the published ones\\)" in packed


@pytest.mark.usefixtures("placed")
def test_leaderboard_and_its_download_have_index_basis_and_months() -> None:
    table = visit("leaderboard", suite="anchor", task="gsm8k").dataframe[0].value
    assert list(table["label"]) == [PUBLISHED_ID]
    assert (table["index"][0], table["index_basis"][0]) == (157.0, "published scores")
    assert table["index_interval"][0].startswith("155.")
    assert (table["behind"][0], table["months_as_of"][0]) == ("4.4 months (G3)", "2026-08-11")
    saved = handed_over("leaderboard", suite="anchor", task="gsm8k")["leaderboard-anchor-gsm8k.csv"]
    assert saved["months_definition"][0] == "G3"
    assert saved["months_as_of"][0] == "2026-08-11"


def test_run_it_shows_the_best_that_fits_over_time_by_bits(placed: Settings) -> None:
    for shown, bits in (("4 bits", 4.0), ("16 bits", 16.0)):
        expected = answer_best_that_fits(CardBudget(24.0, bits), placed)
        session = visit("run_it", card="24 GB", bits=shown)
        assert session.metric[0].value.replace("\\", "") == expected.steps[-1].model
        assert session.metric[0].label == f"Best that fits 24 GB at {bits:g} bits"
        table = session.dataframe[-1].value
        assert list(table["model"]) == [row.model for row in reversed(expected.steps)]
    assert "assumed to keep the score" in said(visit("run_it", card="24 GB"))


def test_run_it_of_an_empty_store_still_answers_what_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path))
    session = visit("run_it", card="8 GB", bits="4 bits")
    assert session.metric[0].label == "Best that fits 8 GB at 4 bits"
    assert "`tracker ingest`" in said(session)
    expected = answer_what_fits(card_with(8.0), WhatFitsAsked(), Settings(home=tmp_path))
    table = session.dataframe[0].value
    assert list(table["model"]) == [row.model_id for row in expected.rows]
    assert list(table["evidence"].fillna("")) == [row.evidence or "" for row in expected.rows]
    named = visit("run_it", card="8 GB", gpu="RTX 4060").dataframe[0].value
    assert table["speed"].isna().all()
    assert named["speed"].notna().all()


def test_measured_places_of_a_new_snapshot_are_placed_again(placed: Settings) -> None:
    """A second model is measured: the page's places follow the store."""
    before = measured_models.measured(Question(), wait_s=DRAWN_S)
    assert before is not None
    whole = read_run(placed.items_path / before.newest[0].run_id)
    newcomer = replace(whole.model, model_id="acme/newcomer-9b")
    run = replace(whole, run_id="20261124T113000-0000ab", model=newcomer)
    write_run(placed.items_path, run)
    with Store.open(placed) as opened:
        opened.add_run(run)
    publish(placed)
    after = measured_models.measured(Question(), wait_s=DRAWN_S)
    assert after is not None
    new = {row.model_id for row in after.newest} - {row.model_id for row in before.newest}
    assert new == {"acme/newcomer-9b"}
