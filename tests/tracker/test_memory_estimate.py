"""The one estimate of memory: which of what is known it goes by, and its inverse."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tracker.memory_estimate import memory_text, needed_bytes, peak_of_need, row_needed_bytes

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
