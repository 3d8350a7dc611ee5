"""The one estimate of memory: which of what is known it goes by, and its inverse."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from tracker.memory_estimate import (
    NEED_COLUMNS,
    column_needed_bytes,
    memory_text,
    needed_bytes,
    peak_of_need,
    row_needed_bytes,
)

HEADERS = {"weights_bytes": 16e9, "cache_bytes_per_token": 1e5, "overhead_bytes": 1e9}


@pytest.mark.parametrize(
    ("known", "context", "expected_gb"),
    [
        (HEADERS | {"n_params": 70e9, "peak_bytes": 72e9}, 4096, 17.4096),
        (HEADERS, 32_768, 20.2768),
        ({"weights_bytes": 16e9, "n_params": 70e9, "peak_bytes": 72e9}, 4096, 18.78),
        ({"n_params": 8e9, "peak_bytes": 72e9}, 4096, 18.78),
        ({"n_params": 8e9}, 8192, None),
        ({"peak_bytes": 20e9}, 4096, 20.0),
        ({"peak_bytes": 20e9}, 8192, None),
        ({}, 4096, None),
    ],
    ids=[
        "headers before all", "headers at a longer context", "weights before parameters", "parameters",
        "no longer context without a cache", "the peak comes last", "no peak at another context", "nothing",
    ],
)  # fmt: skip
def test_memory_estimate_goes_by_the_best_that_is_known(
    known: dict[str, Any], context: int, expected_gb: float | None
) -> None:
    found = needed_bytes(**known, context=context)
    assert found == (None if expected_gb is None else round(expected_gb * 1e9))


def test_memory_estimate_of_a_row_passes_over_what_is_missing() -> None:
    row = {
        "weights_bytes": math.nan,
        "n_params": 8_000_000_000,
        "cache_bytes_per_token": None,
        "model_id": "a",
    }
    assert row_needed_bytes(row) == needed_bytes(n_params=8e9)


@pytest.mark.parametrize(
    ("row", "expected_gb", "text"),
    [
        ({"engine": "vllm", "device": "H100"}, None, "peak memory 72.0 GB, the share of the card that vLLM"),
        ({"engine": "vllm", "device": "H100", "memory_basis": "used"}, 72.0, "peak memory 72.0 GB"),
        ({"engine": "vllm", "device": "H100", "memory_basis": "predicted"}, 72.0, "GB, in part predicted"),
        ({"engine": "vllm", "device": "H100", "memory_basis": math.nan}, None, "the share of the card"),
        ({"engine": "vllm", "device": "cpu"}, 72.0, "peak memory 72.0 GB"),
        ({"engine": "transformers", "device": "H100"}, 72.0, "peak memory 72.0 GB"),
    ],
    ids=["as stored before", "used", "predicted", "in a frame", "main memory", "another engine"],
)
def test_memory_estimate_the_share_that_vllm_reserves_says_nothing_of_the_model(
    row: dict[str, Any], expected_gb: float | None, text: str
) -> None:
    run = row | {"peak_memory_bytes": 72_000_000_000}
    needed = None if expected_gb is None else round(expected_gb * 1e9)
    assert (peak_of_need(run), row_needed_bytes(run)) == (needed, needed)
    assert text in memory_text(run)
    assert memory_text(run | {"peak_memory_bytes": None}) == ""


@pytest.mark.parametrize("context", [4096, 32_768])
def test_memory_estimate_of_many_rows_is_that_of_each(context: int) -> None:
    dice = random.Random(11)
    choices: dict[str, list[Any]] = {
        "weights_bytes": [None, math.nan, 16_060_522_497],
        "n_params": [None, 8_030_261_249],
        "cache_bytes_per_token": [None, 131_072.125],
        "overhead_bytes": [None, 987_654_321],
        "peak_memory_bytes": [None, 0, 20_000_000_001],
        "memory_basis": [None, math.nan, "used", "predicted"],
        "engine": [None, "vllm", "transformers"],
        "device": [None, "cpu", "H100"],
    }
    rows = [{name: dice.choice(of) for name, of in choices.items()} for _ in range(2000)]
    columns = {name: [row[name] for row in rows] for name in NEED_COLUMNS}
    found = column_needed_bytes(columns, len(rows), context=context).tolist()
    one_by_one = [row_needed_bytes(row, context=context) for row in rows]
    assert [None if math.isnan(value) else value for value in found] == one_by_one
    assert 100 < one_by_one.count(None) < 1900


def test_memory_estimate_of_rows_of_which_nothing_is_known_is_missing() -> None:
    assert all(math.isnan(value) for value in column_needed_bytes({}, 3))
