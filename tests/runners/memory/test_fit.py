"""The prediction of memory: against real sizes and published logs, and the ladder when it does not fit."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runners.hardware import Gpu, Hardware
from runners.memory.architecture import read_architecture
from runners.memory.fit import (
    FitPlan,
    changes,
    climb,
    plan_fit,
    suggestions,
)
from runners.memory.prediction import Fit, predict, require_predictor
from runners.memory.weights import (
    Loading,
    Subject,
    Tensor,
    loaded_bytes,
    merged,
    read_subject,
    tensor,
)
from tests.conftest import ROOT
from tracker.errors import ModelError
from tracker.records import EngineSettings, Model
from tracker.serialization import dump

GIB = 2**30
FIXTURES = ROOT / "tests" / "fixtures" / "fit"
BYTES = {"BF16": 2, "F16": 2, "F32": 4, "F8_E4M3": 1, "U8": 1}
VLLM = EngineSettings(engine="vllm")
LLAMA, GEMMA = "meta-llama/Llama-3.1-8B-Instruct", "google/gemma-3-27b-it"
QWEN, QWEN_MOE, GPT_OSS = "Qwen/Qwen3-8B", "Qwen/Qwen3-30B-A3B", "openai/gpt-oss-20b"
DEEPSEEK, SMOL = "deepseek-ai/DeepSeek-V3", "HuggingFaceTB/SmolLM2-135M-Instruct"
MIXTRAL = "mistralai/Mixtral-8x7B-Instruct-v0.1"
TENSORS: dict[str, Any] = json.loads((FIXTURES / "tensors.json").read_text())


def subject(model_id: str) -> Subject:
    """The whole model: its tensors outside the layers, and each kind of layer as often as it occurs."""
    name = model_id.replace("/", "__")
    rows = [_row(*row) for row in TENSORS[name]["fixed"]]
    place = 0
    for count, layer in TENSORS[name]["layers"]:
        for i in range(place, place + count):
            rows += [_row(row[0].replace("layers.0.", f"layers.{i}."), *row[1:]) for row in layer]
        place += count
    return Subject(model_id, json.loads((FIXTURES / f"{name}.config.json").read_text()), tuple(rows))


def _row(name: str, dtype: str, shape: list[int], copies: int) -> Tensor:
    n_bytes = BYTES[dtype] * copies
    for size in shape:
        n_bytes *= size
    return Tensor(name, dtype, tuple(shape), n_bytes, copies)


def machine(*cards_gib: float, free: float = 1.0, ram_gib: float = 64, capability: str = "9.0") -> Hardware:
    cards = tuple(
        Gpu("NVIDIA test card", f"GPU-{i}", int(size * GIB), int(size * free * GIB), capability)
        for i, size in enumerate(cards_gib)
    )
    return Hardware("test", 8, int(ram_gib * GIB), int(ram_gib * GIB), cards)


@pytest.mark.parametrize("model_id", [LLAMA, QWEN, QWEN_MOE, MIXTRAL, GPT_OSS, SMOL, DEEPSEEK, GEMMA])
def test_fit_weights_are_exact_whatever_the_model(model_id: str) -> None:
    whole = subject(model_id)
    loading = Loading(dtype="bfloat16", is_text_only=True)
    expected = TENSORS[model_id.replace("/", "__")]["total_bytes"]
    found = loaded_bytes(whole.tensors, read_architecture(whole.config), loading)
    assert found == pytest.approx(
        expected, rel=1e-5
    )  # a few float32 biases of DeepSeek's router are narrowed


@pytest.mark.parametrize(
    ("model_id", "logged_gib"),
    [
        (LLAMA, 14.9889),  # vllm-project/vllm#17122
        (GPT_OSS, 12.8848),  # vllm-project/vllm#22331
    ],
)
def test_fit_weights_agree_with_what_vllm_logs_after_loading(model_id: str, logged_gib: float) -> None:
    fit = predict(subject(model_id), VLLM, machine(80))
    assert fit.weights_bytes / GIB == pytest.approx(logged_gib, rel=0.006)


def test_fit_the_rest_for_the_cache_agrees_with_what_vllm_logs() -> None:
    """Meta-Llama-3-8B on 79.22 GiB at 0.90 leaves 53.29 GiB for the cache: vllm-project/vllm#10511."""
    fit = predict(subject(LLAMA), replace(VLLM, max_num_seqs=256), machine(79.22), context=8192)
    left = fit.available_bytes - fit.weights_bytes - fit.overhead_bytes
    assert left / GIB == pytest.approx(53.29, rel=0.02)


