"""The memory of a model's loaded weights, computed from the headers of its safetensors files.

Covered: tensors that an engine omits (multi-token prediction layers, a tied output embedding), conversion of
the data type, and quantization while loading. No weights are downloaded: the Hub's headers come from
range requests for the beginnings of files; a local folder, or the Hub's cache, is read directly.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import RemoteEntryNotFoundError

from runners.memory.architecture import Architecture, read_architecture
from runners.memory.gguf_shape import gguf_architecture
from runners.models.gguf import GgufHeader
from runners.models.gguf_hub import gguf_header, is_gguf
from runners.models.hub_bytes import hub_bytes
from runners.models.repository_files import (
    CONFIG,
    INDEX,
    MAX_CONFIG_BYTES,
    MAX_INDEX_BYTES,
    SINGLE,
    StoredTensor,
    broken,
    check_config,
    check_layers,
    header_length,
    indexed_files,
    own_file,
    parse_header,
    parse_object,
    read_config,
    read_header,
    read_index,
    weight_files,
)
from tracker.records import Model

FIRST_BYTES = 100_000  # of a weight file: most headers are shorter
AT_ONCE = 8  # requests
DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "float64": 8, "half": 2, "float": 4}
EXPERT = re.compile(r"experts\.\d+\.")
FLOATS = {"F64", "F32", "F16", "BF16"}
LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")
# Not quantized while loading: vLLM 0.32.0, `quantization/online/base.py`, linear layers only.
NOT_LINEAR = re.compile(r"embed|lm_head|norm|router|\.gate\.|vision|visual|conv1d|wte|wpe|\.bias$")
OTHER_SENSES = re.compile(
    r"(?:model\.)?(?:vision|visual|audio|image|multi_modal|multimodal|mm_|embed_vision)"
)
ONLINE_BYTES = {"fp8": 1.0, "int8": 1.0, "mxfp8": 1.0 + 1 / 32, "nvfp4": 0.5 + 1 / 16}
# What quantization stores beside a weight: offsets, orders, and bitsandbytes' tables.
BESIDE_WEIGHTS = (
    "_zeros", "qzeros", "zero_point", "g_idx", "weight_shape", "absmax", "quant_map",
    "quant_state.bitsandbytes__nf4", "quant_state.bitsandbytes__fp4",
)  # fmt: skip
BYTE_BITS, INT32_BITS = 8, 32


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor as stored in the file."""

    name: str
    dtype: str  # safetensors' name
    shape: tuple[int, ...]
    n_bytes: int  # of all copies
    n_copies: int = 1  # experts of one layer with equal type and shape

    @property
    def n_values(self) -> int:
        """Stored elements of all copies; a packed element counts once."""
        return math.prod(self.shape) * self.n_copies


@dataclass(frozen=True, slots=True)
class Subject:
    """The model whose memory is predicted: its config.json and its tensors."""

    model_id: str
    config: Mapping[str, Any]
    tensors: tuple[Tensor, ...]
    known_shape: Architecture | None = None  # of a GGUF, which has no config.json

    def shape(self) -> Architecture:
        """What memory depends on besides the tensors.

        Raises:
            ModelError: config.json lacks the model's shape (reason `unsupported`).
        """
        return self.known_shape or read_architecture(self.config)


def read_subject(model: Model) -> Subject:
    """The configuration and tensors of `model`, from its folder, the Hub's cache or the Hub.

    Raises:
        ModelError: files are missing, broken or gated (`missing_weights`, `broken_weights`, `gated`).
        UnreachableError: the Hub is needed and does not answer.
    """
    if is_gguf(model):
        return _gguf_subject(gguf_header(model), model.model_id)
    folder = Path(model.path) if model.path else _cached_folder(model)
    if folder is None:
        subject = _read_hub(model)
    else:
        config = read_config(folder, model.model_id)
        subject = Subject(model.model_id, config, read_folder(folder, model.model_id))
    check_layers(subject.config, sum(one.n_copies for one in subject.tensors), model.model_id)
    return subject


def _gguf_subject(header: GgufHeader, model_id: str) -> Subject:
    tensors = tuple(Tensor(one.name, one.type, one.shape, one.n_bytes) for one in header.tensors)
    return Subject(model_id, {}, tensors, gguf_architecture(header))


def read_folder(folder: Path, model_id: str) -> tuple[Tensor, ...]:
    """The tensors of all weight files in `folder`, in no particular order.

    Raises:
        ModelError: a file is missing or its header cannot be read.
    """
    paths = weight_files(folder, model_id)
    return _tensors(read_header(path, model_id) for path in paths)


def tensor(name: str, dtype: str, shape: Iterable[int], offsets: Iterable[int]) -> Tensor:
    """The record of one header entry."""
    begin, end = offsets
    return Tensor(name, dtype, tuple(shape), end - begin)


