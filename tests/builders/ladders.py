"""A ladder over models that a store already has."""

from __future__ import annotations

from datetime import UTC, datetime

from tracker.files.ladders import write_ladder
from tracker.records import EngineSettings
from tracker.records.ladders import Ladder, LadderRung, RungEnd, RungStatus
from tracker.settings import Settings
from tracker.store import open_snapshot

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def store_ladder(settings: Settings, *model_ids: str, suite: str = "quick") -> Ladder:
    """The first model and its rungs, each with its newest whole run of the suite; one without is failed."""
    with open_snapshot(settings) as snapshot:
        runs = snapshot.query("runs", suite=suite, status="complete")
    of = {row["model_id"]: row["run_id"] for row in reversed(runs)}
    ladder = Ladder(
        ladder_id="0123456789abcdef" * 2,
        suite=suite,
        suite_version=1,
        tasks=("count_letters", "sort_words"),
        precision=0.01,
        rungs=tuple(_rung(name, of.get(name)) for name in model_ids),
        started_at=NOW,
        updated_at=NOW,
        command=f"tracker ladder {' '.join(model_ids)} --suite {suite} --precision 1",
    )
    write_ladder(settings, ladder)
    return ladder


def _rung(name: str, run_id: str | None) -> LadderRung:
    if run_id is None:
        why = "needs 812 GB of memory, 80 GB are there"
        return LadderRung(
            name, name, name, EngineSettings(), status=RungStatus.FAILED, reason="does_not_fit", detail=why
        )
    return LadderRung(
        name, name, name, EngineSettings(), status=RungStatus.MEASURED, run_ids=(run_id,), limit=100,
        n_looks=1, looked_at=100, end=RungEnd.ALL_ITEMS,
    )  # fmt: skip
