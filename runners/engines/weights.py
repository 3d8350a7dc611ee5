"""How many bytes a model's weights take once loaded, read from the headers of its safetensors.

Covered: what an engine leaves out (layers for multi-token prediction, an output embedding that is tied),
what it converts (the data type), and what it quantizes on loading. No weights are downloaded: the Hub gives
the headers through `HfApi.get_safetensors_metadata`, a few range requests; a local folder, or the Hub's own
cache, is read directly.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import NotASafetensorsRepoError, SafetensorsParsingError
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from runners.engines.architecture import Architecture
from runners.hub_errors import hub_errors
from tracker.errors import ModelError
from tracker.records import Model

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
MAX_HEADER_BYTES = 100_000_000  # the limit of the format itself
DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "float64": 8, "half": 2, "float": 4}
EXPERT = re.compile(r"experts\.\d+\.")
FLOATS = {"F64", "F32", "F16", "BF16"}
LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")
# What quantizing on loading leaves as it is: vLLM 0.32.0, `quantization/online/base.py`, linear layers only.
NOT_LINEAR = re.compile(r"embed|lm_head|norm|router|\.gate\.|vision|visual|conv1d|wte|wpe|\.bias$")
OTHER_SENSES = re.compile(
    r"(?:model\.)?(?:vision|visual|audio|image|multi_modal|multimodal|mm_|embed_vision)"
)
ONLINE_BYTES = {"fp8": 1.0, "int8": 1.0, "mxfp8": 1.0 + 1 / 32, "nvfp4": 0.5 + 1 / 16}
MXFP4_PER_BYTE = 2  # values in one stored byte
INT32_BITS = 32


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor as the file stores it."""

    name: str
    dtype: str  # in safetensors' words
    shape: tuple[int, ...]
    n_bytes: int  # of all copies
    n_copies: int = 1  # experts of one layer that are stored alike

    @property
    def n_values(self) -> int:
        """Stored elements of all copies; a packed one counts once."""
        return math.prod(self.shape) * self.n_copies


@dataclass(frozen=True, slots=True)
class Subject:
    """A model whose memory is to be predicted: what its config.json says and which tensors it has."""

    model_id: str
    config: Mapping[str, Any]
    tensors: tuple[Tensor, ...]


def read_subject(model: Model) -> Subject:
    """The configuration and tensors of `model`, from its folder, the Hub's cache or the Hub.

    Raises:
        ModelError: files are missing, broken or not to be had (`missing_weights`, `broken_weights`, `gated`).
        UnreachableError: the Hub is needed and does not answer.
    """
    folder = Path(model.path) if model.path else _cached_folder(model)
    if folder is not None:
        return Subject(model.model_id, _json(folder / "config.json"), read_folder(folder))
    return _read_hub(model)


def read_folder(folder: Path) -> tuple[Tensor, ...]:
    """The tensors of all weight files in `folder`, in no particular order.

    Raises:
        ModelError: a file is missing or its header cannot be read.
    """
    if (folder / INDEX).is_file():
        names = sorted(set(_json(folder / INDEX).get("weight_map", {}).values()))
    else:
        names = [SINGLE]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        message = f"{folder}: weight file `{missing[0]}` is missing"
        raise ModelError(message, reason="missing_weights", hint="download the folder again")
    return merged(tensor for name in names for tensor in _header(folder / name))


