"""A model's date and label come from whichever source knows it, under any of its spellings."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import pytest

from tracker.answers.model_labels import ModelLabel, ModelLabels
from tracker.answers.rating_series import read_series
from tracker.cli import main
from tracker.errors import TrackerError
from tracker.frontier.tables import load_tables
from tracker.records.published import Access, Batch, SourceModel, SourceScore
from tracker.settings import Settings
from tracker.store import Store, publish

AT = datetime(2026, 11, 28, tzinfo=UTC)
# providers of models.dev as they spell names; days and labels as listed there in August 2026 (MIT)
PROVIDERS = (
    ("anthropic/claude-opus-4-7", "closed", "2026-04-16"),
    ("anthropic/claude-opus-4-6", "closed", "2026-02-05"),
    ("anthropic/claude-opus-4-5-20251101", "closed", "2025-11-24"),
    ("openrouter/anthropic/claude-opus-4.7", "closed", "2026-04-17"),
    ("aihubmix/claude-opus-4-7", "unknown", "2026-05-01"),
    ("google/gemini-3-pro-preview", "closed", "2025-11-18"),
    ("openai/gpt-5.4", "closed", "2026-03-05"),
    ("openai/gpt-5.4-mini", "closed", "2026-03-17"),
    ("openai/o3", "closed", "2025-04-16"),
    ("epoch/claude-opus-5-5_max", "closed", "2026-09-22"),
    ("zai/glm-5.1", "open", "2026-04-07"),
    ("google/gemma-4-31b-it", "open", "2026-04-02"),
    ("reseller/gemma-5-31b-it", "open", "2026-04-02"),
    ("moonshotai/kimi-k2.5", "open", "2026-01-27"),
    ("moonshotai/kimi-k2-thinking", "open", "2025-11-06"),
    ("fireworks-ai/accounts/fireworks/models/kimi-k2p6", "open", "2026-04-20"),
    ("chutes/zai-org/GLM-4.7-TEE", "open", "2025-12-22"),
    ("reseller/odd-model-2", "closed", "2026-01-05"),
    ("another/odd-model-2", "open", "2026-01-04"),
)
LABELS = ModelLabels(
    {
        "source": "models-dev",
        "name": name,
        "organization": None,
        "access": access,
        "released_at": datetime.fromisoformat(day).replace(tzinfo=UTC),
    }
    for name, access, day in PROVIDERS
)


@pytest.mark.parametrize(
    ("name", "organization", "access", "released"),
    [
        ("claude-opus-4-7", "Anthropic", "closed", "2026-04-16"),
        ("claude-opus-4-7-thinking", "Anthropic", "closed", "2026-04-16"),
        ("claude-opus-4-5-20251101-thinking-32k", "Anthropic", "closed", "2025-11-24"),
        ("Claude Opus 4.6 (Non-reasoning, High Effort)", "Anthropic", "closed", "2026-02-05"),
        ("gpt-5.4-mini-high", "OpenAI", "closed", "2026-03-17"),
        ("gpt-5.4_xhigh", "OpenAI", "closed", "2026-03-05"),
        ("gemini-3-pro", "Google", "closed", "2025-11-18"),
        ("glm-5.1", "Z.ai", "open", "2026-04-07"),
        ("gemma-4-31b", "Google", "open", "2026-04-02"),
        ("kimi-k2.5-instant", "Moonshot", "open", "2026-01-27"),
        ("kimi-k2-thinking", "Moonshot", "open", "2025-11-06"),
        ("Kimi K2.6", "Moonshot", "open", "2026-04-20"),
        ("chatgpt-4o-latest-20250326", "OpenAI", "unknown", "2025-03-26"),
        ("o3-high", "OpenAI", "closed", "2025-04-16"),
        ("Claude Opus 5.5", "Anthropic", "closed", "2026-09-22"),
    ],
)
def test_a_label_is_found_under_every_spelling_of_the_model(
    name: str, organization: str, access: str, released: str
) -> None:
    assert LABELS.find(name, organization) == ModelLabel(Access(access), date.fromisoformat(released))


@pytest.mark.parametrize(
    ("name", "organization"),
    [("gpt-5.4-pro", "OpenAI"), ("gpt-5.4-codex-max", "OpenAI"), ("gpt-54", "OpenAI"), ("muse-spark", "Meta"),
     ("claude-opus-7-4", "Anthropic"), ("gemini-3-flash", "Google"), ("o3-mini", "OpenAI"),
     ("kimi-k2", "Moonshot"), ("gemma-5-31b", "Google")],
)  # fmt: skip
def test_a_label_is_not_taken_from_another_model(name: str, organization: str) -> None:
    assert LABELS.find(name, organization) == ModelLabel()


def test_a_label_on_which_resellers_differ_is_unknown_and_the_earlier_of_two_dates_counts() -> None:
    assert LABELS.find("odd-model-2", "Odd") == ModelLabel(Access.UNKNOWN, date(2026, 1, 4))


def test_the_published_tables_are_one_more_source_of_labels() -> None:
    labels = ModelLabels((), load_tables())
    assert labels.find("grok-4", "xAI") == ModelLabel(Access.CLOSED, date(2025, 7, 9))
    # under the name of its repository, and an estimated small model
    assert labels.find("llama-3.3-70b-instruct", "Meta") == ModelLabel(Access.OPEN, date(2024, 12, 6))
    assert labels.find("qwen2.5-0.5b-instruct", "Alibaba").access is Access.OPEN


def test_a_maker_of_which_everything_is_closed_is_a_closed_maker() -> None:
    assert [LABELS.is_closed_maker(one) for one in ("Anthropic", "Z.ai", "Nobody", None)] == [
        True, False, False, False,
    ]  # fmt: skip
    assert not ModelLabels((), load_tables()).is_closed_maker("OpenAI")  # gpt-oss is open


def index_rows(n: int, *, undated: int) -> tuple[tuple[SourceModel, ...], tuple[SourceScore, ...]]:
    """An index of `n` models, best first; the last `undated` have no date."""
    models = tuple(
        SourceModel(
            f"Atlas {n - i}.1",
            access=Access.OPEN if i % 2 else Access.CLOSED,
            released_at=datetime(2026, 8, 11 - i % 10, tzinfo=UTC) if i < n - undated else None,
        )
        for i in range(n)
    )
    scores = tuple(SourceScore(row.name, "Index", 150.0 - i, unit="index") for i, row in enumerate(models))
    return models, scores


def stored(settings: Settings, models: tuple[SourceModel, ...], scores: tuple[SourceScore, ...]) -> None:
    with Store.open(settings) as store:
        store.add_batch(Batch(models=models, scores=scores), source="epoch", ingest_id="1", seen_at=AT)
    publish(settings)


def test_a_series_with_a_fifth_of_its_models_undated_is_refused(settings: Settings) -> None:
    stored(settings, *index_rows(10, undated=2))
    with pytest.raises(TrackerError) as error:
        read_series("epoch:Index", settings)
    assert "2 of its 10 models have no date or no label open or closed: `Atlas 2.1`, `Atlas 1.1`" in str(
        error.value
    )
    assert "tracker models --unmatched" in error.value.hint


def test_a_series_with_less_than_a_fifth_undated_says_how_many_are_left_out(settings: Settings) -> None:
    stored(settings, *index_rows(11, undated=2))
    found = read_series("epoch:Index", settings)
    assert (len(found.axis.models), found.unit) == (9, "index")
    assert found.notes == ("2 models of the series are left out: no date, or no open or closed label",)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_series_with_a_top_model_undated_is_refused_by_name(settings: Settings, place: int) -> None:
    models, scores = index_rows(40, undated=0)
    plain = SourceModel(models[place].name)
    stored(settings, (*models[:place], plain, *models[place + 1 :]), scores)
    with pytest.raises(TrackerError, match=f"`{plain.name}`, among its 3 best models, has no date"):
        read_series("epoch:Index", settings)


def test_an_index_series_is_in_index_points_and_of_the_day_of_its_data(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    models, scores = index_rows(12, undated=0)
    stored(settings, models, scores)
    main(["frontier", "--series", "epoch:Index", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["vintage"] == "2026-08-11"  # its newest release, not the day it was read
    assert document["best_closed"]["index"] == 150.0
    assert {row["unit"] for row in document["definitions"]} == {"months", "index"}


def test_a_series_is_of_the_day_on_which_its_source_evaluated_last(settings: Settings) -> None:
    models, scores = index_rows(12, undated=0)
    run = SourceScore(models[0].name, "GPQA", 0.5, evaluated_on=date(2026, 9, 3))
    stored(settings, models, (*scores, run))
    assert read_series("epoch:Index", settings).vintage == date(2026, 9, 3)


def test_the_label_that_a_row_gives_counts_more_than_that_of_another_source(settings: Settings) -> None:
    models, scores = index_rows(6, undated=0)
    other = SourceModel(
        f"acme/{models[0].name}", access=Access.OPEN, released_at=datetime(2020, 1, 1, tzinfo=UTC)
    )
    with Store.open(settings) as store:
        store.add_batch(Batch(models=(other,)), source="models-dev", ingest_id="0", seen_at=AT)
    stored(settings, models, scores)
    found = read_series("epoch:Index", settings).axis
    assert (found.is_open[0], found.released[0]) == (False, date(2026, 8, 11).toordinal())
