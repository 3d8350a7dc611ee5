"""A packed checkpoint is as large as its parent wherever sizes are shown, compared or limited."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tracker.answers.digest import digest
from tracker.answers.models import hub_models
from tracker.cli import main
from tracker.queue.priorities import Candidate
from tracker.records.published import Batch
from tracker.settings import Settings
from tracker.sources.hub_models import parse_entry
from tracker.store import Store, open_snapshot, publish

AT = datetime(2026, 11, 27, tzinfo=UTC)
COPY = "telperion/Atlas3.8-27B-INT4-AWQ"


def entry(name: str, counts: dict[str, int], *, parent: str | None = None, tags: tuple[str, ...] = ()) -> Any:
    """An entry of the Hub's list; a copy is tagged with its parent as the Hub does."""
    of_parent = [f"base_model:{parent}", f"base_model:quantized:{parent}"] if parent else []
    return {
        "id": name,
        "createdAt": "2026-09-10T00:00:00.000Z",
        "lastModified": "2026-11-26T00:00:00.000Z",
        "sha": "a" * 40,
        "tags": ["safetensors", "text-generation", *tags, *of_parent],
        "cardData": {"license": "apache-2.0", **({"base_model": [parent]} if parent else {})},
        "safetensors": {"parameters": counts, "total": sum(counts.values())},
        "downloads": 50_000,
        "trendingScore": 80,
    }


PARENT = entry("acme/Atlas3.8-27B", {"BF16": 27_300_000_000})
PACKED = entry(COPY, {"I32": 4_710_000_000, "BF16": 3_129_289_360}, parent="acme/Atlas3.8-27B")
SMALL = entry("acme/Atlas3.8-8B", {"BF16": 8_190_000_000})
TAGGED = entry("someone/Atlas3.8-7B-GPTQ", {"I32": 820_000_000, "F16": 1_100_000_000}, tags=("gptq", "4-bit"))


def listed(settings: Settings, *entries: Any) -> None:
    models = []
    for each in entries:
        model, problem = parse_entry(each)
        assert model is not None, problem
        models.append(model)
    with Store.open(settings) as store:
        store.add_batch(Batch(models=tuple(models)), source="hub-models", ingest_id="1", seen_at=AT)
    publish(settings)


def known(settings: Settings, **limits: Any) -> dict[str, dict[str, Any]]:
    return {row["model_id"]: row for row in hub_models(settings, **limits).answer.records()}


def test_a_packed_copy_has_the_parameters_of_its_parent(settings: Settings) -> None:
    listed(settings, PACKED, PARENT, SMALL)
    rows = known(settings)
    assert (rows[COPY]["n_params"], rows[COPY]["n_params_at_least"]) == (27_300_000_000, None)
    assert set(known(settings, max_params=8_500_000_000)) == {"acme/Atlas3.8-8B"}
    with open_snapshot(settings) as snapshot:
        sizes = {row["model_id"]: row["n_params"] for row in snapshot.query("hub_sizes")}
        candidates = [Candidate.from_row(row) for row in snapshot.query("known_models")]
    assert sizes[COPY] == 27_300_000_000
    assert {one.model_id: one.n_params for one in candidates} == sizes


def test_a_packed_copy_without_a_known_parent_is_at_least_what_it_stores(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    listed(settings, PACKED, SMALL)
    row = known(settings)[COPY]
    assert (row["n_params"], row["n_params_at_least"]) == (None, 7_839_289_360)
    assert set(known(settings, max_params=9_000_000_000)) == {"acme/Atlas3.8-8B"}
    main(["models", "--known"])
    assert "at least 7.839B stored (packed)" in capsys.readouterr().out
    main(["models", "--fits-gb", "48", "--json"])
    fits = {each["model_id"]: each for each in json.loads(capsys.readouterr().out)["models"]}
    assert (fits[COPY]["n_params"], fits[COPY]["n_params_at_least"]) == (None, 7_839_289_360)
    main(["models", "--fits-gb", "48", "--max-params", "9B", "--json"])
    assert [each["model_id"] for each in json.loads(capsys.readouterr().out)["models"]] == [
        "acme/Atlas3.8-8B"
    ]


def test_a_packed_copy_of_known_bits_is_unpacked(settings: Settings) -> None:
    listed(settings, TAGGED)
    row = known(settings)["someone/Atlas3.8-7B-GPTQ"]
    assert (row["n_params"], row["n_params_at_least"]) == (7_660_000_000, None)


@pytest.mark.parametrize(
    "parent",
    [
        entry("acme/Atlas3.8-27B", {"BF16": 1_000_000_000}),  # smaller than what the copy stores
        entry(
            "acme/Atlas3.8-27B", {"I32": 4_000_000_000, "F16": 4_000_000_000}, tags=("awq",)
        ),  # itself packed
        entry("other/Atlas3.8-27B", {"BF16": 27_300_000_000}),
    ],
    ids=["smaller", "packed", "another owner"],
)
def test_a_parent_that_cannot_be_it_gives_no_count(settings: Settings, parent: Any) -> None:
    listed(settings, PACKED, parent)
    assert known(settings)[COPY]["n_params"] is None


def test_the_digest_says_what_a_packed_copy_stores(settings: Settings) -> None:
    listed(settings, PACKED)
    found = digest(settings, since=AT - timedelta(days=1), until=AT + timedelta(days=1), most=None)
    lines = [line for section in found.sections for line in section.lines]
    assert any(COPY in line and "at least 7.84B stored (packed)" in line for line in lines)
