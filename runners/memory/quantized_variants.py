"""Quantized variants of a model: other repositories with the same weights in fewer bits.

A variant is a different model with its own scores, so it is suggested but never used automatically.
"""

from __future__ import annotations

from collections.abc import Sequence

import huggingface_hub

from runners.memory.weights import Subject, read_subject
from tracker.errors import TrackerError, is_failure
from tracker.records import Model

TIMEOUT_S = 5.0
MAX_VARIANTS = 3  # whose headers are read
MAX_LISTED = 30  # most downloaded first
READABLE = (
    "fp8",
    "awq",
    "gptq",
    "compressed-tensors",
    "nvfp4",
    "mxfp4",
    "modelopt",
    "w4a16",
    "w8a8",
    "int4",
    "int8",
)
NOT_READABLE = ("gguf", "mlx", "exl2", "exl3", "bitsandbytes", "bnb")  # not by vLLM 0.32 without a plugin


def find_variants(model_id: str) -> tuple[str, ...]:
    """Ids of quantized variants that vLLM can load, most downloaded first; none if the Hub is unreachable."""
    api = huggingface_hub.HfApi()
    wanted = f"base_model:quantized:{model_id}"
    try:
        api.model_info(model_id, timeout=TIMEOUT_S)  # fails at once, whereas a list is retried for 23 s
        found = list(api.list_models(filter=wanted, sort="downloads", limit=MAX_LISTED))
    except BaseException as error:  # also what the library cannot read in a listing of somebody else's copies
        if not is_failure(error):
            raise
        return ()
    return tuple(entry.id for entry in found if is_readable([entry.id, *(entry.tags or ())]))[:MAX_VARIANTS]


def is_readable(words: Sequence[str]) -> bool:
    """Whether a quantized repository with this name and these tags is one that vLLM can load."""
    text = " ".join(words).lower()
    return any(word in text for word in READABLE) and not any(word in text for word in NOT_READABLE)


def read_variant(name: str) -> Subject | None:
    """The variant `name`, a Hub id or a local folder; None if it cannot be read now."""
    try:
        return read_subject(_variant_model(name))
    except TrackerError:
        return None


def _variant_model(name: str) -> Model:
    if name.startswith(("/", ".")):
        return Model(model_id=name, revision="local", path=name)
    try:
        sha = huggingface_hub.HfApi().model_info(name, timeout=TIMEOUT_S).sha
    except BaseException as error:
        if not is_failure(error):
            raise
        raise TrackerError(f"the Hub does not answer for `{name}`") from error
    return Model(model_id=name, revision=sha or "main")