def _tensors(headers: Iterable[Iterable[StoredTensor]]) -> tuple[Tensor, ...]:
    stored = (one for header in headers for one in header)
    return merged(tensor(one.name, one.dtype, one.shape, (one.begin, one.end)) for one in stored)


def merged(tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """The tensors with the equal experts of each layer merged (DeepSeek-V3 has 92,000 tensors)."""
    kinds: dict[tuple[str, str, tuple[int, ...]], list[int]] = {}
    for t in tensors:
        sizes = kinds.setdefault((EXPERT.sub("experts.*.", t.name), t.dtype, t.shape), [0, 0])
        sizes[0] += t.n_bytes
        sizes[1] += t.n_copies
    return tuple(Tensor(*kind, n_bytes, n_copies) for kind, (n_bytes, n_copies) in kinds.items())


def _cached_folder(model: Model) -> Path | None:
    """The snapshot in the Hub's cache, if every weight file is in it."""
    found = huggingface_hub.try_to_load_from_cache(model.model_id, CONFIG, revision=model.revision)
    if not isinstance(found, str):
        return None
    folder = Path(found).parent
    index = own_file(folder, INDEX, model.model_id)
    names = (SINGLE,) if index is None else indexed_files(read_index(index, model.model_id), model.model_id)
    return folder if all((folder / name).is_file() for name in names) else None


def _read_hub(model: Model) -> Subject:
    """Read config.json and the headers of the weight files from the Hub."""
    try:
        raw = _hub_file(model, CONFIG, max_bytes=MAX_CONFIG_BYTES)
    except RemoteEntryNotFoundError as error:
        raise broken(model.model_id, f"`{CONFIG}` is missing") from error
    config = parse_object(raw, model.model_id, where=CONFIG)
    try:
        headers = [_hub_header(model, SINGLE)]
    except RemoteEntryNotFoundError:
        headers = _indexed_headers(model)
    return Subject(model.model_id, check_config(config, model.model_id), _tensors(headers))


def _indexed_headers(model: Model) -> list[tuple[StoredTensor, ...]]:
    try:
        raw = _hub_file(model, INDEX, max_bytes=MAX_INDEX_BYTES)
        index = parse_object(raw, model.model_id, where=INDEX, max_bytes=MAX_INDEX_BYTES)
        names = indexed_files(index, model.model_id)
        with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
            return list(pool.map(lambda name: _hub_header(model, name), names))
    except RemoteEntryNotFoundError as error:
        raise broken(model.model_id, "a weight file is missing", reason="missing_weights") from error


def _hub_header(model: Model, name: str) -> tuple[StoredTensor, ...]:
    start, size = hub_bytes(model, name, FIRST_BYTES)
    length = header_length(start, size, model.model_id, where=name)
    if 8 + length > len(start):
        start, size = hub_bytes(model, name, 8 + length)
    return parse_header(start[8 : 8 + length], size, model.model_id, where=name)


def _hub_file(model: Model, name: str, *, max_bytes: int) -> bytes:
    """A whole file of the repository, of at most `max_bytes`; larger ones are refused by their reader."""
    return hub_bytes(model, name, max_bytes + 1)[0]


@dataclass(frozen=True, slots=True)
class Loading:
    """How an engine converts the stored tensors while loading."""

    dtype: str  # of unquantized floats after loading
    online: str | None = None  # quantization of linear layers while loading; quantized ones stay as they are
    is_text_only: bool = False  # image and audio encoders are omitted
    is_expanded: bool = (
        False  # a quantized checkpoint is dequantized, since this machine cannot compute with it
    )


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
    return "scale" in tensor.name.rpartition(".")[2] or tensor.name.endswith(BESIDE_WEIGHTS)


def _converted_bytes(tensor: Tensor, value_bytes: int, architecture: Architecture) -> int:
    if tensor.dtype not in FLOATS or (architecture.quantization and _is_scale(tensor)):
        return tensor.n_bytes
    return tensor.n_values * value_bytes


def _online_bytes(tensor: Tensor, value_bytes: int, online_bytes: float) -> float:
    is_linear = len(tensor.shape) >= 2 and not NOT_LINEAR.search(tensor.name)
    return tensor.n_values * (online_bytes if is_linear and tensor.dtype in FLOATS else value_bytes)


def _n_expanded(tensor: Tensor, architecture: Architecture) -> int:
    """Number of values after dequantizing one stored tensor."""
    if architecture.quantization is None:
        return tensor.n_values
    if _is_scale(tensor):
        return 0
    if tensor.dtype == "U8":
        return tensor.n_values * (BYTE_BITS // min(architecture.quantization_bits or 4, BYTE_BITS))
    if tensor.dtype == "I32":
        return tensor.n_values * (INT32_BITS // (architecture.quantization_bits or 4))
    return tensor.n_values
