"""Quantized twins of a model: repositories that others published with the same weights in fewer bits.

A twin is another model: its scores are its own. So it is suggested, never taken by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import httpx2
import huggingface_hub
from huggingface_hub import errors as hub_errors

from runners.engines.weights import Subject, read_subject
from tracker.errors import TrackerError
from tracker.records import Model

TIMEOUT_S = 5.0
MAX_TWINS = 3  # whose headers are read
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


def find_twins(model_id: str) -> tuple[str, ...]:
    """Ids of quantized twins that vLLM can read, most downloaded first; none if the Hub does not answer."""
    api = huggingface_hub.HfApi()
    wanted = f"base_model:quantized:{model_id}"
    try:
        api.model_info(model_id, timeout=TIMEOUT_S)  # fails at once; a list is tried again for 23 s
        found = list(api.list_models(filter=wanted, sort="downloads", limit=MAX_LISTED))
    except (httpx2.HTTPError, hub_errors.OfflineModeIsEnabled, OSError):
        return ()
    return tuple(entry.id for entry in found if _is_readable([entry.id, *(entry.tags or ())]))[:MAX_TWINS]


def _is_readable(words: Sequence[str]) -> bool:
    text = " ".join(words).lower()
    return any(word in text for word in READABLE) and not any(word in text for word in NOT_READABLE)


def read_twin(name: str) -> Subject | None:
    """The twin called `name`, a Hub id or a local folder; None if it cannot be read now."""
    try:
        return read_subject(_twin_model(name))
    except TrackerError:
        return None


def _twin_model(name: str) -> Model:
    if name.startswith(("/", ".")):
        return Model(model_id=name, revision="local", path=name)
    try:
        sha = huggingface_hub.HfApi().model_info(name, timeout=TIMEOUT_S).sha
    except (httpx2.HTTPError, hub_errors.OfflineModeIsEnabled, OSError) as error:
        raise TrackerError(f"`{name}` cannot be read now") from error
    return Model(model_id=name, revision=sha or "main")
