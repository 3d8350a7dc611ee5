"""Read the header of a GGUF file: what the model is, how large its tensors are, tokenizer and chat template.

A file from a stranger: types, counts and sizes are checked before anything is reserved, the time is linear in
the header, and the memory is bounded. The bytes come from a `ByteSource`, a local file or ranges of one on
the Hub; no weights are read. The layout is that of ggml's `docs/gguf.md`, versions 2 and 3.
Not covered: what the tensors hold, big-endian files, and version 1, which llama.cpp no longer reads.
"""

from __future__ import annotations

import hashlib
import math
import re
import struct
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from runners.models.gguf_types import FILE_TYPES, TENSOR_TYPES
from runners.models.repository_files import LFS_POINTER, MAX_FILES, broken, shown
from tracker.errors import ModelError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_HEADER_BYTES = 128_000_000  # vocabulary and merges; the largest known take 20 million
MAX_KEYS = 10_000
MAX_TENSORS = 100_000
MAX_KEY_BYTES = 65_535  # ggml's own limit
MAX_TEXT_BYTES = 16_000_000  # a chat template takes up to 100,000
MAX_DIMENSIONS = 4  # of ggml
MAX_ELEMENTS = 2**48  # of a tensor
MAX_KEPT = 20_000  # elements of a list that is kept: one for each layer
MAX_TEXTS = 4_000_000  # in all lists; a vocabulary and its merges have 700,000
MAX_KEPT_BYTES = 64_000_000  # of all values that are kept
ALIGNMENT = 32  # of the tensors' data, unless `general.alignment` says otherwise
TEXT, LIST = 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
TOKENS = "tokenizer.ggml.tokens"
# `general.type` of files that llama.cpp keeps beside a model, without one of their own.
NOT_MODELS = {
    "adapter": "an adapter (LoRA)", "mmproj": "the projector of an image or audio encoder",
    "imatrix": "an importance matrix",
}  # fmt: skip
SPLIT_NAME = re.compile(r"(?P<stem>.+)-(?P<part>\d{5})-of-(?P<count>\d{5})\.gguf")


class ByteSource(Protocol):
    """The bytes of one file."""

    name: str  # in messages
    size: int  # bytes of the whole file

    def read(self, start: int, n_bytes: int) -> bytes:
        """`n_bytes` from `start` on; fewer at the end of the file."""
        ...


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One tensor: `shape` as in the file, the fastest dimension first."""

    name: str
    type: str  # as ggml names it, such as `Q4_K`
    shape: tuple[int, ...]
    n_bytes: int

    @property
    def n_values(self) -> int:
        """The number of weights."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a GGUF file, or all parts of a split one, says of its model."""

    values: Mapping[str, Any]  # every key but long lists
    tensors: tuple[GgufTensor, ...]
    n_tokens: int  # of the vocabulary
    tokens_sha256: str  # see `tokens_digest`; empty: it has no vocabulary
    n_parts: int = 1
    part: int = 0  # which of them this file is, from 0
    size_bytes: int = 0  # of all parts that were read

    @property
    def architecture(self) -> str:
        """As llama.cpp names it, such as `qwen3moe`."""
        return str(self.values["general.architecture"])

    @property
    def n_params(self) -> int:
        """Weights of all tensors."""
        return sum(tensor.n_values for tensor in self.tensors)

    @property
    def weights_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.n_bytes for tensor in self.tensors)

    @property
    def bytes_by_type(self) -> dict[str, int]:
        """Bytes of the tensors of each type, the largest first."""
        sizes: Counter[str] = Counter()
        for tensor in self.tensors:
            sizes[tensor.type] += tensor.n_bytes
        return dict(sizes.most_common())

    @property
    def quantization(self) -> str:
        """The file's own name for its mixture of types, such as `Q4_K_M`; else the type of most bytes."""
        return FILE_TYPES.get(self.values.get("general.file_type", -1)) or next(iter(self.bytes_by_type), "")

    @property
    def chat_template(self) -> str | None:
        """The template for chats in the file."""
        template = self.values.get("tokenizer.chat_template")
        return template if isinstance(template, str) and template else None

    @property
    def tokenizer(self) -> str:
        """Kind of the tokenizer and of its pre-tokenizer, such as `gpt2/qwen2`."""
        kind, pre = (self.values.get(f"tokenizer.ggml.{name}") for name in ("model", "pre"))
        return f"{kind or 'none'}/{pre}" if pre else str(kind or "none")

    @property
    def base_models(self) -> tuple[str, ...]:
        """The models that it was made from, as `org/name`, where the file links to them on the Hub."""
        n_models = self.values.get("general.base_model.count")
        n_models = min(n_models, MAX_DIMENSIONS) if isinstance(n_models, int) else 0
        urls = [self.values.get(f"general.base_model.{place}.repo_url") for place in range(n_models)]
        found = [re.fullmatch(r"https://huggingface\.co/([\w.-]+/[\w.-]+)/?", str(url)) for url in urls]
        return tuple(one[1] for one in found if one)

    def of_architecture(self, name: str) -> Any:
        """The value of `<architecture>.<name>`; None if the file has none."""
        return self.values.get(f"{self.architecture}.{name}")


