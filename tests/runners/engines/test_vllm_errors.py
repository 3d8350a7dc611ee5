"""The messages are those of vLLM 0.32.0, less the names of models and paths."""

from __future__ import annotations

import pytest

from runners.engines.vllm.errors import explain

DIED = (
    "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): "
    "{'EngineCore': 1}"
)
TOO_LONG = (
    "(EngineCore pid=7) ERROR 11-24 09:13:22 [core.py:1519] ValueError: To serve at least one "
    "request with the model's max seq len (131072), (16.00 GiB KV cache is needed, which is larger "
    "than the available KV cache memory (4.27 GiB). Based on the available memory, the estimated "
    "maximum model length is 34976. Try increasing `gpu_memory_utilization` (which also controls CPU"
    " memory on the CPU backend) or decreasing `max_model_len`"
)
NO_BLOCKS = (
    "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when"
)
CARD_BUSY = (
    "ValueError: Free memory on device cuda:0 (3.81/79.11 GiB) on startup is less than desired GPU "
    "memory utilization (0.9, 71.2 GiB). Decrease GPU memory utilization or reduce GPU memory used "
    "by other processes."
)
OUT_OF_MEMORY = (
    "(EngineCore pid=7) ERROR [core.py:1521] torch.OutOfMemoryError: CUDA out of memory. Tried to "
    "allocate 2.32 GiB.\n"
    "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace "
    "(above)"
)
BEYOND = (
    "ValidationError: 1 validation error for ModelConfig\n"
    "  Value error, User-specified max_model_len (99999) is greater than the derived max_model_len "
    "(max_position_embeddings=8192.0 or model_max_length=None in model's config.json). To allow "
    "overriding this maximum, set the env var VLLM_ALLOW_LONG_MAX_MODEL_LEN=1."
)
UNKNOWN = (
    "ValueError: Model architectures ['FrobForCausalLM'] are not supported for now. Supported "
    "architectures: dict_keys(['AfmoeForCausalLM', 'ApertusForCausalLM'])"
)
REMOTE_CODE = (
    "ValueError: The repository org/name contains custom code which must be executed to correctly load"
)
NO_WEIGHTS = "RuntimeError: Cannot find any model weights with `org/name`"
BROKEN = (
    "safetensors._safetensors_rust.SafetensorError: Error while deserializing header: incomplete metadata"
)
OLD_CARD = (
    "ValueError: The quantization method modelopt is not supported for the current GPU. Minimum "
    "capability: 89. Current capability: 75."
)
NO_TOKEN = "ValueError: Cannot auto-fit max_model_len: not enough GPU memory available to serve even a single"
OLD_DRIVER = "RuntimeError: The NVIDIA driver on your system is too old (found version 12080)."
NO_KERNEL = "RuntimeError: CUDA error: no kernel image is available for execution on the device"
NO_CUDA = "RuntimeError: CUDA driver initialization failed, you might not have a CUDA gpu."
NO_LIBCUDA = "ImportError: libcuda.so.1: cannot open shared object file: No such file or directory"
NO_CUDART = "ImportError: libcudart.so.13: cannot open shared object file: No such file or directory"
NEWER_PTX = "RuntimeError: CUDA error: the provided PTX was compiled with an unsupported toolchain."
NO_BF16 = (
    "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. "
    "Your Tesla T4 GPU has compute capability 7.5."
)
BAD_ACCESS = "torch.AcceleratorError: CUDA error: an illegal memory access was encountered"
NO_COMPILER = (
    "RuntimeError: Failed to find C compiler. Please specify via CC environment variable or set "
    "triton.knobs.build.impl."
)
NO_NCCL = "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:94, unhandled system error"
NORMAL_LOG = (
    "(EngineCore pid=7) INFO [core.py:133] Initializing a V1 LLM engine with config: "
    "trust_remote_code=False\n"
)


@pytest.mark.parametrize(
    ("said", "reason", "message", "hint"),
    [
        (TOO_LONG, "does_not_fit", "34976 tokens would", "--max-model-len 34976"),
        (NO_BLOCKS, "does_not_fit", "leave no memory", "tracker fit"),
        (CARD_BUSY, "does_not_fit", "only 3.81 of 79.11 GiB", "stop other programs"),
        (OUT_OF_MEMORY, "out_of_memory", "out of memory", "--max-model-len"),
        (NO_TOKEN, "does_not_fit", "leave no memory", "tracker fit"),
        (OLD_DRIVER, "unsupported", "the NVIDIA driver is older", "update the driver"),
        (NO_KERNEL, "unsupported", "no code for this GPU", "--engine transformers"),
        (NO_CUDA, "unsupported", "CUDA could not be started", "CUDA_VISIBLE_DEVICES"),
        (NO_LIBCUDA, "unsupported", "driver's libraries are not visible", "--gpus all"),
        (NO_CUDART, "unsupported", "`libcudart.so.13` is not installed", ".[gpu]"),
        (NEWER_PTX, "unsupported", "older than the compiler", "update the driver"),
        (NO_BF16, "unsupported", "no bfloat16", "--dtype float16"),
        (BAD_ACCESS, "engine_died", "the GPU failed while computing", "dmesg"),
        (NO_COMPILER, "unsupported", "could not be compiled here: Failed to find C compiler", "python3-dev"),
        (NO_NCCL, "engine_died", "could not exchange data", "--tensor-parallel-size 1, or"),
        (BEYOND, "unsupported", "a context of 99999 tokens was requested", "--max-model-len 8192"),
        (UNKNOWN, "unsupported", "FrobForCausalLM", "--engine transformers"),
        (REMOTE_CODE, "needs_remote_code", "code from its repository", "--trust-remote-code"),
        (NO_WEIGHTS, "missing_weights", "no safetensors", "never loaded"),
        (BROKEN, "broken_weights", "incomplete metadata", "download it again"),
        (OLD_CARD, "unsupported", "modelopt is not supported for the current GPU", "another quantization"),
    ],
    ids=lambda value: value if value.isidentifier() else "",
)
def test_vllm_errors_what_vllm_says_becomes_a_reason_and_a_hint(
    said: str, reason: str, message: str, hint: str
) -> None:
    error = explain(f"{NORMAL_LOG}{said}\n{DIED}", doing="org/name cannot be loaded")
    assert error.reason == reason
    assert str(error).startswith("org/name cannot be loaded: ")
    assert message in str(error)
    assert hint in error.hint
    assert hint == error.hint or not hint[-1].isdigit()


def test_vllm_errors_an_unknown_failure_shows_the_root_cause_and_not_that_the_engine_died() -> None:
    error = explain(f"{NORMAL_LOG}ERROR [core.py:1] NotImplementedError: no kernel\n{DIED}", doing="x")
    assert (error.reason, str(error)) == ("engine_died", "x: NotImplementedError: no kernel")


@pytest.mark.parametrize("said", ["", DIED, "RuntimeError: its process was killed"], ids=["", "start", "run"])
def test_vllm_errors_an_engine_that_said_nothing_still_gets_a_sentence(said: str) -> None:
    error = explain(said, doing="org/name stopped answering")
    assert str(error) == "org/name stopped answering: its process ended without a message"


def test_vllm_errors_a_message_that_lists_everything_is_cut_short() -> None:
    assert len(str(explain("ValueError: " + "known, " * 1000, doing="x"))) < 400
