"""The models measured here on the index, and the columns that every table of models gets from it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from tests.builders.some_runs import model, run, score, store_runs
from tracker.answers.frontier import undrawn
from tracker.answers.index_place import (
    ESTIMATED,
    INDEX_COLUMNS,
    MEASURED,
    PUBLISHED,
    UNCALIBRATED,
    IndexPlace,
    IndexPlaces,
)
from tracker.answers.index_places import places_on
from tracker.answers.leaderboard import read_leaderboard
from tracker.answers.measured import MeasuredAnswer, answer_measured, measured_document, measured_on_index
from tracker.answers.models import measured_models
from tracker.answers.placement import place_run
from tracker.frontier.dataset import select
from tracker.frontier.index import fit_index
from tracker.frontier.question import Only, Question
from tracker.frontier.tables import load_tables
from tracker.records import Model, Run
from tracker.settings import Settings

PUBLISHED_ID, SMALL_ID = "moonshotai/Kimi-K3", "Qwen/Qwen3-8B"
PENDING = ("ci_low", "ci_high", "months_ci_low", "months_ci_high")


def on_scale(number: int, of: Model, value: float, **more: Any) -> Run:
    """A run of two tasks of the index."""
    scores = tuple(score(task, of, value) for task in ("mmlu", "gsm8k"))
    return replace(run(number, of=of), suite="anchor-small", scores=scores, **more)


def undrawn_answer(settings: Settings, question: Question | None = None) -> MeasuredAnswer:
    """The answer before the draws are computed, which takes no time."""
    tables, question = load_tables(), question or Question()
    return measured_on_index(tables, question, undrawn(fit_index(select(tables), question.options)), settings)


def test_measured_takes_the_newest_run_that_can_be_placed(settings: Settings) -> None:
    one = model("acme/one-8b")
    store_runs(settings, on_scale(1, one, 0.5), on_scale(2, one, 0.7), run(3, of=one))
    (row,) = undrawn_answer(settings).newest
    assert (row.model_id, row.run_id) == ("acme/one-8b", on_scale(2, one, 0.7).run_id)
    assert (row.released, row.day) == (None, date(2026, 11, 24))


def test_measured_says_why_a_model_is_not_placed(settings: Settings) -> None:
    store_runs(settings, run(1), on_scale(2, model("acme/one-8b"), 0.5))
    found = undrawn_answer(settings)
    (missing,) = found.not_placed
    assert missing.model_id == "acme/atlas-8b"
    assert "the index contains none of these tasks" in missing.reason
    assert {row.model_id for row in found.placed} == {"acme/one-8b"}


def test_measured_before_the_draws_has_a_place_and_no_interval(settings: Settings) -> None:
    store_runs(settings, on_scale(1, model("acme/one-8b"), 0.5))
    document = measured_document(undrawn_answer(settings))
    (row,) = document["measured"]
    assert document["measured_intervals"] == "being computed"
    assert [row[name] for name in PENDING] == [None] * 4
    assert row["index"] > 0
    assert (row["day"], row["day_is"]) == ("2026-11-24", "measurement")


def test_measured_a_published_model_stands_at_its_release_beside_its_published_index(
    settings: Settings,
) -> None:
    store_runs(settings, on_scale(1, model(PUBLISHED_ID), 0.9))
    (row,) = undrawn_answer(settings).newest
    assert row.released == load_tables().models["Kimi K3"].released == row.day
    assert (row.published_as, round(row.published_index or 0.0)) == ("Kimi K3", 157)


def test_measured_equals_the_placement_of_the_run_and_is_kept(settings: Settings) -> None:
    whole = on_scale(1, model("acme/one-8b"), 0.6)
    store_runs(settings, whole)
    found = answer_measured(Question(), settings)
    assert found is not None
    assert found.has_intervals
    assert found.placed[0].placement == place_run(whole, settings)

    shutil.rmtree(settings.items_path / whole.run_id)  # so that it could not be placed again
    assert answer_measured(Question(), settings) == found


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (Question(max_params=10_000_000_000), ["acme/one-8b"]),
        (Question(as_of=date(2026, 8, 1)), [PUBLISHED_ID]),
        (Question(without=("Kimi K3",)), ["acme/one-8b"]),
        (Question(vintage=date(2026, 4, 29)), [PUBLISHED_ID, "acme/one-8b"]),
    ],
    ids=["size", "day", "left out", "vintage"],
)
def test_measured_follows_the_filters_of_the_question(
    settings: Settings, question: Question, expected: list[str]
) -> None:
    large = model(PUBLISHED_ID, n_params=2_800_000_000_000)
    store_runs(settings, on_scale(1, model("acme/one-8b"), 0.6), on_scale(2, large, 0.9))
    tables = load_tables()
    fit = fit_index(select(tables, vintage=question.vintage), question.options)
    found = measured_on_index(tables, question, undrawn(fit), settings)
    assert [row.model_id for row in found.newest] == expected


@pytest.mark.parametrize("question", [Question(benchmark="GPQA diamond"), Question(only=Only.PRIVATE)])
def test_measured_models_stand_on_no_other_axis(settings: Settings, question: Question) -> None:
    assert answer_measured(question, settings) is None
    assert measured_document(None)["measured"] == []


def test_measured_of_an_empty_store_is_empty(settings: Settings) -> None:
    assert measured_document(undrawn_answer(settings))["measured"] == []


def place(basis: str) -> IndexPlace:
    return IndexPlace(120.0, None, None, basis, None, None, None, None, date(2026, 8, 11))


@pytest.mark.parametrize(
    ("here", "published", "quantization", "shown"),
    [
        (MEASURED, PUBLISHED, None, PUBLISHED),
        (MEASURED, PUBLISHED, "int4", MEASURED),
        (UNCALIBRATED, PUBLISHED, "int4", PUBLISHED),
        (MEASURED, ESTIMATED, None, MEASURED),
        (UNCALIBRATED, ESTIMATED, None, UNCALIBRATED),
        (None, ESTIMATED, None, ESTIMATED),
        (UNCALIBRATED, None, None, UNCALIBRATED),
    ],
)
def test_index_place_is_that_of_published_scores_except_of_quantized_weights_that_were_measured(
    here: str | None, published: str | None, quantization: str | None, shown: str
) -> None:
    places = IndexPlaces(
        {}, {"m/x": place(here)} if here else {}, {"m/x": place(published)} if published else {}
    )
    found = places.of({"model_id": "M/x", "quantization": quantization})
    assert found is not None
    assert found.index_basis == shown


def test_index_place_of_a_row_with_settings_is_not_that_of_other_settings(settings: Settings) -> None:
    whole, packed = model("acme/one-8b"), model("acme/one-8b", quantization="int4")
    store_runs(settings, on_scale(1, whole, 0.6), run(2, of=packed))
    tables = load_tables()
    found = undrawn(fit_index(select(tables), Question().options))
    places = places_on(tables, found, measured_on_index(tables, Question(), found, settings))
    row = {"model_id": "acme/one-8b", "revision": whole.revision, "thinking": None}
    assert places.of(row | {"quantization": "int4"}) is None
    assert places.of(row | {"quantization": float("nan"), "thinking": float("nan")}) is not None
    assert places.of({"model_id": "acme/one-8b"}) is not None


def test_tables_of_models_have_the_index_and_the_months_with_basis_definition_and_day(
    settings: Settings,
) -> None:
    store_runs(settings, run(1, of=model(SMALL_ID)), run(2, of=model(PUBLISHED_ID)), run(3))
    board = read_leaderboard(settings).rows.set_index("model_id")
    listed = {row["model_id"]: row for row in measured_models(settings).records()}
    assert set(INDEX_COLUMNS) <= set(board) & set(listed[SMALL_ID])
    for rows in (board.to_dict("index"), listed):
        kimi, qwen = rows[PUBLISHED_ID], rows[SMALL_ID]
        assert (round(kimi["index"], 1), kimi["index_basis"]) == (157.0, PUBLISHED)
        assert (round(kimi["months_behind"], 1), kimi["months_definition"]) == (4.4, "G3")
        assert kimi["months_as_of"] == date(2026, 8, 11)
        assert (qwen["index"], qwen["index_basis"]) == (136.32, ESTIMATED)
        assert qwen["index_name"] == "Qwen3-8B (thinking, TECI)"
    assert listed["acme/atlas-8b"]["index"] is None