def test_fit_a_tied_output_embedding_and_draft_layers_are_not_counted_twice() -> None:
    whole = subject(DEEPSEEK)
    loading = Loading(dtype="bfloat16")
    architecture = read_architecture(whole.config)
    extra = (*whole.tensors, _row("model.layers.61.eh_proj.weight", "BF16", [7168, 14336], 1))
    assert loaded_bytes(extra, architecture, loading) == loaded_bytes(whole.tensors, architecture, loading)
    small = subject(SMOL)
    tied = (*small.tensors, _row("lm_head.weight", "BF16", [49152, 576], 1))
    shape = read_architecture(small.config)
    assert loaded_bytes(tied, shape, loading) == loaded_bytes(small.tensors, shape, loading)


def test_fit_all_experts_count_however_few_are_used() -> None:
    fit = predict(subject(QWEN_MOE), VLLM, machine(80))
    assert fit.weights_bytes == 61_064_245_248  # not the 3B that are active


def test_fit_a_cpu_computes_in_32_bits_and_expands_what_is_quantized() -> None:
    cpu = EngineSettings(engine="transformers")
    assert predict(subject(SMOL), cpu, machine()).weights_bytes == 2 * 269_030_016
    fit = predict(subject(GPT_OSS), cpu, machine())
    assert fit.weights_bytes == pytest.approx(20.9e9 * 4, rel=0.01)  # 4-bit blocks become floats
    assert "dequantized" in fit.notes[0]


def test_fit_quantizing_on_loading_leaves_embeddings_and_norms() -> None:
    plain = predict(subject(LLAMA), VLLM, machine(80)).weights_bytes
    halved = predict(subject(LLAMA), replace(VLLM, quantization="fp8"), machine(80)).weights_bytes
    embeddings = 2 * 128256 * 4096 * 2
    assert halved == pytest.approx(embeddings + (plain - embeddings) / 2, rel=1e-3)


def test_fit_the_share_that_vllm_may_claim_is_what_counts() -> None:
    assert predict(subject(LLAMA), VLLM, machine(24)).available_bytes == pytest.approx(
        0.9 * 24 * GIB, rel=1e-6
    )
    assert predict(subject(LLAMA), VLLM, machine(24, free=0.5)).available_bytes == int(24 * GIB * 0.47)


@pytest.mark.parametrize("engine", ["vllm", "transformers"])
def test_fit_the_card_that_is_used_is_the_one_that_is_named(engine: str) -> None:
    busy, idle = Gpu("A", "GPU-0", 24 * GIB, 2 * GIB, "9.0"), Gpu("B", "GPU-1", 16 * GIB, 16 * GIB, "9.0")
    fit = predict(subject(SMOL), EngineSettings(engine=engine), replace(machine(), gpus=(busy, idle)))
    assert (fit.device, fit.fits, fit.available_bytes <= 16 * GIB) == ("B × 2", True, True)


def test_fit_a_shorter_context_is_the_first_thing_tried() -> None:
    settings, fit = climb(subject(LLAMA), VLLM, machine(24))
    assert fit.fits
    assert settings == replace(VLLM, max_model_len=32768)
    actions = [(step.action, step.fits) for step in fit.steps]
    assert actions == [("as requested", False), ("shorter context", True)]


def test_fit_a_context_that_was_asked_for_is_kept() -> None:
    asked = replace(VLLM, max_model_len=16384)
    settings, fit = climb(subject(LLAMA), replace(asked, max_model_len=60000), machine(24))
    assert settings.max_model_len == 60000
    assert fit.steps[-1].action in ("quantize while loading", "no setting fits")
    assert climb(subject(LLAMA), asked, machine(24))[0] == asked


def test_fit_a_model_too_large_in_16_bits_is_quantized_or_spread() -> None:
    settings, fit = climb(subject(LLAMA), VLLM, machine(14))
    assert (settings.quantization, fit.fits) == ("fp8", True)
    settings, fit = climb(subject(LLAMA), VLLM, machine(14, 14, capability="7.0"))  # too old for fp8
    assert (settings.tensor_parallel_size, fit.fits, fit.n_cards) == (2, True, 2)


def test_fit_a_card_that_others_use_is_claimed_only_in_part() -> None:
    settings, fit = climb(subject(SMOL), VLLM, machine(24, free=0.5))
    assert settings.gpu_memory_utilization == 0.47
    assert fit.steps[0].action == "smaller share of the GPU"


@pytest.mark.parametrize(
    ("hardware", "told"),
    [
        (machine(80), ()),
        (machine(24), ("context 32768 instead of 131072: the model does not fit otherwise",)),
        (
            machine(14),
            (
                "context 8192 instead of 131072: the model does not fit otherwise",
                "quantization fp8 instead of none: the model does not fit otherwise",
            ),
        ),
    ],
    ids=["fits", "shorter", "quantized"],
)
def test_fit_each_setting_that_the_ladder_changes_is_reported(
    hardware: Hardware, told: tuple[str, ...]
) -> None:
    chosen, fit = climb(subject(LLAMA), VLLM, hardware)
    assert changes(VLLM, chosen, fit, hardware=hardware) == tuple(f"fit: {line}" for line in told)


