"""One model under many names: certain matches are made, unsure ones are listed, none is guessed."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from tracker.errors import TrackerError, UnknownNameError
from tracker.ingested import Access, Batch, SourceModel, SourceScore
from tracker.naming import HubNames, Name, add_match, candidates, fold, match, resolve_names, unmatched
from tracker.settings import Settings
from tracker.store import Store, open_snapshot, publish

AT = datetime(2026, 11, 24, tzinfo=UTC)
HUB = HubNames(
    [
        "Qwen/Qwen3-8B",
        "Qwen/Qwen2.5-8B",
        "bob/Qwen3-8B",
        "deepseek-ai/DeepSeek-R1",
        "zai-org/GLM-4.6",
        "Qwen/Qwen3-8B-Base",
        "google/gemma-4-31B",
        "google/gemma-4-31B-it",
    ]
)
TABLE = {"Kimi K3": "moonshotai/Kimi-K3"}


def name(text: str, organization: str | None = None, **more: str | None) -> Name:
    parts = {"source": "lmarena", "hub_id": None, "access": "open"} | more
    return Name(str(parts["source"]), text, organization, parts["hub_id"], str(parts["access"]))


@pytest.mark.parametrize(
    ("one", "model_id", "basis"),
    [
        (name("poolside/laguna:free", hub_id="qwen/QWEN3-8b"), "Qwen/Qwen3-8B", "stated"),
        (name("z/new", hub_id="acme/not-listed-yet"), "acme/not-listed-yet", "stated"),
        (name("qwen/qwen3-8b"), "Qwen/Qwen3-8B", "same_id"),
        (name("Kimi K3", source="epoch"), "moonshotai/Kimi-K3", "published_table"),
        (name("qwen3-8b", "Alibaba"), "Qwen/Qwen3-8B", "organization_and_name"),
        (name("DeepSeek R1", "DeepSeek"), "deepseek-ai/DeepSeek-R1", "organization_and_name"),
        (name("z-ai/glm-4.6"), "zai-org/GLM-4.6", "organization_and_name"),
    ],
)
def test_a_certain_match(one: Name, model_id: str, basis: str) -> None:
    found = match(one, HUB, TABLE)
    assert found is not None
    assert (found.model_id, found.basis) == (model_id, basis)


@pytest.mark.parametrize(
    "one",
    [
        name("qwen3-8b", "Somebody"),
        name("qwen3-8b"),
        name("Qwen 25 8B", "Alibaba"),
        name("qwen3-8b-2026-11", "Alibaba"),
        name("qwen3-8b", "Alibaba", access="closed"),
        name("GLM-46", "Zhipu AI"),
        name("gemma-4-31b", "Google"),
    ],
    ids=[
        "another owner",
        "no owner",
        "2.5 is not 25",
        "a dated one",
        "a closed one",
        "46 is not 4.6",
        "base or chat",
    ],
)
def test_what_is_not_certain_is_no_match(one: Name) -> None:
    assert match(one, HUB, TABLE) is None


def test_a_dot_between_digits_stays() -> None:
    assert [fold(text) for text in ("Qwen2.5-8B", "GLM 4.6 Air", "v1.", "gpt-4o.mini")] == [
        "qwen2.58b", "glm4.6air", "v1", "gpt4omini",
    ]  # fmt: skip


def test_candidates_come_from_the_owner_first() -> None:
    assert candidates(name("qwen3-8b-2507", "Alibaba"), HUB)[0] in ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B-Base")
    assert "bob/Qwen3-8B" not in candidates(name("qwen3-8b-2507", "Alibaba"), HUB)


def test_what_a_person_says_stands(settings: Settings) -> None:
    hub = tuple(SourceModel(one, access=Access.OPEN) for one in ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B-Base"))
    arena = (
        SourceModel("qwen3-8b", organization="Alibaba", access=Access.OPEN),
        SourceModel("qwen3-8b-preview", organization="Alibaba", access=Access.OPEN),
        SourceModel("gpt-9", organization="OpenAI", access=Access.CLOSED),
    )
    with Store.open(settings) as store:
        store.add_batch(Batch(models=hub), source="hub-models", ingest_id="1", seen_at=AT)
        scores = (SourceScore("qwen3-8b", "LMArena text", 1300.0, unit="rating"),)
        store.add_batch(Batch(models=arena, scores=scores), source="lmarena", ingest_id="2", seen_at=AT)
    assert resolve_names(settings) == 1
    publish(settings)
    (unsure,) = unmatched(settings)
    assert (unsure.name, unsure.candidates[0]) == ("qwen3-8b-preview", "Qwen/Qwen3-8B")
    add_match(settings, "lmarena:qwen3-8b=Qwen/Qwen3-8B-Base")
    add_match(settings, "lmarena:qwen3-8b-preview=Qwen/Qwen3-8B")
    assert resolve_names(settings) == 0
    assert unmatched(settings) == []
    with open_snapshot(settings) as snapshot:
        found = {row["name"]: row["model_id"] for row in snapshot.query("source_names")}
    assert found == {"gpt-9": None, "qwen3-8b": "Qwen/Qwen3-8B-Base", "qwen3-8b-preview": "Qwen/Qwen3-8B"}


@pytest.mark.parametrize("pair", ["", "qwen3-8b", "lmarena:=a/b", "lmarena:x=a", "lmarena:x=a/b/c"])
def test_a_match_of_another_form_is_refused(settings: Settings, pair: str) -> None:
    with pytest.raises(TrackerError, match="is no match"):
        add_match(settings, pair)


def test_a_match_of_an_unknown_source_names_the_near_ones(settings: Settings) -> None:
    with pytest.raises(UnknownNameError, match="lmarna"):
        add_match(settings, "lmarna:x=a/b")


def test_looking_for_likely_repositories_takes_milliseconds_among_ten_thousand() -> None:
    words = ("qwen", "llama", "phi", "atlas", "coder", "instruct", "chat", "7b")
    hub = HubNames(f"o{n % 500}/{words[n % 8]}-{words[n // 8 % 8]}-{n}-instruct" for n in range(10_000))
    name = Name("models-dev", "provider/atlas-coder-1234-instruct", None, None, "open")
    candidates(name, hub)
    began_s = time.perf_counter()
    found = [candidates(name, hub) for _ in range(10)]
    assert (time.perf_counter() - began_s) / 10 < 0.1  # comparing with all of them takes 0.3 s
    assert all(len(one) == 3 for one in found)
