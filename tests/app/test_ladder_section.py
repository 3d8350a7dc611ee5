"""The quantization section of the model page: the ladder of a model, as the command tells it."""

from __future__ import annotations

import altair as alt
import pytest

from app.pages.model.ladder import loss_alt, loss_chart, points_frame, rung_frame
from tests.builders.ladders import store_ladder
from tests.builders.some_runs import model
from tests.doubles.app_visit import said, visit
from tests.tracker.cli.test_compare import one_task, scored, store
from tracker.answers.ladder import ladder_of
from tracker.answers.ladder_formats import difference_text
from tracker.settings import Settings

PARENT, COPY, MISSING = "acme/atlas-8b", "acme/atlas-8b-awq", "acme/atlas-8b-<b>fp8</b>"


@pytest.fixture
def measured(settings: Settings) -> Settings:
    """A copy that solves half of what its parent solves, and one that did not fit."""
    store(
        settings,
        one_task(1, scored([1.0, 1.0, 0.0, 1.0] * 20), model(PARENT)),
        one_task(2, scored([1.0, 0.0, 0.0, 0.0] * 20), model(COPY)),
    )
    store_ladder(settings, PARENT, COPY, MISSING)
    return settings


def test_ladder_section_shows_points_with_whiskers_and_what_was_not_measured(measured: Settings) -> None:
    session = visit("model", model=PARENT)
    assert "Quantization" in [header.value for header in session.header]
    (table,) = [frame.value for frame in session.dataframe if "difference" in frame.value]
    loss = ladder_of(PARENT, measured).rungs[1].loss
    assert list(table["difference"]) == ["reference", difference_text(loss), "–"]
    assert list(table["lost"].dropna()) == [40]
    words = said(session).replace("\\", "")
    assert "needs 812 GB of memory" in words
    assert "<b>" not in words.replace("acme/atlas-8b-<b>fp8</b>", "")


def test_ladder_section_is_also_on_the_page_of_a_copy_and_absent_without_a_ladder(measured: Settings) -> None:
    assert "Quantization" in [header.value for header in visit("model", model=COPY).header]
    for path in measured.ladders_path.glob("*.json"):
        path.unlink()
    assert "Quantization" not in [header.value for header in visit("model", model=COPY).header]


def test_ladder_chart_has_a_whisker_for_each_loss_and_no_difference_as_a_rule(measured: Settings) -> None:
    found = ladder_of(PARENT, measured)
    frame = points_frame(found)
    spec = loss_chart(frame).to_dict()
    assert len(spec["layer"]) == 3
    assert isinstance(loss_chart(frame), alt.LayerChart)
    assert frame[["low", "difference", "high"]].iloc[0].is_monotonic_increasing
    assert frame["difference"].iloc[0] == pytest.approx(-50.0)
    assert COPY in loss_alt(frame)
    assert len(rung_frame(found)) == 3