class LocalFile:
    """A GGUF on this machine; see `ByteSource`."""

    def __init__(self, path: Path) -> None:
        """Open nothing yet.

        Raises:
            OSError: the file cannot be read.
        """
        self.name, self._path = path.name, path
        self.size = path.stat().st_size

    def read(self, start: int, n_bytes: int) -> bytes:
        """`n_bytes` from `start` on; fewer at the end of the file."""
        with self._path.open("rb") as file:
            file.seek(start)
            return file.read(n_bytes)


def tokens_digest(tokens: Iterable[bytes]) -> str:
    """The sha256 over the tokens in order, each after its length in eight bytes, as GGUF stores them."""
    digest = hashlib.sha256()
    for token in tokens:
        digest.update(struct.pack("<Q", len(token)) + token)
    return digest.hexdigest()


def read_gguf(source: ByteSource, model_id: str) -> GgufHeader:
    """The header of one file, checked against the file's size.

    Raises:
        ModelError: it is no GGUF, cut off, lies about its sizes (reason `broken_weights`), has a type or
            version that is not known here, or is no model, such as an adapter (reason `unsupported`).
    """
    return _parse(source, model_id)[0]


def read_tokens(source: ByteSource, model_id: str) -> tuple[bytes, ...]:
    """The vocabulary in order; empty if the file has none.

    Raises:
        ModelError: as for `read_gguf`.
    """
    return _parse(source, model_id, keep_tokens=True)[1]


def read_split(sources: Sequence[ByteSource], model_id: str) -> GgufHeader:
    """The header over all parts of a split file, in order.

    Raises:
        ModelError: a part is broken, or the parts do not belong together.
    """
    headers = [read_gguf(source, model_id) for source in sources]
    first = headers[0]
    for place, (header, source) in enumerate(zip(headers, sources, strict=True)):
        if (header.part, header.n_parts) != (place, len(sources)):
            said = f"part {header.part + 1} of {header.n_parts}"
            raise broken(model_id, f"`{shown(source.name)}` says that it is {said}")
    tensors = tuple(tensor for header in headers for tensor in header.tensors)
    stated = first.values.get("split.tensors.count")
    if stated is not None and stated != len(tensors):
        raise broken(model_id, f"its parts have {len(tensors):,} tensors, its header says {stated}")
    if len({tensor.name for tensor in tensors}) < len(tensors):
        raise broken(model_id, "two of its parts have a tensor of the same name")
    size = sum(header.size_bytes for header in headers)
    return GgufHeader(
        first.values, tensors, first.n_tokens, first.tokens_sha256, first.n_parts, size_bytes=size
    )


def split_names(name: str, model_id: str = "") -> tuple[str, ...]:
    """The names of all parts of the file that `name` is a part of; only itself if it is not split.

    Raises:
        ModelError: it names an impossible number of parts.
    """
    found = SPLIT_NAME.fullmatch(name)
    if found is None:
        return (name,)
    count = int(found["count"])
    if not 1 <= int(found["part"]) <= count <= MAX_FILES:
        raise broken(model_id or name, f"`{shown(name)}` cannot be a part of a split file")
    return tuple(f"{found['stem']}-{part:05}-of-{count:05}.gguf" for part in range(1, count + 1))


