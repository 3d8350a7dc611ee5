"""What the page `Run it` finds for a card."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from app import fitting, fitting_view

GB = fitting.GB


def measured(quantization: str | None, *, score: float, weights_gb: float, **more: Any) -> dict[str, Any]:
    common: dict[str, Any] = {"model_id": "m/x", "suite": "quick", "task": "sums", "engine": "vllm"}
    common |= {"dtype": "bfloat16", "asked_max_model_len": None, "thinking": None, "revision": "a" * 40}
    common |= {"run_id": f"run-{quantization}", "ci_low": score - 0.1, "ci_high": score + 0.1}
    common |= {"weights_bytes": weights_gb * GB, "overhead_bytes": 1e9, "cache_bytes_per_token": 1e5}
    return common | {"quantization": quantization, "score": score} | more


def hub(model_id: str, *, weights_gb: float) -> dict[str, Any]:
    return {"model_id": model_id, "weights_bytes": weights_gb * GB, "n_params": None, "max_context": 131_072}


EVERY = fitting.candidates(
    pd.DataFrame(
        [
            measured(None, score=0.90, weights_gb=60),
            measured("fp8", score=0.89, weights_gb=18),
            measured("int4", score=0.70, weights_gb=9),
        ]
    ),
    pd.DataFrame([hub("m/x", weights_gb=9), hub("n/y", weights_gb=8), hub("n/z", weights_gb=90)]),
    "sums",
)


@pytest.mark.parametrize(
    ("memory_gb", "expected"),
    [
        (80.0, [("m/x", "as published"), ("n/y", "as published")]),
        (24.0, [("m/x", "fp8"), ("n/y", "as published")]),
        (12.0, [("m/x", "int4"), ("n/y", "as published")]),
        (9.9, []),
    ],
    ids=["as published", "quantized", "quantized further", "nothing"],
)
def test_of_each_model_the_best_settings_that_fit_are_offered(
    memory_gb: float, expected: list[tuple[str, str]]
) -> None:
    fits = fitting.fitting(EVERY, memory_gb=memory_gb, context=4096)
    told = fits["quantization"].fillna("as published")
    assert list(zip(fits["model_id"], told, strict=True)) == expected


def test_the_models_that_fit_are_counted_as_models() -> None:
    fits = fitting.fitting(EVERY, memory_gb=24.0, context=4096)
    said = fitting_view.say_fits(EVERY, fits, memory_gb=24.0, context=4096)
    assert said == "2 of 3 models fit 24 GB with 4,096 tokens of context."
