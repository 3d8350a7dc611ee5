"""GGUF files byte by byte, so that a test can write one that lies; sizes and counts may be overridden."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runners.models.gguf_types import TENSOR_TYPES

KINDS = {name: kind for kind, (name, _, _) in TENSOR_TYPES.items()}
ALIGNMENT = 32


def text(value: str | bytes, *, length: int | None = None) -> bytes:
    """A string with its length, which may be a lie."""
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw) if length is None else length) + raw


def typed(value: Any) -> bytes:
    """A value after the number of its type; bytes are taken as they are."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    inner = typed(value[0])[:4]
    return (
        struct.pack("<I", 9) + inner + struct.pack("<Q", len(value)) + b"".join(typed(v)[4:] for v in value)
    )


LLAMA: Mapping[str, Any] = {
    "general.architecture": "llama",
    "general.name": "Tiny",
    "general.file_type": 15,
    "llama.block_count": 2,
    "llama.context_length": 4096,
    "llama.embedding_length": 256,
    "llama.feed_forward_length": 512,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "qwen2",
    "tokenizer.ggml.tokens": ("a", "b", "<s>"),
    "tokenizer.chat_template": "{{ messages[0].content }}",
}
TENSORS: Sequence[tuple[str, tuple[int, ...], str]] = (
    ("token_embd.weight", (256, 3), "Q6_K"),
    ("blk.0.attn_q.weight", (256, 256), "Q4_K"),
    ("blk.1.attn_q.weight", (256, 256), "Q4_K"),
    ("output_norm.weight", (256,), "F32"),
)


@dataclass(frozen=True)
class GgufBytes:
    """A whole file; None in place of a count or the data: what is true."""

    values: Mapping[str, Any] = field(default_factory=lambda: dict(LLAMA))
    tensors: Sequence[tuple[str, tuple[int, ...], str | int]] = TENSORS
    magic: bytes = b"GGUF"
    version: int = 3
    n_tensors: int | None = None
    n_keys: int | None = None
    offsets: Sequence[int] | None = None
    data: bytes | None = None

    def written(self) -> bytes:
        """The bytes of the file."""
        n_tensors = len(self.tensors) if self.n_tensors is None else self.n_tensors
        n_keys = len(self.values) if self.n_keys is None else self.n_keys
        header = self.magic + struct.pack("<IQQ", self.version, n_tensors, n_keys)
        header += b"".join(text(key) + typed(value) for key, value in self.values.items())
        end = 0
        for place, (name, shape, kind) in enumerate(self.tensors):
            number = KINDS[kind] if isinstance(kind, str) else kind
            offset = end if self.offsets is None else self.offsets[place]
            header += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
            header += struct.pack("<IQ", number, offset)
            end = _aligned(end + _size(shape, number))
        header += b"\0" * (_aligned(len(header)) - len(header))
        return header + (b"\0" * end if self.data is None else self.data)

    def write(self, path: Path) -> Path:
        """Write the file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.written())
        return path


def _aligned(n_bytes: int) -> int:
    return -(-n_bytes // ALIGNMENT) * ALIGNMENT


def _size(shape: tuple[int, ...], kind: int) -> int:
    n_values = 1
    for side in shape:
        n_values *= side
    _, block, block_bytes = TENSOR_TYPES.get(kind, ("", 1, 1))
    return n_values // block * block_bytes


def write_split(folder: Path, stem: str, n_parts: int, values: Mapping[str, Any] | None = None) -> list[Path]:
    """A model in several parts, as llama.cpp's own tool splits one: the keys are in the first."""
    paths = []
    for part in range(n_parts):
        place = {"split.no": part, "split.count": n_parts, "split.tensors.count": len(TENSORS)}
        keys = {**(values or LLAMA), **place} if part == 0 else {"general.architecture": "llama", **place}
        file = GgufBytes(values=keys, tensors=TENSORS[part::n_parts])
        paths.append(file.write(folder / f"{stem}-{part + 1:05}-of-{n_parts:05}.gguf"))
    return paths