class _Cursor:
    """Reads forward through a source in growing pieces, and refuses to leave the file or the limit."""

    FIRST_BYTES, MOST_BYTES = 2**20, 2**23  # of one piece

    def __init__(self, source: ByteSource, model_id: str) -> None:
        self.model_id, self.source = model_id, source
        self.buffer, self.begin, self.place = b"", 0, 0  # `buffer` begins at `begin`; `place` is in the file
        self.piece = self.FIRST_BYTES
        self.n_texts = self.kept_bytes = 0

    def refuse(self, what: str) -> ModelError:
        return broken(self.model_id, f"`{shown(self.source.name)}` {what}")

    def take(self, n_bytes: int) -> bytes:
        """The next bytes."""
        at, end = self.place - self.begin, self.place - self.begin + n_bytes
        if end > len(self.buffer):
            self._fill(n_bytes)
            at, end = 0, n_bytes
        self.place += n_bytes
        return self.buffer[at:end]

    def _fill(self, n_bytes: int) -> None:
        if self.place + n_bytes > min(self.source.size, MAX_HEADER_BYTES):
            if self.place + n_bytes > self.source.size:
                raise self.refuse(f"is cut off: its header goes on after {self.source.size:,} bytes")
            raise self.refuse(f"has a header of more than {MAX_HEADER_BYTES:,} bytes")
        kept = self.buffer[self.place - self.begin :]
        wanted = max(n_bytes - len(kept), self.piece)
        self.piece = min(2 * self.piece, self.MOST_BYTES)
        self.buffer = kept + self.source.read(self.place + len(kept), wanted)
        self.begin = self.place
        if len(self.buffer) < n_bytes:
            raise self.refuse("is cut off inside its header")

    def number(self, form: str) -> Any:
        """One number."""
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]

    def text(self, *, most_bytes: int = MAX_TEXT_BYTES) -> bytes:
        """One string, not decoded."""
        length = self.number("Q")
        if length > most_bytes:
            raise self.refuse(f"has a text of {length:,} bytes in its header")
        return self.take(length)

    def decoded(self, *, most_bytes: int = MAX_TEXT_BYTES) -> str:
        """One string that is kept; what is no UTF-8 is replaced."""
        raw = self.text(most_bytes=most_bytes)
        self.keep(len(raw))
        return raw.decode("utf-8", "replace")

    def keep(self, n_bytes: int) -> None:
        """Count what is kept."""
        self.kept_bytes += n_bytes
        if self.kept_bytes > MAX_KEPT_BYTES:
            raise self.refuse(f"has values of more than {MAX_KEPT_BYTES:,} bytes in its header")

    def count_texts(self, n_texts: int) -> None:
        """Count the strings of a list."""
        self.n_texts += n_texts
        if self.n_texts > MAX_TEXTS:
            raise self.refuse(f"has lists of more than {MAX_TEXTS:,} texts in its header")


def _parse(
    source: ByteSource, model_id: str, *, keep_tokens: bool = False
) -> tuple[GgufHeader, tuple[bytes, ...]]:
    cursor = _Cursor(source, model_id)
    n_tensors, n_keys = _preamble(cursor)
    values: dict[str, Any] = {}
    vocabulary = _Vocabulary(kept=[] if keep_tokens else None)
    for _ in range(n_keys):
        key = cursor.decoded(most_bytes=MAX_KEY_BYTES)
        if key in values:
            raise cursor.refuse(f"has the key `{shown(key)}` twice")
        values[key] = _value(cursor, key, cursor.number("I"), vocabulary)
    kind = values.get("general.type")
    if kind in NOT_MODELS or values.get("general.architecture") == "clip":
        what = NOT_MODELS.get(str(kind), NOT_MODELS["mmproj"])
        message = f"`{shown(source.name)}` is {what}, not a model"
        raise ModelError(message, reason="unsupported", hint="name the GGUF file of the model itself")
    if not isinstance(values.get("general.architecture"), str):
        raise cursor.refuse("names no architecture")
    tensors = _tensors(cursor, n_tensors, values)
    part, n_parts = _split_place(cursor, values)
    header = GgufHeader(
        values={key: value for key, value in values.items() if value is not None},
        tensors=tensors,
        n_tokens=vocabulary.n_tokens,
        tokens_sha256=vocabulary.digest.hexdigest() if vocabulary.n_tokens else "",
        n_parts=n_parts,
        part=part,
        size_bytes=source.size,
    )
    return header, tuple(vocabulary.kept or ())


class _Vocabulary:
    """The tokens while they are read."""

    def __init__(self, kept: list[bytes] | None) -> None:
        self.n_tokens, self.digest, self.kept = 0, hashlib.sha256(), kept

    def add(self, token: bytes) -> None:
        """Count one token."""
        self.n_tokens += 1
        self.digest.update(struct.pack("<Q", len(token)) + token)
        if self.kept is not None:
            self.kept.append(token)


def _preamble(cursor: _Cursor) -> tuple[int, int]:
    """The number of tensors and of keys."""
    if cursor.source.size == 0:
        raise cursor.refuse("is empty")
    start = cursor.source.read(0, len(LFS_POINTER))
    if start == LFS_POINTER:
        raise cursor.refuse("is a pointer of Git LFS, not the file")
    if start[:4] != MAGIC:
        raise cursor.refuse("is no GGUF file")
    cursor.take(4)
    version = cursor.number("I")
    if version not in VERSIONS:
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
        what = "is big-endian" if swapped in VERSIONS else f"has GGUF version {version}"
        message = f"`{shown(cursor.source.name)}` {what}, which is not supported"
        raise ModelError(message, reason="unsupported", hint="convert it again with a current llama.cpp")
    n_tensors, n_keys = cursor.number("Q"), cursor.number("Q")
    for count, most, what in ((n_tensors, MAX_TENSORS, "tensors"), (n_keys, MAX_KEYS, "keys")):
        if count > most:
            raise cursor.refuse(f"says that it has {count:,} {what}, more than {most:,}")
    return n_tensors, n_keys


