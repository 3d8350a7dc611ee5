from __future__ import annotations

from dataclasses import replace

import pytest

from runners.engines.vllm.args import (
    NGRAM_CONFIG,
    batch_limits,
    coarse_length,
    engine_args,
    engine_environment,
    slice_args,
)
from runners.hardware import Gpu
from tracker.records import EngineSettings, Model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB = Model("org/name", COMMIT)
FOLDER = Model("org/name", "sha256:00", path="/models/name")


def test_vllm_args_a_hub_model_is_loaded_at_its_commit_from_safetensors_without_remote_code() -> None:
    assert engine_args(HUB, EngineSettings(engine="vllm"), device_type="cuda") == {
        "model": "org/name",
        "revision": COMMIT,
        "tokenizer_revision": COMMIT,
        "load_format": "safetensors",
        "trust_remote_code": False,
        "dtype": "auto",
        "quantization": None,
        "max_model_len": -1,
        "tensor_parallel_size": 1,
        "gpu_memory_utilization": 0.90,
        "seed": 0,
        "disable_log_stats": False,
        "language_model_only": True,
    }


def test_vllm_args_a_local_folder_has_no_revision_for_vllm() -> None:
    args = engine_args(FOLDER, EngineSettings(), device_type="cuda")
    assert args["model"] == "/models/name"
    assert not {"revision", "tokenizer_revision", "code_revision"} & args.keys()


def test_vllm_args_remote_code_that_was_allowed_is_pinned_to_the_same_commit() -> None:
    needing = replace(HUB, needs_remote_code=True)
    args = engine_args(needing, EngineSettings(trust_remote_code=True), device_type="cuda")
    assert (args["trust_remote_code"], args["code_revision"]) == (True, COMMIT)


def test_vllm_args_remote_code_that_is_not_needed_is_not_run() -> None:
    args = engine_args(HUB, EngineSettings(trust_remote_code=True), device_type="cuda")
    assert args["trust_remote_code"] is False
    assert "code_revision" not in args


@pytest.mark.parametrize(
    ("settings", "name", "value"),
    [
        (EngineSettings(max_model_len=4096), "max_model_len", 4096),
        (EngineSettings(dtype="bfloat16"), "dtype", "bfloat16"),
        (EngineSettings(quantization="fp8"), "quantization", "fp8"),
        (EngineSettings(tensor_parallel_size=4), "tensor_parallel_size", 4),
        (EngineSettings(gpu_memory_utilization=0.5), "gpu_memory_utilization", 0.5),
        (EngineSettings(max_num_seqs=8), "max_num_seqs", 8),
        (EngineSettings(seed=7), "seed", 7),
        (EngineSettings(speculative="ngram"), "speculative_config", NGRAM_CONFIG),
        (EngineSettings(head_dtype="float32"), "hf_overrides", {"head_dtype": "float32"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_vllm_args_every_setting_reaches_vllm(settings: EngineSettings, name: str, value: object) -> None:
    assert engine_args(HUB, settings, device_type="cuda")[name] == value


def test_vllm_args_on_a_cpu_nothing_is_compiled_and_the_cache_is_small() -> None:
    args = engine_args(HUB, EngineSettings(), device_type="cpu")
    assert (args["enforce_eager"], args["kv_cache_memory_bytes"], args["block_size"]) == (True, 2**30, 32)
    assert "enforce_eager" not in engine_args(HUB, EngineSettings(), device_type="cuda")
    assert engine_environment("cpu")
    assert not engine_environment("cuda")


def test_vllm_args_before_import_logs_usage_process_start_and_the_order_of_cards_are_set() -> None:
    assert engine_environment(None) == {
        "VLLM_LOGGING_STREAM": "ext://sys.stderr",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }


@pytest.mark.parametrize(
    ("name", "gib", "tokens", "sequences"),
    [
        ("NVIDIA H100 80GB HBM3", 79.6, 16384, 1024),
        ("NVIDIA A100-SXM4-80GB", 79.2, 8192, 256),
        ("NVIDIA B200", 180, 16384, 1024),
        ("NVIDIA GeForce RTX 4090", 24, 8192, 256),
    ],
)
def test_vllm_args_batch_limits_are_those_of_the_card(
    name: str, gib: float, tokens: int, sequences: int
) -> None:
    card = Gpu(name, "GPU-0", int(gib * 2**30), 0, "9.0")
    assert (batch_limits(card).tokens, batch_limits(card).sequences) == (tokens, sequences)
    assert slice_args([card]) == {}


def test_vllm_args_a_slice_is_given_limits_of_its_own_size() -> None:
    piece = Gpu("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "MIG-0", 10 * 2**30, 0, "9.0")
    assert slice_args([piece]) == {"max_num_batched_tokens": 8192, "max_num_seqs": 256}
    assert slice_args([]) == {}


@pytest.mark.parametrize(
    ("fitted", "length"), [(40_000, 32_768), (33_100, 32_768), (49_152, 49_152), (60_000, 49_152), (2, 3 - 1)]
)
def test_vllm_args_a_length_that_memory_decides_is_rounded_down(fitted: int, length: int) -> None:
    assert coarse_length(fitted) == length
