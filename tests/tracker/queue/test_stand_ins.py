"""A model too large for this machine is measured as its quantized copy, which takes its place."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runners.memory.quantized_variants import is_readable
from tests.builders.some_runs import model, run, store_runs
from tracker.errors import FieldError
from tracker.queue import jobs as queue
from tracker.queue.priorities import (
    Candidate,
    Claims,
    is_gguf_name,
    obstacle,
    pairs,
    priority,
    stand_ins,
)
from tracker.queue.runner import Budget, engine_of, work_off
from tracker.records import EngineSettings
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


def test_a_model_and_its_copy_that_both_fit_are_a_pair_with_half_the_points() -> None:
    large = 80_000_000_000
    other = copy("some/atlas-27b-GPTQ-Int4", downloads=90)
    found = pairs((PARENT, copy(), other), large, is_readable=lambda name: is_readable([name]))
    assert found == {"quant/atlas-27b-awq": PARENT}
    own, whole, pair = (
        priority(one, Claims(), NOW, pair_of=of)
        for one, of in ((copy(), None), (PARENT, None), (copy(), PARENT))
    )
    assert own.points < 15.0 <= pair.points == whole.points / 2
    assert pair.reasons == (
        f"+{pair.points:g} pair with acme/atlas-27b, which fits too: what this copy loses is then known",
        f"half of its {whole.points:g}: {', '.join(whole.reasons)}",
    )


@pytest.mark.parametrize(
    ("parent", "memory_bytes"),
    [
        (PARENT, MEMORY),
        (replace(PARENT, gated="manual"), 10**11),
        (replace(PARENT, weights_bytes=None), 10**11),
    ],
    ids=["too large", "gated", "size unknown"],
)
def test_there_is_no_pair_where_the_model_itself_cannot_be_measured(
    parent: Candidate, memory_bytes: int
) -> None:
    assert pairs((parent, copy()), memory_bytes, is_readable=lambda name: is_readable([name])) == {}


def test_a_popular_copy_keeps_its_own_points_in_a_pair() -> None:
    popular = copy(downloads=10**7, released_at=NOW, trending=9)
    assert (
        priority(popular, Claims(), NOW, pair_of=replace(PARENT, downloads=0))
        .reasons[0]
        .startswith("+30 new")
    )


def test_a_refresh_queues_a_pair_after_its_model_and_a_run_of_a_file_counts_for_its_repository(
    settings: Settings,
) -> None:
    common: dict[str, Any] = {"access": Access.OPEN, "released_at": NOW - timedelta(days=1)}
    parent = SourceModel(
        "acme/atlas-1b",
        kind=ModelKind.CHAT,
        has_safetensors=True,
        weights_bytes=2_000_000,
        downloads=9_000,
        **common,
    )
    pair = SourceModel(
        "quant/atlas-1b-AWQ", kind=ModelKind.QUANTIZED, has_safetensors=True, weights_bytes=600_000,
        base_models=(parent.name,), downloads=900, **common,
    )  # fmt: skip
    files = SourceModel(
        "quant/nimbus-GGUF",
        kind=ModelKind.CHAT,
        has_safetensors=False,
        n_params=10**6,
        downloads=10**6,
        **common,
    )
    with Store.open(settings) as store:
        store.add_batch(Batch(models=(parent, pair, files)), source="hub-models", ingest_id="1", seen_at=NOW)
    queue.refresh(settings, now=NOW)
    with open_snapshot(settings) as snapshot:
        jobs = snapshot.query("jobs")
    ranked = [row["model_id"] for row in sorted(jobs, key=lambda row: -row["priority"])]
    assert ranked == ["quant/nimbus-GGUF", "acme/atlas-1b", "quant/atlas-1b-AWQ"]
    assert {row["status"] for row in jobs} == {"queued"}
    store_runs(settings, run(1, of=model("quant/nimbus-GGUF:Q4_K_M")))
    assert queue.refresh(settings, now=NOW).n_done == 1
    with open_snapshot(settings) as snapshot:
        (done,) = snapshot.query("jobs", status="done")
    assert done["model_id"] == "quant/nimbus-GGUF"


def test_each_job_has_the_engine_that_reads_its_weights() -> None:
    asked, default = EngineSettings(engine="auto"), EngineSettings(engine="transformers")
    assert engine_of("acme/atlas-1b", asked, default) == default
    assert engine_of("quant/atlas-1b-GGUF", asked, default).engine == "llamacpp"
    named = EngineSettings(engine="transformers")
    assert engine_of("quant/atlas-1b-GGUF", named, named) == named
    with pytest.raises(FieldError, match="is not supported by `--engine llamacpp`"):
        engine_of("quant/atlas-1b-GGUF", replace(asked, dtype="float16"), default)


def test_a_setting_that_llama_cpp_does_not_take_leaves_the_job_in_the_queue(settings: Settings) -> None:
    queue.add(settings, "quant/atlas-1b-GGUF", suite="smoke")
    asked = EngineSettings(engine="auto", dtype="float16")
    assert list(work_off(settings, Budget(), lambda _: None, suite="smoke", engine=asked)) == []
    with open_snapshot(settings) as snapshot:
        (job,) = snapshot.query("jobs")
    assert (job["status"], job["attempts"]) == ("queued", 0)
