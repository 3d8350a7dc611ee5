"""Keys of kept answers: new with each change of the tables that their reads use, and with no other."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from app.data.table_states import TableStates
from tests.builders.ingested_builder import add_ingests
from tests.builders.some_runs import model, run, score, store_runs
from tracker.settings import Settings
from tracker.store import open_snapshot, publish, snapshot_id
from tracker.store.reading import query_sql

NOW = datetime(2026, 11, 26, tzinfo=UTC)
HUB, RUNS = ("hub_sizes", "model_claims"), ("latest_runs",)


def state(found: TableStates, names: tuple[str, ...], settings: Settings) -> str:
    """The state in the newest snapshot."""
    return found.of(names, str(snapshot_id(settings)), partial(open_snapshot, settings))


def test_states_of_the_hub_stay_while_a_bench_publishes_and_change_with_an_ingest(settings: Settings) -> None:
    store_runs(settings, run(1))
    found = TableStates()
    hub, runs = (state(found, names, settings) for names in (HUB, RUNS))
    store_runs(settings, run(2))
    assert state(found, HUB, settings) == hub
    assert state(found, RUNS, settings) != runs
    runs = state(found, RUNS, settings)
    add_ingests(settings, now=NOW)
    publish(settings)
    assert state(found, HUB, settings) != hub
    assert state(found, RUNS, settings) == runs


def test_states_of_rows_that_return_are_new(settings: Settings) -> None:
    found, seen = TableStates(), []
    for value in (0.5, 0.25, 0.5):
        store_runs(settings, run(1, scores=(score("count_letters", model(), value),)))
        seen.append(state(found, ("run_scores",), settings))
    assert len(set(seen)) == len(seen)


def test_states_without_a_snapshot_have_one_too(settings: Settings) -> None:
    assert "published_scores=" in state(TableStates(), HUB, settings)


def test_states_are_asked_only_for_reads_without_items() -> None:
    asked = [
        name
        for path in Path("app").rglob("*.py")
        for names in re.findall(r"\bstate\(((?:[\"']\w+[\"'](?:, )?)+)\)", path.read_text())
        for name in re.findall(r"\w+", names)
    ]
    assert len(asked) > 5
    assert not [name for name in asked if re.search(r"\bitems\b", query_sql(name))]