def _header(path: Path) -> Iterable[Tensor]:
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            raw = file.read(length) if 0 < length <= MAX_HEADER_BYTES else b""
        entries = json.loads(raw)
        return [
            tensor(name, entry["dtype"], entry["shape"], entry["data_offsets"])
            for name, entry in entries.items()
            if name != "__metadata__"
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"{path}: no readable safetensors header"
        raise ModelError(message, reason="broken_weights", hint="download the file again") from error


def tensor(name: str, dtype: str, shape: Iterable[int], offsets: Iterable[int]) -> Tensor:
    """The record of one header entry."""
    begin, end = offsets
    return Tensor(name, dtype, tuple(shape), end - begin)


def merged(tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """The same tensors with the equal experts of a layer put together: DeepSeek-V3 has 92,000 of them."""
    kinds: dict[tuple[str, str, tuple[int, ...]], list[int]] = {}
    for t in tensors:
        sizes = kinds.setdefault((EXPERT.sub("experts.*.", t.name), t.dtype, t.shape), [0, 0])
        sizes[0] += t.n_bytes
        sizes[1] += t.n_copies
    return tuple(Tensor(*kind, n_bytes, n_copies) for kind, (n_bytes, n_copies) in kinds.items())


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{path}: cannot be read: {error}", reason="broken_weights") from error


def _cached_folder(model: Model) -> Path | None:
    """The snapshot in the Hub's cache, if every weight file is in it."""
    found = huggingface_hub.try_to_load_from_cache(model.model_id, "config.json", revision=model.revision)
    if not isinstance(found, str):
        return None
    folder = Path(found).parent
    if (folder / INDEX).is_file():
        names = set(_json(folder / INDEX).get("weight_map", {}).values())
        return folder if all((folder / name).is_file() for name in names) else None
    return folder if (folder / SINGLE).is_file() else None


def _read_hub(model: Model) -> Subject:
    """The headers as the Hub gives them."""
    hidden = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        with hub_errors(model.model_id, model.revision):
            path = huggingface_hub.hf_hub_download(model.model_id, "config.json", revision=model.revision)
            api = huggingface_hub.HfApi()
            found = api.get_safetensors_metadata(model.model_id, revision=model.revision)
    except (NotASafetensorsRepoError, SafetensorsParsingError) as error:
        message = f"`{model.model_id}` has no readable safetensors"
        raise ModelError(message, reason="broken_weights", hint="choose another copy of it") from error
    finally:
        if not hidden:
            enable_progress_bars()
    tensors = (
        tensor(name, entry.dtype, entry.shape, entry.data_offsets)
        for file in found.files_metadata.values()
        for name, entry in file.tensors.items()
    )
    return Subject(model.model_id, _json(Path(path)), merged(tensors))


@dataclass(frozen=True, slots=True)
class Loading:
    """What an engine makes of the stored tensors."""

    dtype: str  # that plain floats become
    online: str | None = None  # quantization of linear layers on loading; what is quantized stays as it is
    is_text_only: bool = False  # towers for images and sound are left out
    is_expanded: bool = False  # a quantized checkpoint becomes plain floats: nothing here can compute with it


def loaded_bytes(tensors: Iterable[Tensor], architecture: Architecture, loading: Loading) -> int:
    """Bytes of the weights in memory, on all cards together."""
    value_bytes = DTYPE_BYTES[loading.dtype]
    kept = (t for t in tensors if not _is_left_out(t, architecture, loading))
    if loading.is_expanded:
        return sum(_n_expanded(t, architecture) for t in kept) * value_bytes
    if loading.online and not architecture.quantization:
        online_bytes = ONLINE_BYTES[loading.online]
        return round(sum(_online_bytes(t, value_bytes, online_bytes) for t in kept))
    return sum(_converted_bytes(t, value_bytes, architecture) for t in kept)


def _is_left_out(tensor: Tensor, architecture: Architecture, loading: Loading) -> bool:
    if tensor.name.startswith("mtp.") or ".mtp." in tensor.name:
        return True
    if loading.is_text_only and OTHER_SENSES.match(tensor.name):
        return True
    place = LAYER.search(tensor.name)
    if architecture.n_draft_layers and place and int(place.group(1)) >= architecture.n_layers:
        return True
    return architecture.is_tied and tensor.name.endswith("lm_head.weight")


def _is_scale(tensor: Tensor) -> bool:
    return "scale" in tensor.name.rpartition(".")[2] or tensor.name.endswith(("_zeros", "qzeros", "g_idx"))


def _converted_bytes(tensor: Tensor, value_bytes: int, architecture: Architecture) -> int:
    if tensor.dtype not in FLOATS or (architecture.quantization and _is_scale(tensor)):
        return tensor.n_bytes
    return tensor.n_values * value_bytes


def _online_bytes(tensor: Tensor, value_bytes: int, online_bytes: float) -> float:
    is_linear = len(tensor.shape) >= 2 and not NOT_LINEAR.search(tensor.name)
    return tensor.n_values * (online_bytes if is_linear and tensor.dtype in FLOATS else value_bytes)


def _n_expanded(tensor: Tensor, architecture: Architecture) -> int:
    """Values that come out of one stored tensor."""
    if architecture.quantization is None:
        return tensor.n_values
    if _is_scale(tensor):
        return 0
    if tensor.dtype == "U8":
        return tensor.n_values * MXFP4_PER_BYTE
    if tensor.dtype == "I32":
        return tensor.n_values * (INT32_BITS // (architecture.quantization_bits or 4))
    return tensor.n_values
