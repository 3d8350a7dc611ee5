"""A model too large for this machine is measured as its quantized copy, which takes its place."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runners.memory.quantized_variants import is_readable
from tracker.queue import jobs as queue
from tracker.queue.priorities import (
    Candidate,
    Claims,
    is_gguf_name,
    obstacle,
    priority,
    stand_ins,
)
from tracker.records.published import Access, Batch, ModelKind, SourceModel
from tracker.settings import Settings
from tracker.store import Store, open_snapshot

NOW = datetime(2026, 11, 24, tzinfo=UTC)
MEMORY = 24_000_000_000
PARENT = Candidate(
    "acme/atlas-27b",
    ModelKind.CHAT,
    weights_bytes=54_000_000_000,
    released_at=NOW - timedelta(days=3),
    downloads=100_000,
)


def copy(name: str = "quant/atlas-27b-AWQ", **more: Any) -> Candidate:
    facts = {"weights_bytes": 15_000_000_000, "downloads": 5_000, "base_models": (PARENT.model_id,)} | more
    return Candidate(name, facts.pop("kind", ModelKind.QUANTIZED), **facts)


def names(*known: Candidate, memory_bytes: int = MEMORY) -> dict[str, str]:
    found = stand_ins(known, memory_bytes, is_readable=lambda name: is_readable([name]))
    return {key: parent.model_id for key, parent in found.items()}


@pytest.mark.clock
def test_the_most_downloaded_copy_that_fits_stands_in() -> None:
    popular = copy("big/atlas-27b-FP8", weights_bytes=29_000_000_000, downloads=90_000)
    other = copy("some/atlas-27b-GPTQ-Int4", downloads=6_000)
    assert names(PARENT, popular, other, copy()) == {"some/atlas-27b-gptq-int4": "acme/atlas-27b"}


@pytest.mark.parametrize(
    "one",
    [
        copy("quant/atlas-27b-GGUF"),
        copy("quant/atlas-27b-exl2"),
        copy("quant/atlas-27b-bnb-4bit"),
        copy(gated="manual"),
        copy(has_safetensors=False),
        copy(weights_bytes=30_000_000_000),
        copy(weights_bytes=None),
        copy(kind=ModelKind.FINETUNE),
        copy(base_models=("acme/atlas-9b",)),
        copy(base_models=()),
    ],
    ids=["gguf", "exl2", "bitsandbytes", "gated", "no safetensors", "too large", "size unknown", "fine-tune",
         "of another model", "of no model"],
)  # fmt: skip
def test_a_copy_that_cannot_be_measured_here_does_not_stand_in(one: Candidate) -> None:
    assert names(PARENT, one) == {}


def test_nothing_stands_in_for_a_model_that_fits() -> None:
    assert names(PARENT, copy(), memory_bytes=80_000_000_000) == {}


def test_a_copy_that_stands_in_has_the_points_of_its_model() -> None:
    own, for_parent = (priority(copy(), Claims(), NOW, stands_for=parent) for parent in (None, PARENT))
    assert own.points < 15.0 < for_parent.points == priority(PARENT, Claims(), NOW).points
    assert for_parent.reasons[0] == "stands in for acme/atlas-27b, which needs about 60 GB of memory"


def test_a_refresh_queues_the_copy_and_names_it_at_its_model(settings: Settings) -> None:
    common: dict[str, Any] = {"access": Access.OPEN, "has_safetensors": True}
    released_at = NOW - timedelta(days=1)
    models = (
        SourceModel(
            "acme/atlas-27b",
            kind=ModelKind.CHAT,
            weights_bytes=54 * 10**15,  # larger than any machine
            released_at=released_at,
            downloads=9_000,
            **common,
        ),
        SourceModel(
            "quant/atlas-27b-AWQ",
            kind=ModelKind.QUANTIZED,
            weights_bytes=15_000_000,
            base_models=("Acme/Atlas-27b",),
            released_at=released_at,
            downloads=900,
            **common,
        ),
    )
    with Store.open(settings) as store:
        store.add_batch(Batch(models=models), source="hub-models", ingest_id="1", seen_at=NOW)
    for _ in range(2):
        found = queue.refresh(settings, now=NOW)
        assert (found.n_queued, found.n_parked, found.n_passed_over) == (1, 1, 0)
        with open_snapshot(settings) as snapshot:
            jobs = {row["model_id"]: row for row in snapshot.query("jobs")}
        queued, parked = jobs["quant/atlas-27b-AWQ"], jobs["acme/atlas-27b"]
        assert (queued["status"], queued["priority"]) == ("queued", parked["priority"])
        assert parked["parked_reason"].endswith("; measured instead: `quant/atlas-27b-AWQ`")
        assert parked["parked_reason"].count("instead") == 1


def test_a_gguf_copy_stands_in_where_llama_cpp_is_installed() -> None:
    one = copy("quant/atlas-27b-GGUF", has_safetensors=False)
    assert names(PARENT, one) == {}
    found = stand_ins((PARENT, one), MEMORY, is_readable=is_gguf_name)
    assert found == {"quant/atlas-27b-gguf": PARENT}
    assert obstacle(copy("quant/atlas-27b", has_safetensors=False), MEMORY) == "no safetensors weights"
