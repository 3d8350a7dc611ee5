"""Sources with a history: boards of LMArena, shares of tokens on OpenRouter, and the answers made of them."""

from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.doubles.sources_double import SourcesHub, arena_boards, parquet, token_shares
from tests.tracker.ingest.test_damaged_answers import once
from tests.tracker.ingest.test_ingest import hub, there
from tracker.answers.board_history import board_history, board_history_document
from tracker.answers.token_share import Labels, token_share, token_share_document
from tracker.errors import TrackerError, UnknownNameError
from tracker.settings import Settings
from tracker.sources import openrouter_usage
from tracker.sources.errors import LayoutError
from tracker.store import Store, publish

__all__ = ["hub", "there"]

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.fixture
def settings(there: Settings) -> Settings:
    return there.model_copy(update={"fixed_now": NOW})


def sql(settings: Settings, query: str) -> list[tuple[Any, ...]]:
    with Store.open(settings) as store:
        return store._connection.execute(query).fetchall()


@pytest.mark.clock
def test_every_board_of_lmarena_is_a_series_and_the_text_board_keeps_its_name(settings: Settings) -> None:
    outcome = once(settings, "lmarena")
    assert outcome.status.value == "completed"
    found = sql(settings, "select distinct benchmark, unit from current_scores order by all")
    assert found == [
        ("LMArena WebDev", "rating"),
        ("LMArena agent", "index"),
        ("LMArena text", "rating"),
        ("LMArena text, style control", "rating"),
    ]
    assert sql(settings, "select license from sources") == [("CC BY 4.0",)]


@pytest.mark.clock
def test_every_published_board_is_read_and_then_only_the_newest(settings: Settings, hub: SourcesHub) -> None:
    once(settings, "lmarena")
    days = "select distinct day from dated_values where series = 'LMArena text' order by all"
    assert sql(settings, days) == [(date(2025, 11, 5),), (date(2026, 2, 26),), (date(2026, 4, 19),)]
    hub.requests.clear()
    assert once(settings, "lmarena").status.value == "completed"
    assert not [line for line in hub.requests if "/full" in line]
    ever = datetime.now(UTC) - timedelta(days=31)
    once(settings, "lmarena", since=ever)
    assert [line for line in hub.requests if "/text/full" in line]


@pytest.mark.parametrize("config", ["text_style_control", "webdev", "agent"])
def test_a_board_that_is_not_there_costs_only_itself(
    settings: Settings, hub: SourcesHub, config: str
) -> None:
    del hub.arena[config, "latest"]
    outcome = once(settings, "lmarena")
    assert outcome.status.value == "partial"
    assert f"board `{config}`" in (outcome.reason or "")
    assert len(sql(settings, "select distinct benchmark from current_scores")) == 3


@pytest.mark.parametrize(
    ("card", "license_"),
    [
        ({"license": "cc-by-4.0"}, "CC BY 4.0"),
        ({"license": "other"}, "other"),
        ({}, "none stated on its card; CC BY 4.0 before"),
    ],
)
def test_the_license_of_lmarena_is_that_of_its_card(
    settings: Settings, hub: SourcesHub, card: dict[str, str], license_: str
) -> None:
    hub.arena_card = card
    once(settings, "lmarena")
    assert sql(settings, "select license from sources") == [(license_,)]


def test_the_gap_of_each_board_is_that_of_its_best_open_and_closed_model(settings: Settings) -> None:
    once(settings, "lmarena")
    publish(settings)
    answer = board_history(settings)
    assert [board.day for board in answer.boards] == [
        date(2025, 11, 5), date(2026, 2, 26), date(2026, 4, 19),
    ]  # fmt: skip
    last = answer.boards[-1]
    assert (last.best_closed.model, last.best_closed.value) == ("claude-opus-4-7-thinking", 1505.0)
    assert last.gap == pytest.approx(last.best_closed.value - last.best_open.value)
    assert last.ci_low is not None
    assert last.ci_high is not None
    assert last.ci_low < last.gap < last.ci_high
    assert answer.age_days == 223
    document = board_history_document(answer)
    assert document["attribution"] == ["Arena ratings: LMArena, lmarena.ai, CC BY 4.0"]
    assert json.dumps(document)


def test_a_series_that_does_not_exist_is_named_and_an_empty_home_says_how_to_fetch(
    settings: Settings,
) -> None:
    with pytest.raises(TrackerError, match="no dated board") as empty:
        board_history(settings)
    assert "tracker ingest lmarena" in empty.value.hint
    once(settings, "lmarena")
    publish(settings)
    with pytest.raises(UnknownNameError, match="LMArena texts"):
        board_history(settings, "LMArena texts")
    with pytest.raises(TrackerError, match="no shares of tokens") as none:
        token_share(settings)
    assert "openrouter-usage" in none.value.hint


