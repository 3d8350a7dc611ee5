"""What vLLM's failures mean. It says them in free text, often only in the log of a child process."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tracker.errors import EngineError

# what follows a root cause that was told elsewhere, or nowhere: the kernel kills without a word
VAGUE = ("Engine core initialization failed", "EngineCore encountered an issue", "its process was killed")
MAX_LINE_CHARS = 300  # some of its messages list every architecture that there is


@dataclass(frozen=True, slots=True)
class Cause:
    """A pattern in vLLM's words, what it means, and what to do; `{…}` is filled from its groups."""

    pattern: str
    reason: str
    message: str
    hint: str = ""


# Wordings of vLLM 0.32.0, the more telling ones first: after an out-of-memory it also says that it died.
CAUSES = (
    Cause(
        r"estimated maximum model length is (?P<length>\d+)",
        "does_not_fit",
        "the context asked for does not fit beside the weights; {length} tokens would",
        "--max-model-len {length}",
    ),
    Cause(
        r"No available memory for the cache blocks|larger than the available KV cache memory",
        "does_not_fit",
        "the weights leave no memory for the answers",
        "see `tracker fit`: a smaller or quantized model, or more cards",
    ),
    Cause(
        r"(?:Free|Available) memory on (?:device|node) .*?\((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\)",
        "does_not_fit",
        "only {free} of {total} GiB are free",
        "end what else uses the memory",
    ),
    Cause(
        r"(?:CUDA|HIP) out of memory|OutOfMemoryError|CUDA error: out of memory|DefaultCPUAllocator: can't",
        "out_of_memory",
        "out of memory",
        "a shorter --max-model-len needs less; `tracker fit` shows what would fit",
    ),
    Cause(
        r"\(?(?P<length>\d+)\)? is greater than the derived max_model_len \(\w+=(?P<limit>\d+)",
        "unsupported",
        "{length} tokens of context were asked for, the model was made for {limit}",
        "--max-model-len {limit}",
    ),
    Cause(
        r"contains custom code|trust_remote_code=True` (?:in LLM|to remove)|--trust-remote-code` flag",
        "needs_remote_code",
        "it brings Python code of its own, which is not run unasked",
        "--trust-remote-code, if you have read that code",
    ),
    Cause(r"gated repo|GatedRepoError", "gated", "its authors must grant access first", "`hf auth login`"),
    Cause(
        r"Cannot find any model weights|FileNotFoundError: .*safetensors",
        "missing_weights",
        "there are no safetensors weights in it",
        "only safetensors are loaded, never pickle files",
    ),
    Cause(
        r"SafetensorError: (?P<what>[^\n]*)",
        "broken_weights",
        "a weights file is damaged: {what}",
        "delete it and download it again",
    ),
    Cause(
        r"(?P<what>Model architectures? \S+?)\s?(?:are not supported for now|was supported in vLLM until"
        r"|is not supported in-tree|failed to be inspected)",
        "unsupported",
        "vLLM does not know it: {what}",
        "--engine transformers",
    ),
    Cause(
        r"(?P<what>[^\n:]*is not supported for the current GPU[^\n]*|Unknown quantization method: [^\n.]*"
        r"|[^\n:]*is not supported by vLLM[^\n]*)",
        "unsupported",
        "{what}",
        "another quantization of the model, or --engine transformers",
    ),
)


def explain(text: str, *, doing: str) -> EngineError:
    """The error to raise for what vLLM said; without a known cause it is reason `engine_died`.

    `text` is the exception's own message after the log of the child processes.
    """
    for cause in CAUSES:
        if match := re.search(cause.pattern, text, flags=re.DOTALL if "estimated" in cause.pattern else 0):
            groups = {name: _short(value) for name, value in match.groupdict().items()}
            message = f"{doing}: {cause.message.format(**groups)}"
            return EngineError(message, reason=cause.reason, hint=cause.hint.format(**groups))
    hint = "the worker's log has the whole story"
    return EngineError(f"{doing}: {_last_error(text)}", reason="engine_died", hint=hint)


def _last_error(text: str) -> str:
    """The last line that reads like `SomeError: why`, less the log's prefix."""
    errors = re.findall(r"((?:\w+\.)*\w*(?:Error|Exception)\b: [^\n]+)", text)
    telling = [line for line in errors if not any(vague in line for vague in VAGUE)]
    return _short(telling[-1]) if telling else "its process ended without a word"


def _short(text: str) -> str:
    text = " ".join(text.split()).rstrip(".")
    return text if len(text) <= MAX_LINE_CHARS else text[:MAX_LINE_CHARS] + "…"
