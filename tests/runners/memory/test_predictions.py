"""Predictions as they were before each engine had a predictor of its own: no byte may move unnoticed.

`predictions.json` was written by this file (`python -m tests.runners.memory.test_predictions`) at the commit
that still predicted both engines in one function. Since then the freest card is taken instead of the first,
which moved the rows of two unequal cards.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from runners.hardware import Hardware
from runners.memory.fit import changes, climb
from runners.memory.prediction import predict
from tests.runners.memory.test_fit import (
    DEEPSEEK,
    FIXTURES,
    GEMMA,
    GPT_OSS,
    LLAMA,
    machine,
    subject,
)
from tracker.records import EngineSettings
from tracker.serialization import dump

GOLDEN = FIXTURES / "predictions.json"
MODELS = (LLAMA, GEMMA, GPT_OSS, DEEPSEEK)
ENGINES = ("vllm", "transformers")
MACHINES = {
    "cpu": machine(),
    "half free 24 GiB": machine(24, free=0.5),
    "unequal": machine(24, 80, capability="7.0"),
    "eight": machine(*[80] * 8),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "as asked": {"dtype": "float16", "max_model_len": 6000, "max_num_seqs": 12, "quantization": "int8"},
    "two cards, fp8": {"tensor_parallel_size": 2, "quantization": "fp8", "gpu_memory_utilization": 0.7},
}
NUMBERS = (
    "weights_bytes", "kv_cache_bytes", "overhead_bytes", "available_bytes", "fits", "context", "dtype",
    "n_sequences", "n_cards", "concurrency", "quantization", "device",
)  # fmt: skip


def cases() -> Iterator[tuple[str, str, EngineSettings, Hardware]]:
    for model_id in MODELS:
        for engine in ENGINES:
            for place, hardware in MACHINES.items():
                for how, asked in SETTINGS.items():
                    settings = EngineSettings(engine=engine, **asked)
                    yield f"{model_id} · {engine} · {place} · {how}", model_id, settings, hardware


def predicted(model_id: str, settings: EngineSettings, hardware: Hardware) -> list[Any]:
    """The numbers as asked and with 9,000 tokens, and what the ladder says and changes."""
    whole = subject(model_id)
    fits = [dump(predict(whole, settings, hardware, context=context)) for context in (None, 9000)]
    chosen, climbed = climb(whole, settings, hardware)
    asked, after = dump(settings), dump(chosen)
    return [
        *([fit[name] for name in NUMBERS] for fit in fits),
        len(fits[0]["notes"]),
        {name: value for name, value in after.items() if value != asked[name]},
        [[step.action, step.total_bytes, step.fits, step.context] for step in climbed.steps],
        list(changes(settings, chosen, climbed, hardware=hardware)),
    ]


def test_predictions_are_those_of_before_for_every_model_engine_machine_and_setting() -> None:
    golden = json.loads(GOLDEN.read_text())
    found = {name: predicted(*rest) for name, *rest in cases()}  # type: ignore[arg-type]
    assert found.keys() == golden.keys()
    moved = [name for name in found if json.loads(json.dumps(found[name])) != golden[name]]
    assert moved == []


if __name__ == "__main__":
    lines = (f"{json.dumps(name)}: {json.dumps(predicted(*rest))}" for name, *rest in cases())  # type: ignore[arg-type]
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
