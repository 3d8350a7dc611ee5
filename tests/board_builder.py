"""A small Elo board as it is ingested: three rated models, of which two have a date."""

from __future__ import annotations

from datetime import UTC, date, datetime

from tracker.ingested import Access, Batch, SourceModel, SourceScore
from tracker.settings import Settings
from tracker.store import Store, publish

AT = datetime(2026, 11, 24, tzinfo=UTC)
BOARD_NAME = "lmarena:LMArena text/overall"
ARENA = {"acme/atlas": Access.UNKNOWN, "gpt-9": Access.CLOSED, "nameless": Access.OPEN}


def board(settings: Settings) -> None:
    """Three rated models: one dated by its own source, one through the Hub, one not at all."""
    hub = (SourceModel("acme/atlas", access=Access.OPEN, released_at=datetime(2026, 6, 1, tzinfo=UTC)),)
    prices = (SourceModel("gpt-9", access=Access.CLOSED, released_at=datetime(2026, 1, 1, tzinfo=UTC)),)
    rated = tuple(SourceModel(name, access=access) for name, access in ARENA.items())
    scores = tuple(
        SourceScore(name, "LMArena text", 1400.0 + 10 * i, variant="overall", unit="rating",
                    ci_low=1390.0 + 10 * i, ci_high=1410.0 + 10 * i, evaluated_on=date(2026, 11, 20))
        for i, name in enumerate(ARENA)
    )  # fmt: skip
    with Store.open(settings) as store:
        store.add_batch(Batch(models=hub), source="hub-models", ingest_id="1", seen_at=AT)
        store.add_batch(Batch(models=prices), source="models-dev", ingest_id="2", seen_at=AT)
        store.add_batch(Batch(models=rated, scores=scores), source="lmarena", ingest_id="3", seen_at=AT)
    publish(settings)
