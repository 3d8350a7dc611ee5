"""Interpret llama.cpp's failures, which it reports as free text."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from pathlib import Path

from tracker.errors import EngineError

MAX_LINE_CHARS = 300
PORT_TAKEN = re.compile(r"couldn't bind|address already in use", re.IGNORECASE)
LOADING = re.compile(r"error loading model: (?P<why>.+)")
FAILURE = re.compile(r"error|fail|abort|assert|invalid|exception", re.IGNORECASE)
# before a line: the time since the start, a letter for its level
PREFIX = re.compile(r"^[\d.]+ [A-Z] |^(?:\w+(?:::\w+)?: )?(?:error: )?")
KILLED = {signal.SIGKILL: "was killed by signal 9, probably because memory ran out"}


@dataclass(frozen=True, slots=True)
class KnownFailure:
    """A pattern in llama.cpp's output with our reason, message and hint; `{…}` is filled from its groups."""

    pattern: str
    reason: str
    message: str
    hint: str = ""


# Messages of llama.cpp b11549, the most specific first.
CAUSES = (
    KnownFailure(
        r"unknown model architecture: '(?P<name>[^']*)'",
        "unsupported",
        "this llama.cpp does not know the architecture `{name}`",
        "update it: `pip install -U xllamacpp`, or set TRACKER_LLAMA_SERVER to a newer `llama-server`",
    ),
    KnownFailure(
        r"unknown pre-tokenizer type: '(?P<name>[^']*)'",
        "unsupported",
        "this llama.cpp does not know the tokenizer `{name}`",
        "update it: `pip install -U xllamacpp`, or set TRACKER_LLAMA_SERVER to a newer `llama-server`",
    ),
    KnownFailure(
        r"tensor '(?P<name>[^']*)' data is not within the file bounds",
        "broken_weights",
        "the file is cut off: the data of `{name}` are not in it",
        "download it again",
    ),
    KnownFailure(
        r"missing tensor '(?P<name>[^']*)'|tensor '(?P<other>[^']*)' not found",
        "broken_weights",
        "the file has no tensor `{name}{other}`",
        "download it again, or another copy",
    ),
    KnownFailure(
        r"wrong number of tensors; expected (?P<wanted>\d+), got (?P<found>\d+)"
        r"|has wrong shape|invalid (?:magic|model)|failed to read (?:magic|header|tensor|key)",
        "broken_weights",
        "the file does not hold the model that its header describes",
        "download it again, or another copy",
    ),
    KnownFailure(
        r"invalid split file|illegal split|split file",
        "broken_weights",
        "the parts of the file do not belong together",
        "download all parts again into one folder",
    ),
    KnownFailure(
        r"cudaMalloc failed: out of memory|unable to allocate (?P<where>\S+) buffer|failed to allocate"
        r"|ErrorOutOfDeviceMemory|insufficient memory|std::bad_alloc|cannot allocate memory"
        r"|failed to fit params to free device memory",
        "out_of_memory",
        "out of memory",
        "lower `--max-model-len`, `--max-num-seqs` or `--n-gpu-layers`; `tracker fit` shows what fits",
    ),
    KnownFailure(
        r"V cache quantization requires flash_attn|quantized V cache|K cache type .* with block size",
        "unsupported",
        "this model cannot be run with a quantized KV cache",
        "--kv-cache-dtype f16",
    ),
    KnownFailure(
        r"error: (?:invalid argument|unknown argument):? (?P<name>\S+)",
        "unsupported",
        "this `llama-server` does not know the option `{name}`",
        "set TRACKER_LLAMA_SERVER to a newer one, or install the package: `pip install -U xllamacpp`",
    ),
    KnownFailure(
        r"key not found in model: (?P<name>\S+)",
        "broken_weights",
        "the file lacks the value `{name}`",
        "download it again, or another copy",
    ),
)


def explain(said: str, *, returncode: int, model: str) -> EngineError:
    """The error for a server that ended, from what it wrote and how it ended."""
    what = f"llama.cpp cannot run `{Path(model).name}`"
    for cause in CAUSES if returncode != -signal.SIGKILL else ():
        if (found := re.search(cause.pattern, said, re.IGNORECASE)) is not None:
            groups = {name: (value or "")[:MAX_LINE_CHARS] for name, value in found.groupdict().items()}
            message = f"{what}: {cause.message.format(**groups)}"
            return EngineError(message, reason=cause.reason, hint=cause.hint)
    if returncode < 0:
        number = -returncode
        how = KILLED.get(signal.Signals(number), f"was ended by signal {number}")
        last = last_failure(said)
        message = f"llama.cpp {how}{f': {last}' if last and number != signal.SIGKILL else ''}"
        return EngineError(message, reason="engine_died", hint="repeat the command to resume")
    last = last_failure(said) or f"it ended with code {returncode}"
    return EngineError(f"{what}: {last}", reason="unsupported", hint="the worker's log has the details")


def is_port_taken(said: str) -> bool:
    """Whether the server ended because another program had its port."""
    return PORT_TAKEN.search(said) is not None


def last_failure(said: str) -> str:
    """Why the model was not loaded, else the last line that tells of a failure; empty if there is none."""
    if reasons := LOADING.findall(said):
        return str(reasons[-1])[:MAX_LINE_CHARS]
    for line in reversed(said.splitlines()):
        if FAILURE.search(line):
            return PREFIX.sub("", line.strip())[:MAX_LINE_CHARS]
    return ""
