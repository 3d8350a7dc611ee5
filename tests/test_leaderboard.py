"""Which run stands on the leaderboard, and what makes a row of its own."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from tests.some_runs import TASKS, run, store_runs
from tracker.records import Cost, EngineSettings
from tracker.settings import Settings
from tracker.store import Store


def test_a_repetition_that_reuses_every_item_does_not_hide_what_the_measurement_cost(
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
def test_each_row_of_settings_has_a_row_of_its_own(
    settings: Settings, settings_of_run: dict[str, Any], engine: dict[str, Any]
) -> None:
    plain = run(1)
    assert plain.engine is not None
    other = run(2, settings=EngineSettings(**settings_of_run), engine=replace(plain.engine, **engine))
    store_runs(settings, plain, other)
    with Store.open(settings) as store:
        rows = store.query("leaderboard")
    assert Counter(row["run_id"] for row in rows) == {plain.run_id: 3, other.run_id: 3}


def test_a_context_granted_by_free_memory_makes_no_other_row(settings: Settings) -> None:
    first, second = run(1), run(2)
    assert second.engine is not None
    store_runs(settings, first, replace(second, engine=replace(second.engine, max_model_len=1024)))
    with Store.open(settings) as store:
        assert {row["run_id"] for row in store.query("leaderboard")} == {second.run_id}
