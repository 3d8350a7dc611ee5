"""Interpret vLLM's failures, which it reports as free text, often only in the log of a child process."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tracker.errors import EngineError
from tracker.installation import install_command

# consequences of a root cause that is reported elsewhere, or not at all if the kernel killed a process
VAGUE = ("Engine core initialization failed", "EngineCore encountered an issue", "its process was killed")
MAX_LINE_CHARS = 300  # some of its messages list all supported architectures


@dataclass(frozen=True, slots=True)
class Cause:
    """A pattern in vLLM's output with our reason, message and hint; `{…}` is filled from its groups."""

    pattern: str
    reason: str
    message: str
    hint: str = ""


# Messages of vLLM 0.32.0, the most specific first: after running out of memory it also reports that it died.
CAUSES = (
    Cause(
        r"estimated maximum model length is (?P<length>\d+)",
        "does_not_fit",
        "the requested context does not fit in memory with the weights, but {length} tokens would",
        "--max-model-len {length}",
    ),
    Cause(
        r"Cannot auto-fit max_model_len|No available memory for the cache blocks"
        r"|larger than the available KV cache memory",
        "does_not_fit",
        "the weights leave no memory for the KV cache",
        "use a smaller or quantized model, or more GPUs; `tracker fit` shows what fits",
    ),
    Cause(
        r"(?:Free|Available) memory on (?:device|node) .*?\((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\)",
        "does_not_fit",
        "only {free} of {total} GiB are free",
        "stop other programs that use the memory",
    ),
    Cause(
        r"NVIDIA driver on your system is too old(?: \(found version (?P<found>\d+)\))?",
        "unsupported",
        "the NVIDIA driver is older than this build of torch and vLLM needs",
        "update the driver, or install builds for its CUDA version; `nvidia-smi` shows that",
    ),
    Cause(
        r"no kernel image is available for execution on the device",
        "unsupported",
        "this build of vLLM has no code for this GPU",
        "--engine transformers",
    ),
    Cause(
        r"CUDA driver initialization failed|No CUDA GPUs are available",
        "unsupported",
        "CUDA could not be started in vLLM's process",
        "check `nvidia-smi` and CUDA_VISIBLE_DEVICES; `tracker doctor` shows what is seen here",
    ),
    Cause(
        r"libcuda\.so\.1: cannot open shared object file|CUDA driver is a stub library",
        "unsupported",
        "the NVIDIA driver's libraries are not visible here",
        "in a container, start it with `--gpus all`; `tracker doctor` shows what is seen here",
    ),
    Cause(
        r"(?P<what>lib(?:cudart|cublas|cudnn|nccl|nvrtc)[\w.-]*\.so[.\d]*): cannot open shared object file",
        "unsupported",
        "the CUDA library `{what}` is not installed, so torch and vLLM do not fit together",
        "install both together: `{install}`",
    ),
    Cause(
        r"device kernel image is invalid|the provided PTX was compiled with an unsupported toolchain",
        "unsupported",
        "the NVIDIA driver is older than the compiler of this build of vLLM",
        "update the driver; `tracker doctor` compares the two",
    ),
    Cause(
        r"Bfloat16 is only supported on GPUs with compute capability of at least 8\.0",
        "unsupported",
        "this GPU has no bfloat16",
        "--dtype float16",
    ),
    Cause(
        r"(?:uncorrectable ECC error|GPU has fallen off the bus|unspecified launch failure"
        r"|an illegal memory access was encountered)",
        "engine_died",
        "the GPU failed while computing",
        "repeat the command; if it happens again, check the card with `nvidia-smi` and `dmesg`",
    ),
    Cause(
        r"(?P<what>Failed to find C compiler|Python\.h: No such file or directory|Could not find nvcc[^\n]*)",
        "unsupported",
        "a kernel could not be compiled here: {what}",
        "install a C compiler and Python's headers, such as `apt install gcc python3-dev`",
    ),
    Cause(
        r"(?:NCCL error|ncclUnhandledCudaError|ncclSystemError|torch\.distributed\.DistBackendError)",
        "engine_died",
        "the GPUs could not exchange data (NCCL)",
        "--tensor-parallel-size 1, or in a container `--ipc=host`",
    ),
    Cause(
        r"(?:CUDA|HIP) out of memory|OutOfMemoryError|CUDA error: out of memory|DefaultCPUAllocator: can't",
        "out_of_memory",
        "out of memory",
        "lower `--max-model-len`; `tracker fit` shows what fits",
    ),
    Cause(
        r"\(?(?P<length>\d+)\)? is greater than the derived max_model_len \(\w+=(?P<limit>\d+)",
        "unsupported",
        "a context of {length} tokens was requested, but the model supports {limit}",
        "--max-model-len {limit}",
    ),
    Cause(
        r"contains custom code|trust_remote_code=True` (?:in LLM|to remove)|--trust-remote-code` flag",
        "needs_remote_code",
        "it needs Python code from its repository, which is not run by default",
        "review that code, then add `--trust-remote-code`",
    ),
    Cause(
        r"gated repo|GatedRepoError",
        "gated",
        "its publisher must grant you access",
        "log in with `hf auth login`",
    ),
    Cause(
        r"Cannot find any model weights|FileNotFoundError: .*safetensors",
        "missing_weights",
        "it has no safetensors weights",
        "use a safetensors copy; pickled weights are never loaded",
    ),
    Cause(
        r"SafetensorError: (?P<what>[^\n]*)",
        "broken_weights",
        "a weight file is broken: {what}",
        "delete it and download it again",
    ),
    Cause(
        r"(?P<what>Model architectures? \S+?)\s?(?:are not supported for now|was supported in vLLM until"
        r"|is not supported in-tree|failed to be inspected)",
        "unsupported",
        "vLLM does not support it: {what}",
        "--engine transformers",
    ),
    Cause(
        r"(?P<what>[^\n:]*is not supported for the current GPU[^\n]*|Unknown quantization method: [^\n.]*"
        r"|[^\n:]*is not supported by vLLM[^\n]*)",
        "unsupported",
        "{what}",
        "use another quantization of the model, or `--engine transformers`",
    ),
)


def explain(text: str, *, doing: str) -> EngineError:
    """The error for vLLM's output; without a known cause, its reason is `engine_died`.

    `text` is the log of the child processes followed by the exception's own message.
    """
    for cause in CAUSES:
        if match := re.search(cause.pattern, text, flags=re.DOTALL if "estimated" in cause.pattern else 0):
            groups = {name: _short(value) for name, value in match.groupdict().items()}
            message = f"{doing}: {cause.message.format(**groups)}"
            return EngineError(
                message, reason=cause.reason, hint=cause.hint.format(**groups, install=install_command("gpu"))
            )
    hint = "see the worker's log for details"
    return EngineError(f"{doing}: {_last_error(text)}", reason="engine_died", hint=hint)


def _last_error(text: str) -> str:
    """The last line of the form `SomeError: reason`, without the log's prefix."""
    errors = re.findall(r"((?:\w+\.)*\w*(?:Error|Exception)\b: [^\n]+)", text)
    telling = [line for line in errors if not any(vague in line for vague in VAGUE)]
    return _short(telling[-1]) if telling else "its process ended without a message"


def _short(text: str) -> str:
    text = " ".join(text.split()).rstrip(".")
    return text if len(text) <= MAX_LINE_CHARS else text[:MAX_LINE_CHARS] + "…"
