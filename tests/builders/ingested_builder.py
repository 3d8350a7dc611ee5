"""Small invented ingests and a queue, in addition to the runs of `store_builder`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tracker.records.published import (
    Access,
    Batch,
    IngestOutcome,
    ModelKind,
    OutcomeStatus,
    SourceFacts,
    SourceModel,
)
from tracker.records.published import SourceScore as Claim
from tracker.settings import Settings
from tracker.store import Alias, JobRow, SourceState, Store

HUB = SourceFacts(
    "hub-models",
    "Hugging Face Hub, models",
    "https://huggingface.co/models",
    "Hub terms; each model has its own license",
    "Model metadata: Hugging Face Hub",
)
EVALS = SourceFacts(
    "hub-evals",
    "Hugging Face Hub, evaluation results",
    "https://huggingface.co/docs/hub/eval-results",
    "Hub terms; each repository has its own license",
    "Evaluation results: Hugging Face Hub, as reported by the authors named with each",
)
ARENA = SourceFacts(
    "lmarena",
    "LMArena leaderboard",
    "https://lmarena.ai",
    "CC BY 4.0 as reusers state it",
    "Arena ratings: LMArena",
)
# name, parameters, license, days between its release and `now`
ON_THE_HUB = (
    ("acme/atlas-2-8b", 8.03e9, "apache-2.0", 60),
    ("borealis/nimbus-4b-thinking", 4.1e9, "mit", 30),
    ("cobalt/granite-garden-3b-base", 3.2e9, "llama3.2", 200),
    ("delta/closed-door-7b", 7.2e9, "other", 9),
    ("delta/colossus-405b", 4.05e11, "other", 12),
    ("echo/harbour-14b", 14.8e9, "apache-2.0", 4),
    ("echo/harbour-32b", 32.5e9, "apache-2.0", 4),
    ("fjord/kelp-1b", 1.2e9, "mit", 2),
)
CLAIMS = (  # model, benchmark, value, who reports it
    ("acme/atlas-2-8b", "Count Letters", 0.82, "first_party", "Acme"),
    ("acme/atlas-2-8b", "Sort Words", 0.57, "first_party", "Acme"),
    ("borealis/nimbus-4b-thinking", "Count Letters", 0.71, "first_party", "Borealis"),
    ("echo/harbour-14b", "Count Letters", 0.88, "first_party", "Echo"),
    ("echo/harbour-32b", "Count Letters", 0.93, "third_party", "Letterboard"),
)
BENCHMARK_TASKS = (("Count Letters", "count_letters", "exact"), ("Sort Words", "sort_words", "close"))


def add_ingests(settings: Settings, *, now: datetime) -> None:
    """Two ingests of the Hub a week apart, claims, a source that is down, and a queue; not yet published."""
    with Store.open(settings) as store:
        for days, models in ((8, ON_THE_HUB[:5]), (1, ON_THE_HUB)):
            _ingest(
                store,
                HUB,
                Batch(models=tuple(_model(*row, now=now) for row in models)),
                now - timedelta(days=days),
            )
        scores = tuple(
            Claim(name, benchmark, value, reported_by=reported_by, reporter=reporter, source_url=f"https://example.org/{name}")
            for name, benchmark, value, reported_by, reporter in CLAIMS
        )  # fmt: skip
        _ingest(store, EVALS, Batch(scores=scores), now - timedelta(days=1))
        down = "the source is down: 503 Service Unavailable"
        outcome = IngestOutcome(
            "lmarena", OutcomeStatus.SKIPPED_UNAVAILABLE, reason=down, ingest_id=_id(now, "lmarena")
        )
        store.add_outcome(ARENA, outcome, started_at=now - timedelta(days=1), state=SourceState())
        store.put_benchmark_tasks(BENCHMARK_TASKS)
        store.add_aliases([Alias("hub-evals", name, name, "stated") for name, *_ in CLAIMS])
        store.put_jobs(_jobs(now))


def _ingest(store: Store, facts: SourceFacts, batch: Batch, at: datetime) -> None:
    ingest_id = _id(at, facts.name)
    counts = store.add_batch(batch, source=facts.name, ingest_id=ingest_id, seen_at=at)
    n_seen = len(batch.models) + len(batch.scores)
    outcome = IngestOutcome(
        facts.name,
        OutcomeStatus.COMPLETED,
        n_seen=n_seen,
        n_new=counts.n_new,
        n_changed=counts.n_changed,
        ingest_id=ingest_id,
    )
    store.add_outcome(facts, outcome, started_at=at, state=SourceState(), raw_sha256=("0" * 64,))


def _id(at: datetime, source: str) -> str:
    return f"{at:%Y%m%dT%H%M%S}-{source}"


def _model(name: str, n_params: float, license_id: str, days: int, *, now: datetime) -> SourceModel:
    released_at = (now - timedelta(days=days)).astimezone(UTC)
    return SourceModel(
        name,
        organization=name.partition("/")[0],
        access=Access.OPEN,
        kind=ModelKind.CHAT,
        released_at=released_at,
        last_modified_at=released_at,
        revision="0a1b2c3d" * 5,
        license=license_id,
        n_params=int(n_params),
        weights_bytes=int(2 * n_params),
        has_safetensors=True,
        max_context=131_072,
        downloads=int(1e6 / (1 + days)),
        likes=1000 - days,
        trending=50 - min(days, 49),
    )


def _jobs(now: datetime) -> list[JobRow]:
    common = {"suite": "quick", "suite_version": 1, "kind": "chat", "added_at": now, "updated_at": now}
    return [
        JobRow(
            "echo/harbour-14b",
            status="queued",
            priority=71.0,
            reasons=("new this week", "claims 88% on count_letters"),
            n_params=14_800_000_000,
            predicted_bytes=33_400_000_000,
            **common,
        ),
        JobRow(
            "fjord/kelp-1b",
            status="queued",
            priority=55.0,
            reasons=("new this week",),
            n_params=1_200_000_000,
            **common,
        ),
        JobRow(
            "delta/closed-door-7b",
            status="parked",
            priority=60.0,
            reasons=("downloaded often",),
            parked_reason="gated: accept the license on its page",
            **common,
        ),
        JobRow(
            "echo/harbour-32b",
            status="parked",
            priority=64.0,
            reasons=("claims 93% on count_letters",),
            parked_reason="needs 72 GB, 24 GB are there",
            n_params=32_500_000_000,
            **common,
        ),
    ]  # fmt: skip