def _value(cursor: _Cursor, key: str, kind: int, vocabulary: _Vocabulary) -> Any:
    """One value; None for a list that is not kept."""
    if kind in SCALARS:
        return cursor.number(SCALARS[kind])
    if kind == TEXT:
        return cursor.decoded()
    if kind != LIST:
        raise cursor.refuse(f"has a value of unknown type {kind} for `{shown(key)}`")
    inner, count = cursor.number("I"), cursor.number("Q")
    if inner not in SCALARS and inner != TEXT:  # ggml knows no lists in lists either
        raise cursor.refuse(f"has a list of unknown type {inner} for `{shown(key)}`")
    width = struct.calcsize("<" + SCALARS[inner]) if inner in SCALARS else 8
    if count * width > cursor.source.size - cursor.place:
        raise cursor.refuse(f"is cut off: `{shown(key)}` has {count:,} values")
    if inner in SCALARS:
        raw = cursor.take(count * width)
        if count > MAX_KEPT:
            return None
        cursor.keep(8 * count)
        return struct.unpack(f"<{count}{SCALARS[inner]}", raw)
    cursor.count_texts(count)
    if key == TOKENS:
        for _ in range(count):
            vocabulary.add(cursor.text())
    elif count > MAX_KEPT:
        for _ in range(count):
            cursor.text()
    else:
        return tuple(cursor.decoded() for _ in range(count))
    return None


def _tensors(cursor: _Cursor, n_tensors: int, values: Mapping[str, Any]) -> tuple[GgufTensor, ...]:
    alignment = values.get("general.alignment", ALIGNMENT)
    if not isinstance(alignment, int) or not 0 < alignment <= 2**20 or alignment & (alignment - 1):
        raise cursor.refuse(f"has an impossible alignment of `{shown(str(alignment))}`")
    found, places = [], []
    for _ in range(n_tensors):
        tensor, offset = _tensor(cursor)
        if offset % alignment:
            raise cursor.refuse(f"has the tensor `{shown(tensor.name)}` at an impossible place")
        found.append(tensor)
        places.append((offset, offset + tensor.n_bytes, tensor.name))
    if len({tensor.name for tensor in found}) < len(found):
        raise cursor.refuse("has two tensors of the same name")
    begins = math.ceil(cursor.place / alignment) * alignment
    reached = 0
    for start, end, name in sorted(places):
        if start < reached:
            raise cursor.refuse(f"has the tensor `{shown(name)}` inside another one")
        reached = end
    if begins + reached > cursor.source.size:
        says = f"its header describes {begins + reached:,} bytes, the file has {cursor.source.size:,}"
        raise cursor.refuse(f"is cut off: {says}")
    return tuple(found)


def _tensor(cursor: _Cursor) -> tuple[GgufTensor, int]:
    """One tensor, and where its data begin."""
    name = cursor.decoded(most_bytes=MAX_KEY_BYTES)
    n_dimensions = cursor.number("I")
    if n_dimensions > MAX_DIMENSIONS:
        raise cursor.refuse(f"has the tensor `{shown(name)}` of {n_dimensions:,} dimensions")
    shape = tuple(cursor.number("Q") for _ in range(n_dimensions))
    kind, offset = cursor.number("I"), cursor.number("Q")
    if kind not in TENSOR_TYPES:
        message = f"`{shown(cursor.source.name)}` has tensors of type {kind}, which is not known here"
        hint = "it was made by another or a newer llama.cpp; use a copy in a common type"
        raise ModelError(message, reason="unsupported", hint=hint)
    type_name, block, block_bytes = TENSOR_TYPES[kind]
    n_values = math.prod(shape)
    if n_values > MAX_ELEMENTS or (shape and shape[0] % block):
        raise cursor.refuse(f"has the tensor `{shown(name)}` of an impossible shape")
    return GgufTensor(name, type_name, shape, n_values // block * block_bytes), offset


def _split_place(cursor: _Cursor, values: Mapping[str, Any]) -> tuple[int, int]:
    """Which part this file is, from 0, and of how many."""
    part, count = values.get("split.no", 0), values.get("split.count", 1) or 1
    if not (isinstance(part, int) and isinstance(count, int) and 0 <= part < count <= MAX_FILES):
        raise cursor.refuse(f"says that it is part `{shown(str(part))}` of `{shown(str(count))}`")
    return part, count
