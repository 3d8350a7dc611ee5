"""A small ingested rating board: six rated models, all but the last with a date."""

from __future__ import annotations

from datetime import UTC, date, datetime

from tracker.records.published import (
    Access,
    Batch,
    SourceModel,
    SourceScore,
)
from tracker.settings import Settings
from tracker.store import Store, publish

AT = datetime(2026, 11, 24, tzinfo=UTC)
BOARD_NAME = "lmarena:LMArena text/overall"
ARENA = {
    "gpt-9": (1410.0, Access.CLOSED),
    "acme/atlas": (1400.0, Access.UNKNOWN),
    "gpt-8": (1390.0, Access.CLOSED),
    "atlas-1": (1380.0, Access.OPEN),
    "gpt-7": (1370.0, Access.CLOSED),
    "nameless": (1350.0, Access.OPEN),
}
RELEASED = {"gpt-9": (2026, 1), "gpt-8": (2025, 8), "atlas-1": (2025, 12), "gpt-7": (2025, 3)}


def board(settings: Settings) -> None:
    """Six rated models: one dated through the Hub, four by a list of providers, one not at all."""
    hub = (SourceModel("acme/atlas", access=Access.OPEN, released_at=datetime(2026, 6, 1, tzinfo=UTC)),)
    prices = tuple(
        SourceModel(f"acme/{name}", access=ARENA[name][1], released_at=datetime(*month, 1, tzinfo=UTC))
        for name, month in RELEASED.items()
    )
    rated = tuple(SourceModel(name, access=access) for name, (_, access) in ARENA.items())
    scores = tuple(
        SourceScore(name, "LMArena text", value, variant="overall", unit="rating",
                    ci_low=value - 10.0, ci_high=value + 10.0, evaluated_on=date(2026, 11, 20))
        for name, (value, _) in ARENA.items()
    )  # fmt: skip
    with Store.open(settings) as store:
        store.add_batch(Batch(models=hub), source="hub-models", ingest_id="1", seen_at=AT)
        store.add_batch(Batch(models=prices), source="models-dev", ingest_id="2", seen_at=AT)
        store.add_batch(Batch(models=rated, scores=scores), source="lmarena", ingest_id="3", seen_at=AT)
    publish(settings)
