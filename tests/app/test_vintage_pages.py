"""The pages after an ingest of the index: they speak of the data that was ingested, and say how old it is."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from app.http import api
from tests.builders.epoch_october import ingest_october, small_october
from tests.doubles.app_visit import handed_over, said, visit
from tracker.answers.frontier import answer_question
from tracker.frontier.question import Question
from tracker.records.published import OutcomeStatus
from tracker.settings import Settings

DATA = date(2026, 10, 7)
NOW = datetime(2026, 10, 12, 9, tzinfo=UTC)


@pytest.fixture
def ingested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("TRACKER_HOME", str(tmp_path))
    monkeypatch.setenv("TRACKER_NOW", NOW.isoformat())
    settings = Settings(home=tmp_path)
    assert ingest_october(settings, small_october()).status is OutcomeStatus.COMPLETED
    return settings


def test_the_headline_is_of_the_ingested_data_and_says_their_age(ingested: Settings) -> None:
    session = visit("frontier")
    assert "data of 07 Oct 2026" in said(session)
    assert "5 days old" in said(session)
    answer = answer_question(Question(), ingested)
    best = answer.best_closed
    assert f"index {best.value:.1f} · {best.released:%d %b %Y}" in said(session)
    assert answer.best_closed.model == "Claude Opus 5.5"
    assert answer.vintage == DATA


def test_every_vintage_can_be_chosen_and_exports_carry_its_day(ingested: Settings) -> None:
    session = visit("frontier", vintage="2026-08-11")
    assert "data of 11 Aug 2026" in said(session)
    assert "index 161.6 · 09 Jul 2026" in said(session)  # of GPT-5.6 Sol
    models = handed_over("frontier")["frontier-models.csv"]
    assert set(models["data_of"]) == {DATA.isoformat()}
    assert set(models["age_days"]) == {5}


def test_the_json_route_gives_the_same_data_and_age(ingested: Settings) -> None:
    document = api.frontier_route({})
    assert (document["vintage"], document["age_days"], document["is_old"]) == (DATA.isoformat(), 5, False)
    assert document["best_closed"]["model"] == "Claude Opus 5.5"
    assert document["confirmed_on"] == NOW.date().isoformat()
