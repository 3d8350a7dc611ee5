"""Which runs the leaderboard shows, and when two of them share a row."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from tests.builders.some_runs import TASKS, run, store_runs
from tracker.records import Cost, EngineSettings
from tracker.settings import Settings
from tracker.store import Store


def test_leaderboard_query_keeps_the_cost_of_the_measured_run(
    settings: Settings,
) -> None:
    measured = run(1, cost=Cost(duration_s=180.0, tokens_per_s=41.0, ttft_s=0.3))
    repeated = run(2, cost=Cost(duration_s=0.1), n_reused_items=30)
    store_runs(settings, measured, repeated)
    with Store.open(settings) as store:
        rows = store.query("leaderboard")
    assert {(row["run_id"], row["duration_s"], row["ttft_s"]) for row in rows} == {
        (measured.run_id, 180.0, 0.3)
    }
    assert len(rows) == len(TASKS)


@pytest.mark.parametrize(
    ("settings_of_run", "engine"),
    [
        ({}, {"engine": "vllm"}),
        ({"dtype": "bfloat16"}, {"dtype": "bfloat16"}),
        ({"quantization": "fp8"}, {"quantization": "fp8"}),
        ({"max_model_len": 1024}, {"max_model_len": 1024}),
        ({"thinking": False}, {}),
    ],
    ids=["engine", "dtype", "quantization", "context", "thinking"],
)
def test_leaderboard_query_has_a_row_per_settings(
    settings: Settings, settings_of_run: dict[str, Any], engine: dict[str, Any]
) -> None:
    plain = run(1)
    assert plain.engine is not None
    other = run(2, settings=EngineSettings(**settings_of_run), engine=replace(plain.engine, **engine))
    store_runs(settings, plain, other)
    with Store.open(settings) as store:
        rows = store.query("leaderboard")
    assert Counter(row["run_id"] for row in rows) == {plain.run_id: 3, other.run_id: 3}


def test_leaderboard_query_ignores_a_context_granted_by_free_memory(settings: Settings) -> None:
    first, second = run(1), run(2)
    assert second.engine is not None
    store_runs(settings, first, replace(second, engine=replace(second.engine, max_model_len=1024)))
    with Store.open(settings) as store:
        assert {row["run_id"] for row in store.query("leaderboard")} == {second.run_id}
