"""The page “Run it”: the models that fit a card."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from app.data import queries
from app.pages.run_it import view
from runners.models.demo import MODEL_ID as DEMO_ID
from runners.models.resolve import resolve_model
from tests.builders.some_runs import model, run, store_runs
from tracker.answers.fits import best_fits, fit_candidates, fit_commands
from tracker.answers.leaderboard import exported
from tracker.cli.command_line import command_line
from tracker.memory_estimate import GB
from tracker.records import EngineSettings, Model
from tracker.settings import Settings


def measured(quantization: str | None, *, score: float, weights_gb: float, **more: Any) -> dict[str, Any]:
    common: dict[str, Any] = {"model_id": "m/x", "suite": "quick", "task": "sums", "engine": "vllm"}
    common |= {"dtype": "bfloat16", "asked_max_model_len": None, "thinking": None, "revision": "a" * 40}
    common |= {"run_id": f"run-{quantization}", "ci_low": score - 0.1, "ci_high": score + 0.1}
    common |= {"weights_bytes": weights_gb * GB, "overhead_bytes": 1e9, "cache_bytes_per_token": 1e5}
    return common | {"quantization": quantization, "score": score} | more


def hub(model_id: str, *, weights_gb: float) -> dict[str, Any]:
    return {"model_id": model_id, "weights_bytes": weights_gb * GB, "n_params": None, "max_context": 131_072}


EVERY = fit_candidates(
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
def test_run_it_offers_the_best_settings_that_fit(memory_gb: float, expected: list[tuple[str, str]]) -> None:
    fits = best_fits(EVERY, memory_gb=memory_gb, context=4096)
    told = fits["quantization"].fillna("as published")
    assert list(zip(fits["model_id"], told, strict=True)) == expected


def test_run_it_counts_models_that_fit_once_each() -> None:
    fits = best_fits(EVERY, memory_gb=24.0, context=4096)
    phrase = view.count_phrase(EVERY, fits, memory_gb=24.0, context=4096)
    assert phrase == "2 of 3 models fit in 24 GB with 4,096 tokens of context."


def offered(settings: Settings, of: Model, asked: EngineSettings) -> list[list[str]]:
    """The words of the three commands for a model that was measured with these settings."""
    fit = {"weights_bytes": 2e9, "overhead_bytes": 1e9}
    fit |= {"kv_cache_bytes": 4e8, "context": 4096, "n_sequences": 1}
    store_runs(settings, replace(run(1, of=of, settings=asked), fit=fit))
    every = queries.candidates("quick", "sort_words")
    fits = best_fits(every, memory_gb=24.0, context=8192)
    said = fit_commands(fits, of.model_id, memory_gb=24.0, context=8192)
    return [shlex.split(line) for line in said.splitlines()]


@pytest.mark.parametrize(
    ("asked", "flags"),
    [
        (EngineSettings(), []),
        (EngineSettings(quantization="fp8"), ["--quantization", "fp8"]),
        (EngineSettings(dtype="float16"), ["--dtype", "float16"]),
    ],
    ids=["default", "quantized", "precision"],
)
def test_run_it_commands_serve_a_model_with_the_settings_of_its_score(
    settings: Settings, asked: EngineSettings, flags: list[str]
) -> None:
    name = model().model_id
    assert offered(settings, model(), asked) == [
        ["tracker", "fit", name, "--vram-gb", "24", "--context", "8192"],
        ["tracker", "bench", name, "--max-model-len", "8192", *flags],
        ["vllm", "serve", name, "--max-model-len", "8192", *flags],
    ]


@pytest.mark.parametrize("thinking", [True, False])
def test_run_it_commands_parse_as_tracker_commands(settings: Settings, thinking: bool) -> None:
    asked = EngineSettings(quantization="fp8", dtype="bfloat16", thinking=thinking)
    _, bench, _ = offered(settings, model(), asked)
    _, bound, _ = command_line.parse_args(bench[1:], exit_on_error=False, print_error=False)
    flags = bound.arguments["engine"]
    found = {name: getattr(flags, name) for name in ("quantization", "dtype", "thinking", "max_model_len")}
    assert found == {"quantization": "fp8", "dtype": "bfloat16", "thinking": thinking, "max_model_len": 8192}


def test_run_it_commands_name_a_local_model_by_its_folder(settings: Settings, model_folder: Path) -> None:
    odd = model_folder.rename(model_folder.with_name("tiny 1b"))
    local = resolve_model(str(odd), EngineSettings(), settings)
    assert local.model_id == "local/tiny 1b"
    assert [words[2] for words in offered(settings, local, EngineSettings())] == [str(odd)] * 3


def test_run_it_commands_name_a_cached_model_by_its_folder(settings: Settings, tmp_path: Path) -> None:
    cached = model(path=str(tmp_path / "snapshots" / model().revision))
    assert [words[2] for words in offered(settings, cached, EngineSettings())] == [cached.path] * 3


def test_run_it_commands_name_the_embedded_model_demo_and_its_folder_for_vllm(settings: Settings) -> None:
    path = str(settings.models_path / "demo")
    embedded = Model(DEMO_ID, f"sha256:{'0' * 64}+1", path=path, quantization="Q4_1", n_params=134_515_008)
    names = [words[2] for words in offered(settings, embedded, EngineSettings())]
    assert names == ["demo", "demo", path]


def test_run_it_commands_name_a_hub_model_by_its_repository() -> None:
    fits = best_fits(EVERY, memory_gb=24.0, context=4096)
    said = fit_commands(fits, "n/y", memory_gb=24.0, context=4096)
    assert said.splitlines()[2] == "vllm serve n/y --max-model-len 4096"


def test_downloads_name_no_folder_of_this_machine(settings: Settings) -> None:
    store_runs(settings, run(1, of=model(path="/home/someone/model")))
    assert "path" not in exported(queries.task_scores("quick", ("sort_words",)))