def test_a_board_with_an_unlabeled_leader_is_not_certain(settings: Settings, hub: SourcesHub) -> None:
    rows = pq.read_table(io.BytesIO(arena_boards()["webdev", "latest"])).to_pylist()
    rows[0] |= {"license": ""}
    hub.arena["webdev", "latest"] = hub.arena["webdev", "full"] = parquet(rows)
    once(settings, "lmarena")
    publish(settings)
    answer = board_history(settings, "LMArena WebDev")
    assert not answer.boards[-1].is_certain
    assert "without a label" in board_history_document(answer)["notes"][0]


def test_the_share_of_open_models_is_between_two_bounds(settings: Settings) -> None:
    for source in ("openrouter-usage", "openrouter", "models-dev"):
        once(settings, source)
    publish(settings)
    answer = token_share(settings)
    last = answer.last_week
    assert answer.as_of == date(2026, 11, 22)
    assert [last.open, last.closed] == pytest.approx([0.43, 0.29])
    assert last.other == pytest.approx(0.06)
    assert last.open_high == pytest.approx(1 - last.closed)
    assert len(answer.days) == 30
    assert list(answer.weeks) == [date(2026, 11, day) for day in (1, 8, 15, 22)]
    document = token_share_document(answer)
    assert document["age_days"] == 6
    assert "CC BY 4.0" in document["attribution"][0]
    assert "stealth/space-bunny-alpha" in document["notes"][0]
    assert document["models"][0]["name"] == "deepseek/deepseek-v4-flash-20260424"
    assert json.dumps(document)


def test_a_later_export_replaces_days_and_adds_new_ones(settings: Settings, hub: SourcesHub) -> None:
    once(settings, "openrouter-usage")
    newer = token_shares(last=date(2026, 11, 25))
    hub.documents["/usage.json"] = json.dumps(newer).encode()
    outcome = once(settings, "openrouter-usage")
    assert (outcome.status.value, outcome.n_seen, outcome.n_new) == ("completed", 180, 18)
    assert sql(settings, "select count(distinct day), max(day) from dated_values") == [
        (33, date(2026, 11, 25))
    ]


def test_the_export_is_read_as_json_and_as_csv() -> None:
    document = token_shares()
    names = list(document["rows"][0])
    lines = [",".join("" if row[n] is None else str(row[n]) for n in names) for row in document["rows"]]
    table = "\r\n".join([",".join(names), *lines, ""]).encode()
    from_csv, from_json = openrouter_usage.parse(table), openrouter_usage.parse(json.dumps(document).encode())
    assert from_csv.history == from_json.history
    assert len(from_csv.history) == 180


def test_a_day_that_is_cut_off_is_left_out() -> None:
    document = token_shares()
    document["rows"] = document["rows"][:-2]
    batch = openrouter_usage.parse(json.dumps(document).encode())
    assert len({value.day for value in batch.history}) == 29
    assert any("add up to 85.0%" in why for why in batch.missing)


@pytest.mark.parametrize("body", [b"<html>", b"", b'{"data": []}', b'{"rows": {"a": 1}}', b"date,x\n1,2\n"])
def test_an_export_of_another_shape_is_refused(body: bytes) -> None:
    with pytest.raises(LayoutError):
        openrouter_usage.parse(body)


@pytest.mark.parametrize(
    ("slug", "access"),
    [
        ("anthropic/claude-4.7-opus-20260416", "closed"),
        ("anthropic/claude-4.7-opus-20260416:free", "closed"),
        ("z-ai/glm-5.2", "open"),
        ("meta/llama-4-maverick", "open"),  # another maker's name, the same model
        ("openai/gpt-oss-120b", "open"),
        ("acme/disputed", "unlabeled"),
        ("stealth/space-bunny-alpha", "unlabeled"),
    ],
)
def test_a_slug_is_labeled_as_its_model_is(slug: str, access: str) -> None:
    rows = [
        {"source": "models-dev", "name": "openrouter/anthropic/claude-opus-4.7", "access": "closed"},
        {"source": "openrouter", "name": "z-ai/glm-5.2", "access": "open"},
        {"source": "models-dev", "name": "groq/meta-llama/llama-4-maverick", "access": "open"},
        {"source": "openrouter", "name": "openai/gpt-oss-120b", "access": "open"},
        {"source": "models-dev", "name": "openrouter/openai/gpt-oss-120b", "access": "closed"},
        {"source": "models-dev", "name": "one/disputed", "access": "open"},
        {"source": "models-dev", "name": "two/disputed", "access": "closed"},
    ]
    assert Labels(rows).access(slug) == access
