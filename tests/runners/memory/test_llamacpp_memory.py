"""Memory of llama.cpp: the cache against sizes that its builds logged, offload, and odd headers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from runners.hardware import Gpu, Hardware
from runners.memory.gguf_shape import gguf_architecture
from runners.memory.kv_cache import LayerCache
from runners.memory.llamacpp import LlamaCppMemory, buffer_bytes, cache_bytes
from runners.memory.weights import read_subject
from runners.models.demo import gguf_path
from runners.models.gguf import LocalFile, read_gguf
from tests.builders.gguf_builder import LLAMA, GgufBytes
from tracker.bench.fit import AssumedCard, predict_fit
from tracker.errors import ModelError
from tracker.records import EngineSettings, Model
from tracker.settings import Settings

MIB = 2**20
HERE = EngineSettings(engine="llamacpp")
MACHINE = Hardware("cpu", 8, 64 * 10**9, 60 * 10**9)


def layers(n: int, values: int, window: int | None = None) -> tuple[LayerCache, ...]:
    return (LayerCache(1, values, window=window),) * n


# Layers, context, type, and MiB as logged ("KV buffer size"). Shapes: heads × (keys + values) of the model.
LOGGED = {
    "gpt-oss-20b, full, llama.cpp docs/backend/snapdragon": (layers(12, 1024), 8192, "q8_0", 102.00),
    "gpt-oss-120b, full, -c 65535": (layers(18, 1024), 65_536, "f16", 2304.00),
    "Trinity-Nano, full": (layers(14, 512), 131_072, "f16", 1792.00),
    "Trinity-Nano, window": (layers(42, 512, window=2048), 131_072, "f16", 105.00),
    "Gemma 4 12B, full": (layers(8, 1024), 8192, "q8_0", 68.00),
    "Gemma 4 E4B, window": (layers(20, 1024, window=512), 16_384, "q8_0", 21.25),
    "Gemma 4 E4B, full": (layers(4, 2048), 32_768, "f16", 512.00),
    "Qwen2.5-3B, SciSharp/LLamaSharp#1099": (layers(36, 512), 4096, "f16", 144.00),
    "Qwen2.5-7B, JamePeng/llama-cpp-python#1": (layers(28, 1024), 2048, "f16", 112.00),
    "Pythia-2.8B, ggml-ci": (layers(32, 5120), 2048, "f16", 640.00),
    "Command-R 35B, ggml-org/llama.cpp#6122": (layers(40, 16_384), 4096, "f16", 5120.00),
}


@pytest.mark.parametrize(("shape", "context", "kv_type", "logged"), LOGGED.values(), ids=LOGGED)
def test_cache_is_what_llama_cpp_logged(
    shape: tuple[LayerCache, ...], context: int, kv_type: str, logged: float
) -> None:
    assert cache_bytes(shape, context, 1, kv_type=kv_type) / MIB == pytest.approx(logged, abs=0.005)


@pytest.mark.parametrize(
    ("slots", "kv_type", "cache", "buffers"),
    [(1, "f16", 90.00, 18.64 + 0.19), (4, "q8_0", 191.25, 18.67 + 0.75)],
)
def test_memory_of_the_embedded_model_is_what_xllamacpp_logs(
    slots: int, kv_type: str, cache: float, buffers: float
) -> None:
    """xllamacpp 2026.10.11549 on a CPU, 4096 tokens a slot; `benchmarks/gguf_memory.py` measures it again."""
    shape = gguf_architecture(read_gguf(LocalFile(gguf_path()), "local/x"))
    assert cache_bytes(shape.layers, 4096, slots, kv_type=kv_type) / MIB == cache
    assert buffer_bytes(shape, context=4096, slots=slots) / MIB == pytest.approx(buffers, rel=0.05)


def test_fit_of_a_gguf_on_the_processor() -> None:
    subject = read_subject(Model("local/x", "sha256:0", path=str(gguf_path())))
    fit = LlamaCppMemory().predict(subject, replace(HERE, max_num_seqs=1), MACHINE, context=4096)
    assert (fit.weights_bytes, fit.kv_cache_bytes) == (96_576_768, 90 * MIB)
    assert fit.fits
    assert (fit.quantization, fit.n_gpu_layers, fit.n_sequences) == ("Q4_1", None, 1)


def test_fit_offloads_as_many_layers_as_the_card_holds() -> None:
    subject = read_subject(Model("local/x", "sha256:0", path=str(gguf_path())))
    found = {}
    for mb in (500, 800, 1000, 1200, 2000):
        card = Gpu("card", "", mb * 10**6, mb * 10**6, "8.9")
        fit = LlamaCppMemory().predict(subject, HERE, replace(MACHINE, gpus=(card,)), context=8192)
        found[mb] = fit.n_gpu_layers
        assert fit.fits == (mb > 500)
        if fit.n_gpu_layers not in (None, 0, 31):
            assert fit.ram_bytes is not None
            assert f"{fit.n_gpu_layers} of 31 layers fit on the card" in fit.notes[0]
    offloaded = [found[mb] or 0 for mb in sorted(found)]
    assert offloaded == sorted(offloaded)
    assert (offloaded[0], offloaded[-1]) == (0, 31)


def test_shape_of_windows_latents_and_states(tmp_path: Path) -> None:
    gemma = {
        "general.architecture": "gemma3", "gemma3.block_count": 4, "gemma3.embedding_length": 256,
        "gemma3.attention.head_count": 4, "gemma3.attention.head_count_kv": 2,
        "gemma3.attention.key_length": 64, "gemma3.attention.value_length": 64,
        "gemma3.attention.sliding_window": 512,
        "gemma3.attention.sliding_window_pattern": (True, True, True, False),
    }  # fmt: skip
    shape = gguf_architecture(read_gguf(LocalFile(GgufBytes(values=gemma).write(tmp_path / "g.gguf")), "x"))
    assert [layer.window for layer in shape.layers] == [512, 512, 512, None]
    latent = {
        "general.architecture": "deepseek2", "deepseek2.block_count": 2, "deepseek2.embedding_length": 256,
        "deepseek2.attention.head_count": 8, "deepseek2.attention.head_count_kv": 1,
        "deepseek2.attention.key_length": 576, "deepseek2.attention.value_length": 512,
        "deepseek2.attention.key_length_mla": 192, "deepseek2.attention.kv_lora_rank": 512,
    }  # fmt: skip
    shape = gguf_architecture(read_gguf(LocalFile(GgufBytes(values=latent).write(tmp_path / "d.gguf")), "x"))
    assert shape.layers == (LayerCache(1, 576),) * 2
    hybrid = {
        "general.architecture": "qwen35", "qwen35.block_count": 4, "qwen35.embedding_length": 256,
        "qwen35.attention.head_count": 4, "qwen35.attention.head_count_kv": 2,
        "qwen35.attention.key_length": 64, "qwen35.attention.value_length": 64,
        "qwen35.full_attention_interval": 4, "qwen35.ssm.state_size": 16,
        "qwen35.ssm.inner_size": 64, "qwen35.ssm.conv_kernel": 4, "qwen35.ssm.group_count": 2,
    }  # fmt: skip
    shape = gguf_architecture(read_gguf(LocalFile(GgufBytes(values=hybrid).write(tmp_path / "q.gguf")), "x"))
    assert [layer.token_values for layer in shape.layers] == [0, 0, 0, 256]
    assert shape.layers[0].state_values == 64 * 16


@pytest.mark.parametrize(
    "values",
    [
        {"llama.block_count": 0},
        {"llama.block_count": 5000},
        {"llama.block_count": "many"},
        {"llama.attention.head_count": (4,)},
        {"llama.embedding_length": True},
        {"llama.attention.sliding_window": -1.0},
    ],
    ids=str,
)
def test_shape_that_cannot_be_is_unpredictable(values: dict[str, object], tmp_path: Path) -> None:
    file = GgufBytes(values={**LLAMA, **values}).write(tmp_path / "x.gguf")
    with pytest.raises(ModelError) as caught:
        gguf_architecture(read_gguf(LocalFile(file), "local/x"))
    assert caught.value.reason == "unsupported"


def test_fit_command_takes_a_gguf_and_a_type_of_the_cache(settings: Settings) -> None:
    wide = predict_fit(str(gguf_path()), EngineSettings(engine="auto"), settings, context=4096)
    assert (wide.fit.engine, wide.fit.quantization, wide.fit.n_sequences) == ("llamacpp", "Q4_1", 4)
    narrow = predict_fit(str(gguf_path()), replace(HERE, kv_cache_dtype="q8_0"), settings, context=4096)
    assert narrow.fit.kv_cache_bytes / wide.fit.kv_cache_bytes == pytest.approx(34 / 64)
    assert [fit.context for fit in wide.by_context] == [4096, 8192]
    on_card = predict_fit(str(gguf_path()), HERE, settings, assumed=AssumedCard("T4"))
    assert (on_card.fit.n_gpu_layers, on_card.fit.device) == (31, "NVIDIA T4")