def test_fit_a_smaller_share_of_the_card_is_reported_with_its_reason() -> None:
    chosen, fit = climb(subject(SMOL), VLLM, machine(24, free=0.5))
    assert changes(VLLM, chosen, fit, hardware=machine(24, free=0.5)) == (
        "fit: share of the GPU 0.47 instead of 0.9: other programs use the GPU",
    )


def test_fit_what_fits_nowhere_is_refused_with_the_numbers() -> None:
    _, fit = climb(subject(DEEPSEEK), VLLM, machine(80))
    assert not fit.fits
    assert fit.steps[-1].action == "no setting fits"
    assert fit.weights_bytes / GIB == pytest.approx(624.5, abs=0.5)


def test_fit_rungs_come_in_the_order_of_the_least_change() -> None:
    shape = read_architecture(subject(LLAMA).config)
    names = [rung.action for rung in require_predictor("vllm").rungs(shape, VLLM, machine(24, 24))]
    first = ["shorter context", "fewer sequences", "quantize while loading", "more GPUs"]
    assert names == [*first, "more GPUs, quantize while loading"]
    cpu = EngineSettings(engine="transformers")
    assert [rung.action for rung in require_predictor("transformers").rungs(shape, cpu, machine())] == [
        "shorter context",
        "fewer sequences",
        "smaller data type",
    ]


def test_suggestions_are_commands_that_fit(model_folder: Path, tmp_path: Path) -> None:
    variant = tmp_path / "variant"
    shutil.copytree(model_folder, variant)
    offered = suggestions(subject(LLAMA), VLLM, machine(14), variants=[str(variant), str(tmp_path / "none")])
    assert [s.action for s in offered] == ["quantize while loading", "quantized variant"]
    assert offered[0].command.startswith(f"tracker bench {LLAMA} --max-model-len ")
    assert offered[0].command.endswith("--quantization fp8")


def test_fit_the_json_has_the_keys_of_the_contract() -> None:
    document = dump(predict(subject(LLAMA), VLLM, machine(24)))
    keys = {"model_id", "weights_bytes", "kv_cache_bytes", "overhead_bytes", "total_bytes", "fits", "context"}
    assert keys | {"suggestions", "steps", "dtype", "available_bytes"} <= document.keys()
    assert document["total_bytes"] == sum(
        document[k] for k in ("weights_bytes", "kv_cache_bytes", "overhead_bytes")
    )


def test_fit_a_local_folder_is_read_by_its_headers(model_folder: Path) -> None:
    model = Model("acme/tiny-1b", "sha256:1", path=str(model_folder))
    found = read_subject(model)
    assert found.tensors == (tensor("lm_head.weight", "F32", [16, 8], [0, 512]),)
    plan = plan_fit(model, EngineSettings(engine="transformers"), machine())
    assert isinstance(plan.fit, Fit)
    assert (plan.fit.fits, plan.fit.context, plan.settings.max_model_len) == (True, 64, None)


def test_fit_engines_that_nobody_predicts_are_let_through(model_folder: Path) -> None:
    model = Model("acme/tiny-1b", "sha256:1", path=str(model_folder))
    for engine in ("server", "tests.doubles.engines:ArithmeticEngine"):
        settings = EngineSettings(engine=engine)
        assert plan_fit(model, settings, machine()) == FitPlan(settings, None)


def test_fit_an_unknown_architecture_is_let_through(model_folder: Path) -> None:
    (model_folder / "config.json").write_text('{"model_type": "unheard_of"}')
    model = Model("acme/tiny-1b", "sha256:1", path=str(model_folder))
    settings = EngineSettings(engine="transformers")
    plan = plan_fit(model, settings, machine())
    assert (plan.settings, plan.fit) == (settings, None)
    assert plan.unknown.startswith("its memory cannot be predicted: ")


def test_fit_a_machine_too_small_refuses_before_loading(model_folder: Path) -> None:
    model = Model("acme/tiny-1b", "sha256:1", path=str(model_folder))
    with pytest.raises(ModelError, match=r"needs about .* GiB") as caught:
        plan_fit(model, EngineSettings(engine="transformers"), machine(ram_gib=1e-6))
    assert caught.value.reason == "does_not_fit"


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "missing_weights"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 40), "broken_weights"),
        (lambda folder: (folder / "config.json").write_text("{"), "broken_weights"),
    ],
    ids=["missing", "no header", "no config"],
)
def test_fit_broken_folders_are_named(model_folder: Path, break_it: Any, reason: str) -> None:
    break_it(model_folder)
    with pytest.raises(ModelError) as caught:
        read_subject(Model("acme/tiny-1b", "sha256:1", path=str(model_folder)))
    assert caught.value.reason == reason


def test_fit_equal_experts_are_put_together() -> None:
    rows = [tensor(f"layers.0.experts.{i}.up.weight", "BF16", [4, 2], [0, 16]) for i in range(3)]
    assert merged(rows) == (Tensor("layers.0.experts.*.up.weight", "BF16", (4, 2), 48, 3),)
